// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc/sys: a table of settings with Linux's defaults, which the kernel may
//! answer itself.

use crate::RandomSource;
use crate::node::Generated;
use crate::proc::Shared;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::Errno;
use kvfs::Inode;

/// Path below /proc/sys, and the value when the kernel knows no other.
const SETTINGS: &[(&str, &str)] = &[
    ("fs/aio-max-nr", "65536"),
    ("fs/file-max", "9223372036854775807"),
    ("fs/file-nr", "0\t0\t9223372036854775807"),
    ("fs/nr_open", "1048576"),
    ("fs/overflowgid", "65534"),
    ("fs/overflowuid", "65534"),
    ("fs/pipe-max-size", "1048576"),
    ("fs/suid_dumpable", "0"),
    ("fs/inotify/max_queued_events", "16384"),
    ("fs/inotify/max_user_instances", "128"),
    ("fs/inotify/max_user_watches", "65536"),
    ("kernel/cap_last_cap", "40"),
    ("kernel/core_pattern", "core"),
    ("kernel/domainname", "(none)"),
    ("kernel/hostname", "localhost"),
    ("kernel/msgmax", "8192"),
    ("kernel/msgmnb", "16384"),
    ("kernel/ngroups_max", "65536"),
    ("kernel/osrelease", ""),
    ("kernel/ostype", "Linux"),
    ("kernel/overflowgid", "65534"),
    ("kernel/overflowuid", "65534"),
    ("kernel/panic", "0"),
    ("kernel/perf_event_paranoid", "2"),
    ("kernel/pid_max", "4194304"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/sched_rr_timeslice_ms", "100"),
    ("kernel/shmall", "18446744073692774399"),
    ("kernel/shmmax", "18446744073692774399"),
    ("kernel/shmmni", "4096"),
    ("kernel/tainted", "0"),
    ("kernel/threads-max", "32768"),
    ("kernel/version", ""),
    ("kernel/yama/ptrace_scope", "1"),
    ("kernel/random/entropy_avail", "256"),
    ("kernel/random/poolsize", "256"),
    ("kernel/seccomp/actions_avail", ""),
    ("net/core/netdev_max_backlog", "1000"),
    ("net/core/optmem_max", "131072"),
    ("net/core/rmem_default", "212992"),
    ("net/core/rmem_max", "212992"),
    ("net/core/somaxconn", "4096"),
    ("net/core/wmem_default", "212992"),
    ("net/core/wmem_max", "212992"),
    ("net/ipv4/ip_default_ttl", "64"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/ip_local_port_range", "32768\t60999"),
    ("net/ipv4/ip_unprivileged_port_start", "1024"),
    ("net/ipv4/tcp_fin_timeout", "60"),
    ("net/ipv4/tcp_keepalive_intvl", "75"),
    ("net/ipv4/tcp_keepalive_probes", "9"),
    ("net/ipv4/tcp_keepalive_time", "7200"),
    ("net/ipv4/tcp_max_syn_backlog", "1024"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("net/ipv4/tcp_syncookies", "1"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/ipv6/bindv6only", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("vm/max_map_count", "65530"),
    ("vm/min_free_kbytes", "4096"),
    ("vm/mmap_min_addr", "65536"),
    ("vm/nr_hugepages", "0"),
    ("vm/overcommit_memory", "0"),
    ("vm/overcommit_ratio", "50"),
    ("vm/swappiness", "60"),
];

/// A tree of names, while it is being put together.
#[derive(Default)]
struct Tree {
    files: Vec<(&'static str, Arc<dyn Inode>)>,
    directories: BTreeMap<&'static str, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &'static str, inode: Arc<dyn Inode>) {
        match path.split_once('/') {
            Some((head, tail)) => self.directories.entry(head).or_default().insert(tail, inode),
            None => self.files.push((path, inode)),
        }
    }

    fn finish(self, shared: &Shared) -> Arc<dyn Inode> {
        let mut entries = self.files;
        let inner = self.directories.into_iter().map(|(name, tree)| (name, tree.finish(shared)));
        entries.extend(inner);
        shared.directory(entries, None)
    }
}

/// A version 4 UUID (RFC 9562).
fn uuid(random: &dyn RandomSource) -> String {
    let mut b = [0; 16];
    random.fill(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let n = u128::from_be_bytes(b);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        n >> 96,
        n >> 80 & 0xffff,
        n >> 64 & 0xffff,
        n >> 48 & 0xffff,
        n & 0xffff_ffff_ffff
    )
}

fn setting(shared: &Arc<Shared>, path: &'static str, default: &'static str) -> Arc<dyn Inode> {
    let header = shared.numbers.header(0o644, shared.view.now());
    let (reader, writer) = (shared.clone(), shared.clone());
    Generated::writable(
        header,
        move || {
            let view = &reader.view;
            let known = match path {
                "kernel/osrelease" => Some(view.release()),
                "kernel/version" => Some(view.version()),
                _ => view.sysctl(path),
            };
            Ok(format!("{}\n", known.as_deref().unwrap_or(default)).into_bytes())
        },
        move |bytes| {
            let value = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
            writer.view.set_sysctl(path, value.trim_end_matches('\n'))
        },
    )
}

/// The directory /proc/sys.
pub(crate) fn directory(shared: &Arc<Shared>, random: Arc<dyn RandomSource>) -> Arc<dyn Inode> {
    let mut tree = Tree::default();
    for &(path, default) in SETTINGS {
        tree.insert(path, setting(shared, path, default));
    }
    let boot_id = uuid(&*random) + "\n";
    let file = shared.file(0o444, move |_| Ok(boot_id.clone().into_bytes()));
    tree.insert("kernel/random/boot_id", file);
    let file = shared.file(0o444, move |_| Ok((uuid(&*random) + "\n").into_bytes()));
    tree.insert("kernel/random/uuid", file);
    tree.finish(shared)
}
