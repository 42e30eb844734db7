// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clocks: the time-stamp counter scaled to nanoseconds as KVM says, or
//! calibrated against the local APIC timer of a hypervisor that is known to run
//! it at 1 GHz, or against the PIT; KVM's clock instead of the counter where that
//! is not the same on all CPUs; the date from the hypervisor or the CMOS clock;
//! one-shot wake-ups.

use super::kvm_clock::{self, Told};
use super::scale::SHIFT;
pub use super::scale::Scale;
use super::{apic, cpu};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use kio::Instant;
use ksync::SpinLock;

const PIT_HZ: u64 = 1_193_182;
/// Calibration windows: short enough for a fast start, long enough for 0.1 %.
const APIC_WINDOW_NS: u64 = 100_000;
const PIT_WINDOW_TICKS: u64 = 5966;

/// Even: the scale is whole, and is the time. Odd: it is being written, or the
/// time is KVM's clock; so who reads the scale pays nothing for that.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);
/// The time is KVM's clock.
static BY_KVM_CLOCK: AtomicBool = AtomicBool::new(false);
static BASE_TSC: AtomicU64 = AtomicU64::new(0);
static BASE_NS: AtomicU64 = AtomicU64::new(0);
static MULT: AtomicU64 = AtomicU64::new(1 << SHIFT);
/// Local APIC timer ticks for each nanosecond, times 2^32.
static TIMER_MULT: AtomicU64 = AtomicU64::new(1 << SHIFT);
static REALTIME_OFFSET: AtomicU64 = AtomicU64::new(0);
static APIC_IS_1GHZ: AtomicBool = AtomicBool::new(false);

/// Sets the scale, and whether it is the time. One CPU at a time.
fn publish(scale: Scale, by_kvm_clock: bool) {
    let sequence = SEQUENCE.load(Ordering::Relaxed);
    SEQUENCE.fetch_add(1 + sequence % 2, Ordering::AcqRel);
    BY_KVM_CLOCK.store(false, Ordering::Release);
    BASE_TSC.store(scale.base_tsc, Ordering::Release);
    BASE_NS.store(scale.base_ns, Ordering::Release);
    MULT.store(scale.mult, Ordering::Release);
    BY_KVM_CLOCK.store(by_kvm_clock, Ordering::Release);
    SEQUENCE.fetch_add(1 + u64::from(by_kvm_clock), Ordering::AcqRel);
}

fn stored() -> Scale {
    Scale {
        base_tsc: BASE_TSC.load(Ordering::Acquire),
        base_ns: BASE_NS.load(Ordering::Acquire),
        mult: MULT.load(Ordering::Acquire),
    }
}

/// The scale, when it is whole and the time.
#[inline]
fn current() -> Option<Scale> {
    let before = SEQUENCE.load(Ordering::Acquire);
    let scale = stored();
    (before.is_multiple_of(2) && SEQUENCE.load(Ordering::Acquire) == before).then_some(scale)
}

/// The scale by which programs can tell the time themselves; `None` where they
/// have to ask.
pub fn scale() -> Option<Scale> {
    loop {
        if let Some(scale) = current() {
            return Some(scale);
        }
        if BY_KVM_CLOCK.load(Ordering::Acquire) {
            return None;
        }
        core::hint::spin_loop();
    }
}

/// How fast the counter of this CPU runs.
pub fn tsc_hz() -> u64 {
    let per_tick = u128::from(MULT.load(Ordering::Relaxed).max(1));
    ((1_000_000_000u128 << SHIFT) / per_tick) as u64
}

/// Changes whenever the scale or the date does.
pub fn generation() -> u64 {
    SEQUENCE.load(Ordering::Acquire)
}

/// Time since boot.
#[inline]
pub fn monotonic() -> Instant {
    match current() {
        Some(scale) => Instant::from_nanos(scale.nanos(cpu::rdtsc())),
        None => monotonic_otherwise(),
    }
}

#[cold]
#[inline(never)]
fn monotonic_otherwise() -> Instant {
    let nanos = match scale() {
        Some(scale) => scale.nanos(cpu::rdtsc()),
        None => kvm_clock::nanos(),
    };
    Instant::from_nanos(nanos)
}

/// Time since 1970.
pub fn realtime() -> Duration {
    Duration::from_nanos(realtime_offset() + monotonic().as_nanos())
}

/// Nanoseconds to add to the time since boot.
pub fn realtime_offset() -> u64 {
    REALTIME_OFFSET.load(Ordering::Relaxed)
}

/// Sets the date, as time since 1970.
pub fn set_realtime(now: Duration) {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    REALTIME_OFFSET.store(nanos.saturating_sub(monotonic().as_nanos()), Ordering::Relaxed);
    SEQUENCE.fetch_add(2, Ordering::AcqRel);
}

