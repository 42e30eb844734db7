// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Data on its way to and from a program, without a copy in between.

use crate::{Errno, Result};
use alloc::vec::Vec;

/// Takes the bytes that an operation produces, for example a user's buffer.
pub trait Sink {
    /// Room that is left, in bytes.
    fn remaining(&self) -> usize;

    /// Takes a prefix of `bytes`, as much as there is room, and says how much.
    /// A short count below `min(bytes.len(), remaining())` means that a user
    /// page is missing there; `Err(EFAULT)` means that nothing was taken for
    /// that reason.
    fn put(&mut self, bytes: &[u8]) -> Result<usize>;

    /// Like [`put`](Self::put) with `count` zero bytes.
    fn put_zeroes(&mut self, count: usize) -> Result<usize> {
        const ZEROES: [u8; 512] = [0; 512];
        let mut done = 0;
        while done < count && self.remaining() > 0 {
            let want = (count - done).min(ZEROES.len()).min(self.remaining());
            match self.put(&ZEROES[..want]) {
                Ok(n) if n == want => done += n,
                Ok(n) => return Ok(done + n),
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }
}

/// Gives the bytes that an operation consumes, for example a user's buffer.
pub trait Source {
    /// Bytes that are left.
    fn remaining(&self) -> usize;

    /// Moves up to `buffer.len()` bytes into `buffer` and says how many. Short
    /// counts and errors are as in [`Sink::put`].
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

/// A sink that fills a slice of kernel memory.
#[derive(Debug)]
pub struct SliceSink<'a> {
    slice: &'a mut [u8],
    filled: usize,
}

impl<'a> SliceSink<'a> {
    /// Fills `slice` from its start.
    pub fn new(slice: &'a mut [u8]) -> Self {
        Self { slice, filled: 0 }
    }

    /// Bytes taken so far.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

impl Sink for SliceSink<'_> {
    fn remaining(&self) -> usize {
        self.slice.len() - self.filled
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = bytes.len().min(self.remaining());
        self.slice[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        Ok(n)
    }
}

/// A sink that grows a vector up to a limit.
#[derive(Debug)]
pub struct VecSink {
    bytes: Vec<u8>,
    limit: usize,
}

impl VecSink {
    /// Takes up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// What was taken.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Sink for VecSink {
    fn remaining(&self) -> usize {
        self.limit - self.bytes.len()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = bytes.len().min(self.remaining());
        self.bytes.try_reserve(n).map_err(|_| Errno::ENOMEM)?;
        self.bytes.extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

/// A source over a slice of kernel memory.
#[derive(Debug)]
pub struct SliceSource<'a> {
    slice: &'a [u8],
}

impl<'a> SliceSource<'a> {
    /// Gives the bytes of `slice` in order.
    pub fn new(slice: &'a [u8]) -> Self {
        Self { slice }
    }
}

impl Source for SliceSource<'_> {
    fn remaining(&self) -> usize {
        self.slice.len()
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let n = buffer.len().min(self.slice.len());
        let (head, tail) = self.slice.split_at(n);
        buffer[..n].copy_from_slice(head);
        self.slice = tail;
        Ok(n)
    }
}
