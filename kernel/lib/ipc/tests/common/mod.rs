// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the differential tests share: a generator, and results that compare.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use kio::{Errno, Events, File, SliceSink, SliceSource};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;

/// xorshift64*: the same sequence for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 16) as usize % limit
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

pub type Outcome<T> = Result<T, u16>;

pub fn host<T>(result: rustix::io::Result<T>) -> Outcome<T> {
    result.map_err(|e| e.raw_os_error() as u16)
}

pub fn ours<T>(result: Result<T, Errno>) -> Outcome<T> {
    result.map_err(Errno::number)
}

pub fn our_read(file: &dyn File, count: usize) -> Outcome<Vec<u8>> {
    let mut buffer = vec![0; count];
    let mut sink = SliceSink::new(&mut buffer);
    let n = ours(file.read_at(0, &mut sink))?;
    buffer.truncate(n);
    Ok(buffer)
}

pub fn our_write(file: &dyn File, bytes: &[u8]) -> Outcome<usize> {
    ours(file.write_at(0, &mut SliceSource::new(bytes)))
}

pub fn host_read(fd: impl AsFd, count: usize) -> Outcome<Vec<u8>> {
    let mut buffer = vec![0; count];
    let n = host(rustix::io::read(fd, &mut buffer))?;
    buffer.truncate(n);
    Ok(buffer)
}

/// All the bits that poll(2) reports.
pub fn host_poll(fd: impl AsFd) -> Events {
    let all = PollFlags::from_bits_retain(0x2000 | 0x3ff);
    let mut fds = [PollFd::new(&fd, all)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).unwrap();
    Events::from_bits_truncate(u32::from(fds[0].revents().bits()))
}
