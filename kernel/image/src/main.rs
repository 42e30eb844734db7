// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel binary: wires drivers, file systems and the core together.
#![no_std]
#![no_main]

extern crate alloc;

mod runtime;

/// The kernel proper, on the first CPU, with memory and time set up.
fn main() -> ! {
    khal::console::write(b"hello from the kernel\n");
    khal::machine::power_off(0)
}
