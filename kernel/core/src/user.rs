// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The running program's memory, as system calls use it. This is the one place
//! where a missing page is brought in on behalf of the kernel.

use crate::sched::current_thread;
use alloc::vec::Vec;
use khal::user_memory::{compare_exchange_user, copy_from_user, copy_to_user};
use kio::{Errno, Result, Sink, Source, UserWords};

/// IOV_MAX.
pub const IOV_MAX: usize = 1024;
/// What one read or write moves at most (MAX_RW_COUNT).
pub const MAX_COUNT: usize = 0x7fff_f000;

/// Brings in the page of `address`, or fails with `EFAULT` (or `ENOMEM`).
pub fn fault_in(address: u64, write: bool) -> Result<()> {
    let thread = current_thread().ok_or(Errno::EFAULT)?;
    thread.space().fault(address, write, false).map_err(|f| f.as_errno())
}

/// Copies in, all of it.
pub fn read(address: u64, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    loop {
        let at = address.wrapping_add(done as u64);
        done += copy_from_user(&mut buffer[done..], at);
        if done == buffer.len() {
            return Ok(());
        }
        fault_in(address.wrapping_add(done as u64), false)?;
    }
}

/// Copies out, all of it.
pub fn write(address: u64, bytes: &[u8]) -> Result<()> {
    let mut done = 0;
    loop {
        let at = address.wrapping_add(done as u64);
        done += copy_to_user(at, &bytes[done..]);
        if done == bytes.len() {
            return Ok(());
        }
        fault_in(address.wrapping_add(done as u64), true)?;
    }
}

/// Copies an array in.
pub fn read_bytes<const N: usize>(address: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    read(address, &mut bytes)?;
    Ok(bytes)
}

/// Reads a word of 64 bits.
pub fn read_u64(address: u64) -> Result<u64> {
    read_bytes(address).map(u64::from_le_bytes)
}

/// Reads a word of 32 bits.
pub fn read_u32(address: u64) -> Result<u32> {
    read_bytes(address).map(u32::from_le_bytes)
}

/// Writes a word of 64 bits.
pub fn write_u64(address: u64, value: u64) -> Result<()> {
    write(address, &value.to_le_bytes())
}

/// Writes a word of 32 bits.
pub fn write_u32(address: u64, value: u32) -> Result<()> {
    write(address, &value.to_le_bytes())
}

/// Writes words of 64 bits one after the other.
pub fn write_words<const N: usize>(address: u64, words: [u64; N]) -> Result<()> {
    for (i, word) in words.iter().enumerate() {
        write_u64(address.wrapping_add(8 * i as u64), *word)?;
    }
    Ok(())
}

/// Reads `N` words of 64 bits.
pub fn read_words<const N: usize>(address: u64) -> Result<[u64; N]> {
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        *word = read_u64(address.wrapping_add(8 * i as u64))?;
    }
    Ok(words)
}

/// Reads an array whose length the program chose, up to `limit` bytes.
pub fn read_vec(address: u64, len: usize, limit: usize) -> Result<Vec<u8>> {
    if len > limit {
        return Err(Errno::EINVAL);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(len, 0);
    read(address, &mut bytes)?;
    Ok(bytes)
}

/// Reads a string up to its NUL, which is not returned; `too_long` when there
/// is none in `limit` bytes.
pub fn read_string(address: u64, limit: usize, too_long: Errno) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = [0; 64];
    loop {
        let at = address.wrapping_add(text.len() as u64);
        // Up to the end of the page, so that a string at the end of the last
        // mapped page is read without touching the next.
        let to_page_end = 4096 - (at % 4096) as usize;
        let want = chunk.len().min(to_page_end);
        let got = copy_from_user(&mut chunk[..want], at);
        if let Some(end) = chunk[..got].iter().position(|b| *b == 0) {
            text.extend_from_slice(&chunk[..end]);
            return if text.len() >= limit { Err(too_long) } else { Ok(text) };
        }
        text.try_reserve(got).map_err(|_| Errno::ENOMEM)?;
        text.extend_from_slice(&chunk[..got]);
        if text.len() >= limit {
            return Err(too_long);
        }
        if got < want {
            fault_in(address.wrapping_add(text.len() as u64), false)?;
        }
    }
}

/// Reads a path.
pub fn read_path(address: u64) -> Result<Vec<u8>> {
    read_string(address, kvfs::PATH_MAX, Errno::ENAMETOOLONG)
}

/// Compares and exchanges a word atomically; returns what was there.
pub fn compare_exchange(address: u64, expected: u32, new: u32) -> Result<u32> {
    loop {
        if let Some(seen) = compare_exchange_user(address, expected, new) {
            return Ok(seen);
        }
        if !address.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        fault_in(address, true)?;
    }
}

/// Buffers of the program, one after the other.
#[derive(Debug)]
pub struct UserBuffers {
    place: Place,
    /// Those behind the one that is in use, from `place.next` on.
    buffers: Vec<(u64, usize)>,
    /// Where the last copy met a missing page.
    missing: Option<u64>,
}

