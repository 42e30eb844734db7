// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Timers under a clock that the test moves.

mod common;

use common::our_read;
use kio::{Clock, Events, File, Instant, SliceSink, TimerId, Timers, Wake};
use kipc::{Epoll, Target, TimerClock, TimerFd, TimerSetting, Watchers};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When, whom, and with which key.
type Armed = (Instant, Arc<dyn Wake>, u64);

/// Clock and timer service in one.
#[derive(Default)]
struct World {
    now: Mutex<(u64, u64)>,
    armed: Mutex<BTreeMap<u64, Armed>>,
    next: Mutex<u64>,
}

impl Clock for World {
    fn monotonic(&self) -> Instant {
        Instant::from_nanos(self.now.lock().unwrap().0)
    }
    fn realtime(&self) -> Duration {
        let (now, offset) = *self.now.lock().unwrap();
        Duration::from_nanos(now + offset)
    }
}

impl Timers for World {
    fn arm(&self, at: Instant, target: Arc<dyn Wake>, key: u64) -> TimerId {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        self.armed.lock().unwrap().insert(*next, (at, target, key));
        TimerId(*next)
    }
    fn cancel(&self, id: TimerId) -> bool {
        self.armed.lock().unwrap().remove(&id.0).is_some()
    }
}

impl World {
    fn pass(&self, nanos: u64) {
        self.now.lock().unwrap().0 += nanos;
        let now = self.monotonic();
        let mut armed = self.armed.lock().unwrap();
        let due: Vec<_> = armed.iter().filter(|(_, t)| t.0 <= now).map(|(id, _)| *id).collect();
        let due: Vec<_> = due.into_iter().filter_map(|id| armed.remove(&id)).collect();
        drop(armed);
        due.into_iter().for_each(|(_, target, key)| target.wake(key, Events::IN));
    }
}

fn new(follows: TimerClock) -> (Arc<World>, Arc<TimerFd>) {
    let world = Arc::new(World::default());
    *world.now.lock().unwrap() = (1_000, 1_000_000);
    (world.clone(), Arc::new(TimerFd::new(follows, world.clone(), world)))
}

fn setting(interval: u64, value: u64) -> TimerSetting {
    let (interval, value) = (Duration::from_nanos(interval), Duration::from_nanos(value));
    TimerSetting { interval, value }
}

fn count(timer: &TimerFd) -> Result<u64, u16> {
    our_read(timer, 8).map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap()))
}

#[test]
fn one_shot_and_periodic_timers_count() {
    let (world, timer) = new(TimerClock::Monotonic);
    assert_eq!((count(&timer), our_read(&*timer, 7)), (Err(11), Err(22)));
    timer.set(setting(0, 100), false, false);
    world.pass(99);
    assert_eq!((timer.poll(), count(&timer)), (Events::empty(), Err(11)));
    assert_eq!(timer.setting(), setting(0, 1));
    world.pass(1);
    assert_eq!((timer.poll(), count(&timer), count(&timer)), (Events::IN, Ok(1), Err(11)));
    assert_eq!(timer.setting(), setting(0, 0));
    assert_eq!(timer.set(setting(10, 5), false, false), setting(0, 0));
    world.pass(5);
    assert_eq!(count(&timer), Ok(1));
    world.pass(35);
    assert_eq!(count(&timer), Ok(3));
    assert_eq!(timer.setting(), setting(10, 5));
    world.pass(5);
    assert_eq!(timer.set(setting(0, 0), false, false), setting(10, 10));
    assert_eq!(count(&timer), Err(11), "a new setting forgets expirations");
    assert!(world.armed.lock().unwrap().is_empty());
}

#[test]
fn absolute_times_may_be_past() {
    let (world, timer) = new(TimerClock::Monotonic);
    timer.set(setting(100, 700), true, false);
    world.pass(0);
    assert_eq!(count(&timer), Ok(4), "700, 800, 900, 1000");
    timer.set(setting(0, 2_000), true, false);
    world.pass(999);
    assert_eq!(count(&timer), Err(11));
    world.pass(1);
    assert_eq!(count(&timer), Ok(1));
}

#[test]
fn dates_follow_a_clock_that_is_set() {
    let (world, timer) = new(TimerClock::Realtime);
    timer.set(setting(0, 1_002_000), true, true);
    world.now.lock().unwrap().1 = 500_000;
    timer.clock_was_set();
    assert_eq!((timer.poll(), count(&timer)), (Events::IN, Err(125)));
    assert_eq!(timer.setting(), setting(0, 501_000));
    world.pass(501_000);
    assert_eq!(count(&timer), Ok(1));
}

#[test]
fn epoll_hears_every_period() {
    let (world, timer) = new(TimerClock::Monotonic);
    let (epoll, watchers) = (Epoll::new(), Watchers::new());
    let file: Arc<dyn File> = timer.clone();
    epoll
        .add(&Target { fd: 3, identity: 3, file: &file, watchers: &watchers }, 1 | 1 << 31, 0)
        .unwrap();
    timer.set(setting(10, 10), false, false);
    for _ in 0..3 {
        assert_eq!(epoll.wait(4, &mut |_, _| true), Ok(0));
        world.pass(10);
        assert_eq!(epoll.wait(4, &mut |_, _| true), Ok(1));
        assert_eq!(timer.read_at(0, &mut SliceSink::new(&mut [0; 8])), Ok(8));
    }
    drop((file, epoll));
    drop(timer);
    assert!(world.armed.lock().unwrap().is_empty(), "a dropped timer is taken back");
}
