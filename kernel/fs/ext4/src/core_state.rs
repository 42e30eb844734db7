// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is behind the volume's lock: the file system's core, its disk and clock.

use crate::attributes::timestamp;
use crate::disk::{Disk, SharedDisk};
use crate::label;
use crate::stamp::{Stamps, Times};
use crate::volume::MountError;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use ksync::SpinLock;
use rsext4::{
    Clock, DirectoryCursor, Ext4, Ext4ErrorKind, Ext4Result, Ext4Timestamp, InodeInfo,
    InodeMetadataUpdate, InodeNumber, MountOptions, MountServices, MountedServices, NoopObserver,
};

pub(crate) type Engine = Ext4<SharedDisk, MountedServices<(), NoopObserver, ()>>;

/// Changes that wait for a commit at most: what they are waits in memory.
const CHANGES: u32 = 2048;

/// The time of the operation that is under way, in nanoseconds.
struct OperationTime(Arc<AtomicU64>);

impl Clock for OperationTime {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        Ok(timestamp(self.0.load(Ordering::Relaxed)))
    }
}

/// The core of a mounted volume.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    disk: SharedDisk,
    stamps: Stamps,
    time: Arc<AtomicU64>,
    /// The running transaction frees blocks: contents must not go there before
    /// it has committed.
    pub(crate) frees: bool,
    /// There is something to commit.
    pub(crate) pending: bool,
    /// Changes since the last commit.
    pub(crate) changes: u32,
}

impl Core {
    /// Mounts what is on `disk`, and replays its journal.
    /// A volume that is `damaged` is shown without that.
    pub(crate) fn mount(
        disk: Disk,
        read_only: bool,
        damaged: bool,
        now: u64,
    ) -> Result<Self, MountError> {
        let mut disk = disk;
        let needs_recovery = label::needs_recovery(&mut disk).map_err(MountError::Device)?;
        if read_only && needs_recovery && !damaged {
            return Err(MountError::NeedsRecovery);
        }
        let disk = SharedDisk(Arc::new(SpinLock::new(disk)));
        let time = Arc::new(AtomicU64::new(now));
        let services = MountServices::new(OperationTime(time.clone()), (), NoopObserver)
            .with_mmp((), rsext4::MmpIdentity::default());
        let options = match read_only {
            false => MountOptions::read_write(),
            // A disk that cannot be written is shown as it is.
            true => MountOptions::read_only_no_journal_replay(),
        };
        let mut engine =
            Ext4::mount(disk.clone(), services, options).map_err(MountError::Refused)?;
        // Nothing can be shown of a volume whose root directory cannot be read.
        let root = engine.root_inode();
        engine.read_directory(root, DirectoryCursor::Start, 1).map_err(MountError::Refused)?;
        let stamps = Stamps::new(&mut disk.0.lock()).map_err(MountError::Device)?;
        Ok(Self { engine, disk, stamps, time, frees: false, pending: false, changes: 0 })
    }

    /// Sets the time of what comes next.
    pub(crate) fn set_time(&self, nanos: u64) {
        self.time.store(nanos, Ordering::Relaxed);
    }

    /// All bits of an inode's times.
    pub(crate) fn times(&mut self, info: &InodeInfo) -> Times {
        let seconds = [info.atime, info.mtime, info.ctime];
        self.stamps.of(&mut self.disk.0.lock(), info.number.raw(), seconds)
    }

    /// True when following a link would ask for memory without end.
    pub(crate) fn is_endless_link(&mut self, info: &InodeInfo) -> bool {
        info.file_type() == rsext4::DirectoryEntryType::Symlink
            && self.stamps.is_endless_link(&mut self.disk.0.lock(), info.number.raw())
    }

    /// Commits when much waits for it.
    pub(crate) fn commit_when_many(&mut self) -> Ext4Result<()> {
        if self.changes < CHANGES {
            return Ok(());
        }
        self.commit()
    }

    /// Makes all that was done durable.
    #[inline(never)]
    pub(crate) fn commit(&mut self) -> Ext4Result<()> {
        self.engine.sync()?;
        self.frees = false;
        self.pending = false;
        self.changes = 0;
        Ok(())
    }

    /// Marks the file system clean, as the last thing.
    ///
    /// The core's last transaction begins with a write that cannot make room in
    /// the journal: with a full one it fails with `EBUSY`, and has done nothing.
    /// A change that comes before makes the room, and the transaction is its own.
    pub(crate) fn unmount(&mut self) -> Ext4Result<()> {
        match self.engine.unmount() {
            Err(error) if error.kind() == Ext4ErrorKind::Busy => {
                let root = self.engine.root_inode();
                let info = self.engine.inode(root)?;
                let times = self.times(&info);
                self.write_times(root, times)?;
                self.engine.unmount()
            }
            outcome => outcome,
        }
    }

    /// Commits frees before contents are written, which may go to their blocks.
    pub(crate) fn before_contents(&mut self) -> Ext4Result<()> {
        if self.frees { self.commit() } else { Ok(()) }
    }

    /// Writes times down; attributes change at `times.changed`.
    pub(crate) fn write_times(&mut self, inode: InodeNumber, times: Times) -> Ext4Result<()> {
        self.set_time(times.changed);
        self.pending = true;
        let update = InodeMetadataUpdate {
            atime: Some(timestamp(times.accessed)),
            mtime: Some(timestamp(times.modified)),
            ..InodeMetadataUpdate::default()
        };
        self.engine.update_inode_metadata(inode, update).map(|_| ())
    }

    /// Frees an inode without names.
    pub(crate) fn reap(&mut self, inode: InodeNumber) -> Ext4Result<()> {
        self.frees = true;
        self.pending = true;
        self.engine.reap_unlinked_inode(inode)
    }
}
