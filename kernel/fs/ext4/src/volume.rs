// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A mounted volume: what its nodes share.

use crate::attributes::Attributes;
use crate::core_state::Core;
use crate::dirty::DirtyNode;
use crate::disk::Disk;
use crate::error::{errno, is_damage};
use crate::guard::CoreGuard;
use crate::mounted::Mounted;
use crate::node::Node;
use crate::stamp::{Remembered, Times};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use kdevice::BlockDevice;
use kio::{Errno, Result};
use ksync::SpinLock;
use kvfs::Inode;
use rsext4::{Ext4Error, Ext4Result, InodeInfo, InodeNumber};

/// What a volume needs of the machine.
pub trait Environment: Send + Sync {
    /// Time since 1970.
    fn realtime(&self) -> Duration;

    /// Between two looks at the disk: serves interrupts.
    fn relax(&self) {}

    /// Waits for `done`, which becomes true right before [`wake`](Self::wake) is
    /// called; may return early.
    fn sleep(&self, _done: &dyn Fn() -> bool) {
        self.relax();
    }

    /// A request ended, maybe in an interrupt handler, or a lock is free: whoever
    /// sleeps, on whatever CPU, looks again.
    fn wake(&self) {}

    /// Runs `work` where it has a deep stack (64 KiB). One call at a time for
    /// each environment.
    fn deep(&self, work: &mut dyn FnMut()) {
        work();
    }

    /// Something became dirty: [`Volume::write_back`] is wanted in a few seconds.
    fn defer(&self) {}

    /// Tells the log.
    fn report(&self, _text: fmt::Arguments<'_>) {}
}

/// How to mount.
#[derive(Clone, Debug)]
pub struct Options {
    /// Write nothing, not even the journal's replay.
    pub read_only: bool,
    /// The device as /proc/mounts shows it.
    pub source: String,
    /// `st_dev` of its files.
    pub device_number: u64,
    /// Pages of contents in memory at most.
    pub cache_pages: u64,
    /// Of these, pages that the disk does not have yet.
    pub dirty_pages: u64,
}

/// Why a volume is not mounted.
#[derive(Clone, Copy, Debug)]
pub enum MountError {
    /// The device does not even read.
    Device(Errno),
    /// It is not to be written, but its journal has to be replayed first.
    NeedsRecovery,
    /// There is no ext4 file system that this kernel knows.
    Refused(Ext4Error),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "the disk cannot be read: {error}"),
            Self::NeedsRecovery => {
                f.write_str("it was not unmounted; mount it once without read-only, or run e2fsck")
            }
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// What the nodes of one volume share.
pub struct Volume {
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) core: SpinLock<Core>,
    /// Somebody has the core, or is about to give it back.
    pub(crate) core_taken: AtomicBool,
    nodes: SpinLock<BTreeMap<u32, Weak<Node>>>,
    /// Nodes that the disk does not know as they are; kept until it does.
    dirty: SpinLock<BTreeMap<u32, DirtyNode>>,
    /// Inodes without names and without nodes, to be freed.
    doomed: SpinLock<Vec<u32>>,
    remembered: SpinLock<Remembered>,
    pub(crate) options: Options,
    pub(crate) block_size: u64,
    read_only: AtomicBool,
    ended: AtomicBool,
    free_blocks: AtomicU64,
    /// Blocks that dirty pages may need.
    pub(crate) reserved: AtomicU64,
    pub(crate) cached: AtomicU64,
    pub(crate) dirty_count: AtomicU64,
    deferred: AtomicBool,
    /// Where the search for pages to drop goes on.
    hand: AtomicU64,
    this: Weak<Self>,
}

/// Blocks that stay for the metadata of what is written late.
const SLACK_BLOCKS: u64 = 32;

