// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One interface: its device or loopback queue, neighbours and counters.

use crate::device::{
    Capabilities, ChecksumOffload, MacAddress, NetDevice, RxPacket, Segmentation, TxError,
    TxPacket, Uplink,
};
use crate::neighbour::NeighbourTable;
use crate::stack::Stack;
use crate::tcp::TcpSocket;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ksync::SpinLock;

/// Largest packet on the loopback interface.
pub(crate) const LOOPBACK_MTU: usize = 65_536;
/// Bytes that may wait in the loopback queue.
const LOOPBACK_QUEUE_BYTES: usize = 16 << 20;

/// Traffic counts, as in /proc/net/dev.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rx_packets: AtomicU64,
    pub(crate) rx_bytes: AtomicU64,
    pub(crate) rx_errors: AtomicU64,
    pub(crate) rx_dropped: AtomicU64,
    pub(crate) rx_multicast: AtomicU64,
    pub(crate) tx_packets: AtomicU64,
    pub(crate) tx_bytes: AtomicU64,
    pub(crate) tx_dropped: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

#[derive(Default)]
struct LoopbackQueue {
    packets: VecDeque<Vec<u8>>,
    bytes: usize,
    draining: bool,
}

enum Link {
    Loopback(SpinLock<LoopbackQueue>),
    Ethernet(Arc<dyn NetDevice>),
}

/// An interface of the stack.
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mac: MacAddress,
    pub(crate) mtu: usize,
    pub(crate) capabilities: Capabilities,
    pub(crate) counters: Counters,
    pub(crate) neighbours: SpinLock<NeighbourTable>,
    pub(crate) neighbour_timer: AtomicBool,
    link: Link,
    stack: Weak<Stack>,
    /// Something was transmitted and the device was not told yet.
    dirty: AtomicBool,
    /// Connections that found the transmit queue full.
    waiting: SpinLock<Vec<Arc<TcpSocket>>>,
}

impl Interface {
    pub(crate) fn loopback(index: u32, stack: Weak<Stack>) -> Self {
        Self {
            index,
            name: String::from("lo"),
            mac: [0; 6],
            mtu: LOOPBACK_MTU,
            capabilities: Capabilities { tx_checksum: true, tso4_max: 0, tso6_max: 0 },
            counters: Counters::default(),
            neighbours: SpinLock::default(),
            neighbour_timer: AtomicBool::new(false),
            link: Link::Loopback(SpinLock::default()),
            stack,
            dirty: AtomicBool::new(false),
            waiting: SpinLock::default(),
        }
    }

    pub(crate) fn ethernet(
        index: u32,
        name: &str,
        device: Arc<dyn NetDevice>,
        stack: Weak<Stack>,
    ) -> Self {
        Self {
            index,
            name: String::from(name),
            mac: device.mac(),
            mtu: device.mtu().clamp(576, 65_535),
            capabilities: device.capabilities(),
            counters: Counters::default(),
            neighbours: SpinLock::default(),
            neighbour_timer: AtomicBool::new(false),
            link: Link::Ethernet(device),
            stack,
            dirty: AtomicBool::new(false),
            waiting: SpinLock::default(),
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self.link, Link::Loopback(_))
    }

    pub(crate) fn link_up(&self) -> bool {
        match &self.link {
            Link::Loopback(_) => true,
            Link::Ethernet(device) => device.link_up(),
        }
    }

    /// Largest TCP packet (without Ethernet header) that may be handed over.
    pub(crate) fn largest_segment(&self, v4: bool) -> usize {
        let caps = &self.capabilities;
        let offload = if v4 { caps.tso4_max } else { caps.tso6_max };
        if caps.tx_checksum { offload.min(65_535).max(self.mtu) } else { self.mtu }
    }

    /// Hands a frame to the device, or queues it on loopback (which carries
    /// packets without an Ethernet header).
    pub(crate) fn transmit(&self, packet: &TxPacket<'_>) -> Result<(), TxError> {
        let length = packet.len();
        let sent = match &self.link {
            Link::Ethernet(device) => device.transmit(packet),
            Link::Loopback(queue) => Self::queue(queue, packet),
        };
        match sent {
            Ok(()) => {
                count(&self.counters.tx_packets, 1);
                count(&self.counters.tx_bytes, length as u64);
                self.dirty.store(true, Ordering::Release);
            }
            Err(_) => count(&self.counters.tx_dropped, 1),
        }
        sent
    }

