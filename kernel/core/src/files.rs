// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Open file descriptions and the table of descriptors.

use crate::limits::check_kernel_memory;
use crate::locks;
use crate::sharing::Sharable;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use kio::{Errno, File, Instant, Result, Stat};
use kipc::Watchers;
use ksync::SpinLock;
use kvfs::{Change, Inotify, Location, OpenFlags};

/// Descriptors that one process can have, whatever its limit says.
pub const MAX_DESCRIPTORS: usize = 1 << 20;
/// Flags that F_SETFL changes.
pub const SETTABLE: OpenFlags = OpenFlags::APPEND
    .union(OpenFlags::NONBLOCK)
    .union(OpenFlags::ASYNC)
    .union(OpenFlags::DIRECT)
    .union(OpenFlags::NOATIME);

/// What a socket's description keeps beside the object. Timeouts are in
/// nanoseconds, `u64::MAX` for none.
#[derive(Debug)]
pub struct SocketState {
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
    /// connect(2) has begun, and the program does not know the result.
    pub connecting: AtomicBool,
}

impl Default for SocketState {
    fn default() -> Self {
        Self {
            receive_timeout: AtomicU64::new(u64::MAX),
            send_timeout: AtomicU64::new(u64::MAX),
            connecting: AtomicBool::new(false),
        }
    }
}

impl SocketState {
    fn slot(&self, send: bool) -> &AtomicU64 {
        if send { &self.send_timeout } else { &self.receive_timeout }
    }

    /// SO_SNDTIMEO or SO_RCVTIMEO.
    pub fn timeout(&self, send: bool) -> Option<Duration> {
        let nanos = self.slot(send).load(Ordering::Relaxed);
        (nanos != u64::MAX).then(|| Duration::from_nanos(nanos))
    }

    /// Sets SO_SNDTIMEO or SO_RCVTIMEO.
    pub fn set_timeout(&self, send: bool, timeout: Option<Duration>) {
        let nanos = timeout.map_or(u64::MAX, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX));
        self.slot(send).store(nanos, Ordering::Relaxed);
    }

    /// When an operation that begins now has to end.
    pub fn deadline(&self, send: bool) -> Option<Instant> {
        self.timeout(send).map(|timeout| khal::clock::monotonic() + timeout)
    }
}

/// An open file description: what dup(2) shares.
pub struct OpenFile {
    identity: u64,
    /// Whether the file has positions, which never changes.
    seekable: bool,
    file: Arc<dyn File>,
    location: SpinLock<Option<Location>>,
    flags: AtomicU32,
    offset: SpinLock<u64>,
    watchers: Watchers,
    /// Whether locks may be held in its name.
    locked: AtomicBool,
    owner: AtomicI32,
    /// For sockets.
    pub socket: SocketState,
}

