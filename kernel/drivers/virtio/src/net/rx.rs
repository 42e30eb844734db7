// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The receive queue: buffers out, packets in.

use super::header::checksum_verified;
use super::slots::Slots;
use crate::queue::{Access, Broken, Queue, Used};
use crate::{Error, Transport};
use alloc::vec::Vec;
use knet::device::{ETHERNET_HEADER, RxPacket, Uplink};

/// The receive side of a device, behind one lock.
pub(super) struct Receive {
    queue: Queue,
    slots: Slots,
    header_len: usize,
    mergeable: bool,
    /// Where packets in several buffers are put together.
    assembly: Vec<u8>,
}

/// What one round of [`Receive::deliver`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) packets: usize,
    /// Used chains that were looked at.
    pub(super) chains: usize,
}

impl Receive {
    /// `largest` is the longest packet that may come; when it does not fit
    /// into a slot, buffers have to be mergeable.
    pub(super) fn new(
        queue: Queue,
        slot: usize,
        header_len: usize,
        mergeable: bool,
        largest: usize,
    ) -> Result<Self, Error> {
        let slots = Slots::allocate(queue.size(), slot)?;
        let mut assembly = Vec::new();
        if mergeable {
            assembly.try_reserve_exact(largest).map_err(|_| Error::NoMemory)?;
        }
        Ok(Self { queue, slots, header_len, mergeable, assembly })
    }

    pub(super) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Gives all free buffers to the device, and tells it if it wants to know.
    pub(super) fn replenish(&mut self, transport: &dyn Transport, index: u16) {
        let len = self.slots.slot_len() as u32;
        while let Some(head) = self.queue.reserve(1) {
            let address = self.slots.address(head);
            self.queue.describe(head, address, len, Access::DeviceWrites, false);
            self.queue.offer(head, 1, len);
        }
        if self.queue.needs_notification() {
            transport.notify(index);
        }
    }

    /// Hands up to `budget` buffers' worth of packets to the stack.
    pub(super) fn deliver(&mut self, uplink: &dyn Uplink, budget: usize) -> Result<Round, Broken> {
        let mut round = Round::default();
        while round.chains < budget {
            let Some(first) = self.queue.take_used()? else { break };
            round.chains += 1;
            round.chains += self.deliver_packet(uplink, first, &mut round.packets)?;
        }
        Ok(round)
    }

    /// One packet that starts in `first`; returns the other buffers it took.
    fn deliver_packet(
        &mut self,
        uplink: &dyn Uplink,
        first: Used,
        packets: &mut usize,
    ) -> Result<usize, Broken> {
        let len = first.written as usize;
        if len < self.header_len + ETHERNET_HEADER {
            return Ok(0);
        }
        let (flags, buffers) = self.slots.with_bytes(first.head, self.header_len, |b| {
            let buffers = if self.mergeable { u16::from_le_bytes([b[10], b[11]]) } else { 1 };
            (b[0], buffers)
        });
        let checksum_verified = checksum_verified(flags);
        if buffers <= 1 {
            self.slots.with_bytes(first.head, len, |bytes| {
                uplink.receive(&RxPacket { bytes: &bytes[self.header_len..], checksum_verified });
            });
            *packets += 1;
            return Ok(0);
        }
        let complete = self.assemble(first, buffers)?;
        if complete {
            uplink.receive(&RxPacket { bytes: &self.assembly, checksum_verified });
            *packets += 1;
        }
        Ok(usize::from(buffers) - 1)
    }

    /// Copies a packet in `buffers` buffers into one piece; false when it is
    /// larger than any packet may be. The device makes all buffers of a packet
    /// used at once (5.1.6.4), so one that is missing breaks the rules.
    fn assemble(&mut self, first: Used, buffers: u16) -> Result<bool, Broken> {
        self.assembly.clear();
        let mut fits = true;
        let mut skip = self.header_len;
        let mut part = first;
        for left in (0..buffers).rev() {
            self.slots.with_bytes(part.head, part.written as usize, |bytes| {
                let bytes = bytes.get(skip..).unwrap_or_default();
                fits &= bytes.len() <= self.assembly.capacity() - self.assembly.len();
                if fits {
                    self.assembly.extend_from_slice(bytes);
                }
            });
            skip = 0;
            if left > 0 {
                part = self.queue.take_used()?.ok_or_else(|| self.queue.give_up())?;
            }
        }
        Ok(fits)
    }
}
