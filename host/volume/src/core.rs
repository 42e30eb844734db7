// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The engine behind one door: with the time, with the operating system's errors, and with
//! its panics caught.

use std::fmt;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rsext4::{
    Clock, Ext4, Ext4Error, Ext4ErrorKind, Ext4Result, Ext4Timestamp, MountOptions, MountServices,
    MountedServices, NoopObserver,
};

use crate::disk::{Disk, Failure, Writing};
use crate::{Error, Result};

pub(crate) type Engine = Ext4<Disk, MountedServices<(), NoopObserver, ()>>;

/// Blocks that stay free for metadata of what is written: an extent tree's path, a block of
/// a directory.
pub(crate) const SLACK_BLOCKS: u64 = 16;
/// Changes between two commits. The engine copies all of the running transaction for each
/// change, to be able to undo it, so that long transactions get slow.
const CHANGES: u32 = 64;

/// The time of the machine, or one that stands still.
struct Time(Option<SystemTime>);

impl Clock for Time {
    fn now(&self) -> Ext4Result<Ext4Timestamp> {
        Ok(timestamp(self.0.unwrap_or_else(SystemTime::now)))
    }
}

pub(crate) fn timestamp(time: SystemTime) -> Ext4Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Ext4Timestamp::new(i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())
}

/// A mounted file system.
pub(crate) struct Core {
    /// `None` after a panic: what it left in memory is not to be trusted.
    engine: Option<Engine>,
    failure: Failure,
    /// Blocks were freed and not committed.
    pub(crate) frees: bool,
    /// Changes since the last commit.
    changes: u32,
}

impl Core {
    /// Mounts what is in `file`.
    pub(crate) fn mount(
        file: Arc<File>,
        size: u64,
        writing: Writing,
        time: Option<SystemTime>,
    ) -> Result<Self> {
        let failure = Failure::default();
        let disk = Disk::new(file, size, writing, failure.clone());
        let services = MountServices::new(Time(time), (), NoopObserver)
            .with_mmp((), rsext4::MmpIdentity::default());
        let mounted = guarded(|| Ext4::mount(disk, services, MountOptions::read_write()));
        let mut core = Self { engine: None, failure, frees: false, changes: 0 };
        match mounted {
            Some(Ok(engine)) => core.engine = Some(engine),
            Some(Err(error)) => return Err(core.explain("cannot open the file system", error)),
            None => return Err(Error::corrupt("cannot open the file system: it is damaged")),
        }
        Ok(core)
    }

    /// Runs `work`; `what` says in an error what failed.
    pub(crate) fn run<T>(
        &mut self,
        what: impl fmt::Display,
        work: impl FnOnce(&mut Engine) -> Ext4Result<T>,
    ) -> Result<T> {
        let Some(engine) = &mut self.engine else {
            return Err(Error::corrupt(format_args!("{what}: the file system is damaged")));
        };
        match guarded(|| work(engine)) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(self.explain(what, error)),
            None => {
                self.engine = None;
                Err(Error::corrupt(format_args!("{what}: the file system is damaged")))
            }
        }
    }

    /// Makes sure that there are `blocks` free blocks of 4 KiB, and some more for directories
    /// and extents. rsext4 0.9.2 does not give back in the bitmap what a write took that then
    /// ran out of space, so that must not happen.
    pub(crate) fn need_room(&mut self, what: impl fmt::Display, blocks: u64) -> Result<()> {
        self.changes += 1;
        if self.changes > CHANGES {
            self.commit()?;
        }
        let stat = self.run(&what, |engine| Ok(engine.statfs()))?;
        let wanted = (blocks * 4096).div_ceil(stat.block_size.max(1)) + SLACK_BLOCKS;
        if stat.free_blocks >= wanted && stat.free_inodes > 0 {
            return Ok(());
        }
        Err(Error::engine(what, Ext4Error::no_space()))
    }

    /// Commits frees before contents are written, which may go to their blocks: after a
    /// crash a file that came back must have its own contents.
    pub(crate) fn before_contents(&mut self) -> Result<()> {
        if self.frees { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        self.run("cannot write to the volume", Engine::sync)?;
        self.frees = false;
        self.changes = 0;
        Ok(())
    }

    fn explain(&self, what: impl fmt::Display, error: Ext4Error) -> Error {
        match self.failure.take() {
            Some(cause) if error.kind() == Ext4ErrorKind::Io => Error::io(what, cause),
            _ => Error::engine(what, error),
        }
    }
}

/// Images come from elsewhere, and the engine has tens of thousands of lines: where one of
/// them indexes past an end, the volume is damaged, and the daemon goes on.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Core(mounted: {})", self.engine.is_some())
    }
}