/// Calibrates; once, on the first CPU, with its local APIC on. `boot_tsc` is
/// the counter at the first instruction of ours.
pub fn set_up(boot_tsc: u64) {
    kvm_clock::share();
    match kvm_clock::told() {
        Some(told) => start_by_kvm(boot_tsc, &told),
        None => calibrate(boot_tsc),
    }
    let firecracker = super::boot_info().is_firecracker();
    let cmos = || if firecracker { None } else { cmos_date() };
    if let Some(date) = kvm_clock::date().or_else(cmos) {
        set_realtime(date);
    }
}

fn calibrate(boot_tsc: u64) {
    let (tsc_hz, timer_hz) =
        if hypervisor_timer_is_1ghz() { calibrate_by_apic() } else { calibrate_by_pit() };
    let nanos_shifted = 1_000_000_000u128 << SHIFT;
    let mult = (nanos_shifted / u128::from(tsc_hz.max(1))) as u64;
    TIMER_MULT.store(((u128::from(timer_hz) << SHIFT) / 1_000_000_000) as u64, Ordering::Relaxed);
    publish(Scale { base_tsc: boot_tsc, base_ns: 0, mult }, false);
}

/// KVM knows the counter, and runs the APIC timer at 1 GHz: nothing is measured.
fn start_by_kvm(boot_tsc: u64, told: &Told) {
    let scale = Scale { base_tsc: boot_tsc, base_ns: 0, mult: told.mult };
    kvm_clock::start_at(told, scale.nanos(told.tsc));
    publish(scale, !told.stable);
}

/// Takes over what KVM says now: that the counters agree no longer, or do again, or
/// run at another speed because the machine has moved. `restored` tells that it was
/// resumed from a snapshot: the counter may have been set back. Time goes on from
/// where it was.
fn follow_kvm(restored: bool) {
    let _one = REFINEMENT.lock();
    let (Some(told), now) = (kvm_clock::told(), scale()) else { return };
    let by_kvm_clock = now.is_none();
    let moved = now.is_some_and(|scale| scale.mult != told.mult);
    if by_kvm_clock != told.stable && !moved && !restored {
        return;
    }
    let by_counter = now.map_or_else(kvm_clock::nanos, |scale| scale.nanos(told.tsc));
    let nanos = by_counter.max(kvm_clock::since_start(told.machine_ns));
    kvm_clock::start_at(&told, nanos);
    publish(Scale { base_tsc: told.tsc, base_ns: nanos, mult: told.mult }, !told.stable);
}

/// The machine was resumed from a snapshot: time since boot goes on from where it
/// was, and the date is what the hypervisor has now. False when none tells.
pub fn resume() -> bool {
    kvm_clock::share();
    follow_kvm(true);
    let date = kvm_clock::date();
    date.inspect(|date| set_realtime(*date)).is_some()
}

/// What the hypervisor calls itself (CPUID leaf 0x40000000); zeroes without one.
pub fn hypervisor_name() -> [u8; 12] {
    let mut name = [0; 12];
    if cpu::cpuid(1).ecx & (1 << 31) != 0 {
        let id = cpu::cpuid(0x4000_0000);
        for (part, register) in name.chunks_exact_mut(4).zip([id.ebx, id.ecx, id.edx]) {
            part.copy_from_slice(&register.to_le_bytes());
        }
    }
    name
}

fn hypervisor_timer_is_1ghz() -> bool {
    let known = matches!(&hypervisor_name(), b"TCGTCGTCGTCG" | kvm_clock::SIGNATURE);
    APIC_IS_1GHZ.store(known, Ordering::Relaxed);
    known
}

/// A counter value and what the APIC timer had left at that moment.
fn sample() -> (u64, u32) {
    // The narrowest of a few tries: an interruption by the host shows as a gap.
    (0..4)
        .map(|_| {
            let before = cpu::rdtsc();
            let left = apic::timer_left();
            let after = cpu::rdtsc();
            (after - before, (before + (after - before) / 2, left))
        })
        .min_by_key(|(gap, _)| *gap)
        .map_or((cpu::rdtsc(), 0), |(_, sample)| sample)
}

fn calibrate_by_apic() -> (u64, u64) {
    apic::start_timer(u32::MAX);
    let (tsc0, left0) = sample();
    while u64::from(left0 - apic::timer_left()) < APIC_WINDOW_NS {
        core::hint::spin_loop();
    }
    let (tsc1, left1) = sample();
    apic::start_timer(0);
    let nanos = u64::from(left0 - left1).max(1);
    ((tsc1 - tsc0) * 1_000_000_000 / nanos, 1_000_000_000)
}

