// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks by name, and their nodes in /dev.

use crate::volumes::VolumeEnvironment;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::time::Duration;
use kdevice::BlockDevice;
use kfs_ext4::{Disk, Label, MountError, Mounted, Options, Volume, read_label};
use kio::{Errno, File, FileKind, Result, Sink, Source, Stat};
use kmm::FRAME_SIZE;
use ksync::SpinLock;
use kvfs::{FileSystem, Inode};

/// Linux's first number for block devices without one, which virtio disks get,
/// and how many partitions each has room for.
const MAJOR: u64 = 254;
const MINORS: u64 = 16;
/// How long a disk may take to tell its name.
const NAME_PATIENCE: Duration = Duration::from_millis(500);

/// One disk.
pub(crate) struct NamedDisk {
    /// `vda` and so on.
    pub(crate) name: String,
    device: Arc<dyn BlockDevice>,
    number: u64,
    /// What is mounted from it, to be shared by all its mounts.
    mounted: SpinLock<Weak<Mounted>>,
}

/// All disks of the machine, in its order.
#[derive(Default)]
pub(crate) struct Disks(Vec<NamedDisk>);

impl Disks {
    pub(crate) fn new(devices: Vec<Arc<dyn BlockDevice>>) -> Arc<Self> {
        let name = |index: usize| {
            let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
            match index {
                0..26 => format!("vd{}", letter(index)),
                _ => format!("vd{}{}", letter(index / 26 - 1), letter(index)),
            }
        };
        let named = |(index, device)| NamedDisk {
            name: name(index),
            device,
            number: MAJOR << 8
                | (index as u64 * MINORS) & 0xff
                | ((index as u64 * MINORS) & !0xff) << 12,
            mounted: SpinLock::new(Weak::new()),
        };
        Arc::new(Self(devices.into_iter().enumerate().map(named).collect()))
    }

    /// Makes the nodes in /dev.
    pub(crate) fn populate(&self, directory: &Arc<dyn Inode>) -> Result<()> {
        for disk in &self.0 {
            directory.create(disk.name.as_bytes(), FileKind::BlockDevice, 0o660, disk.number)?;
        }
        Ok(())
    }

    /// The file behind a node.
    pub(crate) fn open(&self, number: u64) -> Result<Arc<dyn File>> {
        let disk = self.0.iter().find(|disk| disk.number == number).ok_or(Errno::ENXIO)?;
        let environment = VolumeEnvironment::new()?;
        let raw = Disk::new(disk.device.clone(), environment, false);
        let size = raw.capacity();
        let read_only = raw.is_read_only();
        Ok(Arc::new(DiskFile { disk: SpinLock::new(raw), number, size, read_only }))
    }

    /// For /proc/partitions: number, size in bytes, name.
    pub(crate) fn table(&self) -> Vec<(u64, u64, String)> {
        let row = |disk: &NamedDisk| {
            let limits = disk.device.limits();
            (disk.number, limits.sectors * u64::from(limits.sector_size), disk.name.clone())
        };
        self.0.iter().map(row).collect()
    }

    /// The disk that a selector means: `/dev/vda` or `vda`, `SERIAL=`, `UUID=`,
    /// `LABEL=`; `Err` says what there is instead.
    pub(crate) fn find(&self, selector: &str) -> core::result::Result<&NamedDisk, String> {
        if let Some(found) = self.matching(selector) {
            return Ok(found);
        }
        let mut there: Vec<String> = self.0.iter().map(NamedDisk::describe).collect();
        if there.is_empty() {
            there.push("there are no disks".into());
        }
        Err(there.join(", "))
    }

    fn matching(&self, selector: &str) -> Option<&NamedDisk> {
        match selector.split_once('=') {
            Some(("SERIAL", serial)) => {
                self.await_names(serial);
                self.0.iter().find(|disk| disk.device.identity() == serial)
            }
            Some(("UUID", uuid)) => self.labelled(|l| l.uuid.eq_ignore_ascii_case(uuid)),
            Some(("LABEL", name)) => self.labelled(|l| l.name == name),
            _ => {
                let name = selector.strip_prefix("/dev/").unwrap_or(selector);
                self.0.iter().find(|disk| disk.name == name)
            }
        }
    }

    fn labelled(&self, fits: impl Fn(&Label) -> bool) -> Option<&NamedDisk> {
        self.0.iter().find(|disk| disk.label().is_some_and(|label| fits(&label)))
    }

    /// Serial numbers are asked for at the start; the answers take a moment.
    fn await_names(&self, serial: &str) {
        let end = khal::clock::monotonic() + NAME_PATIENCE;
        let missing = |d: &NamedDisk| d.device.identity().is_empty();
        while self.0.iter().any(missing)
            && !self.0.iter().any(|d| d.device.identity() == serial)
            && khal::clock::monotonic() < end
        {
            self.0.iter().for_each(|disk| disk.device.poll());
            khal::cpus::interrupt_window();
        }
    }
}

