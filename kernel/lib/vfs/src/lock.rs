// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Advisory locks: byte ranges of fcntl(2) and whole files of flock(2).
//!
//! One [`LockTable`] for each of the two, since they do not see each other. A
//! call that may wait tries, registers with the table's queue, and tries again.
//! Deadlocks among waiters are not looked for (`EDEADLK` never comes).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use kio::{Errno, Events, Result, WaitQueue};
use ksync::SpinLock;

/// A file: `st_dev` and `st_ino`.
pub type FileId = (u64, u64);

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOwner {
    /// A process: F_SETLK.
    Process(u32),
    /// An open file description, by a number of the caller's: F_OFD_SETLK and
    /// flock(2).
    Description(u64),
}

/// How strong a lock is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// F_RDLCK, LOCK_SH.
    Shared,
    /// F_WRLCK, LOCK_EX.
    Exclusive,
}

/// A lock on the bytes `start..=last`; the whole file is `0..=u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who holds it.
    pub owner: LockOwner,
    /// How strong it is.
    pub kind: LockKind,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub last: u64,
}

impl Lock {
    /// A lock on a whole file, as flock(2) takes it.
    pub fn whole(owner: LockOwner, kind: LockKind) -> Self {
        Self { owner, kind, start: 0, last: u64::MAX }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    fn conflicts(&self, other: &Self) -> bool {
        let both_shared = self.kind == LockKind::Shared && other.kind == LockKind::Shared;
        self.owner != other.owner && !both_shared && self.overlaps(other)
    }

    /// True when both can be one.
    fn continues(&self, other: &Self) -> bool {
        self.owner == other.owner
            && self.kind == other.kind
            && self.start <= other.last.saturating_add(1)
            && other.start <= self.last.saturating_add(1)
    }
}

/// The locks of all files, of one family.
#[derive(Default)]
pub struct LockTable {
    files: SpinLock<BTreeMap<FileId, Vec<Lock>>>,
    queue: WaitQueue,
}

impl LockTable {
    /// No locks.
    pub const fn new() -> Self {
        Self { files: SpinLock::new(BTreeMap::new()), queue: WaitQueue::new() }
    }

    /// Takes `lock`, in place of what its owner had on these bytes; `EAGAIN`
    /// while another owner is in the way.
    pub fn lock(&self, file: FileId, lock: Lock) -> Result<()> {
        let mut files = self.files.lock();
        let held = files.entry(file).or_default();
        if held.iter().any(|h| h.conflicts(&lock)) {
            return Err(Errno::EAGAIN);
        }
        let weaker = lock.kind == LockKind::Shared
            && held.iter().any(|h| h.owner == lock.owner && h.overlaps(&lock));
        carve(held, &lock)?;
        let mut lock = lock;
        held.retain(|h| {
            let joined = h.continues(&lock);
            if joined {
                lock.start = lock.start.min(h.start);
                lock.last = lock.last.max(h.last);
            }
            !joined
        });
        held.push(lock);
        drop(files);
        if weaker {
            self.queue.notify(Events::READABLE);
        }
        Ok(())
    }

    /// Gives up what `owner` has on the bytes `start..=last`.
    pub fn unlock(&self, file: FileId, owner: LockOwner, start: u64, last: u64) -> Result<()> {
        let mut files = self.files.lock();
        let Some(held) = files.get_mut(&file) else { return Ok(()) };
        carve(held, &Lock { owner, kind: LockKind::Shared, start, last })?;
        if held.is_empty() {
            files.remove(&file);
        }
        drop(files);
        self.queue.notify(Events::READABLE);
        Ok(())
    }

    /// Gives up all that `owner` has on `file`: when a process closes one of
    /// its descriptors of the file, or the last one of a description.
    pub fn release(&self, file: FileId, owner: LockOwner) {
        let mut files = self.files.lock();
        let Some(held) = files.get_mut(&file) else { return };
        let before = held.len();
        held.retain(|h| h.owner != owner);
        let changed = held.len() != before;
        if held.is_empty() {
            files.remove(&file);
        }
        drop(files);
        if changed {
            self.queue.notify(Events::READABLE);
        }
    }

