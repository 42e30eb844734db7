// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Physical memory as `kmm::hosted` plays it.

use kmm::{Frame, PhysAddr, phys_to_virt};
use ksync::Once;

/// Where the kernel sees a physical address.
pub fn direct_map(at: PhysAddr) -> usize {
    phys_to_virt(at) as usize
}

/// The kernel's own tables: empty.
///
/// # Panics
/// Before `kmm::hosted::start`.
pub fn root() -> PhysAddr {
    static ROOT: Once<PhysAddr> = Once::new();
    if let Some(root) = ROOT.get() {
        return *root;
    }
    let mut frame = Frame::allocate().expect("kmm::hosted is started");
    frame.zero();
    let _ = ROOT.set(frame.into_raw());
    *ROOT.get().expect("set above, or by another thread")
}
