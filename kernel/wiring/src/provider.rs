// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the core asks for by trait: files in memory, sockets, the end.

use crate::disks::Disks;
use alloc::sync::Arc;
use core::time::Duration;
use kcore::services::Provider;
use kcore::timers::SystemTime;
use kfs_tmpfs::{Limits, Tmpfs};
use kio::{Errno, File, Result, Socket};
use knet::Stack;
use kvfs::FileSystem;

/// How long sockets may still send when the program has ended.
const SETTLE: Duration = Duration::from_millis(500);

/// The objects of this image.
pub(crate) struct ImageProvider {
    stack: Arc<Stack>,
    memory: Arc<Tmpfs>,
    disks: Arc<Disks>,
}

impl ImageProvider {
    pub(crate) fn new(stack: Arc<Stack>, memory: Arc<Tmpfs>, disks: Arc<Disks>) -> Self {
        Self { stack, memory, disks }
    }

    /// True while a peer outside has not got all that was sent to it, or our
    /// end of the connection.
    fn has_unsent(&self) -> bool {
        const FIN_WAIT1: u8 = 4;
        const LAST_ACK: u8 = 9;
        const CLOSING: u8 = 11;
        self.stack.tcp_sockets().iter().any(|s| {
            let outside = !s.remote.ip().is_loopback() && !s.remote.ip().is_unspecified();
            outside && (s.send_queue > 0 || matches!(s.state, FIN_WAIT1 | LAST_ACK | CLOSING))
        })
    }
}

impl Provider for ImageProvider {
    fn anonymous_file(&self) -> Result<Arc<dyn File>> {
        let inode = self.memory.anonymous_file(0o600)?;
        let file: Arc<dyn File> = inode;
        Ok(file)
    }

    fn socket(&self, domain: u16, kind: u16, protocol: u16) -> Result<Arc<dyn Socket>> {
        self.stack.socket(domain, kind, protocol)
    }

    fn file_system(&self, kind: &[u8], options: &[u8]) -> Result<Arc<dyn FileSystem>> {
        match kind {
            b"tmpfs" => {
                let (limits, permissions) = tmpfs_options(options)?;
                let memory = Tmpfs::new(Arc::new(SystemTime), limits, permissions)?;
                Ok(memory)
            }
            _ => Err(Errno::ENODEV),
        }
    }

    fn device_file_system(
        &self,
        source: &[u8],
        _kind: &[u8],
        read_only: bool,
    ) -> Result<Arc<dyn FileSystem>> {
        let source = core::str::from_utf8(source).map_err(|_| Errno::ENOENT)?;
        let disk = self.disks.find(source).map_err(|_| Errno::ENOENT)?;
        disk.mount(read_only).map_err(|error| {
            kcore::warn!("{source}: {error}");
            Errno::EINVAL
        })
    }

    fn settle(&self) {
        crate::volumes::shut_down();
        let end = khal::clock::monotonic() + SETTLE;
        while self.has_unsent() && khal::clock::monotonic() < end {
            kcore::timers::run_expired();
            kcore::sched::program_timer();
            khal::cpus::interrupt_window();
        }
    }
}

/// The options of tmpfs(5) that mean something here.
fn tmpfs_options(options: &[u8]) -> Result<(Limits, u32)> {
    let text = core::str::from_utf8(options).map_err(|_| Errno::EINVAL)?;
    let mut limits = Limits::of_this_machine();
    let mut permissions = 0o1777;
    for (name, value) in text.split(',').filter_map(|option| option.split_once('=')) {
        match name {
            // 0 is no limit, as for Linux.
            "size" => limits.bytes = size(value).map(|s| if s == 0 { u64::MAX } else { s })?,
            "nr_inodes" => {
                limits.inodes = size(value).map(|s| if s == 0 { u64::MAX } else { s })?;
            }
            "mode" => {
                permissions = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)? & 0o7777;
            }
            _ => {}
        }
    }
    Ok((limits, permissions))
}

/// A number with k, m, g for powers of 1024, or % of the memory.
fn size(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "%" => {
            let memory = (kmm::memory_info().total_frames * kmm::FRAME_SIZE) as u64;
            return Ok(memory / 100 * number.min(100));
        }
        _ => return Err(Errno::EINVAL),
    };
    number.checked_mul(1 << shift).ok_or(Errno::EINVAL)
}
