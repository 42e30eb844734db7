// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Single instructions: control registers, MSRs, ports, interrupts, CPUID.

use core::arch::asm;
pub use core::arch::x86_64::{__cpuid as cpuid, __cpuid_count as cpuid_count};

pub const MSR_APIC_BASE: u32 = 0x1b;
pub const MSR_EFER: u32 = 0xc000_0080;
pub const MSR_STAR: u32 = 0xc000_0081;
pub const MSR_LSTAR: u32 = 0xc000_0082;
pub const MSR_SFMASK: u32 = 0xc000_0084;
pub const MSR_FS_BASE: u32 = 0xc000_0100;
pub const MSR_GS_BASE: u32 = 0xc000_0101;
pub const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

/// # Safety
/// Writing a model-specific register can change anything; the caller names why
/// this value in this register keeps the kernel sound.
#[inline]
pub unsafe fn wrmsr(msr: u32, value: u64) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}

/// Reads a model-specific register that exists on this CPU.
#[inline]
pub fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading an MSR has no effect on memory; callers name architectural ones.
    unsafe {
        asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high,
             options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The time-stamp counter, not before earlier loads.
#[inline]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high,
             options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

macro_rules! control_register {
    ($read:ident, $write:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        #[inline]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading a control register has no side effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $name, ".")]
        ///
        /// # Safety
        /// The caller names why the new mode keeps the running code sound.
        #[inline]
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller's contract.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}
control_register!(cr3, set_cr3, "cr3");
control_register!(cr4, set_cr4, "cr4");

/// The address of the last page fault.
#[inline]
pub fn cr2() -> u64 {
    let value: u64;
    // SAFETY: reading a control register has no side effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nostack, nomem, preserves_flags)) };
    value
}

/// Drops the TLB entry of one page on this CPU.
#[inline]
pub fn invlpg(address: u64) {
    // SAFETY: dropping a cached translation is always sound.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Drops all TLB entries that are not global on this CPU.
#[inline]
pub fn flush_tlb() {
    // SAFETY: reloads the same root.
    unsafe { set_cr3(cr3()) };
}

/// # Safety
/// Port I/O can make a device write anywhere; the caller names the device.
#[inline]
pub unsafe fn outb(port: u16, value: u8) {
    // SAFETY: the caller's contract.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}

/// # Safety
/// As for [`outb`].
#[inline]
pub unsafe fn outw(port: u16, value: u16) {
    // SAFETY: the caller's contract.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}

/// # Safety
/// As for [`outb`].
#[inline]
pub unsafe fn outl(port: u16, value: u32) {
    // SAFETY: the caller's contract.
    unsafe {
        asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags));
    };
}

/// # Safety
/// As for [`outb`].
#[inline]
pub unsafe fn inb(port: u16) -> u8 {
    let value: u8;
    // SAFETY: the caller's contract.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

/// # Safety
/// As for [`outb`].
#[inline]
pub unsafe fn inw(port: u16) -> u16 {
    let value: u16;
    // SAFETY: the caller's contract.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nostack, preserves_flags)) };
    value
}

/// # Safety
/// As for [`outb`].
#[inline]
pub unsafe fn inl(port: u16) -> u32 {
    let value: u32;
    // SAFETY: the caller's contract.
    unsafe {
        asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags));
    };
    value
}

/// Stops this CPU for ever.
pub fn halt_forever() -> ! {
    loop {
        // SAFETY: stops; nothing else runs on this CPU after.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Sleeps until an interrupt, which is taken before this returns. Called with
/// interrupts disabled and no lock held; a separate function so that no red
/// zone lies below the stack pointer.
#[inline(never)]
pub extern "C" fn wait_for_interrupt() {
    // SAFETY: handlers save what they use; `sti` takes effect after `hlt`
    // started, so no wake-up is lost.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Lets pending interrupts in, with no lock held.
#[inline(never)]
pub extern "C" fn interrupt_window() {
    // SAFETY: as above.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// What the CPU offers of what we use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    pub smep: bool,
    pub smap: bool,
    pub umip: bool,
    pub pge: bool,
    pub pages_1g: bool,
    pub xsave: bool,
    pub xsaveopt: bool,
    pub rdrand: bool,
    pub rdseed: bool,
    pub x2apic: bool,
}

impl Features {
    /// Asks CPUID.
    pub fn detect() -> Self {
        let max = cpuid(0).eax;
        let one = cpuid(1);
        let seven = if max >= 7 { cpuid_count(7, 0).ebx } else { 0 };
        let seven_c = if max >= 7 { cpuid_count(7, 0).ecx } else { 0 };
        let extended =
            if cpuid(0x8000_0000).eax >= 0x8000_0001 { cpuid(0x8000_0001).edx } else { 0 };
        let xsave = one.ecx & (1 << 26) != 0;
        Self {
            smep: seven & (1 << 7) != 0,
            smap: seven & (1 << 20) != 0,
            umip: seven_c & (1 << 2) != 0,
            pge: one.edx & (1 << 13) != 0,
            pages_1g: extended & (1 << 26) != 0,
            xsave,
            xsaveopt: xsave && max >= 0xd && cpuid_count(0xd, 1).eax & 1 != 0,
            rdrand: one.ecx & (1 << 30) != 0,
            rdseed: seven & (1 << 18) != 0,
            x2apic: one.ecx & (1 << 21) != 0,
        }
    }
}
