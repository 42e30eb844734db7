// SPDX-License-Identifier: Apache-2.0 OR MIT
//! epoll under threads, closing races and refused events.

use super::{Epoll, EpollFlags, Target, Watchers};
use crate::EventFd;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Events, File, SliceSink, Wake};
use std::thread;

const IN: u32 = Events::IN.bits();

struct Watched {
    event: Arc<EventFd>,
    file: Arc<dyn File>,
    watchers: Watchers,
    fd: i32,
}

impl Watched {
    fn new(fd: i32) -> Self {
        let event = Arc::new(EventFd::new(0, false));
        Self { file: event.clone(), event, watchers: Watchers::new(), fd }
    }

    fn target(&self) -> Target<'_> {
        let identity = self.fd as u64;
        Target { fd: self.fd, identity, file: &self.file, watchers: &self.watchers }
    }

    fn drain(&self) -> bool {
        self.event.read_at(0, &mut SliceSink::new(&mut [0; 8])).is_ok()
    }
}

fn collect(epoll: &Epoll, max: usize) -> Vec<u64> {
    let mut seen = Vec::new();
    epoll
        .wait(max, &mut |_, data| {
            seen.push(data);
            true
        })
        .unwrap();
    seen
}

#[test]
fn ready_items_take_turns() {
    let epoll = Epoll::new();
    let files: Vec<_> = (0..3).map(Watched::new).collect();
    for file in &files {
        epoll.add(&file.target(), IN, file.fd as u64).unwrap();
        file.event.signal(1);
    }
    assert_eq!(collect(&epoll, 2), [0, 1]);
    assert_eq!(collect(&epoll, 2), [2, 0]);
    assert_eq!(collect(&epoll, 9), [1, 2, 0]);
}

#[test]
fn what_is_not_ready_any_more_leaves_the_list() {
    let epoll = Epoll::new();
    let files: Vec<_> = (0..2).map(Watched::new).collect();
    for file in &files {
        epoll.add(&file.target(), IN, file.fd as u64).unwrap();
        file.event.signal(1);
    }
    assert_eq!(collect(&epoll, 9), [0, 1]);
    assert!(files[0].drain());
    assert_eq!(collect(&epoll, 9), [1]);
    assert!(files[1].drain());
    assert!(collect(&epoll, 9).is_empty() && epoll.poll().is_empty());
    assert_eq!(epoll.core.state.lock().ready_count(), 0);
    files[0].event.signal(1);
    assert_eq!(collect(&epoll, 9), [0]);
}

#[test]
fn an_item_that_becomes_edge_triggered_is_reported_once_more() {
    let epoll = Epoll::new();
    let file = Watched::new(1);
    epoll.add(&file.target(), IN, 1).unwrap();
    file.event.signal(1);
    assert_eq!(collect(&epoll, 4), [1]);
    epoll.modify(&file.target(), IN | EpollFlags::ET.bits(), 2).unwrap();
    assert_eq!(collect(&epoll, 4), [2]);
    assert!(collect(&epoll, 4).is_empty());
}

#[test]
fn a_refused_event_stays_first() {
    let epoll = Epoll::new();
    let file = Watched::new(1);
    epoll.add(&file.target(), IN | EpollFlags::ET.bits() | EpollFlags::ONESHOT.bits(), 5).unwrap();
    file.event.signal(1);
    assert_eq!(epoll.wait(4, &mut |_, _| false), Err(Errno::EFAULT));
    assert_eq!(collect(&epoll, 4), [5]);
    assert!(collect(&epoll, 4).is_empty());
}

#[test]
fn a_closed_description_leaves_all_instances() {
    let (one, two) = (Epoll::new(), Epoll::new());
    let file = Watched::new(1);
    one.add(&file.target(), IN, 1).unwrap();
    two.add(&file.target(), IN, 2).unwrap();
    file.event.signal(1);
    file.watchers.release();
    assert!(collect(&one, 4).is_empty() && collect(&two, 4).is_empty());
    assert!(file.event.wait_queue().unwrap().is_empty());
    assert_eq!(one.remove(&file.target()), Err(Errno::ENOENT));
}

#[test]
fn a_dropped_instance_leaves_the_queues() {
    let file = Watched::new(1);
    for _ in 0..100 {
        let epoll = Epoll::new();
        epoll.add(&file.target(), IN, 1).unwrap();
    }
    assert!(file.event.wait_queue().unwrap().is_empty());
    assert!(file.watchers.0.lock().len() < 20, "stale entries are swept");
}

#[test]
fn inner_readiness_reaches_the_outer_instance() {
    let (outer, inner) = (Epoll::new(), Arc::new(Epoll::new()));
    let file = Watched::new(1);
    let (inner_file, watchers): (Arc<dyn File>, _) = (inner.clone(), Watchers::new());
    let target = Target { fd: 2, identity: 2, file: &inner_file, watchers: &watchers };
    outer.add(&target, IN | EpollFlags::ET.bits(), 7).unwrap();
    inner.add(&file.target(), IN, 1).unwrap();
    assert!(collect(&outer, 4).is_empty());
    file.event.signal(1);
    assert_eq!(outer.poll(), Events::READABLE);
    assert_eq!(collect(&outer, 4), [7]);
    assert!(collect(&outer, 4).is_empty(), "edge-triggered");
    assert!(file.drain());
    assert_eq!(inner.poll(), Events::empty());
}

#[derive(Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(&self, _key: u64, _ready: Events) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn one_shot_reports_once_for_each_arming_under_threads() {
    const ROUNDS: u64 = 2000;
    let epoll = Epoll::new();
    let file = Watched::new(1);
    let events = IN | EpollFlags::ONESHOT.bits();
    epoll.add(&file.target(), events, 0).unwrap();
    let reports = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while reports.load(Ordering::SeqCst) < ROUNDS {
                    for armed in collect(&epoll, 4) {
                        // The report of arming `n` is the n-th one.
                        assert_eq!(reports.fetch_add(1, Ordering::SeqCst), armed);
                        epoll.modify(&file.target(), events, armed + 1).unwrap();
                    }
                    thread::yield_now();
                }
            });
        }
        while reports.load(Ordering::SeqCst) < ROUNDS {
            file.event.signal(1);
            thread::yield_now();
        }
    });
}

#[test]
fn no_edge_is_lost_while_files_come_and_go() {
    let epoll = Epoll::new();
    let sleepers = Arc::new(Count::default());
    epoll.sleepers().register(sleepers.clone(), 0, Events::IN, true);
    let steady = Watched::new(1);
    epoll.add(&steady.target(), IN | EpollFlags::ET.bits(), 1).unwrap();
    let consumed = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while consumed.load(Ordering::SeqCst) < 2000 {
                if collect(&epoll, 4).contains(&1) && steady.drain() {
                    consumed.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        scope.spawn(|| {
            while consumed.load(Ordering::SeqCst) < 2000 {
                let guest = Watched::new(2);
                guest.event.signal(1);
                epoll.add(&guest.target(), IN, 2).unwrap();
                guest.watchers.release();
            }
        });
        for round in 0..2000 {
            while consumed.load(Ordering::SeqCst) < round {
                thread::yield_now();
            }
            steady.event.signal(1);
        }
    });
    assert!(sleepers.0.load(Ordering::SeqCst) >= 2000);
}