impl OpenFile {
    /// A description of `file`.
    pub fn new(file: Arc<dyn File>, location: Option<Location>, flags: OpenFlags) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let kept = flags
            - (OpenFlags::CREAT
                | OpenFlags::EXCL
                | OpenFlags::NOCTTY
                | OpenFlags::TRUNC
                | OpenFlags::CLOEXEC);
        Arc::new(Self {
            identity: NEXT.fetch_add(1, Ordering::Relaxed),
            seekable: file.is_seekable(),
            file,
            location: SpinLock::new(location),
            flags: AtomicU32::new(kept.bits()),
            offset: SpinLock::new(0),
            watchers: Watchers::new(),
            locked: AtomicBool::new(false),
            owner: AtomicI32::new(0),
            socket: SocketState::default(),
        })
    }

    /// Unique among all descriptions that ever were.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The object.
    #[inline]
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// True when the object has positions.
    #[inline]
    pub fn is_seekable(&self) -> bool {
        self.seekable
    }

    /// Its place; one is made for objects without, so that /proc has a name.
    pub fn location(&self) -> Location {
        let mut location = self.location.lock();
        location
            .get_or_insert_with(|| {
                let name = anonymous_name(&self.file);
                kvfs::anonymous_location(self.file.clone(), name)
            })
            .clone()
    }

    /// The place of a file that was opened by path.
    pub fn opened_location(&self) -> Option<Location> {
        self.location.lock().clone()
    }

    /// Attributes: of the name that was opened, as fstat(2) tells them.
    pub fn stat(&self) -> Result<Stat> {
        let inode = self.location.lock().as_ref().map(|l| l.inode().clone());
        match inode {
            Some(inode) => inode.stat(),
            None => self.file.stat(),
        }
    }

    /// O_* flags.
    #[inline]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// F_SETFL.
    pub fn set_flags(&self, flags: OpenFlags) {
        let kept = self.flags() - SETTABLE;
        self.flags.store((kept | (flags & SETTABLE)).bits(), Ordering::Relaxed);
    }

    /// True when operations must not wait.
    #[inline]
    pub fn nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// The file position, locked for the time of a read or write.
    pub fn offset(&self) -> ksync::SpinGuard<'_, u64> {
        self.offset.lock()
    }

    /// The file position for /proc, which may be asked for by a read of the
    /// very file; 0 while a read or write holds it.
    pub fn shown_offset(&self) -> u64 {
        self.offset.try_lock().map_or(0, |offset| *offset)
    }

    /// Notes that locks are taken in the name of the description, so that its
    /// end gives them up.
    pub fn set_locked(&self) {
        self.locked.store(true, Ordering::Relaxed);
    }

    /// F_GETOWN: a process, or a process group as a negative number.
    pub fn owner(&self) -> i32 {
        self.owner.load(Ordering::Relaxed)
    }

    /// F_SETOWN.
    pub fn set_owner(&self, owner: i32) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// Tells those who watch the name that was opened, inotify(7), what happened.
    #[inline]
    pub fn changed(&self, change: Change) {
        if kvfs::is_watched() {
            self.tell(change);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, change: Change) {
        if let Some(at) = self.opened_location() {
            kvfs::changed(&at, change);
        }
    }

    /// For epoll.
    pub fn watchers(&self) -> &Watchers {
        &self.watchers
    }
}

/// What /proc/self/fd shows for an object without a place.
fn anonymous_name(file: &Arc<dyn File>) -> Vec<u8> {
    let stat = file.stat();
    let (kind, inode) = stat.map_or((kio::FileKind::Anonymous, 0), |s| (s.kind, s.inode));
    match kind {
        kio::FileKind::Fifo => alloc::format!("pipe:[{inode}]"),
        kio::FileKind::Socket => alloc::format!("socket:[{inode}]"),
        // Of all these, Linux writes one without brackets.
        _ if file.as_any().is::<Inotify>() => "anon_inode:inotify".into(),
        _ => alloc::format!("anon_inode:[{}]", anonymous_type(file)),
    }
    .into_bytes()
}

fn anonymous_type(file: &Arc<dyn File>) -> &'static str {
    let any = file.as_any();
    if any.is::<kipc::Epoll>() {
        "eventpoll"
    } else if any.is::<kipc::EventFd>() {
        "eventfd"
    } else if any.is::<kipc::TimerFd>() {
        "timerfd"
    } else if any.is::<kipc::SignalFd>() {
        "signalfd"
    } else {
        "object"
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if *self.locked.get_mut() {
            locks::release_description(self);
        }
        self.watchers.release();
        if !self.flags().contains(OpenFlags::PATH) {
            let writable = self.flags().writable();
            self.changed(if writable { Change::CLOSE_WRITE } else { Change::CLOSE_NOWRITE });
        }
        self.file.close();
    }
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenFile({}, {:?})", self.identity, self.flags())
    }
}

#[derive(Clone)]
struct Slot {
    open: Arc<OpenFile>,
    close_on_exec: bool,
}

#[derive(Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    /// No descriptor below is free.
    first_free: usize,
    /// The process that took record locks through these descriptors, or 0.
    lock_owner: u32,
}

