// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The items of an epoll instance and its ready list.

use super::list::{Links, List};
use super::{Core, Epoll, EpollFlags, Registration, Target};
use crate::hash::NumberHash;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;
use kio::{Errno, Events, File, Result};

/// Names an item: slot number below, generation above, so that a late wake-up
/// cannot hit the next user of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(pub(super) u64);

impl Token {
    fn new(slot: usize, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | slot as u64)
    }

    fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One watched file.
pub(super) struct Entry {
    key: (i32, u64),
    pub(super) file: Arc<dyn File>,
    /// Empty after a one-shot report.
    pub(super) interest: Events,
    pub(super) flags: EpollFlags,
    pub(super) data: u64,
    pub(super) registration: Option<Registration>,
    links: Links,
    queued: bool,
    /// Counts wake-ups, to notice one that came while the file was asked.
    wakes: u32,
    /// The last scan that reported the item: none reports it twice.
    scan: u64,
}

impl Entry {
    pub(super) fn new(target: &Target<'_>, interest: Events, flags: EpollFlags, data: u64) -> Self {
        Self {
            key: (target.fd, target.identity),
            file: target.file.clone(),
            interest,
            flags,
            data,
            registration: None,
            links: Links::default(),
            queued: false,
            wakes: 0,
            scan: 0,
        }
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Default)]
struct Slots(Vec<Slot>);

impl Slots {
    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.0.get_mut(slot as usize)?.entry.as_mut()
    }
}

#[derive(Default)]
pub(super) struct State {
    slots: Slots,
    free: Vec<u32>,
    index: HashMap<(i32, u64), Token, NumberHash>,
    ready: List,
    scans: u64,
    nested: usize,
}

impl State {
    /// Adds an item; `EEXIST` when the descriptor is watched already.
    pub(super) fn insert(&mut self, entry: Entry) -> Result<Token> {
        if self.index.contains_key(&entry.key) {
            return Err(Errno::EEXIST);
        }
        self.index.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        if self.free.is_empty() {
            let slot = u32::try_from(self.slots.0.len()).map_err(|_| Errno::ENOSPC)?;
            self.slots.0.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            // Room for all slots to become free, so that removal cannot fail.
            let lacking = (self.slots.0.len() + 1).saturating_sub(self.free.capacity());
            if lacking > 0 {
                self.free.try_reserve(self.slots.0.capacity()).map_err(|_| Errno::ENOMEM)?;
            }
            self.slots.0.push(Slot::default());
            self.free.push(slot);
        }
        let slot = self.free.pop().ok_or(Errno::ENOMEM)? as usize;
        let token = Token::new(slot, self.slots.0[slot].generation);
        self.nested += usize::from(entry.file.as_any().is::<Epoll>());
        self.index.insert(entry.key, token);
        self.slots.0[slot].entry = Some(entry);
        Ok(token)
    }

    pub(super) fn find(&self, fd: i32, identity: u64) -> Option<Token> {
        self.index.get(&(fd, identity)).copied()
    }

    pub(super) fn entry_mut(&mut self, token: Token) -> Option<&mut Entry> {
        let slot = self.slots.0.get_mut(token.slot())?;
        if slot.generation == token.generation() { slot.entry.as_mut() } else { None }
    }

