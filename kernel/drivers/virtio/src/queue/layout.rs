// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the parts of a split virtqueue lie in its memory (2.7).

use crate::QueueAddresses;
use kmm::FRAME_SIZE;

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: usize = 16;
/// Bytes of an element of the used ring.
const USED_ELEMENT: usize = 8;
/// `flags` and `idx`, at the start of both rings.
const RING_HEADER: usize = 4;

/// Offsets in the memory of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    size: usize,
    available: usize,
    used: usize,
}

impl Layout {
    /// For `size` descriptors. The legacy interface wants the used ring at a
    /// page of its own (2.7.2); otherwise all is packed.
    pub(crate) fn new(size: u16, legacy: bool) -> Self {
        let size = usize::from(size);
        let available = size * DESCRIPTOR;
        let end = available + RING_HEADER + 2 * size + 2;
        // A cache line apart from what the driver writes.
        let used = end.next_multiple_of(if legacy { FRAME_SIZE } else { 64 });
        Self { size, available, used }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.used_ring(self.size) + 2
    }

    pub(crate) fn addresses(&self, base: u64) -> QueueAddresses {
        QueueAddresses {
            descriptors: base,
            available: base + self.available as u64,
            used: base + self.used as u64,
        }
    }

    pub(crate) fn descriptor(&self, index: u16) -> usize {
        usize::from(index) * DESCRIPTOR
    }
    pub(crate) fn available_flags(&self) -> usize {
        self.available
    }
    pub(crate) fn available_index(&self) -> usize {
        self.available + 2
    }
    pub(crate) fn available_ring(&self, slot: usize) -> usize {
        self.available + RING_HEADER + 2 * slot
    }
    /// Behind the available ring: the driver's wish for an interrupt.
    pub(crate) fn used_event(&self) -> usize {
        self.available_ring(self.size)
    }
    pub(crate) fn used_flags(&self) -> usize {
        self.used
    }
    pub(crate) fn used_index(&self) -> usize {
        self.used + 2
    }
    pub(crate) fn used_ring(&self, slot: usize) -> usize {
        self.used + RING_HEADER + USED_ELEMENT * slot
    }
    /// Behind the used ring: the device's wish for a notification.
    pub(crate) fn available_event(&self) -> usize {
        self.used_ring(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn parts_are_aligned_and_disjoint() {
        for size in [1u16, 2, 4, 64, 128, 256, 1024, 32768] {
            for legacy in [false, true] {
                let layout = Layout::new(size, legacy);
                let at = layout.addresses(0x10_0000);
                let n = u64::from(size);
                assert_eq!(at.available, at.descriptors + 16 * n);
                assert!(at.used >= at.available + 6 + 2 * n);
                assert_eq!(at.used % if legacy { 4096 } else { 4 }, 0);
                assert_eq!(layout.bytes() as u64, at.used - 0x10_0000 + 6 + 8 * n);
            }
        }
        assert!(Layout::new(128, false).bytes() <= 4096);
    }
}
