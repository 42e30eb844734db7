// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Packet memory: one slot for each descriptor of a queue, for ever.

use alloc::vec::Vec;
use kdevice::DmaBuffer;
use kmm::OutOfFrames;

/// Bytes that are allocated in one piece: what a fragmented machine still has.
const CHUNK: usize = 64 << 10;

/// Slots of equal size. The descriptor with the same number always points
/// here, so that a request allocates nothing.
pub(super) struct Slots {
    slot: usize,
    per_chunk: usize,
    chunks: Vec<DmaBuffer>,
}

impl Slots {
    /// `count` slots of `slot` bytes, a power of two up to the chunk size.
    pub(super) fn allocate(count: u16, slot: usize) -> Result<Self, OutOfFrames> {
        debug_assert!(slot.is_power_of_two() && slot <= CHUNK);
        let per_chunk = CHUNK / slot;
        let bytes = (usize::from(count) * slot).min(CHUNK);
        let chunks = usize::from(count).div_ceil(per_chunk);
        let chunks = (0..chunks).map(|_| DmaBuffer::allocate_unzeroed(bytes));
        Ok(Self { slot, per_chunk, chunks: chunks.collect::<Result<_, _>>()? })
    }

    /// Bytes of a slot.
    pub(super) fn slot_len(&self) -> usize {
        self.slot
    }

    fn place(&self, index: u16) -> (usize, usize) {
        let index = usize::from(index);
        (index / self.per_chunk, index % self.per_chunk * self.slot)
    }

    /// Physical address of a slot.
    pub(super) fn address(&self, index: u16) -> u64 {
        let (chunk, offset) = self.place(index);
        self.chunks[chunk].address().as_u64() + offset as u64
    }

    /// Copies into a slot.
    pub(super) fn write(&mut self, index: u16, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.slot);
        let (chunk, offset) = self.place(index);
        self.chunks[chunk].write(offset + at, bytes);
    }

    /// Shows the first `len` bytes of a slot.
    pub(super) fn with_bytes<R>(&self, index: u16, len: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        debug_assert!(len <= self.slot);
        let (chunk, offset) = self.place(index);
        self.chunks[chunk].with_bytes(offset, len.min(self.slot), f)
    }
}
