// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What all processes share: the tree of files, the network, random numbers,
//! and what only the image crate can make.

use crate::random::Random;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use kio::{Errno, File, Result, Socket};
use ksync::SpinLock;
use kvfs::{FileSystem, Namespace};

/// Objects of file systems and drivers that the core asks for without naming
/// them; the image crate provides it.
pub trait Provider: Send + Sync {
    /// A file without a name, for shared anonymous memory and memfd_create(2).
    fn anonymous_file(&self) -> Result<Arc<dyn File>>;

    /// socket(2) for every family but AF_UNIX.
    fn socket(&self, domain: u16, kind: u16, protocol: u16) -> Result<Arc<dyn Socket>>;

    /// A new file system for mount(2); `ENODEV` for an unknown type. Options
    /// are those of mount(8), with commas between.
    fn file_system(&self, _kind: &[u8], _options: &[u8]) -> Result<Arc<dyn FileSystem>> {
        Err(Errno::ENODEV)
    }

    /// The file system on a device, for mount(2); `ENOTBLK` when `source` is none.
    fn device_file_system(
        &self,
        _source: &[u8],
        _kind: &[u8],
        _read_only: bool,
    ) -> Result<Arc<dyn FileSystem>> {
        Err(Errno::ENOTBLK)
    }

    /// Before the machine goes off: lets what was sent go out, for a moment.
    fn settle(&self);
}

/// The shared part of the kernel's state.
pub struct Services {
    /// The tree of mounts.
    pub namespace: Namespace,
    /// What the image crate provides.
    pub provider: Arc<dyn Provider>,
    /// Random bytes.
    pub random: Arc<Random>,
    /// The host name.
    pub hostname: SpinLock<String>,
    /// Addresses of unix sockets.
    pub unix: Arc<kipc::UnixNames>,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}
