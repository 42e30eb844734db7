// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CPUs for /proc/cpuinfo and /proc/stat: what cpuid tells, and times.

use alloc::string::String;
use alloc::vec::Vec;
use core::arch::x86_64::{__cpuid, __cpuid_count};
use core::time::Duration;
use kcore::{process, sched};
use kfs_pseudo::Cpu;

/// Names of feature bits as Linux has them; a dot for none.
const LEAF_1_EDX: &str = "fpu vme de pse tsc msr pae mce cx8 apic . sep mtrr pge mca cmov pat \
    pse36 pn clflush . dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe";
const EXTENDED_1_EDX: &str = ". . . . . . . . . . . syscall . . . . . . . mp nx . mmxext . . \
    fxsr_opt pdpe1gb rdtscp . lm 3dnowext 3dnow";
const LEAF_1_ECX: &str = "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma \
    cx16 xtpr pdcm . pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave . \
    avx f16c rdrand hypervisor";
const EXTENDED_1_ECX: &str = "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse \
    3dnowprefetch osvw ibs xop skinit wdt . lwp fma4 tce . nodeid_msr . tbm topoext \
    perfctr_core perfctr_nb . bpext ptsc perfctr_llc mwaitx . .";
const LEAF_7_EBX: &str = "fsgsbase tsc_adjust sgx bmi1 hle avx2 . smep bmi2 erms invpcid rtm cqm \
    . mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma . clflushopt clwb intel_pt avx512pf \
    avx512er avx512cd sha_ni avx512bw avx512vl";
const LEAF_7_ECX: &str = ". avx512vbmi umip pku ospke waitpkg avx512_vbmi2 . gfni vaes \
    vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq . la57 . . . . . rdpid . \
    bus_lock_detect cldemote . movdiri movdir64b enqcmd sgx_lc .";

fn push_names(bits: u32, names: &str, out: &mut String) {
    for (bit, name) in names.split_ascii_whitespace().enumerate() {
        if bits & (1 << bit) != 0 && name != "." {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(name);
        }
    }
}

fn flags(highest: u32, highest_extended: u32) -> String {
    let mut out = String::new();
    let one = __cpuid(1);
    let extended = (highest_extended >= 0x8000_0001).then(|| __cpuid(0x8000_0001));
    let seven = (highest >= 7).then(|| __cpuid_count(7, 0));
    push_names(one.edx, LEAF_1_EDX, &mut out);
    push_names(extended.map_or(0, |e| e.edx), EXTENDED_1_EDX, &mut out);
    push_names(one.ecx, LEAF_1_ECX, &mut out);
    push_names(extended.map_or(0, |e| e.ecx), EXTENDED_1_ECX, &mut out);
    push_names(seven.map_or(0, |s| s.ebx), LEAF_7_EBX, &mut out);
    push_names(seven.map_or(0, |s| s.ecx), LEAF_7_ECX, &mut out);
    out
}

/// Registers as the text they hold, without padding.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    String::from_utf8_lossy(&bytes).trim_matches(|c| c == '\0' || c == ' ').into()
}

fn model_name(highest_extended: u32) -> String {
    if highest_extended < 0x8000_0004 {
        return "unknown".into();
    }
    let words: Vec<u32> = (0x8000_0002..=0x8000_0004)
        .map(__cpuid)
        .flat_map(|r| [r.eax, r.ebx, r.ecx, r.edx])
        .collect();
    text(&words)
}

/// Family and model with their extended parts.
fn signature(eax: u32) -> (u32, u32) {
    let (family, model) = (eax >> 8 & 0xf, eax >> 4 & 0xf);
    let full_family = if family == 0xf { family + (eax >> 20 & 0xff) } else { family };
    let full_model = if family >= 6 { model | (eax >> 16 & 0xf) << 4 } else { model };
    (full_family, full_model)
}

/// The largest cache in KiB, by the leaf for cache parameters (4, and
/// 0x8000001d which AMD has instead).
fn cache_kib(highest: u32, highest_extended: u32, features: u32) -> u32 {
    const TOPOLOGY_EXTENSIONS: u32 = 1 << 22;
    let leaf = match (highest >= 4 && __cpuid_count(4, 0).eax & 0x1f != 0, highest_extended) {
        (true, _) => 4,
        (false, 0x8000_001d..) if features & TOPOLOGY_EXTENSIONS != 0 => 0x8000_001d,
        _ => return 0,
    };
    let size = |r: core::arch::x86_64::CpuidResult| {
        let ways = u64::from(r.ebx >> 22) + 1;
        let partitions = u64::from(r.ebx >> 12 & 0x3ff) + 1;
        let line = u64::from(r.ebx & 0xfff) + 1;
        (ways * partitions * line * (u64::from(r.ecx) + 1) / 1024) as u32
    };
    let caches = (0..8).map(|i| __cpuid_count(leaf, i)).take_while(|r| r.eax & 0x1f != 0);
    caches.map(size).max().unwrap_or(0)
}

/// The clock from the scale of the time-stamp counter.
fn khz() -> u64 {
    khal::clock::tsc_hz() / 1000
}

pub(super) fn uptime() -> Duration {
    Duration::from_nanos(khal::clock::monotonic().as_nanos())
}

/// How long threads ran on each CPU, present turns included.
pub(super) fn busy_times() -> Vec<Duration> {
    let finished = |cpu| Duration::from_nanos(sched::busy_time(cpu));
    let mut times: Vec<Duration> = (0..khal::cpus::count()).map(finished).collect();
    for process in process::all() {
        for (_, task) in process.threads() {
            let Some(thread) = sched::thread_of(&task) else { continue };
            if let Some(time) = times.get_mut(thread.sched.last_cpu() as usize) {
                *time += thread.present_turn();
            }
        }
    }
    times
}

/// All CPUs; they are alike but for their times.
pub(super) fn describe() -> Vec<Cpu> {
    let zero = __cpuid(0);
    let (highest, highest_extended) = (zero.eax, __cpuid(0x8000_0000).eax);
    let one = __cpuid(1);
    let (family, model) = signature(one.eax);
    let extended = if highest_extended >= 0x8000_0001 { __cpuid(0x8000_0001).ecx } else { 0 };
    let bits = if highest_extended >= 0x8000_0008 { __cpuid(0x8000_0008).eax } else { 0x3024 };
    let template = Cpu {
        vendor: text(&[zero.ebx, zero.edx, zero.ecx]),
        family,
        model,
        model_name: model_name(highest_extended),
        stepping: one.eax & 0xf,
        khz: khz(),
        cache_kib: cache_kib(highest, highest_extended, extended),
        cpuid_level: highest,
        flags: flags(highest, highest_extended),
        address_bits: (bits as u8, (bits >> 8) as u8),
        ..Cpu::default()
    };
    let uptime = uptime();
    let cpus = busy_times().into_iter().enumerate();
    cpus.map(|(at, user)| Cpu {
        apic_id: at as u32,
        user,
        idle: uptime.saturating_sub(user),
        ..template.clone()
    })
    .collect()
}