/// The descriptors of a process, which others have too after CLONE_FILES.
#[derive(Default)]
pub struct FileTable {
    table: Sharable<Table>,
}

impl FileTable {
    /// The description behind `fd`.
    #[inline]
    pub fn open_file(&self, fd: i32) -> Result<Arc<OpenFile>> {
        self.table.with(|table| table.slot(fd).map(|slot| slot.open.clone()))
    }

    /// The description behind `fd`, `EBADF` when it is only a place (O_PATH).
    pub fn usable(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let open = self.open_file(fd)?;
        if open.flags().contains(OpenFlags::PATH) { Err(Errno::EBADF) } else { Ok(open) }
    }

    /// Puts a description at the lowest free descriptor from `from` on;
    /// `EMFILE` when that is `limit` or more.
    pub fn insert(
        &self,
        open: Arc<OpenFile>,
        close_on_exec: bool,
        from: usize,
        limit: u64,
    ) -> Result<i32> {
        check_kernel_memory(size_of::<OpenFile>())?;
        // What finds no place goes after the lock.
        let mut slot = Some(Slot { open, close_on_exec });
        self.table.with(|table| {
            let at = table.find_free(from, capped(limit))?;
            table.slots[at] = slot.take();
            i32::try_from(at).map_err(|_| Errno::EMFILE)
        })
    }

    /// dup2(2), dup3(2): puts a description at `fd`, whatever was there.
    pub fn replace(
        &self,
        fd: i32,
        open: Arc<OpenFile>,
        close_on_exec: bool,
        limit: u64,
    ) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at as u64 >= limit || at >= MAX_DESCRIPTORS {
            return Err(Errno::EBADF);
        }
        let mut slot = Some(Slot { open, close_on_exec });
        let (old, owner) = self.table.with(|table| {
            table.grow(at + 1)?;
            Ok((core::mem::replace(&mut table.slots[at], slot.take()), table.lock_owner))
        })?;
        old.iter().for_each(|slot| release_locks(slot, owner));
        Ok(())
    }

    /// close(2). The last reference may run a destructor: after the lock.
    pub fn close(&self, fd: i32) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        let (slot, owner) = self.table.with(|table| (table.take(at), table.lock_owner));
        let slot = slot.ok_or(Errno::EBADF)?;
        release_locks(&slot, owner);
        Ok(())
    }

    /// close_range(2), closing or marking.
    pub fn close_range(&self, first: u32, last: u32, mark_only: bool) {
        let closed = self.table.with(|table| {
            let end = (last as usize).saturating_add(1).min(table.slots.len());
            let range = first as usize..end;
            if mark_only {
                let marked = table.slots.get_mut(range).into_iter().flatten().flatten();
                marked.for_each(|slot| slot.close_on_exec = true);
                return table.closed(Vec::new());
            }
            let slots = range.filter_map(|at| table.take(at)).collect();
            table.closed(slots)
        });
        closed.release();
    }

    /// F_GETFD.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool> {
        self.table.with(|table| table.slot(fd).map(|slot| slot.close_on_exec))
    }

    /// F_SETFD.
    pub fn set_close_on_exec(&self, fd: i32, close: bool) -> Result<()> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        self.table.with(|table| {
            let slot = table.slots.get_mut(at).and_then(Option::as_mut).ok_or(Errno::EBADF)?;
            slot.close_on_exec = close;
            Ok(())
        })
    }

    /// Open descriptors with their descriptions, in order.
    pub fn list(&self) -> Vec<(i32, Arc<OpenFile>)> {
        self.table.with(|table| {
            let open = table.slots.iter().enumerate();
            open.filter_map(|(fd, s)| Some((fd as i32, s.as_ref()?.open.clone()))).collect()
        })
    }

    /// Descriptors that the table has slots for, free or not.
    pub fn slot_count(&self) -> usize {
        self.table.with(|table| table.slots.len())
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Result<Self> {
        self.table.with(|table| table.duplicate()).map(|table| Self { table: Sharable::new(table) })
    }

    /// The same descriptors for a new process: CLONE_FILES.
    pub fn share(&self) -> Self {
        Self { table: self.table.share(core::mem::take) }
    }

    /// execve(2): the process has descriptors of its own from now on.
    pub fn unshare(&self) -> Result<()> {
        self.table.unshare(Table::duplicate).map(release_all)
    }

    /// execve(2): closes what is marked.
    pub fn close_marked(&self) {
        let closed = self.table.with(|table| {
            let marked = |slot: &mut Option<Slot>| slot.take_if(|slot| slot.close_on_exec);
            let slots = table.slots.iter_mut().filter_map(marked).collect();
            table.first_free = 0;
            table.closed(slots)
        });
        closed.release();
    }

    /// The process ends: closes everything, unless another one has it too.
    pub fn leave(&self) {
        release_all(self.table.leave(Table::default()));
    }

    /// `EMFILE` when there is no free descriptor below `limit`: for an open that
    /// would leave a new file behind.
    pub fn check_room(&self, limit: u64) -> Result<()> {
        let limit = capped(limit);
        self.table.with(|table| {
            let end = table.slots.len().min(limit);
            let full = (table.first_free..end).all(|at| table.slots[at].is_some());
            if full && table.first_free.max(end) >= limit { Err(Errno::EMFILE) } else { Ok(()) }
        })
    }

    /// Notes that `process` takes record locks, so that closing gives them up.
    pub fn set_lock_owner(&self, process: u32) {
        self.table.with(|table| table.lock_owner = process);
    }
}

