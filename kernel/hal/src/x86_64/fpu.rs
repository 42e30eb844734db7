// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extended register state of user code: x87, SSE, AVX (Intel SDM vol. 1,
//! chapter 13). Saved and restored on task switches only, without the SSE
//! registers, which are in the frame of every entry.
//!
//! CPUs keep track of components in their initial state, and move only the
//! others. Emulators do not, and spend a microsecond on state that few programs
//! use; there it is looked at instead.

use super::cpu;
use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use core::arch::asm;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const LEGACY_SIZE: usize = 512;
const CONTROL_WORD: u16 = 0x37f;
const MXCSR: u32 = 0x1f80;
/// x87, SSE, AVX, AVX-512 (opmask, upper halves, upper registers).
const SUPPORTED: u64 = 0xe7;
const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;

/// CR4: XSAVE and its kin may be used.
const OSXSAVE: u64 = 1 << 18;

static MASK: AtomicU64 = AtomicU64::new(0);
static SIZE: AtomicUsize = AtomicUsize::new(LEGACY_SIZE);
static OPTIMISED: AtomicBool = AtomicBool::new(false);
/// The CPU says of every component that it is in use.
static UNTRACKED: AtomicBool = AtomicBool::new(false);

/// Turns on what the CPU has; on every CPU.
pub fn set_up(features: &cpu::Features) {
    if !features.xsave {
        return;
    }
    let offered = cpu::cpuid_count(0xd, 0);
    let mask = (u64::from(offered.edx) << 32 | u64::from(offered.eax)) & SUPPORTED;
    // SAFETY: OSXSAVE only enables XSAVE and XSETBV; the mask is what CPUID
    // offers, with x87 and SSE in it.
    unsafe {
        cpu::set_cr4(cpu::cr4() | OSXSAVE);
        asm!("xsetbv", in("ecx") 0, in("eax") mask as u32, in("edx") (mask >> 32) as u32);
    }
    // CPUID makes the hypervisor look at the guest. One that was itself emulated
    // without telling it of XSETBV (QEMU 7.2's SVM) takes the mask back at that.
    let size = cpu::cpuid_count(0xd, 0).ebx as usize;
    if enabled_components() != mask {
        // SAFETY: without OSXSAVE, FXSAVE serves all that user code can use.
        unsafe { cpu::set_cr4(cpu::cr4() & !OSXSAVE) };
        return;
    }
    SIZE.store(size, Ordering::Relaxed);
    OPTIMISED.store(features.xsaveopt, Ordering::Relaxed);
    UNTRACKED.store(mask & AVX != 0 && !tracks_use(), Ordering::Relaxed);
    MASK.store(mask, Ordering::Relaxed);
}

/// True when the CPU knows that AVX, which nothing has used yet or which is
/// cleared here, is in its initial state.
fn tracks_use() -> bool {
    let asks = cpu::cpuid_count(0xd, 1).eax & 4 != 0;
    let low: u32;
    // SAFETY: AVX was just enabled; XGETBV of 1 exists when CPUID says so.
    unsafe {
        asm!("vzeroupper", options(nomem, nostack, preserves_flags));
        if !asks {
            return true;
        }
        asm!("xgetbv", in("ecx") 1, out("eax") low, out("edx") _,
             options(nomem, nostack, preserves_flags));
    }
    u64::from(low) & AVX == 0
}

/// True when the upper halves of all AVX registers are zero. The lower ones are
/// lost: to VEX code a write to them is one to the whole register.
fn upper_halves_are_zero() -> bool {
    let any: u32;
    // SAFETY: AVX is enabled; legacy SSE instructions leave upper halves alone.
    unsafe {
        asm!(
            "xor {any:e}, {any:e}",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "pxor xmm\\n, xmm\\n",
            "vptest ymm\\n, ymm\\n",
            "jnz 2f",
            ".endr",
            "jmp 3f",
            "2: inc {any:e}",
            "3:",
            any = out(reg) any,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
            out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
            out("xmm14") _, out("xmm15") _, options(nomem, nostack)
        );
    }
    any == 0
}

/// XCR0.
fn enabled_components() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE is on, so XGETBV exists; reading has no effect.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
             options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Components that are saved, as in XCR0; 0 when the CPU has FXSAVE only.
pub fn component_mask() -> u64 {
    MASK.load(Ordering::Relaxed)
}

/// Bytes of a saved state.
pub fn state_size() -> usize {
    SIZE.load(Ordering::Relaxed)
}

/// A save area.
#[derive(Debug)]
pub struct FpuState {
    area: NonNull<u8>,
}

// SAFETY: the area is plain memory with one owner.
unsafe impl Send for FpuState {}
// SAFETY: shared references only read it.
unsafe impl Sync for FpuState {}

fn layout() -> Layout {
    // The size is a CPU constant far below isize::MAX.
    Layout::from_size_align(state_size(), 64).unwrap_or(Layout::new::<[u64; 512]>())
}

impl FpuState {
    /// The state that a program starts with; `None` without memory.
    pub fn new() -> Option<Self> {
        // SAFETY: the layout is not empty.
        let area = NonNull::new(unsafe { alloc_zeroed(layout()) })?;
        let mut state = Self { area };
        state.reset();
        Some(state)
    }

    /// Back to the state that a program starts with.
    pub fn reset(&mut self) {
        let bytes = self.bytes_mut();
        bytes.fill(0);
        bytes[..2].copy_from_slice(&CONTROL_WORD.to_le_bytes());
        bytes[24..28].copy_from_slice(&MXCSR.to_le_bytes());
    }

