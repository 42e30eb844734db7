// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image with the kernel's code: read as Go's runtime and libc read it,
//! and run beside the host's clocks.
#![cfg(target_arch = "x86_64")]
#![expect(unsafe_code, reason = "runs machine code")]

#[path = "../../../hal/src/x86_64/vdso.rs"]
#[allow(unreachable_pub, reason = "a module of the kernel")]
mod code;

use core::arch::x86_64::_rdtsc;
use kvdso::{Code, CpuMode, PAGE_SIZE, TimePage, TimeScale, TooLarge, build};
use libc::{c_int, c_long, timespec, timeval};

const NAMES: [&str; 5] = ["clock_gettime", "gettimeofday", "time", "clock_getres", "getcpu"];

fn image() -> Vec<u8> {
    let functions = code::functions();
    build(&Code { bytes: code::code(), offset: code::CODE_OFFSET, functions: &functions }).unwrap()
}

struct Elf<'a>(&'a [u8]);

impl Elf<'_> {
    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.0[at..at + 2].try_into().unwrap())
    }
    fn word(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }
    fn long(&self, at: usize) -> usize {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap()) as usize
    }
    fn text(&self, at: usize) -> &str {
        let end = self.0[at..].iter().position(|b| *b == 0).unwrap();
        std::str::from_utf8(&self.0[at..at + end]).unwrap()
    }
    /// The value of a dynamic tag, found through the program headers.
    fn dynamic(&self, tag: usize) -> usize {
        let headers = (0..self.half(56) as usize).map(|n| self.long(32) + 56 * n);
        let at = headers.into_iter().find(|h| self.word(*h) == 2).unwrap();
        let (offset, size) = (self.long(at + 8), self.long(at + 32));
        let entry = (offset..offset + size).step_by(16).find(|e| self.long(*e) == tag);
        self.long(entry.unwrap() + 8)
    }
    fn matches(&self, symbol: usize, name: &str) -> bool {
        let at = self.dynamic(6) + 24 * symbol;
        let version = self.half(self.dynamic(0x6fff_fff0) + 2 * symbol) & 0x7fff;
        self.text(self.dynamic(5) + self.word(at)) == name
            && self.0[at + 4] & 15 == 2
            && self.half(at + 6) != 0
            && version == self.version("LINUX_2.6", 0x3ae_75f6)
    }
    fn version(&self, name: &str, hash: usize) -> u16 {
        let mut at = self.dynamic(0x6fff_fffc);
        loop {
            let auxiliary = at + self.word(at + 12);
            if self.half(at + 2) & 1 == 0
                && self.word(at + 8) == hash
                && self.text(self.dynamic(5) + self.word(auxiliary)) == name
            {
                return self.half(at + 4) & 0x7fff;
            }
            assert_ne!(self.word(at + 16), 0, "no version {name}");
            at += self.word(at + 16);
        }
    }
    fn by_gnu_hash(&self, name: &str) -> Option<usize> {
        let hash =
            name.bytes().fold(5381u32, |h, b| (h << 5).wrapping_add(h).wrapping_add(b.into()));
        let table = self.dynamic(0x6fff_fef5);
        let (buckets, first, bloom, shift) =
            (self.word(table), self.word(table + 4), self.word(table + 8), self.word(table + 12));
        let filter = self.long(table + 16 + 8 * (hash as usize / 64 % bloom));
        if filter >> (hash % 64) & filter >> ((hash >> shift) % 64) & 1 == 0 {
            return None;
        }
        let bucket = table + 16 + 8 * bloom + 4 * (hash as usize % buckets);
        let chains = table + 16 + 8 * bloom + 4 * buckets;
        let mut symbol = self.word(bucket);
        while symbol >= first {
            let found = self.word(chains + 4 * (symbol - first)) as u32;
            if found | 1 == hash | 1 && self.matches(symbol, name) {
                return Some(symbol);
            }
            if found & 1 == 1 {
                return None;
            }
            symbol += 1;
        }
        None
    }
    fn by_sysv_hash(&self, name: &str) -> Option<usize> {
        let table = self.dynamic(4);
        let (buckets, mut hash) = (self.word(table), 0u32);
        for byte in name.bytes() {
            hash = (hash << 4).wrapping_add(byte.into());
            hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fff_ffff;
        }
        let mut symbol = self.word(table + 8 + 4 * (hash as usize % buckets));
        while symbol != 0 && !self.matches(symbol, name) {
            symbol = self.word(table + 8 + 4 * (buckets + symbol));
        }
        (symbol != 0).then_some(symbol)
    }
    fn address(&self, name: &str) -> usize {
        self.long(self.dynamic(6) + 24 * self.by_gnu_hash(name).unwrap() + 8)
    }
}

