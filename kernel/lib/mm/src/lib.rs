// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Physical memory: frames with reference counts, contiguous blocks, and the
//! kernel heap on top of them.
//!
//! All RAM is visible through the direct map, a fixed offset from physical to
//! kernel virtual addresses. On the host, [`hosted`] makes an arena that plays
//! physical memory, so that everything above is tested there.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "hosted"))]
extern crate std;

mod address;
mod buddy;
mod frame;
mod heap;
#[cfg(any(test, feature = "hosted"))]
pub mod hosted;

pub use address::{FRAME_SIZE, PhysAddr};
pub use frame::{
    Frame, FrameBlock, MemoryInfo, MemoryRegion, OutOfFrames, RegionKind, init, kernel_can_spare,
    memory_info, phys_to_virt, virt_to_phys,
};
pub use heap::KernelHeap;
