// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel heap: size classes cut from frames, large blocks from the buddy
//! allocator.
#![expect(unsafe_code, reason = "implements the global allocator")]

use crate::{FRAME_SIZE, Frame, FrameBlock, PhysAddr, virt_to_phys};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use ksync::SpinLock;

/// Object sizes in bytes. Each divides into a frame with little left over.
const CLASSES: [usize; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1344, 2048];

struct FreeObject {
    next: *mut FreeObject,
}

struct Class(*mut FreeObject);

// SAFETY: the list of free objects is reached through the lock of its class.
unsafe impl Send for Class {}

/// The allocator type for `#[global_allocator]`. Frames that went to a size
/// class stay there.
pub struct KernelHeap {
    classes: [SpinLock<Class>; CLASSES.len()],
}

impl KernelHeap {
    /// An empty heap; frames come when they are needed.
    pub const fn new() -> Self {
        Self { classes: [const { SpinLock::new(Class(null_mut())) }; CLASSES.len()] }
    }

    fn class_of(layout: Layout) -> Option<usize> {
        let size = layout.size().max(layout.align());
        // Objects of a class lie at multiples of its size from a frame's
        // start, so only powers of two give their own alignment; others give 16.
        CLASSES.iter().position(|&c| size <= c && (layout.align() <= 16 || c.is_power_of_two()))
    }

    fn order_of(layout: Layout) -> usize {
        let frames = layout.size().max(layout.align()).div_ceil(FRAME_SIZE);
        frames.next_power_of_two().trailing_zeros() as usize
    }

    fn refill(class: &mut Class, size: usize) -> bool {
        let Ok(frame) = Frame::allocate() else { return false };
        let base = frame.as_ptr();
        let _ = frame.into_raw();
        for at in (0..FRAME_SIZE / size).rev().map(|i| i * size) {
            // SAFETY: `at + size` lies in the frame that was just taken, and
            // `at` is a multiple of 16.
            unsafe {
                let object = base.add(at).cast::<FreeObject>();
                object.write(FreeObject { next: class.0 });
                class.0 = object;
            }
        }
        true
    }
}

impl Default for KernelHeap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: blocks come from frames that are owned by the heap; free objects of
// a class are disjoint, and each is handed out once until it comes back.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(index) = Self::class_of(layout) else {
            return FrameBlock::allocate(Self::order_of(layout)).map_or(null_mut(), |block| {
                let at = block.as_ptr();
                let _ = block.into_raw();
                at
            });
        };
        let mut class = self.classes[index].lock();
        if class.0.is_null() && !Self::refill(&mut class, CLASSES[index]) {
            return null_mut();
        }
        let object = class.0;
        // SAFETY: a non-null head is a free object of this class.
        class.0 = unsafe { (*object).next };
        object.cast()
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(index) = Self::class_of(layout) else {
            let address: PhysAddr = virt_to_phys(at);
            // SAFETY: the block came from `alloc` with the same layout, so it
            // has this order and is ours.
            drop(unsafe { FrameBlock::from_raw(address, Self::order_of(layout)) });
            return;
        };
        let mut class = self.classes[index].lock();
        let object = at.cast::<FreeObject>();
        // SAFETY: the caller gives the object up; it is at least 16 bytes.
        unsafe { object.write(FreeObject { next: class.0 }) };
        class.0 = object;
    }
}

#[cfg(test)]
mod tests {
    use super::KernelHeap;
    use crate::{Frame, hosted, memory_info};
    use core::alloc::{GlobalAlloc, Layout};
    use std::vec::Vec;

    #[test]
    fn objects_are_aligned_disjoint_and_come_back() {
        hosted::start();
        let heap = KernelHeap::new();
        for (size, align) in [(1, 1), (24, 8), (100, 64), (2048, 16), (5000, 4096), (70_000, 8)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            // SAFETY: the layout has a size.
            let allocate = |_| unsafe { heap.alloc(layout) } as usize;
            let blocks: Vec<_> = (0..100).map(allocate).collect();
            let mut sorted = blocks.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().all(|b| *b != 0 && b % align == 0));
            assert!(sorted.windows(2).all(|w| w[0] + size <= w[1]));
            // SAFETY: each block was allocated above with this layout, and is freed once.
            let free = |b: &usize| unsafe { heap.dealloc(*b as *mut u8, layout) };
            blocks.iter().for_each(free);
        }
    }

    #[test]
    fn a_frame_is_freed_with_its_last_handle() {
        hosted::start();
        let frame = Frame::allocate_zeroed_for_user().unwrap();
        let twin = frame.clone();
        assert_eq!(frame.references(), 2);
        frame.write(10, b"abc");
        let mut seen = [0; 3];
        twin.read(10, &mut seen);
        assert_eq!(&seen, b"abc");
        drop(frame);
        assert_eq!(twin.references(), 1);
        assert!(memory_info().free_frames > 0);
    }
}