#[test]
fn both_hash_tables_lead_to_every_symbol() {
    let image = image();
    assert_eq!(image.len(), PAGE_SIZE);
    let elf = Elf(&image);
    for (name, (_, offset)) in NAMES.iter().zip(code::functions()) {
        for name in [name.to_string(), format!("__vdso_{name}")] {
            let symbol = elf.by_gnu_hash(&name);
            assert!(symbol.is_some(), "{name}");
            assert_eq!(elf.by_sysv_hash(&name), symbol);
            assert_eq!(elf.address(&name), code::CODE_OFFSET + offset);
        }
    }
    assert_eq!((elf.by_gnu_hash("__vdso_sgx"), elf.by_sysv_hash("__vdso_sgx")), (None, None));
}

#[test]
fn readelf_finds_nothing_wrong() {
    let path = std::env::temp_dir().join(format!("kvdso-{}.so", std::process::id()));
    std::fs::write(&path, image()).unwrap();
    let output = std::process::Command::new("readelf").arg("-aW").arg(&path).output();
    std::fs::remove_file(&path).unwrap();
    // binutils are not needed to build the kernel.
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaints, "");
    assert!(!text.contains("warning") && !text.contains("<corrupt"), "{text}");
    assert!(text.contains("__vdso_clock_gettime@@linux_2.6"), "{text}");
}

#[test]
fn code_that_does_not_fit_is_refused() {
    let large = vec![0; 3000];
    let functions = [("time", 0)];
    assert_eq!(build(&Code { bytes: &large, offset: 0x800, functions: &functions }), Err(TooLarge));
    assert_eq!(build(&Code { bytes: &[0], offset: 0x80, functions: &functions }), Err(TooLarge));
}

type ClockCall = unsafe extern "C" fn(c_int, *mut timespec) -> c_int;

/// The time page and, behind it, the executable image.
struct Mapped {
    base: usize,
}