    /// Remembers the place in the file's queue; gives it back when the item
    /// was removed meanwhile.
    pub(super) fn set_registration(
        &mut self,
        token: Token,
        registration: Registration,
    ) -> core::result::Result<(), Registration> {
        let entry = self.entry_mut(token).ok_or(registration)?;
        entry.registration = Some(registration);
        Ok(())
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Entry> {
        self.entry_mut(token)?;
        let slot = token.slot();
        self.unqueue(slot as u32);
        let entry = self.slots.0[slot].entry.take()?;
        self.slots.0[slot].generation = token.generation().wrapping_add(1);
        self.free.push(slot as u32);
        self.index.remove(&entry.key);
        self.nested -= usize::from(entry.file.as_any().is::<Epoll>());
        Some(entry)
    }

    /// Removes some item, until there is none.
    pub(super) fn remove_any(&mut self) -> Option<Entry> {
        let token = *self.index.values().next()?;
        self.remove(token)
    }

    fn queue(&mut self, slot: u32, front: bool) {
        if let Some(entry) = self.slots.entry(slot)
            && !entry.queued
        {
            entry.queued = true;
            let slots = &mut self.slots;
            self.ready.push(slot, front, &mut |s, edit| {
                if let Some(entry) = slots.entry(s) {
                    edit(&mut entry.links);
                }
            });
        }
    }

    /// Makes the item the last of the list, wherever it was.
    fn queue_last(&mut self, slot: u32) {
        if self.ready.back() != Some(slot) {
            self.unqueue(slot);
            self.queue(slot, false);
        }
    }

    fn unqueue(&mut self, slot: u32) {
        if let Some(entry) = self.slots.entry(slot)
            && entry.queued
        {
            entry.queued = false;
            let links = entry.links;
            let slots = &mut self.slots;
            self.ready.unlink(links, &mut |s, edit| {
                if let Some(entry) = slots.entry(s) {
                    edit(&mut entry.links);
                }
            });
        }
    }

    /// Puts the item on the ready list if it wants to hear of `ready` (empty:
    /// unknown); true when those who wait here should hear of it.
    pub(super) fn wake(&mut self, token: Token, ready: Events) -> bool {
        let Some(entry) = self.entry_mut(token) else { return false };
        let disabled = entry.interest.is_empty();
        if disabled || (!ready.is_empty() && !entry.interest.intersects(ready)) {
            return false;
        }
        entry.wakes = entry.wakes.wrapping_add(1);
        self.queue(token.slot() as u32, false);
        true
    }

    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn next_scan(&mut self) -> u64 {
        self.scans += 1;
        self.scans
    }

    fn token_of(&self, slot: u32) -> Token {
        Token::new(slot as usize, self.slots.0[slot as usize].generation)
    }

    /// The item that is ready for longest, for [`report`](Self::report), with its count of
    /// wake-ups. What may be reported only once leaves the list, so that no second thread takes
    /// it; the others stay.
    pub(super) fn next_ready(&mut self, scan: u64) -> Option<(Token, Arc<dyn File>, u32)> {
        let slot = self.ready.front()?;
        let entry = self.slots.entry(slot)?;
        if entry.scan == scan {
            return None;
        }
        let (file, wakes) = (entry.file.clone(), entry.wakes);
        if entry.flags.intersects(EpollFlags::ET | EpollFlags::ONESHOT) {
            self.unqueue(slot);
        }
        Some((self.token_of(slot), file, wakes))
    }

    /// Reports an item whose file was asked after `wakes` wake-ups and is `ready`: `None` when
    /// there is nothing to report, `Some(false)` when `emit` refused it.
    pub(super) fn report(
        &mut self,
        (token, wakes): (Token, u32),
        ready: Events,
        scan: u64,
        emit: &mut dyn FnMut(Events, u64) -> bool,
    ) -> Option<bool> {
        let slot = token.slot() as u32;
        let entry = self.entry_mut(token)?;
        let unchanged = entry.wakes == wakes;
        let ready = ready & entry.interest;
        if ready.is_empty() {
            if unchanged {
                self.unqueue(slot);
            }
            return None;
        }
        if !emit(ready, entry.data) {
            self.queue(slot, true);
            return Some(false);
        }
        entry.scan = scan;
        if entry.flags.contains(EpollFlags::ONESHOT) {
            entry.interest = Events::empty();
            // A second thread may have queued it since it was taken.
            self.unqueue(slot);
        } else if !entry.flags.contains(EpollFlags::ET) {
            self.queue_last(slot);
        } else if unchanged {
            self.unqueue(slot);
        }
        Some(true)
    }

    /// The first item of the list, which stays there.
    pub(super) fn first_ready(&mut self) -> Option<(Token, Arc<dyn File>, u32)> {
        let slot = self.ready.front()?;
        let entry = self.slots.entry(slot)?;
        let (file, wakes) = (entry.file.clone(), entry.wakes);
        Some((self.token_of(slot), file, wakes))
    }

    /// What asking the first item gave: true when it is ready, else it leaves
    /// the list unless a wake-up came meanwhile.
    pub(super) fn settle(&mut self, token: Token, ready: Events, wakes: u32) -> bool {
        let Some(entry) = self.entry_mut(token) else { return false };
        if ready.intersects(entry.interest) {
            return true;
        }
        if entry.wakes == wakes {
            self.unqueue(token.slot() as u32);
        }
        false
    }

    /// The instances that this one watches.
    pub(super) fn children(&self) -> Vec<Arc<Core>> {
        if self.nested == 0 {
            return Vec::new();
        }
        let entries = self.slots.0.iter().filter_map(|slot| slot.entry.as_ref());
        entries
            .filter_map(|e| e.file.as_any().downcast_ref::<Epoll>())
            .map(|inner| inner.core.clone())
            .collect()
    }
}
