// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /sys: the CPUs, the memory nodes and the page sizes, which is what language
//! runtimes look for. There are no control groups.

use crate::format::cpu_list;
use crate::node::{Directory, Generated, Numbers};
use crate::view::SystemView;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kvfs::{FileSystem, FsStat, Inode};

const SYSFS_MAGIC: u64 = 0x6265_6572;

/// The file system of /sys.
pub struct SysFs {
    root: Arc<dyn Inode>,
}

type Entry = (&'static str, Arc<dyn Inode>);

struct Maker {
    view: Arc<dyn SystemView>,
    numbers: Numbers,
}

impl Maker {
    fn text(&self, text: impl Into<String>) -> Arc<dyn Inode> {
        let text: String = text.into();
        let header = self.numbers.header(0o444, self.view.now());
        Generated::readable(header, move || Ok(format!("{text}\n").into_bytes()))
    }

    fn directory(&self, entries: Vec<Entry>) -> Arc<dyn Inode> {
        Directory::new(self.numbers.header(0o755, self.view.now()), entries)
    }

    /// /sys/devices/system/cpu.
    fn cpus(&self) -> Arc<dyn Inode> {
        let count = self.view.cpus().len().clamp(1, 64);
        let all = cpu_list(u64::MAX >> (64 - count));
        let mut entries = alloc::vec![
            ("isolated", self.text("")),
            ("kernel_max", self.text("63")),
            ("offline", self.text("")),
            ("online", self.text(all.clone())),
            ("possible", self.text(all.clone())),
            ("present", self.text(all)),
        ];
        for at in 0..count {
            // The machine has its CPUs as long as it runs.
            let name: &'static str = Box::leak(format!("cpu{at}").into_boxed_str());
            entries.push((name, self.cpu(at, count)));
        }
        self.directory(entries)
    }

    fn cpu(&self, at: usize, count: usize) -> Arc<dyn Inode> {
        let one = cpu_list(1 << at);
        let all = cpu_list(u64::MAX >> (64 - count));
        let topology = alloc::vec![
            ("core_id", self.text(format!("{at}"))),
            ("core_cpus_list", self.text(one.clone())),
            ("core_siblings_list", self.text(all.clone())),
            ("package_cpus_list", self.text(all)),
            ("physical_package_id", self.text("0")),
            ("thread_siblings", self.text(format!("{:x}", 1u64 << at))),
            ("thread_siblings_list", self.text(one)),
        ];
        self.directory(alloc::vec![
            ("online", self.text("1")),
            ("topology", self.directory(topology)),
        ])
    }

    /// /sys/devices/system/node: one.
    fn nodes(&self) -> Arc<dyn Inode> {
        let count = self.view.cpus().len().clamp(1, 64);
        let view = self.view.clone();
        let header = self.numbers.header(0o444, self.view.now());
        let memory = Generated::readable(header, move || {
            let m = view.memory();
            let rows = [("MemTotal", m.total), ("MemFree", m.free)];
            let line = |(name, bytes): (&str, u64)| {
                format!("Node 0 {:<15} {:8} kB\n", format!("{name}:"), bytes / 1024)
            };
            Ok(rows.into_iter().map(line).collect::<String>().into_bytes())
        });
        let node = self.directory(alloc::vec![
            ("cpulist", self.text(cpu_list(u64::MAX >> (64 - count)))),
            ("cpumap", self.text(format!("{:x}", u64::MAX >> (64 - count)))),
            ("distance", self.text("10")),
            ("meminfo", memory),
        ]);
        self.directory(alloc::vec![
            ("has_cpu", self.text("0")),
            ("has_memory", self.text("0")),
            ("has_normal_memory", self.text("0")),
            ("node0", node),
            ("online", self.text("0")),
            ("possible", self.text("0")),
        ])
    }

    fn huge_pages(&self) -> Arc<dyn Inode> {
        self.directory(alloc::vec![
            ("defrag", self.text("always defer defer+madvise [madvise] never")),
            ("enabled", self.text("[always] madvise never")),
            ("hpage_pmd_size", self.text("2097152")),
            ("shmem_enabled", self.text("always within_size advise [never] deny force")),
            ("use_zero_page", self.text("1")),
        ])
    }
}

impl SysFs {
    /// Shows the CPUs and the memory of `view`.
    pub fn new(view: Arc<dyn SystemView>) -> Arc<Self> {
        let m = Maker { view, numbers: Numbers::new() };
        let system = m.directory(alloc::vec![("cpu", m.cpus()), ("node", m.nodes())]);
        let memory = m.directory(alloc::vec![("transparent_hugepage", m.huge_pages())]);
        let root = m.directory(alloc::vec![
            ("block", m.directory(Vec::new())),
            ("bus", m.directory(Vec::new())),
            ("class", m.directory(alloc::vec![("net", m.directory(Vec::new()))])),
            ("devices", m.directory(alloc::vec![("system", system)])),
            ("fs", m.directory(Vec::new())),
            ("kernel", m.directory(alloc::vec![("mm", memory)])),
            ("module", m.directory(Vec::new())),
        ]);
        Arc::new(Self { root })
    }
}

impl FileSystem for SysFs {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn name(&self) -> &'static str {
        "sysfs"
    }
    fn statfs(&self) -> FsStat {
        FsStat::without_blocks(SYSFS_MAGIC)
    }
}
