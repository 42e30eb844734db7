// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory that a device reads and writes too.
#![expect(unsafe_code, reason = "accesses memory that devices change")]

use crate::Word;
use core::sync::atomic::Ordering;
use kmm::{FRAME_SIZE, FrameBlock, OutOfFrames, PhysAddr};

/// Contiguous physical memory, at least aligned to a page.
///
/// A device may change it at any time: what is read twice may differ. So copy,
/// check the copy, use the copy.
#[derive(Debug)]
pub struct DmaBuffer {
    block: FrameBlock,
}

impl DmaBuffer {
    /// At least `len` bytes.
    pub fn allocate(len: usize) -> Result<Self, OutOfFrames> {
        let mut buffer = Self::allocate_unzeroed(len)?;
        buffer.block.zero();
        Ok(buffer)
    }

    /// At least `len` bytes with unknown contents, for packets: zeroing a
    /// megabyte takes longer than the rest of the start-up of a driver.
    pub fn allocate_unzeroed(len: usize) -> Result<Self, OutOfFrames> {
        let frames = len.div_ceil(FRAME_SIZE).max(1);
        let order = frames.checked_next_power_of_two().ok_or(OutOfFrames)?.trailing_zeros();
        Ok(Self { block: FrameBlock::allocate(order as usize)? })
    }

    /// Where a device finds it.
    pub fn address(&self) -> PhysAddr {
        self.block.address()
    }

    /// Size in bytes.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.block.len()
    }

    /// Checks a range and gives its first byte.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.block.len()),
            "outside of the DMA buffer"
        );
        // SAFETY: the offset lies in the block, which is one allocation.
        unsafe { self.block.as_ptr().add(offset) }
    }

    /// Reads a word whole.
    ///
    /// # Panics
    /// When it is not inside the buffer or not aligned.
    #[inline]
    pub fn load<W: Word>(&self, offset: usize, order: Ordering) -> W {
        assert!(offset.is_multiple_of(size_of::<W>()));
        // SAFETY: in range and aligned; the block starts at a page.
        unsafe { W::load(self.at(offset, size_of::<W>()), order) }
    }

    /// Writes a word whole.
    ///
    /// # Panics
    /// When it is not inside the buffer or not aligned.
    #[inline]
    pub fn store<W: Word>(&self, offset: usize, value: W, order: Ordering) {
        assert!(offset.is_multiple_of(size_of::<W>()));
        // SAFETY: in range and aligned; the block starts at a page.
        unsafe { W::store(self.at(offset, size_of::<W>()), value, order) }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// When the range is not inside the buffer.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        let at = self.at(offset, bytes.len());
        // SAFETY: the range lies in the block; any byte that a device puts
        // there meanwhile is as valid as another.
        unsafe { at.copy_to(bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// When the range is not inside the buffer.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let at = self.at(offset, bytes.len());
        // SAFETY: the range lies in the block, which we hold exclusively.
        unsafe { at.copy_from(bytes.as_ptr(), bytes.len()) }
    }

    /// Shows bytes that the device is done with, without a copy.
    ///
    /// # Panics
    /// When the range is not inside the buffer.
    pub fn with_bytes<R>(&self, offset: usize, len: usize, f: impl FnOnce(&[u8]) -> R) -> R {
        let at = self.at(offset, len);
        // SAFETY: the range lies in the block; a device that writes although
        // it gave the buffer back can change bytes, not break memory.
        f(unsafe { core::slice::from_raw_parts(at, len) })
    }
}

#[cfg(test)]
mod tests {
    use super::DmaBuffer;
    use core::sync::atomic::Ordering::Relaxed;
    use kmm::{FRAME_SIZE, hosted};

    #[test]
    fn words_are_little_endian_and_the_buffer_starts_zeroed() {
        hosted::start();
        let mut buffer = DmaBuffer::allocate(FRAME_SIZE + 1).unwrap();
        assert_eq!(buffer.len(), 2 * FRAME_SIZE);
        assert_eq!(buffer.address().as_u64() % buffer.len() as u64, 0);
        buffer.with_bytes(0, buffer.len(), |b| assert!(b.iter().all(|x| *x == 0)));
        buffer.store(8, 0x0102_0304u32, Relaxed);
        let mut bytes = [0; 4];
        buffer.read(8, &mut bytes);
        assert_eq!(bytes, [4, 3, 2, 1]);
        buffer.write(2 * FRAME_SIZE - 2, &[0xaa, 0xbb]);
        assert_eq!(buffer.load::<u16>(2 * FRAME_SIZE - 2, Relaxed), 0xbbaa);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn the_end_is_a_wall() {
        hosted::start();
        let buffer = DmaBuffer::allocate(1).unwrap();
        buffer.load::<u64>(FRAME_SIZE, Relaxed);
    }

    #[test]
    #[should_panic(expected = "is_multiple_of")]
    fn words_are_aligned() {
        hosted::start();
        DmaBuffer::allocate(1).unwrap().store(2, 0u32, Relaxed);
    }
}