impl NamedDisk {
    fn describe(&self) -> String {
        let mut text = format!("/dev/{}", self.name);
        if !self.device.identity().is_empty() {
            text.push_str(&format!(" SERIAL={}", self.device.identity()));
        }
        if let Some(label) = self.label() {
            text.push_str(&format!(" UUID={}", label.uuid));
            if !label.name.is_empty() {
                text.push_str(&format!(" LABEL={}", label.name));
            }
        }
        text
    }

    fn label(&self) -> Option<Label> {
        let environment = VolumeEnvironment::new().ok()?;
        read_label(&mut Disk::new(self.device.clone(), environment, true)).ok()?
    }

    /// Mounts what is on the disk, or gives what is mounted already.
    pub(crate) fn mount(
        &self,
        read_only: bool,
    ) -> core::result::Result<Arc<dyn FileSystem>, MountError> {
        let known = self.mounted.lock().upgrade();
        if let Some(known) = known {
            return Ok(known);
        }
        if !self.device.limits().write_cache {
            kcore::info!(
                "/dev/{}: the disk has no flush: what is written counts as kept",
                self.name
            );
        }
        let total = kmm::memory_info().total_frames as u64;
        let options = Options {
            read_only,
            source: format!("/dev/{}", self.name),
            device_number: self.number,
            cache_pages: (total / 4).max(256),
            dirty_pages: (total / 16).clamp(64, 16 << 10),
        };
        let environment = VolumeEnvironment::new().map_err(MountError::Device)?;
        let mounted = Volume::mount(&self.device, environment, options)?;
        *self.mounted.lock() = Arc::downgrade(&mounted);
        crate::volumes::watch(mounted.volume());
        Ok(mounted)
    }
}

/// A disk as a file of bytes.
struct DiskFile {
    disk: SpinLock<Disk>,
    number: u64,
    size: u64,
    read_only: bool,
}

impl DiskFile {
    /// The page-sized part of the disk around `at`.
    fn part(&self, at: u64) -> (u64, usize) {
        let start = at / FRAME_SIZE as u64 * FRAME_SIZE as u64;
        (start, (self.size - start).min(FRAME_SIZE as u64) as usize)
    }
}

impl File for DiskFile {
    fn stat(&self) -> Result<Stat> {
        // The size is for lseek(2); the node itself has none.
        let plain = Stat::anonymous(FileKind::BlockDevice);
        Ok(Stat { permissions: 0o660, device_node: self.number, size: self.size, ..plain })
    }

    fn read_at(&self, offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut bytes = alloc::vec![0; FRAME_SIZE];
        let mut done = 0;
        while sink.remaining() > 0 && offset + (done as u64) < self.size {
            let at = offset + done as u64;
            let (start, len) = self.part(at);
            self.disk.lock().read_at(start, &mut bytes[..len])?;
            let part = &bytes[(at - start) as usize..len];
            let wanted = part.len().min(sink.remaining());
            match sink.put(&part[..wanted]) {
                Ok(count) => {
                    done += count;
                    if count < wanted {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, offset: u64, source: &mut dyn Source) -> Result<usize> {
        if self.read_only {
            return Err(Errno::EPERM);
        }
        let mut bytes = alloc::vec![0; FRAME_SIZE];
        let mut done = 0;
        while source.remaining() > 0 {
            let at = offset + done as u64;
            if at >= self.size {
                return if done > 0 { Ok(done) } else { Err(Errno::ENOSPC) };
            }
            let (start, len) = self.part(at);
            let mut disk = self.disk.lock();
            disk.read_at(start, &mut bytes[..len])?;
            let part = &mut bytes[(at - start) as usize..len];
            let wanted = part.len().min(source.remaining());
            let count = match source.take(&mut part[..wanted]) {
                Ok(count) => count,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            disk.write_at(start, &bytes[..len])?;
            done += count;
            if count < wanted {
                break;
            }
        }
        Ok(done)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn sync(&self, _data_only: bool) -> Result<()> {
        self.disk.lock().flush_all()
    }

    fn ioctl(&self, request: u32, argument: &dyn kio::UserWords) -> Result<u64> {
        const BLKROGET: u32 = 0x125e;
        const BLKGETSIZE: u32 = 0x1260;
        const BLKFLSBUF: u32 = 0x1261;
        const BLKSSZGET: u32 = 0x1268;
        const BLKGETSIZE64: u32 = 0x8008_1272;
        match request {
            BLKROGET => argument.store(&u32::from(self.read_only).to_le_bytes())?,
            BLKGETSIZE => argument.store(&(self.size / 512).to_le_bytes())?,
            BLKGETSIZE64 => argument.store(&self.size.to_le_bytes())?,
            BLKSSZGET => argument.store(&512u32.to_le_bytes())?,
            BLKFLSBUF => self.disk.lock().flush_all()?,
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
