// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of a pipe, filled and emptied in turn.
//!
//! A pipe is full when all its slots are in use, however little is in them:
//! so poll(2) and partial writes agree with Linux byte for byte, and a write
//! of up to `PIPE_BUF` bytes fits into one slot and thus is atomic.

use alloc::vec::Vec;
use kio::{Errno, Result, Sink, Source};

pub(super) const PAGE: usize = 4096;

/// Writes of up to this many bytes are atomic: pipe(7).
pub const PIPE_BUF: usize = 4096;

/// A page of memory, or no memory at all.
type Page = Vec<u8>;

#[derive(Default)]
struct Slot {
    page: Page,
    start: usize,
    len: usize,
    packet: bool,
}

/// Slots `tail..head` are in use; both only grow, modulo the word.
pub(super) struct Ring {
    slots: Vec<Slot>,
    head: usize,
    tail: usize,
    bytes: usize,
    /// A page that was emptied, for the next write: no allocation in the
    /// steady state.
    spare: [Page; 2],
}

fn empty_slots(count: usize) -> Result<Vec<Slot>> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    slots.resize_with(count, Slot::default);
    Ok(slots)
}

impl Ring {
    /// `slots` is a power of two.
    pub(super) fn new(slots: usize) -> Result<Self> {
        let slots = empty_slots(slots)?;
        Ok(Self { slots, head: 0, tail: 0, bytes: 0, spare: [Page::new(), Page::new()] })
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn used(&self) -> usize {
        self.head.wrapping_sub(self.tail)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.slots.len()
    }

    /// Bytes that a write is sure to find room for.
    pub(super) fn room(&self) -> usize {
        self.slots.len().saturating_sub(self.used()) * PAGE
    }

    /// Bytes inside, the rests of packets too.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = Slot::default());
        self.spare = [Page::new(), Page::new()];
        (self.head, self.tail, self.bytes) = (0, 0, 0);
    }

    /// Moves what is inside to a ring of `count` slots.
    pub(super) fn resize(&mut self, count: usize) -> Result<()> {
        if self.used() > count {
            return Err(Errno::EBUSY);
        }
        let mut slots = empty_slots(count)?;
        let used = self.used();
        for (at, slot) in slots.iter_mut().enumerate().take(used) {
            let from = self.index(self.tail.wrapping_add(at));
            *slot = core::mem::take(&mut self.slots[from]);
        }
        (self.slots, self.tail, self.head) = (slots, 0, used);
        Ok(())
    }

    fn index(&self, position: usize) -> usize {
        position & (self.slots.len() - 1)
    }

    fn new_page(&mut self) -> Result<Page> {
        if let Some(page) = self.spare.iter_mut().find(|p| !p.is_empty()) {
            return Ok(core::mem::take(page));
        }
        let mut page = Page::new();
        page.try_reserve_exact(PAGE).map_err(|_| Errno::ENOMEM)?;
        page.resize(PAGE, 0);
        Ok(page)
    }

    fn keep_page(&mut self, page: Page) {
        if let Some(place) = self.spare.iter_mut().find(|p| p.is_empty()) {
            *place = page;
        }
    }

