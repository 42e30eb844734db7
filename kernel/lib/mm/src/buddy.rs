// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The buddy allocator: which frames are free, in blocks of powers of two.
//!
//! Free blocks are linked through their own first bytes, reached through the
//! direct map; the order of a free block stands in the metadata of its first
//! frame. So the allocator needs no memory of its own.
//!
//! Some single frames that were given back wait to be asked for again before
//! they are merged: mostly they are, and then nothing is taken apart.
#![expect(unsafe_code, reason = "links free frames through their own memory")]

use crate::PhysAddr;
use crate::frame::{FREE_FLAG, FREE_FRAMES, Metadata};
use core::sync::atomic::Ordering;

/// Blocks go up to 2^MAX_ORDER frames (1 GiB).
pub(crate) const MAX_ORDER: usize = 18;
const NONE: u64 = u64::MAX;
/// Single frames that are not merged at once.
const SPARES: usize = 16;

#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    next: u64,
    prev: u64,
}

/// Free lists for each order.
pub(crate) struct Buddy {
    heads: [u64; MAX_ORDER + 1],
    spares: [usize; SPARES],
    spare_count: usize,
    /// With the spare ones.
    pub(crate) free_frames: usize,
    metadata: &'static [Metadata],
    direct_map: usize,
}

impl Buddy {
    pub(crate) const fn empty() -> Self {
        Self {
            heads: [NONE; MAX_ORDER + 1],
            spares: [0; SPARES],
            spare_count: 0,
            free_frames: 0,
            metadata: &[],
            direct_map: 0,
        }
    }

    /// # Safety
    /// `direct_map + physical` must be mapped for every frame that is given to
    /// [`free`](Self::free) later, and `metadata` must cover those frames.
    pub(crate) unsafe fn set_up(&mut self, metadata: &'static [Metadata], direct_map: usize) {
        self.metadata = metadata;
        self.direct_map = direct_map;
    }

    fn link(&self, frame: u64) -> *mut Link {
        (self.direct_map + PhysAddr::from_frame_number(frame as usize).as_u64() as usize)
            as *mut Link
    }

    fn push(&mut self, frame: u64, order: usize) {
        let head = self.heads[order];
        // SAFETY: `frame` is free, so its memory is ours (see `set_up`).
        unsafe { self.link(frame).write(Link { next: head, prev: NONE }) };
        if head != NONE {
            // SAFETY: `head` is the first block of a free list.
            unsafe { (*self.link(head)).prev = frame };
        }
        self.heads[order] = frame;
        self.metadata[frame as usize].set_free(order);
    }

    fn unlink(&mut self, frame: u64, order: usize) {
        // SAFETY: `frame` is the first frame of a block in the list of `order`.
        let Link { next, prev } = unsafe { self.link(frame).read() };
        if prev == NONE {
            self.heads[order] = next;
        } else {
            // SAFETY: neighbours in a free list are free blocks.
            unsafe { (*self.link(prev)).next = next };
        }
        if next != NONE {
            // SAFETY: as above.
            unsafe { (*self.link(next)).prev = prev };
        }
        self.metadata[frame as usize].clear_free();
    }

    fn count(&mut self, free_frames: usize) {
        self.free_frames = free_frames;
        FREE_FRAMES.store(free_frames, Ordering::Relaxed);
    }

    /// Takes a block of 2^order frames, aligned to its size.
    pub(crate) fn allocate(&mut self, order: usize) -> Option<usize> {
        let frame = if order == 0 && self.spare_count > 0 {
            self.spare_count -= 1;
            self.spares[self.spare_count]
        } else {
            self.split(order).or_else(|| {
                self.merge_spares();
                self.split(order)
            })?
        };
        self.count(self.free_frames - (1 << order));
        Some(frame)
    }

    /// Gives a block back.
    pub(crate) fn free(&mut self, frame: usize, order: usize) {
        self.count(self.free_frames + (1 << order));
        if order == 0 && self.spare_count < SPARES {
            self.spares[self.spare_count] = frame;
            self.spare_count += 1;
        } else {
            self.merge(frame, order);
        }
    }

    /// Takes a block from the smallest one that is large enough.
    fn split(&mut self, order: usize) -> Option<usize> {
        let found = (order..=MAX_ORDER).find(|&o| self.heads[o] != NONE)?;
        let frame = self.heads[found];
        self.unlink(frame, found);
        for half in (order..found).rev() {
            self.push(frame + (1 << half), half);
        }
        Some(frame as usize)
    }

    /// Puts a block into its list, with its free buddies.
    fn merge(&mut self, frame: usize, order: usize) {
        let (mut frame, mut order) = (frame as u64, order);
        while order < MAX_ORDER {
            let buddy = frame ^ (1 << order);
            let is_free = self
                .metadata
                .get(buddy as usize)
                .is_some_and(|m| m.state() == FREE_FLAG | order as u32);
            if !is_free {
                break;
            }
            self.unlink(buddy, order);
            frame &= !(1 << order);
            order += 1;
        }
        self.push(frame, order);
    }

    #[cold]
    fn merge_spares(&mut self) {
        while self.spare_count > 0 {
            self.spare_count -= 1;
            self.merge(self.spares[self.spare_count], 0);
        }
    }

    /// Gives all frames of `[start, end)` in blocks as large as fit.
    pub(crate) fn free_range(&mut self, mut start: usize, end: usize) {
        while start < end {
            let by_alignment = start.trailing_zeros() as usize;
            let by_length = (end - start).ilog2() as usize;
            let order = by_alignment.min(by_length).min(MAX_ORDER);
            self.free(start, order);
            start += 1 << order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buddy, SPARES};
    use crate::FRAME_SIZE;
    use crate::frame::Metadata;
    use std::boxed::Box;
    use std::vec::Vec;

    const FRAMES: usize = 64;

    fn buddy() -> Buddy {
        let memory = Box::leak(std::vec![0u64; FRAMES * FRAME_SIZE / 8].into_boxed_slice());
        let metadata: Vec<Metadata> = (0..FRAMES).map(|_| Metadata::default()).collect();
        let mut buddy = Buddy::empty();
        // SAFETY: both are never freed; frame 0 lies at the start of the memory.
        unsafe { buddy.set_up(metadata.leak(), memory.as_mut_ptr() as usize) };
        buddy.free_range(0, FRAMES);
        buddy
    }

    #[test]
    fn spare_frames_are_merged_when_a_block_is_wanted() {
        let mut buddy = buddy();
        let mut frames: Vec<usize> = core::iter::from_fn(|| buddy.allocate(0)).collect();
        assert_eq!((frames.len(), buddy.free_frames), (FRAMES, 0));
        frames.sort_unstable();
        assert!(frames.iter().copied().eq(0..FRAMES), "each frame once");
        frames.into_iter().for_each(|frame| buddy.free(frame, 0));
        assert_eq!((buddy.spare_count, buddy.free_frames), (SPARES, FRAMES));
        assert_eq!(buddy.allocate(FRAMES.ilog2() as usize), Some(0));
        assert_eq!(buddy.allocate(0), None);
    }

    #[test]
    fn the_frame_that_came_back_last_is_given_first() {
        let mut buddy = buddy();
        let (one, two) = (buddy.allocate(0).unwrap(), buddy.allocate(0).unwrap());
        buddy.free(two, 0);
        buddy.free(one, 0);
        assert_eq!((buddy.allocate(0), buddy.allocate(0)), (Some(one), Some(two)));
    }
}
