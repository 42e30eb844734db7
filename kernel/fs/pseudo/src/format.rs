// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Texts of /proc/PID, byte for byte as proc(5) and fs/proc of Linux have them.

use crate::view::{Mapping, ProcessStatus, ThreadStatus};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

/// USER_HZ: the unit of times in /proc.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 10_000_000).unwrap_or(u64::MAX)
}

fn state(thread: &ThreadStatus) -> (char, &'static str) {
    match thread.state {
        'R' => ('R', "running"),
        'D' => ('D', "disk sleep"),
        'T' => ('T', "stopped"),
        't' => ('t', "tracing stop"),
        'Z' => ('Z', "zombie"),
        'X' => ('X', "dead"),
        _ => ('S', "sleeping"),
    }
}

/// /proc/PID/stat, of the thread with `id`.
pub(crate) fn stat(id: u32, threads: usize, p: &ProcessStatus, t: &ThreadStatus) -> Vec<u8> {
    let rss = (p.resident_anonymous + p.resident_files + p.resident_shared) / 4096;
    let mut text = format!("{id} (").into_bytes();
    text.extend_from_slice(&t.name);
    let low = |signals: u64| signals & 0x7fff_ffff;
    let rest = format!(
        ") {} {} {} {} 0 -1 4194304 {} 0 {} 0 {} {} 0 0 {} {} {} 0 {} {} {} \
         18446744073709551615 {} {} {} 0 0 {} {} {} {} 0 0 0 17 {} 0 0 0 0 0 0 0 {} 0 0 0 0 0\n",
        state(t).0,
        p.parent,
        p.group,
        p.session,
        p.faults.0,
        p.faults.1,
        ticks(t.user),
        ticks(t.system),
        20 + t.nice,
        t.nice,
        threads,
        ticks(t.started),
        p.size,
        rss,
        p.text_range.0,
        p.text_range.1,
        p.stack_start,
        low(t.pending),
        low(t.blocked),
        low(p.ignored),
        low(p.caught),
        t.cpu,
        p.heap_start,
    );
    text.extend_from_slice(rest.as_bytes());
    text
}

/// /proc/PID/statm.
pub(crate) fn statm(p: &ProcessStatus) -> Vec<u8> {
    let pages = |bytes: u64| bytes / 4096;
    let resident = p.resident_anonymous + p.resident_files + p.resident_shared;
    format!(
        "{} {} {} {} 0 {} 0\n",
        pages(p.size),
        pages(resident),
        pages(p.resident_files + p.resident_shared),
        pages(p.text),
        pages(p.data + p.stack)
    )
    .into_bytes()
}

/// A list of CPUs as "0-3,5".
pub(crate) fn cpu_list(mask: u64) -> String {
    let mut text = String::new();
    let mut cpu = 0;
    while cpu < 64 {
        let run = (mask >> cpu).trailing_ones();
        if run > 0 {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = match run {
                1 => write!(text, "{comma}{cpu}"),
                _ => write!(text, "{comma}{cpu}-{}", cpu + run - 1),
            };
        }
        cpu += run.max(1);
    }
    text
}

