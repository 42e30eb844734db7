// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Watches of inotify(7) that come and go on several threads. What it tells is compared with
//! Linux by the guest tests.

mod common;

use common::World;
use kvfs::Inotify;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

const IN_MODIFY: u32 = 2;

/// What the tests look at is of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A watch that is ended before inotify_add_watch(2) came back.
#[test]
fn no_watch_outlives_its_end() {
    let _alone = alone();
    let w = World::new();
    w.write("f", "").unwrap();
    let at = w.at("f").unwrap();
    let instance = Arc::new(Inotify::new());
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
            }
        }
    });
    while instance.watch(&at, IN_MODIFY).unwrap() < 10_000 {}
    stop.store(true, Ordering::Relaxed);
    remover.join().unwrap();
    drop(instance);
    assert!(!kvfs::is_watched(), "a watch is left of an instance that is gone");
}
