// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The page that kernel and vDSO share: one writer, readers without locks.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// How the vDSO finds out the number of its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CpuMode {
    /// By the system call.
    Call = 0,
    /// From TSC_AUX, with RDTSCP.
    Rdtscp = 1,
    /// From TSC_AUX, with RDPID.
    Rdpid = 2,
}

/// How a counter becomes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeScale {
    /// Counter value at the base.
    pub tsc_base: u64,
    /// Nanoseconds for each tick, times 2^`tsc_shift`.
    pub tsc_mult: u64,
    /// Below 64; the nanoseconds since the base must fit 64 bits.
    pub tsc_shift: u32,
    /// The monotonic clock at the base.
    pub base_ns: u64,
    /// What makes it time since 1970.
    pub realtime_offset_ns: u64,
}

/// The time page. Its offsets are known to the code: `khal`'s `vdso.rs`. All
/// zero, it sends every caller to the system call.
#[repr(C)]
#[derive(Debug, Default)]
pub struct TimePage {
    /// Odd while an update is in progress.
    sequence: AtomicU32,
    /// 1: the counter is usable.
    clock_mode: AtomicU32,
    tsc_base: AtomicU64,
    tsc_mult: AtomicU64,
    tsc_shift: AtomicU32,
    cpu_mode: AtomicU32,
    base_ns: AtomicU64,
    realtime_offset_ns: AtomicU64,
}

impl TimePage {
    /// Changes what the clocks show; `None` sends callers to the system call.
    /// One caller at a time.
    pub fn publish(&self, scale: Option<&TimeScale>) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.clock_mode.store(u32::from(scale.is_some()), Ordering::Relaxed);
        if let Some(scale) = scale {
            self.tsc_base.store(scale.tsc_base, Ordering::Relaxed);
            self.tsc_mult.store(scale.tsc_mult, Ordering::Relaxed);
            self.tsc_shift.store(scale.tsc_shift & 63, Ordering::Relaxed);
            self.base_ns.store(scale.base_ns, Ordering::Relaxed);
            self.realtime_offset_ns.store(scale.realtime_offset_ns, Ordering::Relaxed);
        }
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Says how getcpu works; set once, before programs run.
    pub fn set_cpu_mode(&self, mode: CpuMode) {
        self.cpu_mode.store(mode as u32, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::TimePage;
    use core::mem::offset_of;

    #[test]
    fn offsets_are_those_of_the_code() {
        let offsets = [
            offset_of!(TimePage, sequence),
            offset_of!(TimePage, clock_mode),
            offset_of!(TimePage, tsc_base),
            offset_of!(TimePage, tsc_mult),
            offset_of!(TimePage, tsc_shift),
            offset_of!(TimePage, cpu_mode),
            offset_of!(TimePage, base_ns),
            offset_of!(TimePage, realtime_offset_ns),
        ];
        assert_eq!(offsets, [0, 4, 8, 16, 24, 28, 32, 40]);
    }
}