impl Volume {
    /// Mounts the file system on `device`. A journal is replayed. With damage
    /// that shows at once the mount is read-only, as it is after damage that
    /// shows later.
    pub fn mount(
        device: &Arc<dyn BlockDevice>,
        environment: Arc<dyn Environment>,
        options: Options,
    ) -> core::result::Result<Arc<Mounted>, MountError> {
        let now = environment.realtime().as_nanos() as u64;
        let mut read_only = options.read_only || device.limits().read_only;
        let attempt = |read_only: bool, damaged: bool, lenient: bool| {
            let mut core = None;
            environment.deep(&mut || {
                let disk = Disk::new(device.clone(), environment.clone(), read_only);
                let disk = if lenient { disk.lenient() } else { disk };
                core = Some(Core::mount(disk, read_only, damaged, now));
            });
            core.unwrap_or(Err(MountError::Device(Errno::ENOMEM)))
        };
        let core = match attempt(read_only, false, false) {
            Err(MountError::Refused(error)) if !read_only => {
                let core = attempt(true, true, false).or_else(|_| attempt(true, true, true));
                let core = core.map_err(|_| MountError::Refused(error))?;
                environment
                    .report(format_args!("{}: {error}; it is mounted read-only", options.source));
                read_only = true;
                core
            }
            other => other?,
        };
        let stat = core.engine.statfs();
        let root = core.engine.root_inode();
        let volume = Arc::new_cyclic(|this| Self {
            environment,
            core: SpinLock::new(core),
            core_taken: AtomicBool::new(false),
            nodes: SpinLock::default(),
            dirty: SpinLock::default(),
            doomed: SpinLock::default(),
            remembered: SpinLock::default(),
            options,
            block_size: stat.block_size,
            read_only: AtomicBool::new(read_only),
            ended: AtomicBool::new(false),
            free_blocks: AtomicU64::new(stat.free_blocks),
            reserved: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            dirty_count: AtomicU64::new(0),
            deferred: AtomicBool::new(false),
            hand: AtomicU64::new(0),
            this: this.clone(),
        });
        let node = volume.look_up(|core| core.engine.inode(root));
        let root = node.map_err(|_| MountError::Refused(Ext4Error::corrupted()))?;
        if root.kind() != kio::FileKind::Directory {
            return Err(MountError::Refused(Ext4Error::corrupted()));
        }
        Ok(Arc::new(Mounted::new(volume, root)))
    }