/// /proc/PID/status, of the thread with `id` of the process `process`.
pub(crate) fn status(
    id: u32,
    process: u32,
    threads: usize,
    descriptors: usize,
    p: &ProcessStatus,
    t: &ThreadStatus,
) -> Vec<u8> {
    let mut text = b"Name:\t".to_vec();
    text.extend(t.name.iter().flat_map(|&b| match b {
        b'\n' => b"\\n".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        _ => alloc::vec![b],
    }));
    let (letter, word) = state(t);
    let resident = p.resident_anonymous + p.resident_files + p.resident_shared;
    let ids = |ids: [u32; 4]| ids.map(|id| format!("\t{id}")).concat();
    let groups: Vec<String> = t.groups.iter().map(|group| format!("{group}")).collect();
    let groups = groups.join(" ");
    let mut rest = format!(
        "\nUmask:\t{:04o}\nState:\t{letter} ({word})\nTgid:\t{process}\nNgid:\t0\nPid:\t{id}\n\
         PPid:\t{}\nTracerPid:\t0\nUid:{}\nGid:{}\nFDSize:\t{}\n\
         Groups:\t{} \nNStgid:\t{process}\nNSpid:\t{id}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        p.umask,
        p.parent,
        ids(t.user_ids),
        ids(t.group_ids),
        descriptors.max(64).next_power_of_two(),
        groups,
        p.group,
        p.session
    );
    let sizes = [
        ("VmPeak", p.peak_size.max(p.size)),
        ("VmSize", p.size),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", p.peak_resident.max(resident)),
        ("VmRSS", resident),
        ("RssAnon", p.resident_anonymous),
        ("RssFile", p.resident_files),
        ("RssShmem", p.resident_shared),
        ("VmData", p.data),
        ("VmStk", p.stack),
        ("VmExe", p.text),
        ("VmLib", 0),
        ("VmPTE", p.page_tables),
        ("VmSwap", 0),
        ("HugetlbPages", 0),
    ];
    for (name, bytes) in sizes {
        let _ = writeln!(rest, "{name}:\t{:8} kB", bytes / 1024);
    }
    let _ = write!(rest, "CoreDumping:\t0\nTHP_enabled:\t1\nThreads:\t{threads}\nSigQ:\t0/4096\n");
    let signals = [
        ("SigPnd", t.pending),
        ("ShdPnd", p.pending),
        ("SigBlk", t.blocked),
        ("SigIgn", p.ignored),
        ("SigCgt", p.caught),
    ];
    for (name, set) in signals {
        let _ = writeln!(rest, "{name}:\t{set:016x}");
    }
    const ALL: u64 = 0x1ff_ffff_ffff;
    for (name, set) in
        [("CapInh", 0), ("CapPrm", ALL), ("CapEff", ALL), ("CapBnd", ALL), ("CapAmb", 0u64)]
    {
        let _ = writeln!(rest, "{name}:\t{set:016x}");
    }
    let _ = write!(
        rest,
        "NoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\nCpus_allowed:\t{:x}\n\
         Cpus_allowed_list:\t{}\nMems_allowed:\t00000001\nMems_allowed_list:\t0\n\
         voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n",
        t.allowed_cpus,
        cpu_list(t.allowed_cpus),
        t.voluntary_switches,
        t.involuntary_switches
    );
    text.extend_from_slice(rest.as_bytes());
    text
}

fn map_line(m: &Mapping) -> Vec<u8> {
    let bit = |bit, letter| if m.protection & bit != 0 { letter } else { '-' };
    let (device, inode) = m.file;
    let mut line = format!(
        "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {inode} ",
        m.start,
        m.end,
        bit(1, 'r'),
        bit(2, 'w'),
        bit(4, 'x'),
        if m.shared { 's' } else { 'p' },
        m.offset,
        device >> 8 & 0xfff,
        (device & 0xff) | (device >> 12 & 0xf_ff00),
    )
    .into_bytes();
    if !m.name.is_empty() {
        line.resize(line.len().max(73), b' ');
        line.extend(m.name.iter().flat_map(|&b| match b {
            b'\n' => b"\\012".to_vec(),
            _ => alloc::vec![b],
        }));
    }
    line.push(b'\n');
    line
}

/// /proc/PID/maps.
pub(crate) fn maps(mappings: &[Mapping]) -> Vec<u8> {
    mappings.iter().flat_map(map_line).collect()
}

/// /proc/PID/smaps, with the figures that are known.
pub(crate) fn smaps(mappings: &[Mapping]) -> Vec<u8> {
    let mut text = Vec::new();
    for m in mappings {
        text.extend(map_line(m));
        let kib = |bytes: u64| bytes / 1024;
        let shared = kib(m.resident.saturating_sub(m.private));
        let rows = [
            ("Size", kib(m.end - m.start)),
            ("KernelPageSize", 4),
            ("MMUPageSize", 4),
            ("Rss", kib(m.resident)),
            ("Pss", kib(m.resident)),
            ("Shared_Clean", shared),
            ("Shared_Dirty", 0),
            ("Private_Clean", 0),
            ("Private_Dirty", kib(m.private)),
            ("Referenced", kib(m.resident)),
            ("Anonymous", kib(m.private)),
            ("AnonHugePages", 0),
            ("Swap", 0),
            ("Locked", 0),
        ];
        for (name, value) in rows {
            let head = format!("{name}:");
            text.extend_from_slice(format!("{head:<16}{value:8} kB\n").as_bytes());
        }
    }
    text
}

/// /proc/PID/limits.
pub(crate) fn limits(limits: &[(u64, u64); 16]) -> Vec<u8> {
    const NAMES: [(&str, &str); 16] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let value = |v: u64| match v {
        u64::MAX => String::from("unlimited"),
        _ => format!("{v}"),
    };
    let mut text =
        format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for ((name, unit), (soft, hard)) in NAMES.iter().zip(limits) {
        let _ = write!(text, "{name:<25} {:<20} {:<20} ", value(*soft), value(*hard));
        // A limit without a unit has no column for it.
        let width = if unit.is_empty() { 0 } else { 10 };
        let _ = writeln!(text, "{unit:<width$}");
    }
    text.into_bytes()
}
