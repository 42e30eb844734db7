// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A split virtqueue (2.7), the driver's side.
//!
//! What the driver needs to know it keeps in memory of its own: which
//! descriptors are free, how chains are linked, which heads the device has.
//! The memory shared with the device is written, and read for the used ring
//! and the two event fields alone. An index that the device may not use makes
//! the queue [`Broken`] for good.

mod layout;
#[cfg(test)]
mod tests;

use crate::spec::feature;
use crate::{Error, QueueAddresses, Transport};
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::fence;
use kdevice::DmaBuffer;
use layout::{DESCRIPTOR, Layout};

/// Descriptor flags (2.7.5).
pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Flag of the available ring: no interrupts, please (2.7.6).
const NO_INTERRUPT: u16 = 1;
/// Flag of the used ring: no notifications, please (2.7.8).
const NO_NOTIFY: u16 = 1;

/// The device broke the rules of the ring; the queue is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A chain that the device is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its first descriptor.
    pub head: u16,
    /// Bytes that the device says it wrote: never more than it was offered.
    pub written: u32,
}

/// Who may write the memory of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    DeviceReads,
    DeviceWrites,
}

/// What the driver remembers of a descriptor.
#[derive(Clone, Copy, Debug, Default)]
struct Shadow {
    /// The next one of its chain or of the free list.
    next: u16,
    /// Descriptors in the chain that starts here, 0 when the device does not
    /// have such a chain.
    chain: u16,
    /// Bytes of the chain that the device may write.
    writable: u32,
}

/// A split virtqueue.
pub struct Queue {
    index: u16,
    size: u16,
    layout: Layout,
    memory: DmaBuffer,
    shadow: Vec<Shadow>,
    first_free: u16,
    free: u16,
    /// Chains that the device has.
    outstanding: u16,
    /// Our index of the available ring.
    available: u16,
    /// Its value when the device was last told of it.
    notified: u16,
    /// Our index of the used ring.
    used: u16,
    event_index: bool,
    indirect: bool,
    broken: bool,
}

impl Queue {
    /// Makes a queue of up to `wanted` descriptors for queue `index` of the
    /// device, with interrupts off; the device does not know of it yet.
    pub(crate) fn new(
        transport: &dyn Transport,
        index: u16,
        wanted: u16,
        features: u64,
    ) -> Result<Self, Error> {
        let max = transport.queue_max(index).min(wanted);
        if max == 0 {
            return Err(Error::Queue);
        }
        // Powers of two only (2.7): the largest one that is not above `max`.
        let size = 1 << max.ilog2();
        let layout = Layout::new(size, transport.is_legacy());
        let memory = DmaBuffer::allocate(layout.bytes())?;
        let mut shadow = Vec::new();
        shadow.try_reserve_exact(usize::from(size)).map_err(|_| Error::NoMemory)?;
        shadow.extend((1..=size).map(|next| Shadow { next, ..Shadow::default() }));
        let mut queue = Self {
            index,
            size,
            layout,
            memory,
            shadow,
            first_free: 0,
            free: size,
            outstanding: 0,
            available: 0,
            notified: 0,
            used: 0,
            event_index: features & feature::EVENT_IDX != 0,
            indirect: features & feature::INDIRECT_DESC != 0,
            broken: false,
        };
        queue.disable_interrupts();
        Ok(queue)
    }

    /// Tells the device where the queue is.
    pub(crate) fn activate(&self, transport: &dyn Transport) -> Result<(), Error> {
        transport.set_queue(self.index, self.size, self.addresses())
    }

