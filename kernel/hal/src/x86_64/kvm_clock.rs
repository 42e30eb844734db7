// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM's clock, for the date alone (Linux `Documentation/virt/kvm/x86/msr.rst`
//! and `cpuid.rst`): machines without a CMOS clock have no other, and one that
//! was resumed from a snapshot learns from it how late it is.

use super::boot::KERNEL_OFFSET;
use super::{cpu, time};
use core::cell::UnsafeCell;
use core::time::Duration;
use ksync::SpinLock;

/// KVM's name in CPUID leaf 0x40000000.
pub const SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
const LEAF_FEATURES: u32 = 0x4000_0001;
const FEATURE_CLOCK: u32 = 1 << 3;
const MSR_WALL_CLOCK: u32 = 0x4b56_4d00;
const MSR_SYSTEM_TIME: u32 = 0x4b56_4d01;
const SYSTEM_TIME_ENABLE: u64 = 1;
/// Reads that are tried while KVM writes.
const ATTEMPTS: usize = 1000;

/// The date at which the machine's own time was 0 (`struct pvclock_wall_clock`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct WallClock {
    /// Odd while KVM writes.
    version: u32,
    seconds: u32,
    nanoseconds: u32,
}

/// The machine's own time (`struct pvclock_vcpu_time_info`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct SystemTime {
    /// Odd while KVM writes.
    version: u32,
    padding: u32,
    tsc_timestamp: u64,
    system_time: u64,
    tsc_to_system_mul: u32,
    tsc_shift: i8,
    flags: u8,
    padding2: [u8; 2],
}

/// What KVM writes; inside one page.
#[repr(C, align(64))]
struct Shared {
    system: SystemTime,
    wall: WallClock,
}

struct SharedCell(UnsafeCell<Shared>);
// SAFETY: the kernel reads it under `LOCK`, and by volatile reads alone.
unsafe impl Sync for SharedCell {}

static LOCK: SpinLock<()> = SpinLock::new(());
static SHARED: SharedCell = SharedCell(UnsafeCell::new(Shared {
    system: SystemTime {
        version: 0,
        padding: 0,
        tsc_timestamp: 0,
        system_time: 0,
        tsc_to_system_mul: 0,
        tsc_shift: 0,
        flags: 0,
        padding2: [0; 2],
    },
    wall: WallClock { version: 0, seconds: 0, nanoseconds: 0 },
}));

/// Reads a structure that KVM may be writing.
///
/// # Safety
/// `at` must point into [`SHARED`], under the lock.
unsafe fn settled<T: Copy>(at: *const T, version: impl Fn(&T) -> u32) -> Option<T> {
    (0..ATTEMPTS).find_map(|_| {
        // SAFETY: the caller's contract; any bytes are a valid structure, and
        // one that was torn shows by its version.
        let (value, again) = unsafe { (at.read_volatile(), at.read_volatile()) };
        let whole = version(&value) != 0 && version(&value).is_multiple_of(2);
        (whole && version(&value) == version(&again)).then_some(value)
    })
}

/// The date now, as time since 1970, if KVM tells.
pub fn date() -> Option<Duration> {
    let leaf = || cpu::cpuid(LEAF_FEATURES).eax;
    if &time::hypervisor_name() != SIGNATURE || leaf() & FEATURE_CLOCK == 0 {
        return None;
    }
    let _alone = LOCK.lock();
    let shared = SHARED.0.get();
    // SAFETY: pointers to the fields, without a reference to what KVM writes.
    let (system, wall) = unsafe { (&raw const (*shared).system, &raw const (*shared).wall) };
    let physical = |address: u64| address - KERNEL_OFFSET;
    // SAFETY: KVM writes the two structures, which are ours, inside the kernel
    // image; it stops writing the second when its bit is cleared, and the first
    // is written by the access alone.
    let (system, wall) = unsafe {
        cpu::wrmsr(MSR_SYSTEM_TIME, physical(system as u64) | SYSTEM_TIME_ENABLE);
        cpu::wrmsr(MSR_WALL_CLOCK, physical(wall as u64));
        let system = settled(system, |s: &SystemTime| s.version);
        let wall = settled(wall, |w: &WallClock| w.version);
        (system, wall)
    };
    let now = system.map(|system| system.at(cpu::rdtsc()));
    // SAFETY: as above.
    unsafe { cpu::wrmsr(MSR_SYSTEM_TIME, 0) };
    let wall = wall?;
    let nanos = u64::from(wall.nanoseconds).checked_add(now?)?;
    Duration::from_secs(wall.seconds.into()).checked_add(Duration::from_nanos(nanos))
}

impl SystemTime {
    /// Nanoseconds of the machine's own time at a value of the counter.
    fn at(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.tsc_timestamp));
        let shifted = match self.tsc_shift {
            left @ 0..=31 => ticks << left,
            right => ticks >> u32::from(right.unsigned_abs()).min(127),
        };
        let nanos = (shifted * u128::from(self.tsc_to_system_mul)) >> 32;
        self.system_time.wrapping_add(nanos as u64)
    }
}