/// A limit of descriptors that no table exceeds.
fn capped(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS)
}

/// Descriptors that are out of their table; what remains is done without its lock.
struct Closed {
    slots: Vec<Slot>,
    lock_owner: u32,
}

impl Closed {
    fn release(self) {
        self.slots.iter().for_each(|slot| release_locks(slot, self.lock_owner));
    }
}

/// A table that nobody has any more.
fn release_all(table: Option<Table>) {
    if let Some(table) = table {
        let slots = table.slots.into_iter().flatten().collect();
        Closed { slots, lock_owner: table.lock_owner }.release();
    }
}

/// For each descriptor that is closed.
fn release_locks(closed: &Slot, owner: u32) {
    if owner != 0 {
        locks::release_process(&closed.open, owner);
    }
}

impl Table {
    #[inline]
    fn slot(&self, fd: i32) -> Result<&Slot> {
        let slot = usize::try_from(fd).ok().and_then(|at| self.slots.get(at)?.as_ref());
        slot.ok_or(Errno::EBADF)
    }

    /// The lowest free place from `from` on, below `limit`, which the caller fills.
    fn find_free(&mut self, from: usize, limit: usize) -> Result<usize> {
        let start = from.max(self.first_free);
        let free = (start..self.slots.len()).find(|at| self.slots[*at].is_none());
        let at = free.unwrap_or_else(|| self.slots.len().max(start));
        if at >= limit {
            return Err(Errno::EMFILE);
        }
        self.grow(at + 1)?;
        if from <= self.first_free {
            self.first_free = at + 1;
        }
        Ok(at)
    }

    fn take(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?.take()?;
        self.first_free = self.first_free.min(at);
        Some(slot)
    }

    fn duplicate(&self) -> Result<Self> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(self.slots.len()).map_err(|_| Errno::ENOMEM)?;
        slots.extend_from_slice(&self.slots);
        Ok(Self { slots, first_free: self.first_free, lock_owner: 0 })
    }

    fn closed(&self, slots: Vec<Slot>) -> Closed {
        Closed { slots, lock_owner: self.lock_owner }
    }

    /// Makes places for at least `count` descriptors.
    fn grow(&mut self, count: usize) -> Result<()> {
        if count > self.slots.len() {
            self.slots.try_reserve(count - self.slots.len()).map_err(|_| Errno::ENOMEM)?;
            self.slots.resize(count, None);
        }
        Ok(())
    }
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileTable({} slots)", self.slot_count())
    }
}