    /// Writes as much as fits; `EAGAIN` when nothing does.
    pub(super) fn write(&mut self, source: &mut dyn Source, packets: bool) -> Result<usize> {
        let total = source.remaining();
        let mut done = self.merge(source, total % PAGE)?;
        while source.remaining() > 0 && !self.is_full() {
            match self.write_page(source, packets) {
                Ok(count) => done += count,
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    /// Puts the odd `count` bytes behind the last ones, if their page has room
    /// for all of them. What a missing user page tears counts as not written.
    fn merge(&mut self, source: &mut dyn Source, count: usize) -> Result<usize> {
        if count == 0 || self.is_empty() {
            return Ok(0);
        }
        let last = self.index(self.head.wrapping_sub(1));
        let slot = &mut self.slots[last];
        let end = slot.start + slot.len;
        if slot.packet || end + count > PAGE {
            return Ok(0);
        }
        let taken = source.take(&mut slot.page[end..end + count])?;
        if taken < count {
            return Err(Errno::EFAULT);
        }
        slot.len += taken;
        self.bytes += taken;
        Ok(taken)
    }

    /// Fills one new slot. A slot that a missing user page tears is not used:
    /// when the caller goes on with that page there, it lies in the slots as
    /// if it had been there from the start.
    fn write_page(&mut self, source: &mut dyn Source, packet: bool) -> Result<usize> {
        let mut page = self.new_page()?;
        let want = source.remaining().min(PAGE);
        let taken = match source.take(&mut page[..want]) {
            Ok(n) if n == want => n,
            Ok(_) => {
                self.keep_page(page);
                return Err(Errno::EFAULT);
            }
            Err(e) => {
                self.keep_page(page);
                return Err(e);
            }
        };
        let at = self.index(self.head);
        self.slots[at] = Slot { page, start: 0, len: taken, packet };
        self.head = self.head.wrapping_add(1);
        self.bytes += taken;
        Ok(taken)
    }

    /// Copies up to `count` bytes to another ring and keeps them here: tee(2).
    pub(super) fn copy_to(&self, other: &mut Self, count: usize) -> Result<usize> {
        let mut done = 0;
        for position in 0..self.used() {
            if done == count || other.is_full() {
                break;
            }
            let slot = &self.slots[self.index(self.tail.wrapping_add(position))];
            let len = slot.len.min(count - done);
            let mut page = match other.new_page() {
                Ok(page) => page,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            page[..len].copy_from_slice(&slot.page[slot.start..slot.start + len]);
            let at = other.index(other.head);
            other.slots[at] = Slot { page, start: 0, len, packet: slot.packet };
            other.head = other.head.wrapping_add(1);
            other.bytes += len;
            done += len;
        }
        Ok(done)
    }

    /// Copies the first bytes, up to `count`, behind `bytes`.
    pub(super) fn peek(&self, count: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let mut left = count.min(self.bytes);
        bytes.try_reserve_exact(left).map_err(|_| Errno::ENOMEM)?;
        for position in 0..self.used() {
            let slot = &self.slots[self.index(self.tail.wrapping_add(position))];
            let len = slot.len.min(left);
            bytes.extend_from_slice(&slot.page[slot.start..slot.start + len]);
            left -= len;
        }
        Ok(())
    }

    /// Forgets the first `count` bytes, over the borders of packets.
    pub(super) fn discard(&mut self, count: usize) {
        let mut left = count.min(self.bytes);
        while left > 0 {
            let at = self.index(self.tail);
            let len = self.slots[at].len.min(left);
            self.advance(len);
            left -= len;
        }
    }

    /// Takes `count` bytes off the first slot.
    #[inline(always)]
    fn advance(&mut self, count: usize) {
        let at = self.index(self.tail);
        let slot = &mut self.slots[at];
        slot.start += count;
        slot.len -= count;
        self.bytes -= count;
        if slot.len == 0 {
            let page = core::mem::take(slot).page;
            self.keep_page(page);
            self.tail = self.tail.wrapping_add(1);
        }
    }

    /// Reads as much as there is, one packet at most.
    pub(super) fn read(&mut self, sink: &mut dyn Sink) -> Result<usize> {
        let mut done = 0;
        while sink.remaining() > 0 && !self.is_empty() {
            let at = self.index(self.tail);
            let slot = &mut self.slots[at];
            let want = slot.len.min(sink.remaining());
            let put = match sink.put(&slot.page[slot.start..slot.start + want]) {
                Ok(n) if n == want || (n > 0 && !slot.packet) => n,
                Ok(_) | Err(_) if done > 0 => break,
                Ok(_) => return Err(Errno::EFAULT),
                Err(e) => return Err(e),
            };
            done += put;
            let gone = if slot.packet { slot.len } else { put };
            let packet = slot.packet;
            self.advance(gone);
            if packet || put < want {
                break;
            }
        }
        Ok(done)
    }
}