fn calibrate_by_pit() -> (u64, u64) {
    apic::start_timer(u32::MAX);
    let (tsc0, left0) = sample();
    // SAFETY: channel 2 of the PIT and its gate, which drive nothing but the
    // speaker, off here.
    unsafe {
        cpu::outb(0x61, (cpu::inb(0x61) & !2) | 1);
        cpu::outb(0x43, 0b1011_0000);
        cpu::outb(0x42, PIT_WINDOW_TICKS as u8);
        cpu::outb(0x42, (PIT_WINDOW_TICKS >> 8) as u8);
        let mut patience = 100_000_000u64;
        while cpu::inb(0x61) & 0x20 == 0 && patience > 0 {
            patience -= 1;
        }
    }
    let (tsc1, left1) = sample();
    apic::start_timer(0);
    let per_second =
        |ticks: u64| (u128::from(ticks) * u128::from(PIT_HZ) / u128::from(PIT_WINDOW_TICKS)) as u64;
    (per_second(tsc1 - tsc0), per_second(u64::from(left0 - left1)))
}

/// Improves the scale while a one-shot runs: its elapsed ticks are exact
/// nanoseconds there, and the longer the span the better.
struct Refinement {
    armed_tsc: u64,
    armed_count: u32,
    best_span_ns: u64,
}

static REFINEMENT: SpinLock<Refinement> =
    SpinLock::new(Refinement { armed_tsc: 0, armed_count: 0, best_span_ns: APIC_WINDOW_NS });
const GOOD_SPAN_NS: u64 = 2_000_000_000;

fn refine(refinement: &mut Refinement) {
    if refinement.armed_count == 0 || refinement.best_span_ns >= GOOD_SPAN_NS {
        return;
    }
    // Asking the APIC is slow: only when the span is about long enough.
    let Some(now_scale) = current() else { return };
    let about = now_scale.nanos(cpu::rdtsc()) - now_scale.nanos(refinement.armed_tsc);
    if about < refinement.best_span_ns * 4 {
        return;
    }
    let (tsc, left) = sample();
    let span = u64::from(refinement.armed_count.saturating_sub(left));
    if left == 0 || span < refinement.best_span_ns * 4 {
        return;
    }
    let ticks = tsc - refinement.armed_tsc;
    let mult = ((u128::from(span) << SHIFT) / u128::from(ticks.max(1))) as u64;
    let old = now_scale;
    // Continue from where the old scale is now, so that time never jumps.
    publish(Scale { base_tsc: tsc, base_ns: old.nanos(tsc), mult }, false);
    refinement.best_span_ns = span;
}

/// Arms this CPU's timer to interrupt at `at`, or never.
pub fn set_deadline(at: Option<Instant>) {
    let first_cpu = super::percpu::current().index() == 0;
    if first_cpu && kvm_clock::has_news() {
        follow_kvm(false);
    }
    if first_cpu && APIC_IS_1GHZ.load(Ordering::Relaxed) {
        refine(&mut REFINEMENT.lock());
    }
    let count = at.map_or(0, |at| {
        let nanos = at.saturating_since(monotonic()).as_nanos().min(4_000_000_000);
        let ticks = (nanos * u128::from(TIMER_MULT.load(Ordering::Relaxed))) >> SHIFT;
        u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
    });
    apic::start_timer(count);
    if first_cpu {
        let mut refinement = REFINEMENT.lock();
        refinement.armed_count = count;
        refinement.armed_tsc = cpu::rdtsc();
    }
}

/// Waits without sleeping; for start-up code.
pub fn busy_wait(duration: Duration) {
    let end = monotonic() + duration;
    while monotonic() < end {
        core::hint::spin_loop();
    }
}

/// The date of the battery clock (MC146818), as UTC.
fn cmos_date() -> Option<Duration> {
    let read = |register: u8| {
        // SAFETY: index and data port of the CMOS clock; reading has no effect.
        unsafe {
            cpu::outb(0x70, register);
            cpu::inb(0x71)
        }
    };
    if read(0x0b) == 0xff {
        return None;
    }
    let snapshot = || [0u8, 2, 4, 7, 8, 9].map(read);
    let mut fields = snapshot();
    for _ in 0..1000 {
        let again = snapshot();
        if again == fields && read(0x0a) & 0x80 == 0 {
            break;
        }
        fields = again;
    }
    let binary = read(0x0b) & 4 != 0;
    let value = |f: u8| u64::from(if binary { f } else { (f & 0xf) + (f >> 4) * 10 });
    let [second, minute, hour, day, month, year] = fields.map(value);
    let days = days_since_1970(2000 + year, month, day)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

/// Days from 1970-01-01, after H. Hinnant's civil calendar algorithm.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}