/// How far the buffers are used.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// What is left of the buffer in use.
    address: u64,
    room: usize,
    /// Bytes left in all of them.
    remaining: usize,
    next: usize,
}

impl UserBuffers {
    /// One buffer.
    pub fn one(address: u64, len: usize) -> Self {
        let len = len.min(MAX_COUNT);
        let place = Place { address, room: len, remaining: len, next: 0 };
        Self { place, buffers: Vec::new(), missing: None }
    }

    /// The buffers of an array of `struct iovec`.
    pub fn vector(address: u64, count: usize) -> Result<Self> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let bytes = read_vec(address, count * 16, IOV_MAX * 16)?;
        let word = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let mut total = 0usize;
        let mut buffers = Vec::with_capacity(count);
        for pair in bytes.chunks_exact(16) {
            let (base, len) = (word(&pair[..8]), word(&pair[8..]));
            let len = usize::try_from(len)
                .ok()
                .filter(|l| *l <= isize::MAX as usize)
                .ok_or(Errno::EINVAL)?;
            let len = len.min(MAX_COUNT - total);
            total += len;
            buffers.push((base, len));
        }
        let place = Place { address: 0, room: 0, remaining: total, next: 0 };
        Ok(Self { place, buffers, missing: None })
    }

    #[inline]
    fn current(&mut self) -> Option<(u64, usize)> {
        while self.place.room == 0 {
            let (address, room) = *self.buffers.get(self.place.next)?;
            self.place = Place { address, room, next: self.place.next + 1, ..self.place };
        }
        Some((self.place.address, self.place.room))
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.place.address = self.place.address.wrapping_add(count as u64);
        self.place.room -= count;
        self.place.remaining -= count;
    }

    /// Runs an operation whose result says how many bytes it moved. What it
    /// copied beyond that, or before it failed, does not count (see `kipc`):
    /// the next one starts behind what counted.
    #[inline]
    pub fn attempt<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T>,
        count: impl FnOnce(&T) -> usize,
    ) -> Result<T> {
        let before = self.place;
        self.missing = None;
        let result = operation(self);
        let count = result.as_ref().map_or(0, count).min(before.remaining);
        if before.remaining - self.place.remaining != count {
            self.go_on_behind(before, count);
        }
        result
    }

    /// Puts the place `count` bytes behind another one.
    #[inline(never)]
    fn go_on_behind(&mut self, before: Place, mut count: usize) {
        if count == before.remaining {
            self.place = Place { room: 0, remaining: 0, next: self.buffers.len(), ..before };
            return;
        }
        self.place = before;
        while let Some((_, room)) = self.current().filter(|_| count > 0) {
            let step = room.min(count);
            self.advance(step);
            count -= step;
        }
    }

    /// True when a missing page ended the last attempt before the buffers were
    /// used up.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.missing.is_some() && !self.is_empty()
    }

    /// Moves up to `want` bytes with `copy(address, done so far, count)`.
    fn transfer(
        &mut self,
        want: usize,
        mut copy: impl FnMut(u64, usize, usize) -> usize,
    ) -> Result<usize> {
        let mut done = 0;
        while done < want {
            let Some((address, room)) = self.current() else { break };
            let count = room.min(want - done);
            let moved = copy(address, done, count);
            self.advance(moved);
            done += moved;
            if moved < count {
                self.missing = Some(address.wrapping_add(moved as u64));
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
        }
        Ok(done)
    }

    /// Brings in the page that the last copy missed; false when none was.
    pub fn resolve_missing(&mut self, write: bool) -> Result<bool> {
        match self.missing.take() {
            Some(address) => fault_in(address, write).map(|()| true),
            None => Ok(false),
        }
    }

    /// Bytes that are left.
    #[inline]
    pub fn len(&self) -> usize {
        self.place.remaining
    }

    /// True when nothing is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.place.remaining == 0
    }
}

impl Sink for UserBuffers {
    fn remaining(&self) -> usize {
        self.place.remaining
    }
    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let want = bytes.len().min(self.place.remaining);
        self.transfer(want, |at, done, count| copy_to_user(at, &bytes[done..done + count]))
    }
}

impl Source for UserBuffers {
    fn remaining(&self) -> usize {
        self.place.remaining
    }
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let want = buffer.len().min(self.place.remaining);
        self.transfer(want, |at, done, count| copy_from_user(&mut buffer[done..done + count], at))
    }
}

/// The third argument of ioctl(2) and fcntl(2).
#[derive(Clone, Copy, Debug)]
pub struct Argument(pub u64);

impl UserWords for Argument {
    fn value(&self) -> u64 {
        self.0
    }
    fn load(&self, buffer: &mut [u8]) -> Result<()> {
        read(self.0, buffer)
    }
    fn store(&self, bytes: &[u8]) -> Result<()> {
        write(self.0, bytes)
    }
}
