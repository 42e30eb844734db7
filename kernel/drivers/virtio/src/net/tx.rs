// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The transmit queue: packets are copied into slots; slots come back lazily.

use super::header::for_transmit;
use super::slots::Slots;
use crate::queue::{Access, Broken, Queue};
use crate::{Error, Transport};
use knet::device::{TxError, TxPacket};

/// Bytes of a slot: a packet of plain Ethernet fits into one.
pub(super) const SLOT: usize = 2048;

/// The transmit side of a device, behind one lock.
pub(super) struct Transmit {
    queue: Queue,
    slots: Slots,
    header_len: usize,
    /// The stack waits for room.
    owes_ready: bool,
}

impl Transmit {
    pub(super) fn new(queue: Queue, header_len: usize) -> Result<Self, Error> {
        let slots = Slots::allocate(queue.size(), SLOT)?;
        Ok(Self { queue, slots, header_len, owes_ready: false })
    }

    pub(super) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Largest packet that is sure to find room in an empty queue while others
    /// are on their way: half of the queue.
    pub(super) fn largest(&self) -> usize {
        usize::from(self.queue.size() / 2).max(1) * SLOT - self.header_len
    }

    /// Takes back what the device is done with.
    fn reclaim(&mut self) -> Result<(), Broken> {
        while self.queue.take_used()?.is_some() {}
        Ok(())
    }

    /// Queues a packet. On `Full` the device has been told of all packets, and
    /// an interrupt will come when most of them are sent.
    pub(super) fn transmit(
        &mut self,
        packet: &TxPacket<'_>,
        transport: &dyn Transport,
        index: u16,
    ) -> Result<(), TxError> {
        let total = self.header_len + packet.len();
        if packet.len() > self.largest() {
            return Err(TxError::Dropped);
        }
        let count = total.div_ceil(SLOT) as u16;
        if self.queue.free() < count {
            self.reclaim().map_err(|Broken| TxError::Dropped)?;
        }
        if self.queue.free() < count {
            self.flush(transport, index);
            if !self.wait_for_room(count)? {
                return Err(TxError::Full);
            }
        }
        let head = self.queue.reserve(count).ok_or(TxError::Dropped)?;
        self.fill(head, packet, total);
        self.queue.offer(head, count, 0);
        Ok(())
    }

    /// Asks for an interrupt; true when there is room for `count` slots by now.
    fn wait_for_room(&mut self, count: u16) -> Result<bool, TxError> {
        while self.queue.enable_interrupts_delayed() {
            self.reclaim().map_err(|Broken| TxError::Dropped)?;
            if self.queue.free() >= count {
                self.queue.disable_interrupts();
                return Ok(true);
            }
        }
        self.owes_ready = true;
        Ok(false)
    }

    /// Writes header and packet into the slots of a chain.
    fn fill(&mut self, head: u16, packet: &TxPacket<'_>, total: usize) {
        let header = for_transmit(packet);
        let pieces =
            [&header[..self.header_len], packet.header, packet.payload[0], packet.payload[1]];
        let (mut index, mut at, mut left) = (head, 0, total);
        for mut piece in pieces {
            while !piece.is_empty() {
                if at == SLOT {
                    self.queue.describe(
                        index,
                        self.slots.address(index),
                        SLOT as u32,
                        Access::DeviceReads,
                        true,
                    );
                    left -= SLOT;
                    (index, at) = (self.queue.after(index), 0);
                }
                let (now, later) = piece.split_at(piece.len().min(SLOT - at));
                self.slots.write(index, at, now);
                at += now.len();
                piece = later;
            }
        }
        let address = self.slots.address(index);
        self.queue.describe(index, address, left as u32, Access::DeviceReads, false);
    }

    /// Tells the device of queued packets, if it wants to know.
    pub(super) fn flush(&mut self, transport: &dyn Transport, index: u16) {
        if self.queue.needs_notification() {
            transport.notify(index);
        }
    }

    /// After an interrupt: takes back what is sent; true when the stack has to
    /// be told that there is room.
    pub(super) fn interrupted(&mut self) -> Result<bool, Broken> {
        self.queue.disable_interrupts();
        self.reclaim()?;
        if !self.owes_ready {
            return Ok(false);
        }
        // An interrupt may come early, when the line is shared or the device
        // knows no event index: then go on waiting for enough room.
        while self.queue.free() < self.queue.size() / 2 {
            if !self.queue.enable_interrupts_delayed() {
                return Ok(false);
            }
            self.reclaim()?;
        }
        self.queue.disable_interrupts();
        self.owes_ready = false;
        Ok(true)
    }
}
