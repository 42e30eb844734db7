// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Futexes: sleeping on a word of the program's memory, futex(2).

use crate::sched::{self, current_thread};
use crate::wait::{Alarm, interrupted};
use crate::{mm::AddressSpace, user};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use khal::Task;
use kio::{Errno, Instant, Result};
use ksync::SpinLock;

/// What a futex is, independent of where it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// An address space, or the physical page of a shared one.
    object: u64,
    /// Address, or offset in the page.
    offset: u64,
}

impl Key {
    /// The futex at `address`. A private one is named by its address, a shared
    /// one by the memory behind it.
    pub fn new(address: u64, private: bool) -> Result<Self> {
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        let thread = current_thread().ok_or(Errno::ESRCH)?;
        if private {
            return Ok(Self { object: thread.space_identity(), offset: address });
        }
        shared_key(&thread.space(), address)
    }

    fn bucket(self) -> &'static SpinLock<Vec<Arc<Waiter>>> {
        let mixed = (self.object ^ self.offset.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &BUCKETS[(mixed >> 56) as usize]
    }
}

fn shared_key(space: &AddressSpace, address: u64) -> Result<Key> {
    let page = space.shared_page(address)?;
    Ok(match page {
        Some(physical) => Key { object: physical, offset: address & 0xfff },
        None => Key { object: core::ptr::from_ref(space) as u64, offset: address },
    })
}

/// A thread that waits, in the queue of its futex.
pub struct Waiter {
    /// `None` while it is kept for the next wait.
    task: Option<Arc<Task>>,
    key: SpinLock<Key>,
    bitset: u32,
    woken: AtomicBool,
    /// Which of several words woke the waiter, for FUTEX_WAITV.
    index: usize,
    winner: Option<Arc<AtomicUsize>>,
}

