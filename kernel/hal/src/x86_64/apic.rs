// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The local APIC: timer, interrupts between CPUs, end of interrupt (Intel
//! SDM vol. 3, chapter 11), through MSRs where x2APIC is there, else MMIO.

use super::{cpu, memory};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use kmm::PhysAddr;

/// Vectors 0x20 to 0xdf are for devices.
pub const VECTOR_TIMER: u8 = 0xe0;
/// Makes a CPU look at its run queue.
pub const VECTOR_WAKE: u8 = 0xe1;
pub const VECTOR_SHOOTDOWN: u8 = 0xe2;
/// Stops a CPU: the kernel panicked, or the machine goes down.
pub const VECTOR_HALT: u8 = 0xe3;
pub const VECTOR_SPURIOUS: u8 = 0xff;

const REG_ID: u32 = 0x20;
const REG_TPR: u32 = 0x80;
const REG_EOI: u32 = 0xb0;
const REG_SPURIOUS: u32 = 0xf0;
const REG_ICR_LOW: u32 = 0x300;
const REG_ICR_HIGH: u32 = 0x310;
const REG_LVT_TIMER: u32 = 0x320;
const REG_LVT_LINT0: u32 = 0x350;
const REG_TIMER_INITIAL: u32 = 0x380;
const REG_TIMER_CURRENT: u32 = 0x390;
const REG_TIMER_DIVIDE: u32 = 0x3e0;

const ICR_PENDING: u32 = 1 << 12;
const ICR_ASSERT: u32 = 1 << 14;
const LVT_MASKED: u32 = 1 << 16;

static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static X2APIC: AtomicBool = AtomicBool::new(false);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        return cpu::rdmsr(0x800 + register / 16) as u32;
    }
    let base = BASE.load(Ordering::Relaxed);
    // SAFETY: BASE maps the local APIC's page since `set_up`.
    unsafe { base.add(register as usize).cast::<u32>().read_volatile() }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: local APIC registers do not touch memory.
        unsafe { cpu::wrmsr(0x800 + register / 16, u64::from(value)) };
        return;
    }
    let base = BASE.load(Ordering::Relaxed);
    // SAFETY: as in `read`.
    unsafe { base.add(register as usize).cast::<u32>().write_volatile(value) };
}

/// Finds and enables the local APIC of the first CPU.
pub fn set_up(features: &cpu::Features) {
    let base = cpu::rdmsr(cpu::MSR_APIC_BASE);
    if features.x2apic {
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        let page = PhysAddr::new(base & 0xf_ffff_f000);
        let mapped = memory::map_device(page, 4096).expect("room for the local APIC's page");
        BASE.store(mapped, Ordering::Relaxed);
    }
    enable();
}

/// Enables the local APIC of this CPU.
pub fn enable() {
    let base = cpu::rdmsr(cpu::MSR_APIC_BASE) | 1 << 11;
    let mode = if X2APIC.load(Ordering::Relaxed) { 1 << 10 } else { 0 };
    // SAFETY: enables the interrupt controller where it already is.
    unsafe { cpu::wrmsr(cpu::MSR_APIC_BASE, base | mode) };
    write(REG_SPURIOUS, 1 << 8 | u32::from(VECTOR_SPURIOUS));
    write(REG_TPR, 0);
    write(REG_LVT_LINT0, LVT_MASKED);
    write(REG_TIMER_DIVIDE, 0b1011);
    write(REG_LVT_TIMER, u32::from(VECTOR_TIMER));
}

/// This CPU's id.
pub fn id() -> u32 {
    let raw = read(REG_ID);
    if X2APIC.load(Ordering::Relaxed) { raw } else { raw >> 24 }
}

#[inline]
pub fn end_of_interrupt() {
    write(REG_EOI, 0);
}

/// Starts the one-shot timer; 0 stops it.
#[inline]
pub fn start_timer(count: u32) {
    write(REG_TIMER_INITIAL, count);
}

/// What is left of the one-shot timer.
pub fn timer_left() -> u32 {
    read(REG_TIMER_CURRENT)
}

fn send(apic_id: u32, low: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: raises an interrupt on a CPU of ours.
        unsafe { cpu::wrmsr(0x830, u64::from(apic_id) << 32 | u64::from(low)) };
        return;
    }
    while read(REG_ICR_LOW) & ICR_PENDING != 0 {
        core::hint::spin_loop();
    }
    write(REG_ICR_HIGH, apic_id << 24);
    write(REG_ICR_LOW, low);
}

/// Interrupts another CPU.
pub fn send_interrupt(apic_id: u32, vector: u8) {
    send(apic_id, ICR_ASSERT | u32::from(vector));
}

/// INIT, then start-up at physical page `page` (SDM vol. 3, 9.4.4).
pub fn start_cpu(apic_id: u32, page: u8, mut wait: impl FnMut(u32)) {
    send(apic_id, ICR_ASSERT | 0x500);
    wait(200);
    for _ in 0..2 {
        send(apic_id, ICR_ASSERT | 0x600 | u32::from(page));
        wait(200);
    }
}