    /// Runs `work` on the core, on a deep stack, with the time set to now.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Core) -> Ext4Result<T>) -> Result<T> {
        let mut core = self.enter()?;
        let mut work = Some(work);
        let mut outcome = None;
        self.environment.deep(&mut || {
            outcome = work.take().map(|work| work(&mut core));
        });
        self.leave(core);
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(self.judge(error)),
            None => Err(Errno::EIO),
        }
    }

    /// The part of [`with`](Self::with) in front of the work, once for all works.
    #[inline(never)]
    fn enter(&self) -> Result<CoreGuard<'_>> {
        let core = self.lock_core();
        if self.ended.load(Ordering::Relaxed) {
            return Err(Errno::EIO);
        }
        core.set_time(self.now());
        Ok(core)
    }

    #[inline(never)]
    fn leave(&self, core: CoreGuard<'_>) {
        self.free_blocks.store(core.engine.statfs().free_blocks, Ordering::Relaxed);
        let pending = core.pending;
        drop(core);
        if pending {
            self.defer();
        }
    }

    /// [`with`](Self::with) for what changes the volume.
    pub(crate) fn change<T>(&self, work: impl FnOnce(&mut Core) -> Ext4Result<T>) -> Result<T> {
        self.check_writable()?;
        self.reap_doomed();
        self.with(|core| {
            core.pending = true;
            core.changes += 1;
            let value = work(core)?;
            core.commit_when_many()?;
            Ok(value)
        })
    }

    /// The node of an inode that `find` gives, made under the core's lock, so
    /// that what it knows is not older than what another node wrote.
    pub(crate) fn look_up(
        &self,
        find: impl FnOnce(&mut Core) -> Ext4Result<InodeInfo>,
    ) -> Result<Arc<Node>> {
        self.with(|core| {
            let info = find(core)?;
            self.node(core, &info)
        })
    }

    /// The node of an inode.
    pub(crate) fn node(&self, core: &mut Core, info: &InodeInfo) -> Ext4Result<Arc<Node>> {
        let number = info.number.raw();
        if let Some(node) = self.known(number) {
            return Ok(node);
        }
        if core.is_endless_link(info) {
            return Err(Ext4Error::corrupted().with_operation("symlink:size"));
        }
        // A directory has no holes: one that is larger than its blocks would be
        // searched for ages.
        if info.is_directory() && info.size > info.blocks.saturating_mul(512) {
            return Err(Ext4Error::corrupted().with_operation("directory:size"));
        }
        let remembered = self.remembered.lock().find(number);
        let times = remembered.unwrap_or_else(|| core.times(info));
        self.new_node(info, times)
    }

    /// The node of an inode that was made just now, at `times`.
    pub(crate) fn new_node(&self, info: &InodeInfo, times: Times) -> Ext4Result<Arc<Node>> {
        let number = info.number.raw();
        let volume = self.this.upgrade().ok_or_else(Ext4Error::busy)?;
        let node = Node::new(volume, info, Attributes::of(info, times))?;
        self.nodes.lock().insert(number, Arc::downgrade(&node));
        Ok(node)
    }

    /// The node of an inode if somebody has it.
    pub(crate) fn known(&self, number: u32) -> Option<Arc<Node>> {
        self.nodes.lock().get(&number).and_then(Weak::upgrade)
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.environment.realtime().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.read_only.load(Ordering::Relaxed) {
            true => Err(Errno::EROFS),
            false => Ok(()),
        }
    }

    /// Tells of damage, once, and takes what follows from it.
    #[inline(never)]
    fn judge(&self, error: Ext4Error) -> Errno {
        if is_damage(error) && !self.read_only.swap(true, Ordering::Relaxed) {
            self.environment.report(format_args!(
                "{}: {error}; nothing more is written to it",
                self.options.source
            ));
        }
        errno(error)
    }

    fn defer(&self) {
        if !self.deferred.swap(true, Ordering::Relaxed) {
            self.environment.defer();
        }
    }

    /// Takes room for `blocks` that will be written later.
    pub(crate) fn reserve(&self, blocks: u64) -> Result<()> {
        let free = self.free_blocks.load(Ordering::Relaxed);
        let fits = |reserved: u64| {
            let next = reserved + blocks;
            (next + SLACK_BLOCKS + next / 64 <= free).then_some(next)
        };
        self.reserved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map(|_| ())
            .map_err(|_| Errno::ENOSPC)
    }

    pub(crate) fn unreserve(&self, blocks: u64) {
        self.reserved.fetch_sub(blocks, Ordering::Relaxed);
    }

    /// True when every free block is free for the taking.
    pub(crate) fn is_unreserved(&self) -> bool {
        self.reserved.load(Ordering::Relaxed) == 0
    }

    /// Blocks of the file system in a page.
    pub(crate) fn blocks_per_page(&self) -> u64 {
        (crate::PAGE / self.block_size).max(1)
    }

    #[inline(never)]
    pub(crate) fn set_dirty(&self, node: &Arc<Node>) {
        let mut dirty = self.dirty.lock();
        match dirty.get(&node.number) {
            Some(known) if !known.is_gone() => {}
            _ => {
                dirty.insert(node.number, DirtyNode::of(node));
            }
        }
        drop(dirty);
        self.defer();
    }

    /// The node got its first name or lost its last one.
    pub(crate) fn follow_name(&self, node: &Arc<Node>) {
        let mut dirty = self.dirty.lock();
        let before = dirty.get_mut(&node.number);
        let before = before.map(|known| core::mem::replace(known, DirtyNode::of(node)));
        drop(dirty);
        // Not under the lock.
        drop(before);
    }

    /// The node has nothing that the disk does not have.
    #[inline(never)]
    pub(crate) fn set_clean(&self, number: u32) {
        let node = self.dirty.lock().remove(&number);
        // Its last reference may be this one: not under the lock.
        drop(node);
    }

    pub(crate) fn too_dirty(&self) -> bool {
        self.dirty_count.load(Ordering::Relaxed) > self.options.dirty_pages
    }

    /// Writes all dirty pages and times to the disk's cache, without a commit.
    pub(crate) fn write_nodes(&self) -> Result<()> {
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        self.dirty.lock().retain(|_, known| {
            let node = known.upgrade();
            let lives = node.is_some();
            nodes.extend(node);
            lives
        });
        let mut result = Ok(());
        for node in nodes {
            // Its last user went just now.
            let lost = node.is_unlinked() && Arc::strong_count(&node) == 1;
            if !lost {
                result = result.and(node.write_back());
            }
        }
        self.reap_doomed();
        result
    }

    /// Brings everything to the disk: sync(2), and what the timer asks for.
    pub fn write_back(&self) -> Result<()> {
        self.deferred.store(false, Ordering::Relaxed);
        if self.read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        let result = self.write_nodes();
        let result =
            result.and(self.with(|core| if core.pending { core.commit() } else { Ok(()) }));
        // Pages that a program maps for writing are never clean.
        if !self.dirty.lock().is_empty() {
            self.defer();
        }
        result
    }

    /// [`write_back`](Self::write_back), with a flush of the disk in any case.
    pub fn sync(&self) -> Result<()> {
        self.deferred.store(false, Ordering::Relaxed);
        if self.read_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        let result = self.write_nodes();
        result.and(self.with(Core::commit))
    }

    /// Ends the mount with everything on the disk and the file system marked
    /// clean. Operations that come later fail with `EIO`.
    pub fn shut_down(&self) {
        if self.ended.load(Ordering::Relaxed) {
            return;
        }
        if !self.read_only.load(Ordering::Relaxed) {
            if let Err(error) = self.write_nodes() {
                self.environment
                    .report(format_args!("{}: writing back: {error}", self.options.source));
            }
            self.reap_live();
            // Another CPU that had the core may have kept them from being freed.
            self.reap_waiting();
        }
        let mut reason = None;
        let outcome = self.with(|core| core.unmount().inspect_err(|error| reason = Some(*error)));
        if let Err(error) = outcome {
            let reason: &dyn fmt::Display = reason.as_ref().map_or(&error, |reason| reason);
            self.environment.report(format_args!("{}: unmounting: {reason}", self.options.source));
        }
        self.ended.store(true, Ordering::Relaxed);
        // What could not be written will never be.
        let lost = core::mem::take(&mut *self.dirty.lock());
        drop(lost);
    }

    /// Frees what has no name although somebody has it open: for the end.
    fn reap_live(&self) {
        let nodes: Vec<Arc<Node>> = self.nodes.lock().values().filter_map(Weak::upgrade).collect();
        for node in nodes.iter().filter(|n| n.is_unlinked()) {
            if let Ok(number) = InodeNumber::new(node.number)
                && node.take_reaping()
            {
                let _ = self.with(|core| core.reap(number));
            }
        }
    }

    /// The last user of a node is gone.
    pub(crate) fn node_ended(&self, node: &mut Node) {
        let mut nodes = self.nodes.lock();
        // The number may have a new node already.
        if nodes.get(&node.number).is_some_and(|n| n.strong_count() == 0) {
            nodes.remove(&node.number);
        }
        drop(nodes);
        if node.is_unlinked() {
            self.forget_dirty(node.number);
            self.remembered.lock().forget(node.number);
            if node.take_reaping() {
                self.doomed.lock().push(node.number);
                self.reap_doomed();
            }
        } else if let Some(times) = node.changed_times() {
            self.remembered.lock().keep(node.number, times);
        }
    }

    /// Takes a node that is gone from the dirty ones. The number may have a new
    /// one already.
    fn forget_dirty(&self, number: u32) {
        let mut dirty = self.dirty.lock();
        if dirty.get(&number).is_some_and(DirtyNode::is_gone) {
            dirty.remove(&number);
        }
    }

    /// Frees inodes that lost their last user, unless the core is busy: then
    /// the next change does it.
    #[inline(never)]
    pub(crate) fn reap_doomed(&self) {
        if self.doomed.lock().is_empty() || self.read_only.load(Ordering::Relaxed) {
            return;
        }
        let Some(guard) = self.core.try_lock() else { return };
        drop(guard);
        self.reap_waiting();
    }

    /// Frees inodes that lost their last user, whoever has the core now.
    fn reap_waiting(&self) {
        let doomed = core::mem::take(&mut *self.doomed.lock());
        for number in doomed.into_iter().filter_map(|n| InodeNumber::new(n).ok()) {
            let _ = self.with(|core| core.reap(number));
        }
    }

    /// Drops clean pages when there are too many, or when memory gets short.
    pub(crate) fn make_room(&self) {
        let limit = self.options.cache_pages;
        let cached = self.cached.load(Ordering::Relaxed);
        let short = || {
            let info = kmm::memory_info();
            cached > 64 && info.free_frames < info.total_frames / 16
        };
        if cached <= limit && !short() {
            return;
        }
        let goal = cached.saturating_sub(limit).max(cached / 8);
        let mut freed = 0;
        // Twice around: the first time takes the marks of use away.
        for _ in 0..2 {
            let start = self.hand.load(Ordering::Relaxed) as u32;
            let nodes = self.nodes.lock();
            let order = nodes.range(start..).chain(nodes.range(..start));
            let order: Vec<Arc<Node>> = order.filter_map(|(_, n)| n.upgrade()).collect();
            drop(nodes);
            for node in order {
                freed += node.drop_pages(goal.saturating_sub(freed));
                self.hand.store(u64::from(node.number), Ordering::Relaxed);
                if freed >= goal {
                    return;
                }
            }
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Volume({})", self.options.source)
    }
}
