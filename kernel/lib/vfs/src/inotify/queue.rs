// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The events that wait for a reader of inotify(7).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const Q_OVERFLOW: u32 = 0x4000;
pub(super) const IGNORED: u32 = 0x8000;
/// fs.inotify.max_queued_events
const LIMIT: usize = 16_384;
/// Bytes of `struct inotify_event`, to whose multiple names are padded.
const HEADER: usize = 16;

#[derive(PartialEq, Eq)]
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
}

/// Events in their order.
#[derive(Default)]
pub(super) struct Queue {
    events: VecDeque<Event>,
}

impl Queue {
    pub(super) fn push(&mut self, watch: i32, mask: u32, cookie: u32, name: &[u8]) {
        let event = Event { watch, mask, cookie, name: name.into() };
        if self.events.back() == Some(&event) {
            return;
        }
        match self.events.len() {
            ..LIMIT => self.events.push_back(event),
            LIMIT => {
                let lost = Event { watch: -1, mask: Q_OVERFLOW, cookie: 0, name: Box::default() };
                self.events.push_back(lost);
            }
            _ => {}
        }
    }

    pub(super) fn first(&self) -> Option<&Event> {
        self.events.front()
    }

    /// The first one was read.
    pub(super) fn advance(&mut self) {
        self.events.pop_front();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes that wait, for FIONREAD.
    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(Event::size).sum()
    }
}
