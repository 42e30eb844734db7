// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The end: power off, by whatever the machine has, and stopping other CPUs.

use super::{apic, cpu, percpu};
use core::sync::atomic::{AtomicU32, Ordering};

/// QEMU's `isa-debug-exit` where `kernel run` puts it.
const DEBUG_EXIT: u16 = 0x501;
/// ACPI PM1a control block (low half) and the S5 sleep type (high half), when
/// the firmware tables name them.
static ACPI_SLEEP: AtomicU32 = AtomicU32::new(0);

/// Tells where ACPI's sleep register is and which value means off.
pub fn set_acpi_sleep(pm1a_control: u16, s5_type: u8) {
    ACPI_SLEEP.store(u32::from(pm1a_control) | u32::from(s5_type) << 16, Ordering::Relaxed);
}

/// Stops all other CPUs.
pub fn stop_others() {
    let this = percpu::current().index();
    for index in (0..percpu::count()).filter(|i| *i != this) {
        apic::send_interrupt(percpu::of(index).apic_id(), apic::VECTOR_HALT);
    }
}

/// Turns the machine off. `status` tells a test monitor what to exit with.
pub fn power_off(status: u8) -> ! {
    let sleep = ACPI_SLEEP.load(Ordering::Relaxed);
    // SAFETY: each of these ends the machine or does nothing; nothing runs
    // after. The last resort is the reset line of the keyboard controller.
    unsafe {
        if super::serial::has_debug_console() {
            cpu::outb(DEBUG_EXIT, status);
        }
        if sleep != 0 {
            cpu::outw(sleep as u16, (sleep >> 16 << 10) as u16 | 1 << 13);
        }
        cpu::outb(0x64, 0xfe);
    }
    cpu::halt_forever()
}
