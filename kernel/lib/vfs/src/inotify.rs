// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An instance of inotify(7): watches, and the events that wait for a reader.

use crate::notify::{self, Change};
use crate::{Dentry, Location};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Sink, Stat, UserWords, WaitQueue};
use ksync::SpinLock;

const ALL_EVENTS: u32 = 0xfff;
const Q_OVERFLOW: u32 = 0x4000;
const IGNORED: u32 = 0x8000;
const EXCL_UNLINK: u32 = 0x0400_0000;
const MASK_CREATE: u32 = 0x1000_0000;
const MASK_ADD: u32 = 0x2000_0000;
const ONESHOT: u32 = 0x8000_0000;
/// fs.inotify.max_queued_events
const QUEUE_LIMIT: usize = 16_384;
/// fs.inotify.max_user_watches
const WATCH_LIMIT: usize = 65_536;
/// Bytes of `struct inotify_event`, to whose multiple names are padded.
const HEADER: usize = 16;
const FIONREAD: u32 = 0x541b;

struct Watched {
    dentry: Arc<Dentry>,
    mask: u32,
}

#[derive(PartialEq, Eq)]
struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    fn padded_name(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    fn size(&self) -> usize {
        HEADER + self.padded_name()
    }

    fn encode(&self) -> alloc::vec::Vec<u8> {
        let mut bytes = alloc::vec![0; self.size()];
        let words = [self.watch.cast_unsigned(), self.mask, self.cookie, self.padded_name() as u32];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[HEADER..HEADER + self.name.len()].copy_from_slice(&self.name);
        bytes
    }
}

#[derive(Default)]
struct State {
    last: i32,
    watches: BTreeMap<i32, Watched>,
    events: VecDeque<Event>,
}

impl State {
    fn push(&mut self, event: Event) {
        if self.events.back() == Some(&event) {
            return;
        }
        match self.events.len() {
            ..QUEUE_LIMIT => self.events.push_back(event),
            QUEUE_LIMIT => {
                let lost = Event { watch: -1, mask: Q_OVERFLOW, cookie: 0, name: Box::default() };
                self.events.push_back(lost);
            }
            _ => {}
        }
    }

    fn ignored(&mut self, watch: i32) {
        self.push(Event { watch, mask: IGNORED, cookie: 0, name: Box::default() });
    }
}

/// What watches know of, and the reader.
#[derive(Default)]
pub(crate) struct Instance {
    state: SpinLock<State>,
    queue: WaitQueue,
}

/// The object that inotify_init1(2) makes; its watches end with it.
#[derive(Default)]
pub struct Inotify(Arc<Instance>);

impl Inotify {
    /// An instance without watches.
    pub fn new() -> Self {
        Self::default()
    }

    /// inotify_add_watch(2): the number of the watch on what is at `at`.
    pub fn watch(&self, at: &Location, mask: u32) -> Result<i32> {
        self.0.watch(at, mask)
    }

    /// inotify_rm_watch(2).
    pub fn unwatch(&self, number: i32) -> Result<()> {
        self.0.unwatch(number)
    }
}

impl Instance {
    fn watch(self: &Arc<Self>, at: &Location, mask: u32) -> Result<i32> {
        let kept = mask & (ALL_EVENTS | EXCL_UNLINK | ONESHOT);
        let mut state = self.state.lock();
        let inode = at.inode();
        let known = state.watches.iter_mut().find(|(_, w)| Arc::ptr_eq(w.dentry.inode(), inode));
        if let Some((number, watched)) = known {
            if mask & MASK_CREATE != 0 {
                return Err(Errno::EEXIST);
            }
            watched.mask = if mask & MASK_ADD != 0 { watched.mask | kept } else { kept };
            return Ok(*number);
        }
        if notify::count() >= WATCH_LIMIT {
            return Err(Errno::ENOSPC);
        }
        state.last = state.last.checked_add(1).ok_or(Errno::ENOSPC)?;
        let number = state.last;
        let dentry = at.dentry().clone();
        state.watches.insert(number, Watched { dentry: dentry.clone(), mask: kept });
        drop(state);
        dentry.watches.add(self, number);
        Ok(number)
    }

    fn unwatch(&self, number: i32) -> Result<()> {
        let watched = self.state.lock().watches.remove(&number).ok_or(Errno::EINVAL)?;
        watched.dentry.watches.remove(self, number);
        self.state.lock().ignored(number);
        self.queue.notify(Events::READABLE);
        Ok(())
    }

    /// Something happened to what is watched.
    pub(crate) fn event(
        &self,
        watch: i32,
        change: Change,
        cookie: u32,
        name: &[u8],
        unlinked: bool,
    ) {
        let mut state = self.state.lock();
        let Some(watched) = state.watches.get(&watch) else { return };
        let mask = watched.mask;
        if mask & change.bits() & ALL_EVENTS == 0 || (unlinked && mask & EXCL_UNLINK != 0) {
            return;
        }
        state.push(Event { watch, mask: change.bits(), cookie, name: name.into() });
        let spent = if mask & ONESHOT != 0 { state.watches.remove(&watch) } else { None };
        if spent.is_some() {
            state.ignored(watch);
        }
        drop(state);
        if let Some(spent) = spent {
            spent.dentry.watches.remove(self, watch);
        }
        self.queue.notify(Events::READABLE);
    }

    /// What was watched is no more.
    pub(crate) fn ended(&self, watch: i32) {
        let mut state = self.state.lock();
        let Some(watched) = state.watches.remove(&watch) else { return };
        state.ignored(watch);
        drop(state);
        // The last reference may free a chain of directories.
        drop(watched);
        self.queue.notify(Events::READABLE);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = core::mem::take(&mut self.0.state.lock().watches);
        for (number, watched) in watches {
            watched.dentry.watches.remove(&*self.0, number);
        }
    }
}

impl File for Inotify {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::anonymous(FileKind::Anonymous))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        let mut state = self.0.state.lock();
        let first = state.events.front().ok_or(Errno::EAGAIN)?;
        if first.size() > sink.remaining() {
            return Err(Errno::EINVAL);
        }
        let mut count = 0;
        while let Some(event) = state.events.front() {
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
            state.events.pop_front();
        }
        Ok(count)
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let waiting: usize = self.0.state.lock().events.iter().map(Event::size).sum();
        let waiting = i32::try_from(waiting).unwrap_or(i32::MAX);
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
