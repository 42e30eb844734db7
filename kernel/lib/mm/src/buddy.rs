// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The buddy allocator: which frames are free, in blocks of powers of two.
//!
//! Free blocks are linked through their own first bytes, reached through the
//! direct map; the order of a free block stands in the metadata of its first
//! frame. So the allocator needs no memory of its own.
#![expect(unsafe_code, reason = "links free frames through their own memory")]

use crate::PhysAddr;
use crate::frame::{FREE_FLAG, FREE_FRAMES, Metadata};
use core::sync::atomic::Ordering;

/// Blocks go up to 2^MAX_ORDER frames (1 GiB).
pub(crate) const MAX_ORDER: usize = 18;
const NONE: u64 = u64::MAX;

#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    next: u64,
    prev: u64,
}

/// Free lists for each order.
pub(crate) struct Buddy {
    heads: [u64; MAX_ORDER + 1],
    pub(crate) free_frames: usize,
    metadata: &'static [Metadata],
    direct_map: usize,
}

impl Buddy {
    pub(crate) const fn empty() -> Self {
        Self { heads: [NONE; MAX_ORDER + 1], free_frames: 0, metadata: &[], direct_map: 0 }
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
        let found = (order..=MAX_ORDER).find(|&o| self.heads[o] != NONE)?;
        let frame = self.heads[found];
        self.unlink(frame, found);
        for half in (order..found).rev() {
            self.push(frame + (1 << half), half);
        }
        self.count(self.free_frames - (1 << order));
        Some(frame as usize)
    }

    /// Gives a block back and merges it with its free buddies.
    pub(crate) fn free(&mut self, frame: usize, order: usize) {
        self.count(self.free_frames + (1 << order));
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
