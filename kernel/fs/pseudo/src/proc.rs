// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc: the files of the system, and the directories of processes.

use crate::node::{Directory, Generated, LISTING_CURSORS, Link, Listing, Numbers};
use crate::view::{Cpu, SystemView};
use crate::{RandomSource, format, mounts, process, sysctl};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Write;
use kio::{DirEntry, Errno, FileKind, Result};
use kvfs::{FileSystem, FsStat, Inode, LinkTarget};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// What all inodes of /proc share.
pub(crate) struct Shared {
    pub(crate) view: Arc<dyn SystemView>,
    pub(crate) numbers: Numbers,
}

impl Shared {
    /// A read-only file for everybody.
    pub(crate) fn file(
        self: &Arc<Self>,
        permissions: u32,
        read: impl Fn(&dyn SystemView) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Arc<dyn Inode> {
        let shared = self.clone();
        let header = self.numbers.header(permissions, self.view.now());
        Generated::readable(header, move || read(&*shared.view))
    }

    pub(crate) fn directory(
        &self,
        entries: Vec<(&'static str, Arc<dyn Inode>)>,
        listing: Option<Box<dyn Listing>>,
    ) -> Arc<dyn Inode> {
        let header = self.numbers.header(0o555, self.view.now());
        Directory::with_listing(header, entries, listing)
    }

    pub(crate) fn link(
        self: &Arc<Self>,
        target: impl Fn(&dyn SystemView) -> Result<LinkTarget> + Send + Sync + 'static,
    ) -> Arc<dyn Inode> {
        let shared = self.clone();
        let header = self.numbers.header(0o777, self.view.now());
        Link::computed(header, move || target(&*shared.view))
    }
}

/// The file system of /proc.
pub struct ProcFs {
    root: Arc<dyn Inode>,
}

impl ProcFs {
    /// `random` makes the values of random/uuid and random/boot_id.
    pub fn new(view: Arc<dyn SystemView>, random: Arc<dyn RandomSource>) -> Arc<Self> {
        let shared = Arc::new(Shared { view, numbers: Numbers::new() });
        let mut entries = system_files(&shared);
        entries.push(("sys", sysctl::directory(&shared, random)));
        entries.push((
            "self",
            shared.link(|v| Ok(LinkTarget::Path(format!("{}", v.current().0).into_bytes()))),
        ));
        entries.push((
            "thread-self",
            shared.link(|v| {
                let (process, thread) = v.current();
                Ok(LinkTarget::Path(format!("{process}/task/{thread}").into_bytes()))
            }),
        ));
        let header = shared.numbers.header(0o555, shared.view.now());
        for (name, target) in [("net", "self/net"), ("mounts", "self/mounts")] {
            let header = shared.numbers.header(0o777, shared.view.now());
            entries.push((name, Link::fixed(header, target)));
        }
        let listing = Box::new(Processes { shared });
        Arc::new(Self { root: Directory::with_listing(header, entries, Some(listing)) })
    }
}

impl FileSystem for ProcFs {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn name(&self) -> &'static str {
        "proc"
    }
    fn statfs(&self) -> FsStat {
        FsStat::without_blocks(PROC_SUPER_MAGIC)
    }
}

/// The directories of processes, by id.
struct Processes {
    shared: Arc<Shared>,
}

/// A decimal number without sign and leading zeroes.
pub(crate) fn number(name: &[u8]) -> Result<u32> {
    let text = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
    let plain = text == "0" || !(text.starts_with('0') || text.starts_with('+'));
    text.parse().ok().filter(|_| plain).ok_or(Errno::ENOENT)
}

/// Lists numbered entries behind `cursor`.
pub(crate) fn list_numbers(
    numbers: &[u32],
    kind: FileKind,
    cursor: u64,
    emit: &mut dyn FnMut(DirEntry<'_>) -> bool,
) {
    for &number in numbers {
        let next = LISTING_CURSORS + 1 + u64::from(number);
        let name = format!("{number}");
        if next > cursor && !emit(DirEntry { name: name.as_bytes(), inode: next, kind, next }) {
            break;
        }
    }
}

impl Listing for Processes {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let id = number(name)?;
        self.shared.view.process(id).ok_or(Errno::ENOENT)?;
        Ok(process::directory(&self.shared, id))
    }

    fn list(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        list_numbers(&self.shared.view.processes(), FileKind::Directory, cursor, emit);
        Ok(())
    }
}

fn system_files(shared: &Arc<Shared>) -> Vec<(&'static str, Arc<dyn Inode>)> {
    let fixed = |text: &'static str| shared.file(0o444, move |_| Ok(text.into()));
    alloc::vec![
        ("cmdline", shared.file(0o444, |v| Ok(with_newline(v.command_line().into_bytes())))),
        ("cpuinfo", shared.file(0o444, |v| Ok(cpuinfo(&v.cpus()).into_bytes()))),
        (
            "devices",
            fixed(
                "Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n\nBlock devices:\n254 virtblk\n"
            )
        ),
        ("filesystems", fixed(FILE_SYSTEMS)),
        ("interrupts", shared.file(0o444, |v| Ok(interrupts(v).into_bytes()))),
        ("loadavg", shared.file(0o444, |v| Ok(loadavg(v).into_bytes()))),
        ("meminfo", shared.file(0o444, |v| Ok(meminfo(v).into_bytes()))),
        ("modules", fixed("")),
        ("partitions", shared.file(0o444, |v| Ok(partitions(v).into_bytes()))),
        ("stat", shared.file(0o444, |v| Ok(stat(v).into_bytes()))),
        ("swaps", fixed("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
        ("uptime", shared.file(0o444, |v| Ok(uptime(v).into_bytes()))),
        ("version", shared.file(0o444, |v| Ok(version(v).into_bytes()))),
        ("vmstat", fixed("")),
    ]
}

fn partitions(v: &dyn SystemView) -> String {
    let mut text = String::from("major minor  #blocks  name\n\n");
    for (number, bytes, name) in v.disks() {
        let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
        let _ = writeln!(text, "{major:4}  {minor:7} {:10} {name}", bytes / 1024);
    }
    text
}

fn with_newline(mut text: Vec<u8>) -> Vec<u8> {
    text.push(b'\n');
    text
}

const FILE_SYSTEMS: &str = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\n\
                            nodev\tsockfs\nnodev\tpipefs\nnodev\toverlay\n\terofs\n\text4\n";

fn version(v: &dyn SystemView) -> String {
    format!("Linux version {} {}\n", v.release(), v.version())
}

fn uptime(v: &dyn SystemView) -> String {
    let (up, idle) = v.uptime();
    let hundredths = |d: core::time::Duration| d.subsec_millis() / 10;
    format!("{}.{:02} {}.{:02}\n", up.as_secs(), hundredths(up), idle.as_secs(), hundredths(idle))
}

fn loadavg(v: &dyn SystemView) -> String {
    let load = v.load();
    let mut text = String::new();
    for average in load.averages {
        let _ = write!(text, "{}.{:02} ", average / 100, average % 100);
    }
    let _ = writeln!(text, "{}/{} {}", load.running, load.threads, load.last_id);
    text
}

fn meminfo(v: &dyn SystemView) -> String {
    let m = v.memory();
    let cached = m.cached + m.shared;
    let rows = [
        ("MemTotal", m.total),
        ("MemFree", m.free),
        ("MemAvailable", m.available),
        ("Buffers", 0),
        ("Cached", cached),
        ("SwapCached", 0),
        ("Active", m.anonymous + m.cached),
        ("Inactive", m.shared),
        ("Active(anon)", m.anonymous),
        ("Inactive(anon)", m.shared),
        ("Active(file)", m.cached),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", m.anonymous),
        ("Mapped", m.cached),
        ("Shmem", m.shared),
        ("KReclaimable", 0),
        ("Slab", m.heap),
        ("SReclaimable", 0),
        ("SUnreclaim", m.heap),
        ("KernelStack", m.kernel_stacks),
        ("PageTables", m.page_tables),
        ("NFS_Unstable", 0),
        ("Bounce", 0),
        ("WritebackTmp", 0),
        ("CommitLimit", m.total),
        ("Committed_AS", m.anonymous),
        ("VmallocTotal", 34_359_738_367 * 1024),
        ("VmallocUsed", 0),
        ("VmallocChunk", 0),
        ("AnonHugePages", 0),
    ];
    let mut text = String::new();
    for (name, bytes) in rows {
        let head = format!("{name}:");
        let _ = writeln!(text, "{head:<16}{:8} kB", bytes / 1024);
    }
    for name in ["HugePages_Total", "HugePages_Free", "HugePages_Rsvd", "HugePages_Surp"] {
        let head = format!("{name}:");
        let _ = writeln!(text, "{head:<16}{:8}", 0);
    }
    text.push_str("Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    text
}

fn cpuinfo(cpus: &[Cpu]) -> String {
    let mut text = String::new();
    for (at, c) in cpus.iter().enumerate() {
        let count = cpus.len();
        let _ = write!(
            text,
            "processor\t: {at}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\n\
             model name\t: {}\nstepping\t: {}\ncpu MHz\t\t: {}.{:03}\ncache size\t: {} KB\n\
             physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {at}\ncpu cores\t: {count}\n\
             apicid\t\t: {}\ninitial apicid\t: {}\nfpu\t\t: yes\nfpu_exception\t: yes\n\
             cpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t: \nbogomips\t: {}.{:02}\n\
             clflush size\t: 64\ncache_alignment\t: 64\n\
             address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            c.vendor,
            c.family,
            c.model,
            c.model_name,
            c.stepping,
            c.khz / 1000,
            c.khz % 1000,
            c.cache_kib,
            c.apic_id,
            c.apic_id,
            c.cpuid_level,
            c.flags,
            c.khz * 2 / 1000,
            c.khz * 2 / 10 % 100,
            c.address_bits.0,
            c.address_bits.1,
        );
    }
    text
}

fn stat(v: &dyn SystemView) -> String {
    let (cpus, load) = (v.cpus(), v.load());
    let mut text = String::new();
    let mut row = |name: String, of: &[Cpu]| {
        let sum = |time: fn(&Cpu) -> core::time::Duration| format::ticks(of.iter().map(time).sum());
        let (user, system, idle) = (sum(|c| c.user), sum(|c| c.system), sum(|c| c.idle));
        let _ = writeln!(text, "{name} {user} 0 {system} {idle} 0 0 0 0 0 0");
    };
    // The sum has one more space, which parsers of Linux's file expect.
    row(String::from("cpu "), &cpus);
    for (at, cpu) in cpus.iter().enumerate() {
        row(format!("cpu{at}"), core::slice::from_ref(cpu));
    }
    let boot = v.now().saturating_sub(v.uptime().0).as_secs();
    let _ = write!(
        text,
        "intr {}\nctxt {}\nbtime {boot}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        load.interrupts, load.context_switches, load.forks, load.running
    );
    text
}

fn interrupts(v: &dyn SystemView) -> String {
    let mut text = String::from("           ");
    for at in 0..v.cpus().len() {
        let _ = write!(text, "{:<11}", format!("CPU{at}"));
    }
    text.push('\n');
    text
}

/// /proc/PID/net, which is the same for all processes.
pub(crate) fn network(shared: &Arc<Shared>) -> Arc<dyn Inode> {
    const TABLES: [(&str, &str); 10] = [
        ("arp", "IP address       HW type     Flags       HW address            Mask     Device\n"),
        (
            "dev",
            "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
        ),
        ("if_inet6", ""),
        ("ipv6_route", ""),
        (
            "route",
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n",
        ),
        (
            "tcp",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n",
        ),
        (
            "tcp6",
            "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
        ),
        (
            "udp",
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n",
        ),
        (
            "udp6",
            "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
        ),
        ("unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"),
    ];
    let entries = TABLES.iter().map(|&(name, heading)| {
        let file = shared.file(0o444, move |v| {
            Ok((String::from(heading) + &v.network_table(name)).into_bytes())
        });
        (name, file)
    });
    shared.directory(entries.collect(), None)
}

/// The texts about mounts as a process sees them.
pub(crate) fn mounts_of(v: &dyn SystemView, id: u32, info: bool) -> Result<Vec<u8>> {
    let root = v.process(id).ok_or(Errno::ESRCH)?.root().ok_or(Errno::EINVAL)?;
    Ok(match info {
        true => mounts::mountinfo(v.namespace(), &root),
        false => mounts::mounts(v.namespace(), &root),
    })
}