impl Waiter {
    /// Marks it as woken: as it is taken out of its queue, under the lock of
    /// that, so that a wait that ends by itself cannot miss it.
    fn mark(&self) {
        if let Some(winner) = &self.winner {
            let _ = winner.compare_exchange(
                usize::MAX,
                self.index,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
        self.woken.store(true, Ordering::Release);
    }

    /// Lets a waiter that was marked go on.
    fn rouse(&self) {
        self.task.iter().for_each(sched::unpark);
    }
}

static BUCKETS: [SpinLock<Vec<Arc<Waiter>>>; 256] = [const { SpinLock::new(Vec::new()) }; 256];

/// Reads the word without the bucket's lock, bringing its page in.
fn load(address: u64) -> Result<u32> {
    user::read_u32(address)
}

/// Puts the running thread in the queue if the word is still `expected`. The
/// word is read under the bucket's lock, so that no wake-up comes in between;
/// when its page is missing there, it is brought in and all starts again.
fn enqueue(
    key: Key,
    address: u64,
    expected: u32,
    bitset: u32,
    index: usize,
    winner: Option<Arc<AtomicUsize>>,
) -> Result<Arc<Waiter>> {
    let fresh = Waiter {
        task: Some(khal::tasks::current_arc()),
        key: SpinLock::new(key),
        bitset,
        woken: AtomicBool::new(false),
        index,
        winner,
    };
    let kept = current_thread().and_then(|thread| thread.futex_waiter.lock().take());
    let waiter = match kept {
        Some(mut waiter) => match Arc::get_mut(&mut waiter) {
            Some(slot) => {
                *slot = fresh;
                waiter
            }
            None => Arc::new(fresh),
        },
        None => Arc::new(fresh),
    };
    loop {
        let mut bucket = key.bucket().lock();
        let mut word = [0; 4];
        if khal::user_memory::copy_from_user(&mut word, address) < 4 {
            drop(bucket);
            load(address)?;
            continue;
        }
        if u32::from_le_bytes(word) != expected {
            return Err(Errno::EAGAIN);
        }
        bucket.push(waiter.clone());
        return Ok(waiter);
    }
}

/// Keeps a waiter that is in no queue for the thread's next wait, unless
/// whoever woke it still has it.
fn keep(mut waiter: Arc<Waiter>) {
    let Some(slot) = Arc::get_mut(&mut waiter) else { return };
    slot.task = None;
    if let Some(thread) = current_thread() {
        *thread.futex_waiter.lock() = Some(waiter);
    }
}

/// Takes a waiter out of whatever queue it is in now (requeue moves it).
fn dequeue(waiter: &Arc<Waiter>) {
    loop {
        let key = *waiter.key.lock();
        let mut bucket = key.bucket().lock();
        if *waiter.key.lock() != key {
            continue;
        }
        let at = bucket.iter().position(|w| Arc::ptr_eq(w, waiter));
        let gone = at.map(|at| bucket.remove(at));
        drop(bucket);
        drop(gone);
        return;
    }
}

/// FUTEX_WAIT and FUTEX_WAIT_BITSET.
pub fn wait(
    address: u64,
    private: bool,
    expected: u32,
    bitset: u32,
    deadline: Option<Instant>,
) -> Result<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::new(address, private)?;
    let waiter = enqueue(key, address, expected, bitset, 0, None)?;
    let alarm = Alarm::new(deadline);
    loop {
        if waiter.woken.load(Ordering::Acquire) {
            keep(waiter);
            return Ok(());
        }
        let error = if alarm.rang() {
            Errno::ETIMEDOUT
        } else if interrupted() {
            Errno::ERESTARTSYS
        } else {
            sched::park();
            continue;
        };
        dequeue(&waiter);
        // A wake-up that came at the last moment counts.
        let woken = waiter.woken.load(Ordering::Acquire);
        keep(waiter);
        return if woken { Ok(()) } else { Err(error) };
    }
}

/// futex_waitv(2): sleeps on several words; returns the index of one woken.
pub fn wait_many(words: &[(u64, bool, u32)], deadline: Option<Instant>) -> Result<usize> {
    let winner = Arc::new(AtomicUsize::new(usize::MAX));
    let mut waiters: Vec<Arc<Waiter>> = Vec::with_capacity(words.len());
    let undo = |waiters: &[Arc<Waiter>]| waiters.iter().for_each(dequeue);
    for (index, (address, private, expected)) in words.iter().enumerate() {
        let queued = Key::new(*address, *private).and_then(|key| {
            enqueue(key, *address, *expected, u32::MAX, index, Some(winner.clone()))
        });
        match queued {
            Ok(waiter) => waiters.push(waiter),
            Err(error) => {
                undo(&waiters);
                let won = winner.load(Ordering::Acquire);
                return if won != usize::MAX { Ok(won) } else { Err(error) };
            }
        }
    }
    let alarm = Alarm::new(deadline);
    let error = loop {
        if winner.load(Ordering::Acquire) != usize::MAX {
            break Errno::EAGAIN;
        }
        if alarm.rang() {
            break Errno::ETIMEDOUT;
        }
        if interrupted() {
            break Errno::ERESTARTSYS;
        }
        sched::park();
    };
    undo(&waiters);
    let won = winner.load(Ordering::Acquire);
    if won != usize::MAX { Ok(won) } else { Err(error) }
}

/// Takes out and marks the waiter that waited longest.
fn take_first(bucket: &mut Vec<Arc<Waiter>>, key: Key, bitset: u32) -> Option<Arc<Waiter>> {
    let at = bucket.iter().position(|w| *w.key.lock() == key && w.bitset & bitset != 0)?;
    let waiter = bucket.remove(at);
    waiter.mark();
    Some(waiter)
}

fn take_matching(
    bucket: &mut Vec<Arc<Waiter>>,
    key: Key,
    count: usize,
    bitset: u32,
) -> Vec<Arc<Waiter>> {
    let mut taken = Vec::new();
    let mut at = 0;
    while at < bucket.len() && taken.len() < count {
        let matches = *bucket[at].key.lock() == key && bucket[at].bitset & bitset != 0;
        if matches {
            taken.push(bucket.remove(at));
        } else {
            at += 1;
        }
    }
    taken
}

/// FUTEX_WAKE and FUTEX_WAKE_BITSET: how many were woken.
pub fn wake(address: u64, private: bool, count: usize, bitset: u32) -> Result<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    let key = Key::new(address, private)?;
    if count == 1 {
        let taken = take_first(&mut key.bucket().lock(), key, bitset);
        taken.iter().for_each(|w| w.rouse());
        return Ok(usize::from(taken.is_some()));
    }
    let mut bucket = key.bucket().lock();
    let taken = take_matching(&mut bucket, key, count, bitset);
    taken.iter().for_each(|w| w.mark());
    drop(bucket);
    taken.iter().for_each(|w| w.rouse());
    Ok(taken.len())
}

