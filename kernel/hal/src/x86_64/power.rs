// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end: power off, by whatever the machine has, and stopping other CPUs.

use super::{apic, cpu, percpu};
use core::arch::asm;

/// QEMU's `isa-debug-exit` where `kernel run` puts it.
const DEBUG_EXIT: u16 = 0x501;
/// Stops all other CPUs.
pub fn stop_others() {
    let this = percpu::current().index();
    for index in (0..percpu::count()).filter(|i| *i != this) {
        apic::send_interrupt(percpu::of(index).apic_id(), apic::VECTOR_HALT);
    }
}

/// Ends the machine by the ways that need no tables: QEMU's exit device, which
/// also tells `status`; the reset line of the keyboard controller; a triple
/// fault.
pub fn power_off(status: u8) -> ! {
    let nothing = [0u8; 10];
    // SAFETY: each of these ends the machine or does nothing; nothing runs
    // after. Without an interrupt table the breakpoint cannot be delivered.
    unsafe {
        if super::serial::has_debug_console() {
            cpu::outb(DEBUG_EXIT, status);
        }
        cpu::outb(0x64, 0xfe);
        // Firecracker ends soon, by another thread; a triple fault before that
        // would be reported as an error.
        if super::boot_info().is_firecracker() {
            cpu::halt_forever();
        }
        asm!("lidt [{}]", "int3", in(reg) nothing.as_ptr(), options(nostack));
    }
    cpu::halt_forever()
}
