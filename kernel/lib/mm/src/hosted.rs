// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Physical memory for tests on the host: an arena of ordinary memory.
#![expect(unsafe_code, reason = "leaks an arena to play physical memory")]

use crate::{FRAME_SIZE, MemoryRegion, PhysAddr, RegionKind, init};
use std::alloc::{Layout, alloc};
use std::sync::Once;

const ARENA_FRAMES: usize = 16 * 1024;
static START: Once = Once::new();

/// Makes an arena of 64 MiB the physical memory of this test process.
pub fn start() {
    START.call_once(|| {
        let bytes = ARENA_FRAMES * FRAME_SIZE;
        let layout = Layout::from_size_align(bytes, 2 << 20).expect("a valid layout");
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc(layout) } as usize;
        assert_ne!(base, 0, "no memory for the arena");
        let region = MemoryRegion {
            start: PhysAddr::new(0),
            end: PhysAddr::new(bytes as u64),
            kind: RegionKind::Usable,
        };
        // SAFETY: the arena is ours, is never freed, and physical address 0
        // lies at its base.
        unsafe { init(base, &[region]) }.expect("the arena has room");
    });
}
