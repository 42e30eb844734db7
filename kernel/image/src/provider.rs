// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the core asks for by trait: files in memory, sockets, the end.

use alloc::sync::Arc;
use core::time::Duration;
use kcore::services::Provider;
use kfs_tmpfs::Tmpfs;
use kio::{File, Result, Socket};
use knet::Stack;

/// How long sockets may still send when the program has ended.
const SETTLE: Duration = Duration::from_millis(500);

/// The objects of this image.
pub(crate) struct ImageProvider {
    stack: Arc<Stack>,
    memory: Arc<Tmpfs>,
}

impl ImageProvider {
    pub(crate) fn new(stack: Arc<Stack>, memory: Arc<Tmpfs>) -> Self {
        Self { stack, memory }
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

    fn settle(&self) {
        let end = khal::clock::monotonic() + SETTLE;
        while self.has_unsent() && khal::clock::monotonic() < end {
            kcore::timers::run_expired();
            kcore::sched::program_timer();
            khal::cpus::interrupt_window();
        }
    }
}
