// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An instance of inotify(7): watches, and the events that wait for a reader.

mod queue;
mod quota;

use crate::notify::Change;
use crate::{Inode, Location, watches};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Sink, Stat, UserWords, WaitQueue};
use ksync::SpinLock;
use queue::Queue;

const ALL_EVENTS: u32 = 0xfff;
const EXCL_UNLINK: u32 = 0x0400_0000;
const MASK_CREATE: u32 = 0x1000_0000;
const MASK_ADD: u32 = 0x2000_0000;
const ONESHOT: u32 = 0x8000_0000;
const FIONREAD: u32 = 0x541b;

struct Watched {
    inode: Arc<dyn Inode>,
    mask: u32,
}

#[derive(Default)]
struct State {
    last: i32,
    watches: BTreeMap<i32, Watched>,
    events: Queue,
}

/// What the table of watches knows of, and the reader.
pub(crate) struct Instance {
    user: u32,
    /// Held when the table of watches is changed, so that both agree.
    state: SpinLock<State>,
    queue: WaitQueue,
}

/// The object that inotify_init1(2) makes; its watches end with it.
pub struct Inotify(Arc<Instance>);

impl Inotify {
    /// An instance without watches, charged to a user: `EMFILE` when that one has too many.
    pub fn new(user: u32) -> Result<Self> {
        if !kmm::kernel_can_spare(size_of::<Instance>()) {
            return Err(Errno::ENOMEM);
        }
        quota::charge_instance(user)?;
        let (state, queue) = (SpinLock::default(), WaitQueue::default());
        Ok(Self(Arc::new(Instance { user, state, queue })))
    }

    /// inotify_add_watch(2): the number of the watch on what is at `at`.
    pub fn watch(&self, at: &Location, mask: u32) -> Result<i32> {
        self.0.watch(at.inode(), mask)
    }

    /// inotify_rm_watch(2).
    pub fn unwatch(&self, number: i32) -> Result<()> {
        self.0.unwatch(number)
    }
}

impl Instance {
    fn watch(self: &Arc<Self>, inode: &Arc<dyn Inode>, mask: u32) -> Result<i32> {
        /// About what the heap takes for a watch, here and in the table.
        const WATCH_SIZE: usize = 256;
        let kept = mask & (ALL_EVENTS | EXCL_UNLINK | ONESHOT);
        let mut state = self.state.lock();
        let known = watches::find(inode, self);
        if let Some((number, watched)) = known.and_then(|n| Some((n, state.watches.get_mut(&n)?))) {
            if mask & MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            watched.mask = if mask & MASK_ADD != 0 { watched.mask | kept } else { kept };
            return Ok(number);
        }
        if !kmm::kernel_can_spare(WATCH_SIZE) {
            return Err(Errno::ENOMEM);
        }
        let number = state.last.checked_add(1).ok_or(Errno::ENOSPC)?;
        quota::charge_watch(self.user)?;
        state.last = number;
        state.watches.insert(number, Watched { inode: inode.clone(), mask: kept });
        watches::add(inode, self, number);
        Ok(number)
    }

    /// Takes a watch from here and from the table, and says so to the reader. The caller lets
    /// go of the inode when it has let go of the lock, since the file may end with that.
    #[must_use]
    fn take(&self, state: &mut State, number: i32) -> Option<Watched> {
        let watched = state.watches.remove(&number)?;
        watches::remove(&watched.inode, self, number);
        quota::release_watches(self.user, 1);
        state.events.push(number, queue::IGNORED, 0, &[]);
        Some(watched)
    }

    /// Something happened to what is watched.
    pub(crate) fn event(
        &self,
        number: i32,
        change: Change,
        cookie: u32,
        name: &[u8],
        unlinked: bool,
    ) {
        let mut state = self.state.lock();
        let Some(watched) = state.watches.get(&number) else { return };
        let mask = watched.mask;
        if mask & change.bits() & ALL_EVENTS == 0 || (unlinked && mask & EXCL_UNLINK != 0) {
            return;
        }
        state.events.push(number, change.bits(), cookie, name);
        let spent = if mask & ONESHOT != 0 { self.take(&mut state, number) } else { None };
        drop(state);
        drop(spent);
        self.queue.notify(Events::READABLE);
    }

    /// What was watched is no more.
    pub(crate) fn gone(&self, number: i32) {
        // Linux tells this one without saying that it is a directory.
        let last = Change::DELETE_SELF.bits();
        let mut state = self.state.lock();
        if state.watches.get(&number).is_some_and(|watched| watched.mask & last != 0) {
            state.events.push(number, last, 0, &[]);
        }
        let watched = self.take(&mut state, number);
        drop(state);
        drop(watched);
        self.queue.notify(Events::READABLE);
    }

    /// The program wants a watch no more.
    fn unwatch(&self, number: i32) -> Result<()> {
        let watched = self.take(&mut self.state.lock(), number);
        drop(watched.ok_or(Errno::EINVAL)?);
        self.queue.notify(Events::READABLE);
        Ok(())
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        // Nobody adds any more. Who is being told finds nothing here.
        let ended = core::mem::take(&mut self.0.state.lock().watches);
        for (number, watched) in &ended {
            watches::remove(&watched.inode, &self.0, *number);
        }
        quota::release_watches(self.0.user, ended.len());
        quota::release_instance(self.0.user);
    }
}

impl File for Inotify {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut state = self.0.state.lock();
        let first = state.events.first().ok_or(Errno::EAGAIN)?;
        if first.size() > sink.remaining() {
            return Err(Errno::EINVAL);
        }
        let mut count = 0;
        while let Some(event) = state.events.first() {
            let bytes = event.encode();
            if bytes.len() > sink.remaining() {
                break;
            }
            match sink.put(&bytes) {
                Ok(put) if put == bytes.len() => {}
                _ if count > 0 => break,
                Ok(_) => return Err(Errno::EFAULT),
                Err(error) => return Err(error),
            }
            count += bytes.len();
            state.events.advance();
        }
        Ok(count)
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let waiting = i32::try_from(self.0.state.lock().events.bytes()).unwrap_or(i32::MAX);
        argument.store(&waiting.to_ne_bytes())?;
        Ok(0)
    }

    fn poll(&self) -> Events {
        let waiting = !self.0.state.lock().events.is_empty();
        if waiting { Events::READABLE } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
