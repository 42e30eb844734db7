// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Advisory locks: flock(2), and the record locks of fcntl_locking(2).

use crate::files::OpenFile;
use crate::limits::check_kernel_memory;
use crate::locks::{RECORDS, WHOLE, file_id};
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use crate::wait::wait_on_all;
use alloc::sync::Arc;
use kio::{Errno, Events, Result};
use kvfs::{FileId, Lock, LockKind, LockOwner};

pub(in crate::syscall) fn flock(thread: &Thread, a: Args) -> Result<u64> {
    const SHARED: u32 = 1;
    const EXCLUSIVE: u32 = 2;
    const NONBLOCK: u32 = 4;
    const UNLOCK: u32 = 8;
    let open = thread.process.files.usable(a.i32(0))?;
    let file = file_id(&open)?;
    let owner = LockOwner::Description(open.identity());
    let kind = match a.u32(1) & !NONBLOCK {
        SHARED => LockKind::Shared,
        EXCLUSIVE => LockKind::Exclusive,
        UNLOCK => return WHOLE.unlock(file, owner, 0, u64::MAX).map(|()| 0),
        _ => return Err(Errno::EINVAL),
    };
    open.set_locked();
    let lock = Lock::whole(owner, kind);
    match WHOLE.lock(file, lock) {
        Err(Errno::EAGAIN) => {}
        done => return done.map(|()| 0),
    }
    // Changing a lock is not atomic: what is held goes first, so that two who
    // both want more do not wait for each other.
    WHOLE.release(file, owner);
    let attempt = || WHOLE.lock(file, lock);
    let result = match a.u32(1) & NONBLOCK {
        0 => wait_on_all(WHOLE.wait_queue(), Events::READABLE, None, attempt),
        _ => attempt(),
    };
    result.map(|()| 0)
}

const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;

/// `struct flock` of x86-64.
#[derive(Clone, Copy)]
struct Request {
    kind: u16,
    whence: u16,
    start: i64,
    len: i64,
    process: i32,
}

impl Request {
    const SIZE: usize = 32;

    fn read(address: u64) -> Result<Self> {
        let [head, start, len, tail] = user::read_words(address)?;
        Ok(Self {
            kind: head as u16,
            whence: (head >> 16) as u16,
            start: start as i64,
            len: len as i64,
            process: tail as i32,
        })
    }

    fn write(&self, address: u64) -> Result<()> {
        let mut bytes = [0; Self::SIZE];
        bytes[..2].copy_from_slice(&self.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.whence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.start.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.process.to_le_bytes());
        user::write(address, &bytes)
    }

    /// First and last byte.
    fn range(&self, open: &OpenFile) -> Result<(u64, u64)> {
        let base = match self.whence {
            0 => 0,
            1 => *open.offset() as i64,
            2 => open.file().stat()?.size as i64,
            _ => return Err(Errno::EINVAL),
        };
        range_from(base, self.start, self.len)
    }
}

/// The bytes of `len` at `base + start`: a negative length lies in front, 0
/// reaches to the end of every file.
fn range_from(base: i64, start: i64, len: i64) -> Result<(u64, u64)> {
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    let (first, last) = match len {
        0 => return Ok((start as u64, u64::MAX)),
        1.. => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        _ => (start.checked_add(len).filter(|s| *s >= 0).ok_or(Errno::EINVAL)?, start - 1),
    };
    Ok((first as u64, last as u64))
}