/// FUTEX_REQUEUE and FUTEX_CMP_REQUEUE: wakes some and moves others to the
/// futex at `to`; returns (woken, moved).
pub fn requeue(
    address: u64,
    to: u64,
    private: bool,
    wake_count: usize,
    move_count: usize,
    expected: Option<u32>,
) -> Result<(usize, usize)> {
    let (from_key, to_key) = (Key::new(address, private)?, Key::new(to, private)?);
    let (from, target) = (from_key.bucket(), to_key.bucket());
    let (woken, moved) = loop {
        // Two buckets are locked in the order of their addresses.
        let same = core::ptr::eq(from, target);
        let first = (core::ptr::from_ref(from) as usize) < core::ptr::from_ref(target) as usize;
        let (mut source, mut other) = match (same, first) {
            (true, _) => (from.lock(), None),
            (false, true) => {
                let source = from.lock();
                (source, Some(target.lock()))
            }
            (false, false) => {
                let other = target.lock();
                (from.lock(), Some(other))
            }
        };
        if let Some(expected) = expected {
            let mut word = [0; 4];
            if khal::user_memory::copy_from_user(&mut word, address) < 4 {
                drop(source);
                drop(other);
                load(address)?;
                continue;
            }
            if u32::from_le_bytes(word) != expected {
                return Err(Errno::EAGAIN);
            }
        }
        let woken = take_matching(&mut source, from_key, wake_count, u32::MAX);
        woken.iter().for_each(|w| w.mark());
        let moved = take_matching(&mut source, from_key, move_count, u32::MAX);
        for waiter in &moved {
            *waiter.key.lock() = to_key;
            other.as_mut().unwrap_or(&mut source).push(waiter.clone());
        }
        break (woken, moved.len());
    };
    woken.iter().for_each(|w| w.rouse());
    Ok((woken.len(), moved))
}

/// FUTEX_WAKE_OP: changes the word at `second` atomically and wakes there too
/// if its old value compares.
pub fn wake_op(
    address: u64,
    second: u64,
    private: bool,
    count: usize,
    second_count: usize,
    operation: u32,
) -> Result<usize> {
    let (mut operand, compare_with) = (operation >> 12 & 0xfff, operation & 0xfff);
    let sign_extend = |v: u32| ((v << 20) as i32 >> 20) as u32;
    let (kind, compare) = (operation >> 28 & 0xf, operation >> 24 & 0xf);
    operand = sign_extend(operand);
    if kind & 8 != 0 {
        operand = 1u32.wrapping_shl(operand);
    }
    let apply = |old: u32| match kind & 7 {
        0 => Ok(operand),
        1 => Ok(old.wrapping_add(operand)),
        2 => Ok(old | operand),
        3 => Ok(old & !operand),
        4 => Ok(old ^ operand),
        _ => Err(Errno::ENOSYS),
    };
    let old = loop {
        let seen = load(second)?;
        if user::compare_exchange(second, seen, apply(seen)?)? == seen {
            break seen as i32;
        }
    };
    let with = sign_extend(compare_with) as i32;
    let holds = match compare {
        0 => old == with,
        1 => old != with,
        2 => old < with,
        3 => old <= with,
        4 => old > with,
        5 => old >= with,
        _ => return Err(Errno::ENOSYS),
    };
    let mut woken = wake(address, private, count, u32::MAX)?;
    if holds {
        woken += wake(second, private, second_count, u32::MAX)?;
    }
    Ok(woken)
}

const OWNER_DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;
const TID_MASK: u32 = 0x3fff_ffff;
const ROBUST_LIMIT: usize = 2048;

/// A thread ends: marks the robust futexes that it holds, set_robust_list(2).
pub fn release_robust_list(head: u64, tid: u32) {
    if head != 0 {
        // A broken list is the program's own problem.
        let _ = walk_robust_list(head, tid);
    }
}

fn walk_robust_list(head: u64, tid: u32) -> Result<()> {
    let offset = user::read_u64(head + 8)?;
    let pending = user::read_u64(head + 16)?;
    let mut entry = user::read_u64(head)?;
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == head {
            break;
        }
        let next = user::read_u64(entry & !1);
        if entry != pending {
            release_robust((entry & !1).wrapping_add(offset), tid)?;
        }
        entry = next?;
    }
    if pending != 0 {
        release_robust((pending & !1).wrapping_add(offset), tid)?;
    }
    Ok(())
}

fn release_robust(address: u64, tid: u32) -> Result<()> {
    loop {
        let word = load(address)?;
        if word & TID_MASK != tid {
            return Ok(());
        }
        let new = word & WAITERS | OWNER_DIED;
        if user::compare_exchange(address, word, new)? == word {
            if word & WAITERS != 0 {
                wake(address, false, 1, u32::MAX)?;
            }
            return Ok(());
        }
    }
}