impl Mapped {
    fn new() -> Self {
        let image = image();
        let (any, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
        // SAFETY: a new anonymous mapping, filled before it becomes code.
        unsafe {
            let flags = private | libc::MAP_ANONYMOUS;
            let base = libc::mmap(std::ptr::null_mut(), 2 * PAGE_SIZE, any, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let code = base.cast::<u8>().add(PAGE_SIZE);
            code.copy_from(image.as_ptr(), PAGE_SIZE);
            assert_eq!(
                libc::mprotect(code.cast(), PAGE_SIZE, libc::PROT_READ | libc::PROT_EXEC),
                0
            );
            Self { base: base as usize }
        }
    }

    fn page(&self) -> &TimePage {
        // SAFETY: zeroed memory at a page boundary is a valid page of atomics.
        unsafe { &*(self.base as *const TimePage) }
    }

    fn function<T>(&self, name: &str) -> T {
        let address = self.base + PAGE_SIZE + Elf(&image()).address(name);
        // SAFETY: T is a function pointer type at every call below.
        unsafe { std::mem::transmute_copy(&address) }
    }

    fn clock(&self, name: &str, clock: c_int) -> (c_int, i64) {
        let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the symbol has this signature.
        let result = unsafe { self.function::<ClockCall>(name)(clock, &mut time) };
        assert!((0..1_000_000_000).contains(&time.tv_nsec));
        (result, time.tv_sec * 1_000_000_000 + time.tv_nsec)
    }
}

fn host_clock(clock: c_int) -> i64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the structure.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn tsc() -> u64 {
    // SAFETY: every x86-64 has the counter.
    unsafe { _rdtsc() }
}

/// Follows the host's clock: calibrated over 50 ms.
fn calibrated() -> TimeScale {
    let (tsc_base, base) = (tsc(), host_clock(libc::CLOCK_MONOTONIC));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (end, now) = (tsc(), host_clock(libc::CLOCK_MONOTONIC));
    let mult = (((now - base) as u128) << 32) / u128::from(end - tsc_base);
    let realtime = host_clock(libc::CLOCK_REALTIME) - host_clock(libc::CLOCK_MONOTONIC);
    TimeScale {
        tsc_base,
        tsc_mult: mult as u64,
        tsc_shift: 32,
        base_ns: base as u64,
        realtime_offset_ns: realtime as u64,
    }
}

#[test]
fn clocks_follow_the_host() {
    let mapped = Mapped::new();
    mapped.page().publish(Some(&calibrated()));
    const CLOSE: i64 = 5_000_000;
    for (clock, like) in [(0, 0), (1, 1), (4, 1), (5, 0), (6, 1), (7, 1), (11, 0)] {
        let (result, ours) = mapped.clock("__vdso_clock_gettime", clock);
        assert_eq!(result, 0);
        assert!((host_clock(like) - ours).abs() < CLOSE, "clock {clock}");
        assert_eq!(mapped.clock("clock_getres", clock), (0, 1));
    }
    let mut last = 0;
    for _ in 0..100_000 {
        let (_, now) = mapped.clock("clock_gettime", 1);
        assert!(now >= last);
        last = now;
    }
    let mut of_day = timeval { tv_sec: 0, tv_usec: 0 };
    let mut zone = [7i32; 2];
    let gettimeofday: unsafe extern "C" fn(*mut timeval, *mut i32) -> c_int =
        mapped.function("gettimeofday");
    // SAFETY: valid pointers, or null where that is allowed.
    unsafe {
        assert_eq!(gettimeofday(&mut of_day, zone.as_mut_ptr()), 0);
        assert_eq!(gettimeofday(std::ptr::null_mut(), std::ptr::null_mut()), 0);
    }
    assert_eq!(zone, [0, 0]);
    let nanos = of_day.tv_sec * 1_000_000_000 + of_day.tv_usec * 1000;
    assert!((host_clock(0) - nanos).abs() < CLOSE);
    let time: unsafe extern "C" fn(*mut c_long) -> c_long = mapped.function("time");
    let mut stored = 0;
    // SAFETY: a valid pointer.
    let seconds = unsafe { time(&mut stored) };
    assert_eq!(seconds, stored);
    assert!((host_clock(0) / 1_000_000_000 - seconds).abs() <= 1);
}

#[test]
fn what_is_not_known_asks_the_kernel() {
    let mapped = Mapped::new();
    // Mode 0: no counter.
    let (result, ours) = mapped.clock("clock_gettime", libc::CLOCK_REALTIME);
    assert!(result == 0 && (host_clock(libc::CLOCK_REALTIME) - ours).abs() < 50_000_000);
    mapped.page().publish(Some(&calibrated()));
    let (result, cpu_time) = mapped.clock("clock_gettime", libc::CLOCK_PROCESS_CPUTIME_ID);
    assert!(result == 0 && cpu_time < 1_000_000_000_000);
    assert_eq!(mapped.clock("clock_gettime", 77).0, -libc::EINVAL);
    assert_eq!(mapped.clock("clock_getres", 77).0, -libc::EINVAL);
    let getcpu: unsafe extern "C" fn(*mut u32, *mut u32, usize) -> c_int =
        mapped.function("getcpu");
    let (mut cpu, mut node) = (u32::MAX, u32::MAX);
    // Linux keeps TSC_AUX as the code expects it, so the host can check it.
    for mode in [CpuMode::Call, CpuMode::Rdtscp] {
        mapped.page().set_cpu_mode(mode);
        // SAFETY: valid pointers.
        assert_eq!(unsafe { getcpu(&mut cpu, &mut node, 0) }, 0);
        assert!(cpu < 4096 && node < 64, "{mode:?}: cpu {cpu} node {node}");
    }
}

#[test]
fn seconds_are_split_exactly_at_the_edges() {
    let mapped = Mapped::new();
    let second = 1_000_000_000u64;
    for base_ns in [0, 1, second - 1, second, second + 1, 7 * second - 1, i64::MAX as u64] {
        // A scale that stands still.
        let scale = TimeScale {
            tsc_base: u64::MAX,
            tsc_mult: 1,
            tsc_shift: 0,
            base_ns,
            realtime_offset_ns: 0,
        };
        mapped.page().publish(Some(&scale));
        assert_eq!(mapped.clock("clock_gettime", 1), (0, base_ns as i64));
    }
}

#[test]
fn readers_never_see_half_an_update() {
    let mapped = Mapped::new();
    let scale = |n: u64| TimeScale {
        tsc_base: u64::MAX,
        tsc_mult: 1,
        tsc_shift: 0,
        base_ns: n,
        realtime_offset_ns: 1_000_000 - n,
    };
    mapped.page().publish(Some(&scale(0)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..300_000 {
                mapped.page().publish(Some(&scale(n % 1_000_000)));
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_eq!(mapped.clock("clock_gettime", 0), (0, 1_000_000));
        }
    });
}