    fn queue(queue: &SpinLock<LoopbackQueue>, packet: &TxPacket<'_>) -> Result<(), TxError> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(packet.len()).map_err(|_| TxError::Dropped)?;
        bytes.extend_from_slice(packet.header);
        bytes.extend_from_slice(packet.payload[0]);
        bytes.extend_from_slice(packet.payload[1]);
        let mut queue = queue.lock();
        if queue.bytes + bytes.len() > LOOPBACK_QUEUE_BYTES {
            return Err(TxError::Dropped);
        }
        queue.bytes += bytes.len();
        queue.packets.push_back(bytes);
        Ok(())
    }

    /// Sends a frame that was kept.
    pub(crate) fn transmit_held(
        &self,
        frame: &[u8],
        checksum: Option<ChecksumOffload>,
        segmentation: Option<Segmentation>,
    ) {
        let packet = TxPacket { header: frame, payload: [&[], &[]], checksum, segmentation };
        let _ = self.transmit(&packet);
    }

    /// Tells the device of what was queued. To be called without socket locks,
    /// because on loopback this delivers the packets.
    pub(crate) fn flush(&self) {
        if !self.dirty.load(Ordering::Acquire) || !self.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        match &self.link {
            Link::Ethernet(device) => device.flush(),
            Link::Loopback(queue) => self.drain(queue),
        }
    }

    /// Delivers loopback packets until there are none. What delivery sends is
    /// queued behind, so the depth of the stack does not grow; a second CPU, or
    /// a nested call, leaves its packets to the one that drains already.
    fn drain(&self, queue: &SpinLock<LoopbackQueue>) {
        let Some(stack) = self.stack.upgrade() else { return };
        let mut locked = queue.lock();
        if locked.draining {
            return;
        }
        locked.draining = true;
        drop(locked);
        loop {
            let mut delivered = false;
            while let Some(packet) = {
                let mut locked = queue.lock();
                let packet = locked.packets.pop_front();
                locked.bytes -= packet.as_ref().map_or(0, Vec::len);
                packet
            } {
                count(&self.counters.rx_packets, 1);
                count(&self.counters.rx_bytes, packet.len() as u64);
                stack.receive_ip(self, &packet, true);
                delivered = true;
            }
            if delivered {
                stack.finish_batch();
            }
            let mut locked = queue.lock();
            if locked.packets.is_empty() {
                locked.draining = false;
                if locked.packets.capacity() > 256 {
                    locked.packets.shrink_to(64);
                }
                return;
            }
        }
    }

    /// Remembers a connection that found no room.
    pub(crate) fn wait_for_room(&self, socket: Arc<TcpSocket>) {
        self.waiting.lock().push(socket);
    }

    /// Solicits multicast reception; counters only, as devices take all groups.
    pub(crate) fn stack(&self) -> Option<Arc<Stack>> {
        self.stack.upgrade()
    }
}

impl Uplink for Interface {
    fn receive(&self, packet: &RxPacket<'_>) {
        count(&self.counters.rx_packets, 1);
        count(&self.counters.rx_bytes, packet.bytes.len() as u64);
        if let Some(stack) = self.stack.upgrade() {
            stack.receive_frame(self, packet);
        }
    }

    fn end_of_batch(&self) {
        if let Some(stack) = self.stack.upgrade() {
            stack.finish_batch();
            stack.flush();
        }
    }

    fn transmit_ready(&self) {
        let waiting = core::mem::take(&mut *self.waiting.lock());
        for socket in waiting {
            socket.transmit_ready();
        }
        if let Some(stack) = self.stack.upgrade() {
            stack.flush();
        }
    }

    fn link_changed(&self) {
        if let Some(stack) = self.stack.upgrade() {
            stack.link_changed(self);
        }
    }
}
