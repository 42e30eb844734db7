// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Network card (5.1).
//!
//! Every exit to the host is expensive, under emulation most of all. So
//! packets are announced in batches, sent buffers are taken back without
//! interrupts, and the work of one receive interrupt is bounded by the ring:
//! buffers that were handed up go back to the device in batches, and the last
//! of them only after the ring was found empty.

mod header;
mod rx;
mod slots;
#[cfg(test)]
mod tests;
mod tx;

use crate::queue::Broken;
use crate::spec::feature as general;
use crate::{DeviceType, Error, Interrupts, Queue, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use header::feature;
use kdevice::InterruptHandler;
use knet::device::{
    Capabilities, ETHERNET_HEADER, MacAddress, NetDevice, TxError, TxPacket, Uplink,
};
use ksync::{Once, SpinLock};
use rx::Receive;
use tx::Transmit;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Configuration fields (5.1.4).
const CONFIG_MAC: usize = 0;
const CONFIG_STATUS: usize = 6;
const CONFIG_MTU: usize = 10;
/// Bit of the status field.
const LINK_UP: u16 = 1;

const MTU: usize = 1500;
/// The least that IPv4 needs (RFC 791); less is no use to anybody.
const MTU_MIN: usize = 68;
/// The most that one receive buffer without merging is made for.
const MTU_MAX: usize = 9_216;
/// Bytes of a VLAN tag.
const VLAN_TAG: usize = 4;
/// Descriptors of a queue with slots of plain size.
const DEPTH_MAX: usize = 256;
/// Bytes of a receive buffer: a packet of plain Ethernet fits into one.
const RECEIVE_SLOT: usize = 2048;

/// A virtio network card.
pub struct VirtioNet {
    transport: Box<dyn Transport>,
    features: u64,
    mac: MacAddress,
    mtu: usize,
    capabilities: Capabilities,
    receive: SpinLock<Receive>,
    transmit: SpinLock<Transmit>,
    uplink: Once<Arc<dyn Uplink>>,
    link_up: AtomicBool,
    broken: AtomicBool,
}

impl VirtioNet {
    /// Brings the device up. Packets flow after
    /// [`attach`](NetDevice::attach). `fallback_mac` is for a host that leaves
    /// the choice to us.
    pub fn start(
        transport: Box<dyn Transport>,
        fallback_mac: MacAddress,
    ) -> Result<Arc<Self>, Error> {
        if transport.device_type() != DeviceType::Network {
            return Err(Error::WrongType);
        }
        let features = transport.negotiate(choose)?;
        if transport.is_legacy() && features & general::ANY_LAYOUT == 0 {
            // It wants the header in a descriptor of its own (5.1.6.6).
            return Err(transport.give_up(Error::Features));
        }
        let device = Self::new(transport, features, fallback_mac)?;
        match device.bring_up() {
            Ok(()) => Ok(device),
            Err(error) => {
                // It may know of memory that is about to be freed.
                device.transport.reset()?;
                Err(error)
            }
        }
    }

    fn new(
        transport: Box<dyn Transport>,
        features: u64,
        fallback_mac: MacAddress,
    ) -> Result<Arc<Self>, Error> {
        let has = |bit| features & bit != 0;
        let mergeable = has(feature::MRG_RXBUF);
        let long_header = mergeable || has(general::VERSION_1);
        let header_len = if long_header { header::LEN } else { header::LEN_SHORT };
        let mtu = if has(feature::MTU) { config_mtu(&*transport) } else { MTU };
        let large = has(feature::GUEST_TSO4 | feature::GUEST_TSO6);
        let largest = ETHERNET_HEADER + VLAN_TAG + if large { 65535 } else { mtu };
        let slot = match mergeable {
            true => RECEIVE_SLOT,
            false => (header_len + largest).next_power_of_two().max(RECEIVE_SLOT),
        };
        let queue = |index, slot| Queue::new(&*transport, index, depth(slot), features);
        let receive = Receive::new(queue(RECEIVE, slot)?, slot, header_len, mergeable, largest)?;
        let transmit = Transmit::new(queue(TRANSMIT, tx::SLOT)?, header_len)?;
        let tso = |bit| match has(bit) {
            true => (transmit.largest() - ETHERNET_HEADER).min(65535),
            false => 0,
        };
        let capabilities = Capabilities {
            tx_checksum: has(feature::CSUM),
            tso4_max: tso(feature::HOST_TSO4),
            tso6_max: tso(feature::HOST_TSO6),
        };
        let mac = match has(feature::MAC) {
            true => {
                transport.consistent(|t| core::array::from_fn(|byte| t.config8(CONFIG_MAC + byte)))
            }
            false => fallback_mac,
        };
        let link_up = !has(feature::STATUS) || link_state(&*transport);
        Ok(Arc::new(Self {
            transport,
            features,
            mac,
            mtu,
            capabilities,
            receive: SpinLock::new(receive),
            transmit: SpinLock::new(transmit),
            uplink: Once::new(),
            link_up: AtomicBool::new(link_up),
            broken: AtomicBool::new(false),
        }))
    }

    fn bring_up(self: &Arc<Self>) -> Result<(), Error> {
        let handler = |part| Arc::new(Handler { device: self.clone(), part }) as _;
        self.transport.connect(Interrupts {
            queues: [Part::Receive, Part::Transmit].map(handler).into(),
            config: Some(handler(Part::Config)),
        })?;
        self.receive.lock().queue().activate(&*self.transport)?;
        self.transmit.lock().queue().activate(&*self.transport)?;
        self.transport.go();
        Ok(())
    }

    /// Looks for packets now, for a caller that runs without interrupts or
    /// wants to spare one. True when there were some.
    pub fn poll(&self) -> bool {
        self.receive_packets() | self.transmit_done()
    }

    /// Features that are in use, for the log.
    pub fn features(&self) -> u64 {
        self.features
    }

    fn receive_packets(&self) -> bool {
        let Some(uplink) = self.uplink.get() else { return false };
        if self.broken.load(Ordering::Relaxed) {
            return false;
        }
        let delivered = self.drain(&**uplink);
        match delivered {
            Ok(0) => false,
            Ok(_) => {
                uplink.end_of_batch();
                true
            }
            Err(Broken) => {
                self.break_down();
                true
            }
        }
    }

    /// Hands up what is in the ring, at most twice its size, and leaves
    /// interrupts on and all buffers with the device.
    fn drain(&self, uplink: &dyn Uplink) -> Result<usize, Broken> {
        let mut receive = self.receive.lock();
        receive.queue().disable_interrupts();
        let size = usize::from(receive.queue().size());
        let batch = (size / 4).max(1);
        let (mut packets, mut chains) = (0, 0);
        loop {
            let round = receive.deliver(uplink, batch)?;
            packets += round.packets;
            chains += round.chains;
            if round.chains >= batch {
                // Beyond the bound, buffers stay with us, so that the ring
                // runs empty and this loop ends.
                if chains < size {
                    receive.replenish(&*self.transport, RECEIVE);
                }
            } else if !receive.queue().enable_interrupts() {
                break;
            }
        }
        receive.replenish(&*self.transport, RECEIVE);
        Ok(packets)
    }

    fn transmit_done(&self) -> bool {
        if self.broken.load(Ordering::Relaxed) {
            return false;
        }
        let done = self.transmit.lock().interrupted();
        match (done, self.uplink.get()) {
            (Ok(true), Some(uplink)) => {
                uplink.transmit_ready();
                true
            }
            (Ok(_), _) => false,
            (Err(Broken), _) => self.break_down(),
        }
    }

    fn config_changed(&self) {
        if self.transport.needs_reset() {
            self.break_down();
        }
        if self.features & feature::STATUS == 0 || self.broken.load(Ordering::Relaxed) {
            return;
        }
        let up = link_state(&*self.transport);
        if self.link_up.swap(up, Ordering::Relaxed) != up
            && let Some(uplink) = self.uplink.get()
        {
            uplink.link_changed();
        }
    }

    /// The device broke the rules: it is told so, and the link is down. True
    /// the first time.
    fn break_down(&self) -> bool {
        if self.broken.swap(true, Ordering::Relaxed) {
            return false;
        }
        // Reset, so that it writes no more into memory.
        self.transport.set_status(0);
        self.link_up.store(false, Ordering::Relaxed);
        if let Some(uplink) = self.uplink.get() {
            uplink.link_changed();
        }
        true
    }
}

impl NetDevice for VirtioNet {
    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn mtu(&self) -> usize {
        self.mtu
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn link_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    fn attach(&self, uplink: Arc<dyn Uplink>) {
        if self.uplink.set(uplink).is_err() {
            return;
        }
        let mut receive = self.receive.lock();
        // The ring is empty as long as the device has no buffers.
        let _ = receive.queue().enable_interrupts();
        receive.replenish(&*self.transport, RECEIVE);
    }

    fn transmit(&self, packet: &TxPacket<'_>) -> Result<(), TxError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(TxError::Dropped);
        }
        let mut transmit = self.transmit.lock();
        transmit.transmit(packet, &*self.transport, TRANSMIT)
    }

    fn flush(&self) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        self.transmit.lock().flush(&*self.transport, TRANSMIT);
    }
}