    /// The area in the CPU's format, the standard (not compacted) one.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the area has this size and lives as long as `self`.
        unsafe { core::slice::from_raw_parts(self.area.as_ptr(), state_size()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.area.as_ptr(), state_size()) }
    }

    /// Takes over a state that user code hands in (sigreturn). What would make
    /// XRSTOR fault is cleared: unknown components, reserved MXCSR bits and
    /// the reserved part of the header.
    pub fn load_untrusted(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(state_size());
        let mask = component_mask();
        let area = self.bytes_mut();
        area[..len].copy_from_slice(&bytes[..len]);
        let mxcsr = u32::from_le_bytes([area[24], area[25], area[26], area[27]]) & 0xffff;
        area[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        if mask != 0 {
            let mut present = [0; 8];
            present.copy_from_slice(&area[LEGACY_SIZE..LEGACY_SIZE + 8]);
            let mut present = u64::from_le_bytes(present) & mask;
            if len < LEGACY_SIZE + 64 {
                present = mask & 3;
            }
            area[LEGACY_SIZE..LEGACY_SIZE + 64].fill(0);
            area[LEGACY_SIZE..LEGACY_SIZE + 8].copy_from_slice(&present.to_le_bytes());
        }
    }

    /// Saves the CPU's state here.
    pub fn save(&mut self) {
        self.save_components(component_mask());
    }

    /// Saves the CPU's state but for the SSE registers, which this may clobber.
    pub(super) fn save_for_switch(&mut self) {
        let mask = component_mask();
        if mask == 0 {
            return self.save_components(0);
        }
        // SAFETY: the field of MXCSR in the legacy part of the area.
        unsafe {
            let mxcsr = self.area.as_ptr().add(24);
            asm!("stmxcsr [{}]", in(reg) mxcsr, options(nostack, preserves_flags));
        }
        if !UNTRACKED.load(Ordering::Relaxed) {
            return self.save_components(mask & !SSE);
        }
        if upper_halves_are_zero() {
            self.save_components(mask & !(SSE | AVX));
            self.mark_initial(AVX);
        } else {
            self.save_components(mask & !SSE);
        }
        if self.x87_is_initial() {
            self.mark_initial(X87);
        }
    }

    /// Says in the header that a component has its initial state.
    fn mark_initial(&mut self, component: u64) {
        // SAFETY: XSTATE_BV is the first word of the header, which is there
        // because the mask is not 0.
        unsafe { *self.area.as_ptr().add(LEGACY_SIZE).cast::<u64>() &= !component };
    }

    fn x87_is_initial(&self) -> bool {
        // SAFETY: the area has a legacy part of 512 bytes, aligned to 64.
        let word = |at: usize| unsafe { self.area.as_ptr().cast::<u64>().add(at).read() };
        // Control, status and tags; the last instruction; the registers.
        word(0) == u64::from(CONTROL_WORD)
            && word(1) | word(2) == 0
            && (4..20).fold(0, |all, at| all | word(at)) == 0
    }

    fn save_components(&mut self, mask: u64) {
        let area = self.area.as_ptr();
        let (low, high) = (mask as u32, (mask >> 32) as u32);
        // SAFETY: the area is large enough for all enabled components and
        // aligned to 64 bytes.
        unsafe {
            if mask == 0 {
                asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags));
            } else if OPTIMISED.load(Ordering::Relaxed) {
                asm!("xsaveopt64 [{}]", in(reg) area, in("eax") low, in("edx") high,
                     options(nostack, preserves_flags));
            } else {
                asm!("xsave64 [{}]", in(reg) area, in("eax") low, in("edx") high,
                     options(nostack, preserves_flags));
            }
        }
    }

    /// Makes this the CPU's state. The SSE registers that the caller uses are
    /// clobbered: only the switch code and its like call this.
    pub fn restore(&self) {
        self.restore_components(component_mask());
    }

    /// Takes back what [`save_for_switch`](Self::save_for_switch) saved.
    pub(super) fn restore_for_switch(&self) {
        let mask = component_mask();
        self.restore_components(mask & !SSE);
        if mask != 0 {
            // SAFETY: the field of MXCSR, which holds a valid value as for
            // XRSTOR, which loads it with some components only.
            unsafe {
                let mxcsr = self.area.as_ptr().add(24);
                asm!("ldmxcsr [{}]", in(reg) mxcsr, options(nostack, preserves_flags));
            }
        }
    }

    fn restore_components(&self, mask: u64) {
        let area = self.area.as_ptr();
        let (low, high) = (mask as u32, (mask >> 32) as u32);
        // SAFETY: the area was written by `save`, `reset` or `load_untrusted`,
        // so its header and MXCSR are valid.
        unsafe {
            if mask == 0 {
                asm!("fxrstor64 [{}]", in(reg) area, out("xmm0") _, out("xmm1") _, out("xmm2") _,
                     out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                     out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                     out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                     options(nostack, preserves_flags));
            } else {
                asm!("xrstor64 [{}]", in(reg) area, in("eax") low, in("edx") high,
                     out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                     out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                     out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
                     out("xmm14") _, out("xmm15") _, options(nostack, preserves_flags));
            }
        }
    }
}

impl Drop for FpuState {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.area.as_ptr(), layout()) };
    }
}