    /// F_GETLK: the lock of another owner that is in the way of `lock`.
    pub fn conflict(&self, file: FileId, lock: &Lock) -> Option<Lock> {
        let files = self.files.lock();
        let held = files.get(&file)?;
        held.iter().filter(|h| h.conflicts(lock)).min_by_key(|h| h.start).copied()
    }

    /// Notified when a lock was given up.
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }
}

/// Takes the bytes of `hole` out of its owner's locks.
fn carve(held: &mut Vec<Lock>, hole: &Lock) -> Result<()> {
    // A lock that is cut in the middle becomes two; and one more is added.
    held.try_reserve(2).map_err(|_| Errno::ENOLCK)?;
    let mut rest = None;
    for h in held.iter_mut().filter(|h| h.owner == hole.owner && h.overlaps(hole)) {
        match (h.start < hole.start, h.last > hole.last) {
            (true, true) => {
                rest = Some(Lock { start: hole.last + 1, ..*h });
                h.last = hole.start - 1;
            }
            (true, false) => h.last = hole.start - 1,
            (false, true) => h.start = hole.last + 1,
            // Marked as empty, to be dropped below.
            (false, false) => (h.start, h.last) = (1, 0),
        }
    }
    held.retain(|h| h.start <= h.last);
    held.extend(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Lock, LockKind, LockOwner, LockTable};
    use kio::Errno;
    use std::vec::Vec;

    const FILE: (u64, u64) = (1, 2);
    const A: LockOwner = LockOwner::Process(1);
    const B: LockOwner = LockOwner::Process(2);

    fn lock(owner: LockOwner, kind: LockKind, start: u64, last: u64) -> Lock {
        Lock { owner, kind, start, last }
    }

    /// One byte at a time, against a table of who has which byte.
    #[test]
    fn agrees_with_a_model_of_bytes() {
        let table = LockTable::new();
        let mut model: Vec<[Option<LockKind>; 2]> = std::vec![[None; 2]; 20];
        let mut seed = 1u64;
        let mut below = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (seed >> 33) % n
        };
        for _ in 0..5000 {
            let me = below(2) as usize;
            let owner = [A, B][me];
            let (x, y) = (below(20), below(20));
            let (start, last) = (x.min(y), x.max(y));
            let bytes = start as usize..=last as usize;
            let kind = match below(3) {
                0 => None,
                1 => Some(LockKind::Shared),
                _ => Some(LockKind::Exclusive),
            };
            let Some(kind) = kind else {
                table.unlock(FILE, owner, start, last).unwrap();
                model[bytes].iter_mut().for_each(|b| b[me] = None);
                continue;
            };
            let blocked = model[bytes.clone()].iter().any(|b| match b[1 - me] {
                None => false,
                Some(LockKind::Shared) => kind == LockKind::Exclusive,
                Some(LockKind::Exclusive) => true,
            });
            let wanted = lock(owner, kind, start, last);
            assert_eq!(table.conflict(FILE, &wanted).is_some(), blocked);
            let got = table.lock(FILE, wanted);
            assert_eq!(got, if blocked { Err(Errno::EAGAIN) } else { Ok(()) });
            if !blocked {
                model[bytes].iter_mut().for_each(|b| b[me] = Some(kind));
            }
        }
    }

    #[test]
    fn whole_files_convert_and_release() {
        let table = LockTable::new();
        let (a, b) = (LockOwner::Description(1), LockOwner::Description(2));
        table.lock(FILE, Lock::whole(a, LockKind::Shared)).unwrap();
        table.lock(FILE, Lock::whole(b, LockKind::Shared)).unwrap();
        let exclusive = Lock::whole(a, LockKind::Exclusive);
        assert_eq!(table.lock(FILE, exclusive), Err(Errno::EAGAIN));
        table.release(FILE, b);
        table.lock(FILE, exclusive).unwrap();
        assert_eq!(table.conflict(FILE, &Lock::whole(b, LockKind::Shared)), Some(exclusive));
        table.release(FILE, a);
        assert!(table.files.lock().is_empty(), "nothing is kept of an unlocked file");
    }
}