/// What we want of what the device offers.
fn choose(offered: u64) -> u64 {
    let mut wanted =
        feature::CSUM | feature::GUEST_CSUM | feature::MTU | feature::MAC | feature::STATUS;
    wanted |= feature::MRG_RXBUF;
    // Each of these needs the one it is listed with (5.1.3.1); large receive
    // offload without mergeable buffers would need 64 KiB for each.
    if offered & feature::CSUM != 0 {
        wanted |= feature::HOST_TSO4 | feature::HOST_TSO6;
    }
    if offered & feature::GUEST_CSUM != 0 && offered & feature::MRG_RXBUF != 0 {
        wanted |= feature::GUEST_TSO4 | feature::GUEST_TSO6;
    }
    wanted
}

/// Descriptors of a queue. Each has a slot of packet memory, so that small
/// machines get short queues: about a sixty-fourth of memory for each.
fn depth(slot: usize) -> u16 {
    let slots = kmm::memory_info().total_frames * kmm::FRAME_SIZE / slot / 64;
    slots.clamp(32, DEPTH_MAX * RECEIVE_SLOT / slot) as u16
}

fn config_mtu(transport: &dyn Transport) -> usize {
    usize::from(transport.consistent(|t| t.config16(CONFIG_MTU))).clamp(MTU_MIN, MTU_MAX)
}

fn link_state(transport: &dyn Transport) -> bool {
    transport.config16(CONFIG_STATUS) & LINK_UP != 0
}

#[derive(Clone, Copy)]
enum Part {
    Receive,
    Transmit,
    Config,
}

struct Handler {
    device: Arc<VirtioNet>,
    part: Part,
}

impl InterruptHandler for Handler {
    fn handle(&self) {
        match self.part {
            Part::Receive => drop(self.device.receive_packets()),
            Part::Transmit => drop(self.device.transmit_done()),
            Part::Config => self.device.config_changed(),
        }
    }
}
