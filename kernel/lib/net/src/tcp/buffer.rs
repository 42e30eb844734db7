// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A ring of bytes that grows with what it holds and gives its memory back.

use alloc::vec::Vec;
use kio::{Errno, Result, Sink, Source};

/// Rings up to this size keep their memory while a connection is in use.
const KEEP: usize = 4096;
const LEAST: usize = 1024;

/// Bytes in order; behind them may lie bytes that arrived too early.
#[derive(Debug, Default)]
pub(super) struct Ring {
    bytes: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `needed` bytes from the head on.
    pub(super) fn reserve(&mut self, needed: usize, keep: usize) -> Result<()> {
        if needed <= self.bytes.len() {
            return Ok(());
        }
        let size = needed.next_power_of_two().max(LEAST);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        let [a, b] = self.slices(0, keep.min(self.bytes.len()));
        bytes.extend_from_slice(a);
        bytes.extend_from_slice(b);
        bytes.resize(size, 0);
        self.bytes = bytes;
        self.head = 0;
        Ok(())
    }

    fn index(&self, offset: usize) -> usize {
        let at = self.head + offset;
        if at >= self.bytes.len() { at - self.bytes.len() } else { at }
    }

    /// `len` bytes from `offset` behind the head, in two pieces.
    pub(super) fn slices(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        if len == 0 {
            return [&[], &[]];
        }
        let from = self.index(offset);
        let first = len.min(self.bytes.len() - from);
        [&self.bytes[from..from + first], &self.bytes[..len - first]]
    }

    /// Writes `data` at `offset` behind the head, within the room reserved.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let from = self.index(offset);
        let first = data.len().min(self.bytes.len() - from);
        self.bytes[from..from + first].copy_from_slice(&data[..first]);
        self.bytes[..data.len() - first].copy_from_slice(&data[first..]);
    }

    /// Counts `n` more bytes as in order.
    pub(super) fn extend(&mut self, n: usize) {
        self.len += n;
    }

    /// Appends up to `limit` bytes of `source`. Short is short of user memory.
    pub(super) fn fill(&mut self, source: &mut dyn Source, limit: usize) -> Result<usize> {
        let want = source.remaining().min(limit);
        self.reserve(self.len + want, self.len)?;
        let mut done = 0;
        while done < want {
            let from = self.index(self.len);
            let room = (want - done).min(self.bytes.len() - from);
            match source.take(&mut self.bytes[from..from + room]) {
                Ok(n) => {
                    self.len += n;
                    done += n;
                    if n < room {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Copies to `sink` from `offset` behind the head, without consuming.
    pub(super) fn copy_out(&self, offset: usize, sink: &mut dyn Sink) -> Result<usize> {
        let want = (self.len - offset.min(self.len)).min(sink.remaining());
        let mut done = 0;
        for part in self.slices(offset, want) {
            if part.is_empty() {
                continue;
            }
            match sink.put(part) {
                Ok(n) => {
                    done += n;
                    if n < part.len() {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Drops `n` bytes at the head. `ahead` says that early bytes lie behind.
    pub(super) fn consume(&mut self, n: usize, ahead: bool) {
        let n = n.min(self.len);
        if n == 0 {
            return;
        }
        self.head = self.index(n);
        self.len -= n;
        if self.len == 0 && !ahead {
            self.head = 0;
            if self.bytes.len() > KEEP {
                self.bytes = Vec::new();
            }
        }
    }

    /// Gives all memory back when the ring is empty.
    pub(super) fn release(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;
    use kio::{SliceSource, VecSink};

    #[test]
    fn wraps_and_grows_without_losing_a_byte() {
        let mut ring = Ring::default();
        let mut next_in = 0u32;
        let mut next_out = 0u32;
        for step in 0..2000usize {
            let data: std::vec::Vec<u8> =
                (0..step * 7 % 613).map(|i| (next_in as usize + i) as u8).collect();
            let mut source = SliceSource::new(&data);
            next_in += ring.fill(&mut source, data.len()).unwrap() as u32;
            let mut sink = VecSink::new(step * 11 % 640);
            let n = ring.copy_out(0, &mut sink).unwrap();
            for byte in sink.into_bytes() {
                assert_eq!(byte, next_out as u8);
                next_out += 1;
            }
            ring.consume(n, false);
            assert_eq!(ring.len() as u32, next_in - next_out);
        }
    }

    #[test]
    fn early_bytes_survive_growth() {
        let mut ring = Ring::default();
        ring.reserve(100, 0).unwrap();
        ring.write(50, &[7; 50]);
        ring.reserve(5000, 100).unwrap();
        ring.write(0, &[6; 50]);
        ring.extend(100);
        let [a, _] = ring.slices(0, 100);
        assert_eq!(a[49..51], [6, 7]);
    }
}
