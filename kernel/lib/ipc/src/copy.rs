// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copies of whole records, which a missing user page must not split.

use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Result, Sink, Source, UserWords};

/// ioctl_pipe(2), ioctl_tty(2): bytes that can be read now.
pub(crate) const FIONREAD: u32 = 0x541b;
/// unix(7) as SIOCOUTQ: bytes that were sent and not yet read.
pub(crate) const TIOCOUTQ: u32 = 0x5411;

/// Puts all of `bytes`, or fails with `EFAULT`.
pub(crate) fn put_all(sink: &mut dyn Sink, bytes: &[u8]) -> Result<()> {
    if sink.put(bytes)? < bytes.len() { Err(Errno::EFAULT) } else { Ok(()) }
}

/// Fills all of `buffer`, or fails with `EFAULT`.
pub(crate) fn take_all(source: &mut dyn Source, buffer: &mut [u8]) -> Result<()> {
    if source.take(buffer)? < buffer.len() { Err(Errno::EFAULT) } else { Ok(()) }
}

/// Answers an ioctl that stores an `int` count.
pub(crate) fn store_count(argument: &dyn UserWords, count: usize) -> Result<u64> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    argument.store(&count.to_ne_bytes())?;
    Ok(0)
}

/// An inode number of its own for each pipe and socket: programs print and
/// compare them (`/proc/self/fd`, `os.SameFile`).
pub(crate) fn next_inode() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
