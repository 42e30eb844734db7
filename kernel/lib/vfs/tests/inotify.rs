// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Limits of inotify(7), and watches that come and go on several threads. What it tells is
//! compared with Linux by the guest tests.

mod common;

use common::World;
use kio::{Errno, File, Result, SliceSink};
use kmm::Frame;
use kvfs::{Change, Inotify};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

const ROOT: u32 = 0;
const OTHER_USER: u32 = 1000;
const IN_ACCESS: u32 = 1;
const IN_MODIFY: u32 = 2;
const IN_Q_OVERFLOW: u32 = 0x4000;

/// What the tests look at is of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn instance() -> Result<Inotify> {
    Inotify::new(ROOT)
}

/// Masks of the events that wait.
fn masks(instance: &Inotify) -> Vec<u32> {
    let mut bytes = [0; 4096];
    let count = instance.read_at(0, &mut SliceSink::new(&mut bytes)).unwrap_or(0);
    let mut rest = &bytes[..count];
    let mut masks = Vec::new();
    while let Some((event, behind)) = rest.split_at_checked(16) {
        let word = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
        masks.push(word(4));
        rest = &behind[word(12) as usize..];
    }
    masks
}

/// A watch that is ended before inotify_add_watch(2) came back.
#[test]
fn no_watch_outlives_its_end() {
    let _alone = alone();
    let w = World::new();
    w.write("f", "").unwrap();
    let at = w.at("f").unwrap();
    let instance = Arc::new(instance().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let remover = thread::spawn({
        let (instance, stop) = (instance.clone(), stop.clone());
        move || {
            for number in 1.. {
                while instance.unwatch(number).is_err() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
                masks(&instance);
            }
        }
    });
    while instance.watch(&at, IN_MODIFY).unwrap() < 10_000 {}
    stop.store(true, Ordering::Relaxed);
    remover.join().unwrap();
    drop(instance);
    assert!(!kvfs::is_watched(), "a watch is left of an instance that is gone");
}

/// Nothing is kept for a program when the kernel has no memory for it, and what is lost by
/// that is told.
#[test]
fn memory_is_asked_for() {
    let _alone = alone();
    let w = World::new();
    w.write("f", "").unwrap();
    w.write("g", "").unwrap();
    let (f, g) = (w.at("f").unwrap(), w.at("g").unwrap());
    let watcher = instance().unwrap();
    let number = watcher.watch(&f, IN_ACCESS | IN_MODIFY).unwrap();
    kvfs::changed(&f, Change::ACCESS);
    let mut taken = Vec::new();
    while kmm::kernel_can_spare(4096) {
        taken.push(Frame::allocate().unwrap());
    }
    assert_eq!(watcher.watch(&g, IN_MODIFY), Err(Errno::ENOMEM));
    assert_eq!(instance().err(), Some(Errno::ENOMEM));
    assert_eq!(watcher.watch(&f, IN_ACCESS | IN_MODIFY), Ok(number));
    for change in [Change::ACCESS, Change::MODIFY, Change::ACCESS, Change::MODIFY] {
        kvfs::changed(&f, change);
    }
    assert_eq!(masks(&watcher), [IN_ACCESS, IN_Q_OVERFLOW]);
    kvfs::changed(&f, Change::MODIFY);
    assert_eq!(masks(&watcher), [IN_Q_OVERFLOW]);
    drop(taken);
    kvfs::changed(&f, Change::MODIFY);
    assert_eq!(masks(&watcher), [IN_MODIFY]);
    assert!(watcher.watch(&g, IN_MODIFY).is_ok());
}

#[test]
fn a_user_has_so_many_instances() {
    let _alone = alone();
    kmm::hosted::start();
    let mut instances: Vec<_> = (0..128).map(|_| instance().unwrap()).collect();
    assert_eq!(instance().err(), Some(Errno::EMFILE));
    assert!(Inotify::new(OTHER_USER).is_ok());
    instances.pop();
    instances.push(instance().unwrap());
    assert_eq!(instance().err(), Some(Errno::EMFILE));
    drop(instances);
    assert!(instance().is_ok());
}

#[test]
fn a_user_has_so_many_watches() {
    const LIMIT: usize = 65_536;
    let _alone = alone();
    let w = World::new();
    let (first, second) = (instance().unwrap(), instance().unwrap());
    for i in 0..LIMIT {
        let path = format!("f{i}");
        w.write(&path, "").unwrap();
        let at = w.at(&path).unwrap();
        let watcher = if i < LIMIT / 2 { &first } else { &second };
        watcher.watch(&at, IN_MODIFY).unwrap();
    }
    let known = w.at("f0").unwrap();
    w.write("more", "").unwrap();
    let more = w.at("more").unwrap();
    assert_eq!(first.watch(&more, IN_MODIFY), Err(Errno::ENOSPC));
    assert_eq!(second.watch(&more, IN_MODIFY), Err(Errno::ENOSPC));
    assert_eq!(first.watch(&known, IN_ACCESS), Ok(1), "a watch that is there takes no room");
    assert!(Inotify::new(OTHER_USER).unwrap().watch(&more, IN_MODIFY).is_ok());
    first.unwatch(1).unwrap();
    assert_eq!(second.watch(&more, IN_MODIFY), Ok(LIMIT as i32 / 2 + 1));
    drop((first, second));
    assert!(!kvfs::is_watched());
    assert!(instance().unwrap().watch(&known, IN_MODIFY).is_ok());
}
