// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The events that wait for a reader of inotify(7).

use alloc::boxed::Box;
use alloc::collections::LinkedList;
use alloc::vec::Vec;

const Q_OVERFLOW: u32 = 0x4000;
pub(super) const IGNORED: u32 = 0x8000;
/// fs.inotify.max_queued_events
const LIMIT: usize = 16_384;
/// Bytes of `struct inotify_event`, to whose multiple names are padded.
const HEADER: usize = 16;

pub(super) struct Event {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    fn padded_name(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    pub(super) fn size(&self) -> usize {
        HEADER + self.padded_name()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![0; self.size()];
        let words = [self.watch.cast_unsigned(), self.mask, self.cookie, self.padded_name() as u32];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[HEADER..HEADER + self.name.len()].copy_from_slice(&self.name);
        bytes
    }

    /// Whether Linux makes one event of this and the next: it does not look at cookies.
    fn absorbs(&self, watch: i32, mask: u32, name: &[u8]) -> bool {
        let same = (self.watch, self.mask, &*self.name) == (watch, mask, name);
        same && self.mask & IGNORED == 0
    }
}

/// Events in their order. A list, since a queue in one block would want a large one just when
/// memory is scarce, and would keep it after it was read.
#[derive(Default)]
pub(super) struct Queue {
    events: LinkedList<Event>,
    /// The event that tells of lost ones is among them. It is there once at most, so it may
    /// be more than the limit, and is kept without asking for memory.
    overflowed: bool,
}

impl Queue {
    pub(super) fn push(&mut self, watch: i32, mask: u32, cookie: u32, name: &[u8]) {
        /// About what the heap takes for an event, but for its name.
        const EVENT_SIZE: usize = 2 * size_of::<Event>();
        if self.events.len() >= LIMIT {
            return self.overflow();
        }
        if self.events.back().is_some_and(|last| last.absorbs(watch, mask, name)) {
            return;
        }
        if !kmm::kernel_can_spare(EVENT_SIZE + name.len()) {
            return self.overflow();
        }
        self.events.push_back(Event { watch, mask, cookie, name: name.into() });
    }

    fn overflow(&mut self) {
        if !core::mem::replace(&mut self.overflowed, true) {
            let lost = Event { watch: -1, mask: Q_OVERFLOW, cookie: 0, name: Box::default() };
            self.events.push_back(lost);
        }
    }

    pub(super) fn first(&self) -> Option<&Event> {
        self.events.front()
    }

    /// The first one was read.
    pub(super) fn advance(&mut self) {
        if self.events.pop_front().is_some_and(|event| event.mask == Q_OVERFLOW) {
            self.overflowed = false;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that wait, for FIONREAD.
    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(Event::size).sum()
    }
}
