// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel heap: size classes cut from frames, large blocks from the buddy
//! allocator. Frames of which all objects are free go back when memory is scarce.
#![expect(unsafe_code, reason = "implements the global allocator")]

use crate::frame::count_of;
use crate::{FRAME_SIZE, Frame, FrameBlock, PhysAddr, virt_to_phys};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use ksync::SpinLock;

/// Object sizes in bytes. Each divides into a frame with little left over.
const CLASSES: [usize; 14] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1344, 2048];

struct FreeObject {
    next: *mut FreeObject,
}

struct Class(*mut FreeObject);

// SAFETY: the list of free objects is reached through the lock of its class.
unsafe impl Send for Class {}

static FREE_LISTS: [SpinLock<Class>; CLASSES.len()] =
    [const { SpinLock::new(Class(null_mut())) }; CLASSES.len()];
/// Objects were given back since the last [`trim`].
static HAS_FREED: AtomicBool = AtomicBool::new(false);

/// Gives frames back of which all objects are free; false when there were none. Takes as long
/// as there are free objects, so it is for when memory is scarce.
pub(crate) fn trim() -> bool {
    if !HAS_FREED.swap(false, Ordering::Relaxed) {
        return false;
    }
    let classes = FREE_LISTS.iter().zip(CLASSES);
    classes.fold(false, |any, (class, size)| class.lock().trim(FRAME_SIZE / size) || any)
}

impl Class {
    /// [`trim`] of one class, with `capacity` objects in a frame. The counts of its frames,
    /// which are 1, serve to count free objects meanwhile.
    fn trim(&mut self, capacity: usize) -> bool {
        let free = 1 + capacity as u32;
        let count = |object: *mut FreeObject| count_of(virt_to_phys(object.cast()));
        self.for_each(|object| {
            count(object).fetch_add(1, Ordering::Relaxed);
        });
        let (mut kept, mut doomed) = (Self(null_mut()), Self(null_mut()));
        self.for_each(|object| {
            if count(object).load(Ordering::Relaxed) < free {
                kept.push(object);
            } else if object.addr().is_multiple_of(FRAME_SIZE) {
                // The first of its frame stands for all.
                doomed.push(object);
            }
        });
        kept.for_each(|object| count(object).store(1, Ordering::Relaxed));
        self.0 = kept.0;
        let any = !doomed.0.is_null();
        doomed.for_each(|object| {
            count(object).store(1, Ordering::Relaxed);
            // SAFETY: `refill` left the frame's reference behind, and no object of it is in a
            // list or in use any more.
            drop(unsafe { Frame::from_raw(virt_to_phys(object.cast())) });
        });
        any
    }

    fn push(&mut self, object: *mut FreeObject) {
        // SAFETY: a free object of the class, which is at least 16 bytes.
        unsafe { object.write(FreeObject { next: self.0 }) };
        self.0 = object;
    }

    /// Calls `each` for all objects of the list; it may put them elsewhere.
    fn for_each(&self, mut each: impl FnMut(*mut FreeObject)) {
        let mut object = self.0;
        while !object.is_null() {
            // SAFETY: an object of the list, read before `each` changes it.
            let next = unsafe { (*object).next };
            each(object);
            object = next;
        }
    }
}

/// The allocator type for `#[global_allocator]`.
pub struct KernelHeap;

impl KernelHeap {
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
            class.push(base.wrapping_add(at).cast());
        }
        true
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
        let mut class = FREE_LISTS[index].lock();
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
        FREE_LISTS[index].lock().push(at.cast());
        HAS_FREED.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{KernelHeap, trim};
    use crate::{Frame, hosted, memory_info};
    use core::alloc::{GlobalAlloc, Layout};
    use std::vec::Vec;

    #[test]
    fn objects_are_aligned_disjoint_and_come_back() {
        hosted::start();
        let heap = KernelHeap;
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
    fn frames_without_objects_go_back() {
        hosted::start();
        let heap = KernelHeap;
        for size in [16usize, 48, 192, 1344, 2048] {
            let layout = Layout::from_size_align(size, 8).unwrap();
            // SAFETY: the layout has a size.
            let allocate = |_| unsafe { heap.alloc(layout) } as usize;
            let blocks: Vec<_> = (0..200 * 4096 / size).map(allocate).collect();
            let (kept, given): (Vec<_>, Vec<_>) =
                blocks.into_iter().enumerate().partition(|(at, _)| at % (50 * 4096 / size) == 0);
            for (at, block) in &kept {
                // SAFETY: a block of the test's own with room for a number.
                unsafe { (*block as *mut usize).write(*at) };
            }
            // SAFETY: each block was allocated above with this layout, and is freed once.
            let free = |b: &usize| unsafe { heap.dealloc(*b as *mut u8, layout) };
            given.iter().for_each(|(_, block)| free(block));
            let before = memory_info().free_frames;
            assert!(trim(), "{size}");
            // Other tests take a few meanwhile.
            assert!(memory_info().free_frames > before + 100, "{size}");
            let again: Vec<_> = (0..500).map(allocate).collect();
            again.iter().for_each(|block| assert!(!kept.iter().any(|(_, k)| k == block)));
            again.iter().for_each(free);
            for (at, block) in &kept {
                // SAFETY: as above.
                assert_eq!(unsafe { (*block as *const usize).read() }, *at);
                free(block);
            }
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
