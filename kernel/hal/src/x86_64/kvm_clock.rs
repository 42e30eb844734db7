// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM's clock (Linux `Documentation/virt/kvm/x86/msr.rst` and `cpuid.rst`): how
//! the counter becomes time, without a calibration; the date, because machines
//! without a CMOS clock have no other, and one that was resumed from a snapshot
//! learns from it how late it is; and the time itself where the host cannot keep
//! the counters of its CPUs together.
//!
//! Each CPU has a structure of its own, which KVM writes whenever the parameters
//! change, before the CPU runs again.

use super::boot::KERNEL_OFFSET;
use super::percpu::{self, MAX_CPUS};
use super::{cpu, time};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use ksync::SpinLock;

/// KVM's name in CPUID leaf 0x40000000.
pub const SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
const LEAF_FEATURES: u32 = 0x4000_0001;
const FEATURE_CLOCK: u32 = 1 << 3;
/// [`TSC_STABLE`] means what it says.
const FEATURE_STABLE_FLAG: u32 = 1 << 24;
/// The counters of all CPUs agree.
const TSC_STABLE: u8 = 1;
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

/// What KVM writes for one CPU; inside one page.
#[repr(C, align(64))]
struct Shared {
    system: SystemTime,
    wall: WallClock,
}

impl Shared {
    const fn new() -> Self {
        Self {
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
        }
    }
}

struct SharedCell(UnsafeCell<Shared>);
// SAFETY: the kernel only reads it, by volatile reads; KVM writes it.
unsafe impl Sync for SharedCell {}

static SHARED: [SharedCell; MAX_CPUS] =
    [const { SharedCell(UnsafeCell::new(Shared::new())) }; MAX_CPUS];
/// The date is asked for by one CPU at a time.
static DATE: SpinLock<()> = SpinLock::new(());
/// Version of the parameters that the first CPU has seen; 0 without KVM's clock.
static SEEN: AtomicU32 = AtomicU32::new(0);
/// The latest time that was told: the clocks of CPUs differ a little.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// The machine's own time at our start.
static START: AtomicU64 = AtomicU64::new(0);

/// What KVM says to one CPU at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The counter at that moment.
    pub tsc: u64,
    /// The machine's own time then, in nanoseconds.
    pub machine_ns: u64,
    /// Nanoseconds for each tick, times 2^32.
    pub mult: u64,
    /// The counters of all CPUs agree, and will until KVM writes again.
    pub stable: bool,
}

fn is_there() -> bool {
    &time::hypervisor_name() == SIGNATURE && cpu::cpuid(LEAF_FEATURES).eax & FEATURE_CLOCK != 0
}

fn own() -> *mut Shared {
    SHARED[percpu::current().index()].0.get()
}

fn own_system() -> *const SystemTime {
    // SAFETY: a pointer to the field, without a reference to what KVM writes.
    unsafe { &raw const (*own()).system }
}

/// Makes KVM write this CPU's parameters, if it is KVM.
pub fn share() {
    if is_there() {
        let system = own_system() as u64 - KERNEL_OFFSET;
        // SAFETY: KVM writes the structure, which is this CPU's, inside the kernel
        // image, for as long as the bit is set: as long as we run.
        unsafe { cpu::wrmsr(MSR_SYSTEM_TIME, system | SYSTEM_TIME_ENABLE) };
    }
}

/// The parameters of this CPU with the counter now; nothing without KVM's clock.
fn read() -> Option<(SystemTime, u64)> {
    let system = own_system();
    // SAFETY: points to the field in this CPU's part; any bytes are valid.
    let version = || unsafe { (&raw const (*system).version).read_volatile() };
    if version() == 0 {
        return None;
    }
    (0..ATTEMPTS).find_map(|_| {
        // The counter belongs to the rest, so the version is looked at on both sides.
        let before = version();
        // SAFETY: points to this CPU's part; any bytes are valid.
        let time = unsafe { system.read_volatile() };
        let tsc = cpu::rdtsc();
        (before.is_multiple_of(2) && before == version()).then_some((time, tsc))
    })
}

/// What KVM says now, to this CPU.
pub fn told() -> Option<Told> {
    let (system, tsc) = read()?;
    if percpu::current().index() == 0 {
        SEEN.store(system.version, Ordering::Relaxed);
    }
    let meant = cpu::cpuid(LEAF_FEATURES).eax & FEATURE_STABLE_FLAG != 0;
    Some(Told {
        tsc,
        machine_ns: system.at(tsc),
        mult: system.mult(),
        stable: meant && system.flags & TSC_STABLE != 0,
    })
}

/// Whether KVM has written the parameters of the first CPU, which asks, again.
#[inline]
pub fn has_news() -> bool {
    let seen = SEEN.load(Ordering::Relaxed);
    // SAFETY: points to this CPU's part; a torn value is one more difference.
    seen != 0 && unsafe { (&raw const (*own_system()).version).read_volatile() } != seen
}

/// From `told` on, which is `nanos` after our start, the time may be asked here.
pub fn start_at(told: &Told, nanos: u64) {
    START.store(told.machine_ns.wrapping_sub(nanos), Ordering::Relaxed);
    LATEST.fetch_max(nanos, Ordering::AcqRel);
}

/// Nanoseconds since our start by the machine's own time; 0 when that went back
/// behind it.
pub fn since_start(machine_ns: u64) -> u64 {
    let since = machine_ns.wrapping_sub(START.load(Ordering::Relaxed));
    if since.cast_signed() < 0 { 0 } else { since }
}

/// Nanoseconds since our start, by this CPU's parameters. They never decrease.
pub fn nanos() -> u64 {
    let Some((system, tsc)) = read() else { return LATEST.load(Ordering::Acquire) };
    let now = since_start(system.at(tsc));
    LATEST.fetch_max(now, Ordering::AcqRel).max(now)
}

/// The date now, as time since 1970, if KVM tells.
pub fn date() -> Option<Duration> {
    if !is_there() {
        return None;
    }
    let _alone = DATE.lock();
    // SAFETY: a pointer to the field, without a reference to what KVM writes.
    let wall = unsafe { &raw const (*own()).wall };
    // SAFETY: KVM writes the structure once, by this access and before it is over;
    // it is this CPU's, inside the kernel image.
    let wall = unsafe {
        cpu::wrmsr(MSR_WALL_CLOCK, wall as u64 - KERNEL_OFFSET);
        wall.read_volatile()
    };
    let (system, tsc) = read()?;
    if wall.version == 0 || !wall.version.is_multiple_of(2) {
        return None;
    }
    let nanos = u64::from(wall.nanoseconds).checked_add(system.at(tsc))?;
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

    /// Nanoseconds for each tick, times 2^32.
    fn mult(&self) -> u64 {
        let mult = u64::from(self.tsc_to_system_mul);
        match self.tsc_shift {
            left @ 0..=31 => mult << left,
            right => mult >> u32::from(right.unsigned_abs()).min(63),
        }
    }
}
