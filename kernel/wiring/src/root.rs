// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tree of files: the root image with memory over it, /dev, /proc, /sys.

use crate::RootImage;
use crate::disks::Disks;
use crate::system_view::KernelView;
use alloc::string::String;
use alloc::sync::Arc;
use kcore::random::Random;
use kcore::services::Services;
use kcore::timers::SystemTime;
use kfs_erofs::Erofs;
use kfs_pseudo::{Console, Devices, ProcFs, RandomSource, SysFs, populate_dev};
use kfs_tmpfs::{Limits, Tmpfs};
use kio::{Errno, File, FileKind, Result};
use kipc::{Access, Fifo};
use knet::Stack;
use kvfs::{FileSystem, Inode, MountFlags, Namespace, OpenFlags, SpecialFiles, Start};

struct Entropy(Arc<Random>);

impl RandomSource for Entropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }
    fn mix(&self, bytes: &[u8]) {
        self.0.mix(bytes);
    }
}

struct Special {
    devices: Devices,
    disks: Arc<Disks>,
}

impl SpecialFiles for Special {
    fn open_device(&self, kind: FileKind, device: u64, flags: OpenFlags) -> Result<Arc<dyn File>> {
        match kind {
            FileKind::BlockDevice => self.disks.open(device),
            _ => self.devices.open(kind, device, flags),
        }
    }

    fn open_fifo(&self, inode: &Arc<dyn Inode>, flags: OpenFlags) -> Result<Arc<dyn File>> {
        let mut slot = inode.attachment().ok_or(Errno::ENXIO)?.lock();
        let known = slot.as_ref().and_then(|object| object.clone().downcast::<Fifo>().ok());
        let fifo = match known {
            Some(fifo) => fifo,
            None => {
                let fifo = Arc::new(Fifo::new()?);
                *slot = Some(fifo.clone());
                fifo
            }
        };
        drop(slot);
        let access = match (flags.readable(), flags.writable()) {
            (true, true) => Access::Both,
            (false, _) => Access::Write,
            (true, false) => Access::Read,
        };
        let opening = fifo.open(access, flags.contains(OpenFlags::NONBLOCK))?;
        let queue_of = |o: &kipc::FifoOpening| o.is_ready();
        if !queue_of(&opening) {
            kcore::wait::wait_on(
                opening.wait_queue(),
                kio::Events::READABLE | kio::Events::WRITABLE,
                None,
                || if opening.is_ready() { Ok(()) } else { Err(Errno::EAGAIN) },
            )?;
        }
        match opening.finish() {
            Ok(end) => Ok(Arc::new(end)),
            Err(_) => Err(Errno::EINTR),
        }
    }
}

/// Mounts at `path`, which is made with all above it when it is not there.
pub(crate) fn mount_at(
    namespace: &Namespace,
    path: &[u8],
    file_system: Arc<dyn FileSystem>,
    flags: MountFlags,
) -> Result<()> {
    let root = namespace.root();
    let start = Start { root: &root, base: &root };
    let directory = |path: &[u8]| match namespace.resolve(start, path, kvfs::Follow::Yes) {
        Err(Errno::ENOENT) => namespace.make_directory(start, path, 0o755),
        other => other,
    };
    let is_end = |&(at, &byte): &(usize, &u8)| at > 0 && byte == b'/';
    for (above, _) in path.iter().enumerate().filter(is_end) {
        directory(&path[..above])?;
    }
    namespace.mount(file_system, &directory(path)?, flags)
}

/// Mounts all but what shows the kernel; also gives the file system of files without names.
pub(crate) fn mount(
    image: RootImage,
    console: Arc<Console>,
    random: Arc<Random>,
    disks: Arc<Disks>,
) -> Result<(Namespace, Arc<Tmpfs>)> {
    let clock = Arc::new(SystemTime);
    let limits = Limits::of_this_machine();
    let root: Arc<dyn FileSystem> = if image.bytes.is_empty() {
        Tmpfs::new(clock.clone(), limits, 0o755)?
    } else {
        let lower = Erofs::new(image.bytes, image.frames).map_err(|error| {
            kcore::warn!("the root image: {error}");
            Errno::EINVAL
        })?;
        Tmpfs::over(&*lower, clock.clone(), limits)?
    };
    let entropy = Arc::new(Entropy(random));
    let devices = Devices::new(entropy.clone(), console);
    let special = Arc::new(Special { devices, disks: disks.clone() });
    let namespace = Namespace::new(root, MountFlags::empty(), special);
    let devices = Tmpfs::with_name(clock.clone(), limits, 0o755, "devtmpfs")?;
    populate_dev(&devices.root())?;
    disks.populate(&devices.root())?;
    let guarded = MountFlags::NOSUID | MountFlags::NODEV;
    mount_at(&namespace, b"/dev", devices, MountFlags::NOSUID)?;
    let shared = Tmpfs::new(clock, limits, 0o1777)?;
    mount_at(&namespace, b"/dev/shm", shared.clone(), guarded)?;
    Ok((namespace, shared))
}

/// Mounts /proc and /sys.
pub(crate) fn mount_views(
    services: &Arc<Services>,
    stack: Arc<Stack>,
    image_size: usize,
    disks: Arc<Disks>,
) -> Result<()> {
    let line = String::from(khal::boot_info().command_line());
    let view = KernelView::new(services.clone(), Some(stack), line, image_size as u64, disks);
    let entropy = Arc::new(Entropy(services.random.clone()));
    let guarded = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_at(&services.namespace, b"/proc", ProcFs::new(view.clone(), entropy), guarded)?;
    mount_at(&services.namespace, b"/sys", SysFs::new(view), guarded)
}
