// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One-shot timers, a heap on each CPU, and the clock that objects read.

use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::hash::BuildHasherDefault;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use hashbrown::HashMap;
use kio::{Clock, Events, Instant, TimerId, Timers, Wake};
use ksync::SpinLock;

/// Timer numbers are dense and ours: they need no mixing against attackers.
#[derive(Default)]
pub struct NumberHasher(u64);

impl core::hash::Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.0 = self.0.rotate_left(8) ^ u64::from(*b));
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type NumberMap<V> = HashMap<u64, V, BuildHasherDefault<NumberHasher>>;

#[derive(Default)]
struct CpuTimers {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    live: Option<NumberMap<(Arc<dyn Wake>, u64)>>,
    next: u64,
}

static CPUS: [SpinLock<Option<CpuTimers>>; khal::cpus::MAX_CPUS] =
    [const { SpinLock::new(None) }; khal::cpus::MAX_CPUS];
/// When each CPU's earliest timer fires, for a look without the lock.
static EARLIEST: [AtomicU64; khal::cpus::MAX_CPUS] =
    [const { AtomicU64::new(u64::MAX) }; khal::cpus::MAX_CPUS];
const CPU_BITS: u32 = 6;

impl CpuTimers {
    fn live(&mut self) -> &mut NumberMap<(Arc<dyn Wake>, u64)> {
        self.live.get_or_insert_with(NumberMap::default)
    }

    /// Drops cancelled timers from the top, and all of them when they are many.
    fn tidy(&mut self) {
        let live = self.live.get_or_insert_with(NumberMap::default);
        while let Some(Reverse((_, id))) = self.heap.peek() {
            if live.contains_key(id) {
                break;
            }
            self.heap.pop();
        }
        if self.heap.len() > 2 * live.len() + 64 {
            self.heap.retain(|Reverse((_, id))| live.contains_key(id));
        }
    }

    fn earliest(&mut self) -> Instant {
        self.tidy();
        self.heap.peek().map_or(Instant::FAR_FUTURE, |Reverse((at, _))| *at)
    }
}

/// The kernel's clock and timer service.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTime;

impl Clock for SystemTime {
    fn monotonic(&self) -> Instant {
        khal::clock::monotonic()
    }
    fn realtime(&self) -> Duration {
        khal::clock::realtime()
    }
}

impl Timers for SystemTime {
    fn arm(&self, at: Instant, target: Arc<dyn Wake>, key: u64) -> TimerId {
        let cpu = khal::cpus::current();
        let mut slot = CPUS[cpu].lock();
        let timers = slot.get_or_insert_with(CpuTimers::default);
        let id = timers.next << CPU_BITS | cpu as u64;
        timers.next += 1;
        timers.live().insert(id, (target, key));
        timers.heap.push(Reverse((at, id)));
        if at.as_nanos() < EARLIEST[cpu].load(Ordering::Relaxed) {
            EARLIEST[cpu].store(at.as_nanos(), Ordering::Relaxed);
            drop(slot);
            crate::sched::program_timer();
        }
        TimerId(id)
    }

    fn cancel(&self, id: TimerId) -> bool {
        let cpu = (id.0 & ((1 << CPU_BITS) - 1)) as usize;
        let mut slot = CPUS[cpu].lock();
        let Some(timers) = slot.as_mut() else { return false };
        let gone = timers.live().remove(&id.0);
        if timers.heap.len() > 2 * timers.live().len() + 64 {
            timers.tidy();
        }
        drop(slot);
        gone.is_some()
    }
}

/// When this CPU's next timer fires.
pub fn next_on_this_cpu() -> Instant {
    Instant::from_nanos(EARLIEST[khal::cpus::current()].load(Ordering::Relaxed))
}

/// Fires what is due on this CPU; called without locks.
pub fn run_expired() {
    let cpu = khal::cpus::current();
    let now = khal::clock::monotonic();
    if EARLIEST[cpu].load(Ordering::Relaxed) > now.as_nanos() {
        return;
    }
    let mut due: Vec<(Arc<dyn Wake>, u64)> = Vec::new();
    let mut slot = CPUS[cpu].lock();
    if let Some(timers) = slot.as_mut() {
        while timers.earliest() <= now {
            let Some(Reverse((_, id))) = timers.heap.pop() else { break };
            due.extend(timers.live().remove(&id));
        }
        let next = timers.earliest().as_nanos();
        EARLIEST[cpu].store(next, Ordering::Relaxed);
    }
    drop(slot);
    due.into_iter().for_each(|(target, key)| target.wake(key, Events::IN));
}