    fn addresses(&self) -> QueueAddresses {
        self.layout.addresses(self.memory.address().as_u64())
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Descriptors that are free.
    pub fn free(&self) -> u16 {
        self.free
    }

    /// Whether descriptors may point at tables of descriptors.
    pub(crate) fn indirect(&self) -> bool {
        self.indirect
    }

    /// True once the device broke the rules.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The first of `count` free descriptors that will make a chain, in the
    /// order of [`after`](Self::after). They stay free until
    /// [`offer`](Self::offer).
    pub(crate) fn reserve(&self, count: u16) -> Option<u16> {
        (count > 0 && count <= self.free && !self.broken).then_some(self.first_free)
    }

    /// The descriptor that follows in a chain or among the reserved ones.
    pub(crate) fn after(&self, index: u16) -> u16 {
        self.shadow[usize::from(index)].next
    }

    /// Writes a descriptor of a reserved chain; `more` if another one follows.
    pub(crate) fn describe(
        &mut self,
        index: u16,
        address: u64,
        len: u32,
        access: Access,
        more: bool,
    ) {
        let write = if access == Access::DeviceWrites { WRITE } else { 0 };
        let (flags, next) = if more { (write | NEXT, self.after(index)) } else { (write, 0) };
        self.put_descriptor(index, address, len, flags, next);
    }

    /// Writes a descriptor that points at a table of `entries` descriptors.
    pub(crate) fn describe_table(&mut self, index: u16, address: u64, entries: u16) {
        let bytes = u32::from(entries) * DESCRIPTOR as u32;
        self.put_descriptor(index, address, bytes, INDIRECT, 0);
    }

    fn put_descriptor(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = self.layout.descriptor(index);
        // Relaxed: the release store of the available index orders them.
        self.memory.store(at, address, Relaxed);
        self.memory.store(at + 8, len, Relaxed);
        self.memory.store(at + 12, flags, Relaxed);
        self.memory.store(at + 14, next, Relaxed);
    }

    /// Gives the chain of the first `count` reserved descriptors to the
    /// device, which may write `writable` bytes of it.
    pub(crate) fn offer(&mut self, head: u16, count: u16, writable: u32) {
        debug_assert!(head == self.first_free && count > 0 && count <= self.free);
        let mut last = head;
        for _ in 1..count {
            last = self.after(last);
        }
        self.first_free = self.after(last);
        self.free -= count;
        self.outstanding += 1;
        let shadow = &mut self.shadow[usize::from(head)];
        (shadow.chain, shadow.writable) = (count, writable);
        let slot = usize::from(self.available & (self.size - 1));
        self.memory.store(self.layout.available_ring(slot), head, Relaxed);
        self.available = self.available.wrapping_add(1);
        // Release: the device sees descriptors and data before the index.
        self.memory.store(self.layout.available_index(), self.available, Release);
    }

    /// True when the device has to be told of what was offered since the last
    /// call (2.7.13.3, 2.7.10).
    pub(crate) fn needs_notification(&mut self) -> bool {
        if self.available == self.notified || self.broken {
            return false;
        }
        // The index must be visible before we look whether the device sleeps.
        fence(SeqCst);
        let (old, new) = (self.notified, self.available);
        self.notified = new;
        if self.event_index {
            let event: u16 = self.memory.load(self.layout.available_event(), Relaxed);
            passed(event, new, old)
        } else {
            self.memory.load::<u16>(self.layout.used_flags(), Relaxed) & NO_NOTIFY == 0
        }
    }

    /// Takes a chain that the device is done with; its descriptors are free.
    pub(crate) fn take_used(&mut self) -> Result<Option<Used>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        // Acquire: what the device wrote before the index is visible after.
        let index: u16 = self.memory.load(self.layout.used_index(), Acquire);
        let ready = index.wrapping_sub(self.used);
        if ready == 0 {
            return Ok(None);
        }
        let at = self.layout.used_ring(usize::from(self.used & (self.size - 1)));
        let id: u32 = self.memory.load(at, Relaxed);
        let written: u32 = self.memory.load(at + 4, Relaxed);
        let head = match u16::try_from(id) {
            Ok(head) if ready <= self.outstanding && self.has(head) => head,
            _ => return Err(self.give_up()),
        };
        self.used = self.used.wrapping_add(1);
        let written = written.min(self.shadow[usize::from(head)].writable);
        self.release(head);
        Ok(Some(Used { head, written }))
    }

    /// Marks the queue as broken, for a rule that a driver checks.
    pub(crate) fn give_up(&mut self) -> Broken {
        self.broken = true;
        Broken
    }

    /// True when the device has the chain that starts at `head`.
    fn has(&self, head: u16) -> bool {
        self.shadow.get(usize::from(head)).is_some_and(|shadow| shadow.chain > 0)
    }

    fn release(&mut self, head: u16) {
        let count = core::mem::take(&mut self.shadow[usize::from(head)].chain);
        let mut last = head;
        for _ in 1..count {
            last = self.after(last);
        }
        self.shadow[usize::from(last)].next = self.first_free;
        self.first_free = head;
        self.free += count;
        self.outstanding -= 1;
    }

    /// Asks for an interrupt with the next used chain. True when there is one
    /// already, which then makes no interrupt: the caller has to look again.
    pub(crate) fn enable_interrupts(&mut self) -> bool {
        self.enable_interrupts_after(0)
    }

    /// Asks for an interrupt once about three quarters of what the device has
    /// is used. True when that is so already.
    pub(crate) fn enable_interrupts_delayed(&mut self) -> bool {
        self.enable_interrupts_after(self.outstanding / 4 * 3)
    }

    fn enable_interrupts_after(&mut self, chains: u16) -> bool {
        if self.event_index {
            let event = self.used.wrapping_add(chains);
            self.memory.store(self.layout.used_event(), event, Relaxed);
        } else {
            self.memory.store(self.layout.available_flags(), 0u16, Relaxed);
        }
        // The wish must be visible before we look whether it came too late.
        fence(SeqCst);
        let index: u16 = self.memory.load(self.layout.used_index(), Acquire);
        let ready = index.wrapping_sub(self.used);
        ready > if self.event_index { chains } else { 0 }
    }

    /// Asks for no interrupts. Some may still come.
    pub(crate) fn disable_interrupts(&mut self) {
        if self.event_index {
            // As far away as can be: 65535 chains from now. Without a new
            // wish the field has to be moved on before that many are used,
            // and each later call does so.
            let event = self.used.wrapping_sub(1);
            self.memory.store(self.layout.used_event(), event, Relaxed);
        } else {
            self.memory.store(self.layout.available_flags(), NO_INTERRUPT, Relaxed);
        }
    }
}

/// True when an index that went from `old` to `new` passed `event` (2.7.7.1).
fn passed(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