fn kind(request: &Request) -> Result<Option<LockKind>> {
    match request.kind {
        F_RDLCK => Ok(Some(LockKind::Shared)),
        F_WRLCK => Ok(Some(LockKind::Exclusive)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

/// In whose name a lock is held.
fn owner(thread: &Thread, open: &OpenFile, of_description: bool) -> LockOwner {
    match of_description {
        true => LockOwner::Description(open.identity()),
        false => LockOwner::Process(thread.process.pid),
    }
}

/// F_GETLK, F_OFD_GETLK.
pub(super) fn query(
    thread: &Thread,
    open: &Arc<OpenFile>,
    address: u64,
    of_description: bool,
) -> Result<u64> {
    let mut request = Request::read(address)?;
    let kind = kind(&request)?;
    let Some(kind) = kind else { return Err(Errno::EINVAL) };
    if of_description && request.process != 0 {
        return Err(Errno::EINVAL);
    }
    let (start, last) = request.range(open)?;
    let owner = owner(thread, open, of_description);
    match RECORDS.conflict(file_id(open)?, &Lock { owner, kind, start, last }) {
        None => request.kind = F_UNLCK,
        Some(lock) => {
            let to_end = lock.last == u64::MAX;
            request = Request {
                kind: if lock.kind == LockKind::Shared { F_RDLCK } else { F_WRLCK },
                whence: 0,
                start: lock.start as i64,
                len: if to_end { 0 } else { (lock.last - lock.start + 1) as i64 },
                process: match lock.owner {
                    LockOwner::Process(id) => id as i32,
                    LockOwner::Description(_) => -1,
                },
            };
        }
    }
    request.write(address).map(|()| 0)
}

/// F_SETLK, F_SETLKW and their F_OFD_ forms.
pub(super) fn set(
    thread: &Thread,
    fd: i32,
    open: &Arc<OpenFile>,
    address: u64,
    of_description: bool,
    wait: bool,
) -> Result<u64> {
    let request = Request::read(address)?;
    let (start, last) = request.range(open)?;
    let kind = kind(&request)?;
    if of_description && request.process != 0 {
        return Err(Errno::EINVAL);
    }
    let (file, owner) = (file_id(open)?, owner(thread, open, of_description));
    let Some(kind) = kind else { return RECORDS.unlock(file, owner, start, last).map(|()| 0) };
    let allowed = match kind {
        LockKind::Shared => open.flags().readable(),
        LockKind::Exclusive => open.flags().writable(),
    };
    if !allowed {
        return Err(Errno::EBADF);
    }
    check_kernel_memory(size_of::<Lock>()).map_err(|_| Errno::ENOLCK)?;
    match of_description {
        true => open.set_locked(),
        false => thread.process.files.set_lock_owner(thread.process.pid),
    }
    acquire(file, Lock { owner, kind, start, last }, wait)?;
    // Another thread may have closed the descriptor meanwhile, and with it gave
    // up what was not there yet.
    let same = thread.process.files.open_file(fd).is_ok_and(|now| Arc::ptr_eq(&now, open));
    if !of_description && !same {
        RECORDS.unlock(file, owner, start, last)?;
        return Err(Errno::EBADF);
    }
    Ok(0)
}

fn acquire(file: FileId, lock: Lock, wait: bool) -> Result<()> {
    let attempt = || RECORDS.lock(file, lock);
    match wait {
        true => wait_on_all(RECORDS.wait_queue(), Events::READABLE, None, attempt),
        false => attempt(),
    }
}

#[cfg(test)]
mod tests {
    use super::range_from;
    use kio::Errno;

    /// The answers of Linux's fcntl for l_start and l_len.
    #[test]
    fn ranges() {
        assert_eq!(range_from(0, 0, 0), Ok((0, u64::MAX)));
        assert_eq!(range_from(10, 5, 1), Ok((15, 15)));
        assert_eq!(range_from(10, 0, -4), Ok((6, 9)));
        assert_eq!(range_from(10, 0, -10), Ok((0, 9)));
        assert_eq!(range_from(10, 0, -11), Err(Errno::EINVAL));
        assert_eq!(range_from(10, -11, 5), Err(Errno::EINVAL));
        assert_eq!(range_from(0, i64::MAX, 1), Ok((i64::MAX as u64, i64::MAX as u64)));
        assert_eq!(range_from(0, i64::MAX, 2), Err(Errno::EOVERFLOW));
        assert_eq!(range_from(i64::MAX, 1, 0), Err(Errno::EOVERFLOW));
    }
}
