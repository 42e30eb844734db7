// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Copies to and from user memory. They never bring pages in: a missing page
//! ends them early, and the caller sees how far they came.

use super::paging::USER_END;
use super::percpu;
use core::sync::atomic::{AtomicU32, Ordering};
use kmm::{FRAME_SIZE, phys_to_virt};

/// Where a byte of the running program is on the host.
fn host_address(address: u64, write: bool) -> Option<*mut u8> {
    if address >= USER_END {
        return None;
    }
    let this = percpu::current();
    let root = this.root.load(Ordering::Relaxed);
    (root != 0).then(|| this.translate(root, address, write).map(phys_to_virt))?
}

/// Calls `each` for parts of a copy within one page: the host's address, how far the copy
/// is and how long the part is. Returns how many bytes were there.
fn by_pages(address: u64, len: usize, write: bool, each: impl Fn(*mut u8, usize, usize)) -> usize {
    let mut done = 0;
    while done < len {
        let at = address.wrapping_add(done as u64);
        let Some(host) = host_address(at, write) else { break };
        let count = (FRAME_SIZE - at as usize % FRAME_SIZE).min(len - done);
        each(host, done, count);
        done += count;
    }
    done
}

/// Copies from the running program's memory; returns how many bytes came.
pub fn copy_from_user(buffer: &mut [u8], address: u64) -> usize {
    let target = buffer.as_mut_ptr();
    by_pages(address, buffer.len(), false, |host, done, count| {
        // SAFETY: a part of a frame, which the tables hold, and a part of the buffer.
        unsafe { host.copy_to(target.add(done), count) };
    })
}

/// Copies to the running program's memory; returns how many bytes went.
pub fn copy_to_user(address: u64, bytes: &[u8]) -> usize {
    by_pages(address, bytes.len(), true, |host, done, count| {
        // SAFETY: a part of a frame, which the tables hold, and a part of the slice.
        unsafe { host.copy_from(bytes.as_ptr().add(done), count) };
    })
}

/// Compares and exchanges a word of the program atomically; returns what was
/// there, `None` when the page is missing or cannot be written.
pub fn compare_exchange_user(address: u64, expected: u32, new: u32) -> Option<u32> {
    if !address.is_multiple_of(4) {
        return None;
    }
    let host = host_address(address, true)?;
    // SAFETY: an aligned word of a frame, which the tables hold.
    let word = unsafe { AtomicU32::from_ptr(host.cast()) };
    let (Ok(seen) | Err(seen)) =
        word.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
    Some(seen)
}
