// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contract between the stack and a network driver.
//!
//! Life of a device: the kernel makes the driver, `Stack::add_interface`
//! calls [`NetDevice::attach`] once, and from then on
//!
//! * the stack calls [`NetDevice::transmit`] for each packet and
//!   [`NetDevice::flush`] when it has no more for now (ring the doorbell only
//!   there). The bytes are borrowed for the call: the driver copies them into
//!   its own DMA memory, which is the only copy between the send buffer of a
//!   socket and the device;
//! * the driver calls [`Uplink::receive`] for each packet, straight out of its
//!   DMA memory, and [`Uplink::end_of_batch`] after the last one it has; and
//!   [`Uplink::transmit_ready`] when there is room again after a [`TxError::Full`].
//!
//! Locks: the stack calls `transmit` and `flush` with locks of its own held.
//! So the driver must not call the [`Uplink`] from inside them, and must not
//! hold its transmit lock when it calls the `Uplink` (which transmits).
//! A lock on a receive queue may be held, because the stack never calls into
//! the receive side.

use alloc::sync::Arc;

/// Ethernet address.
pub type MacAddress = [u8; 6];

/// Bytes of an Ethernet header, without VLAN tag.
pub const ETHERNET_HEADER: usize = 14;

/// What a device does for the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It fills in TCP and UDP checksums as [`ChecksumOffload`] asks.
    pub tx_checksum: bool,
    /// It cuts large TCP/IPv4 packets, up to this many bytes of packet
    /// without the Ethernet header; 0 when it cannot. Needs `tx_checksum`.
    pub tso4_max: usize,
    /// As `tso4_max` for TCP/IPv6.
    pub tso6_max: usize,
}

/// The device is to sum the packet from `start` to its end and to store the
/// complemented sum at `start + offset`, where the pseudo header's sum stands
/// already. Both are as in virtio 1.2, 5.1.6: `start` counts from the first
/// byte of the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// First byte that is summed.
    pub start: u16,
    /// Place of the checksum, from `start`.
    pub offset: u16,
}

/// What the device is to cut a large packet into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// The packet is to be cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Protocols.
    pub kind: SegmentationKind,
    /// Payload bytes of each segment but the last.
    pub size: u16,
    /// Bytes of Ethernet, IP and TCP header together.
    pub header_length: u16,
}

/// A packet on its way out: `header`, then the parts of `payload`.
#[derive(Clone, Copy, Debug)]
pub struct TxPacket<'a> {
    /// Starts with the Ethernet header. May hold the whole packet.
    pub header: &'a [u8],
    /// The rest, in up to two pieces (a send buffer is a ring).
    pub payload: [&'a [u8]; 2],
    /// Checksum that the device is to fill in, if `tx_checksum`.
    pub checksum: Option<ChecksumOffload>,
    /// Segmentation that the device is to do.
    pub segmentation: Option<Segmentation>,
}

impl TxPacket<'_> {
    /// Length of the packet in bytes.
    pub fn len(&self) -> usize {
        self.header.len() + self.payload[0].len() + self.payload[1].len()
    }

    /// True for a packet without a byte, which the stack never sends.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the packet to the start of `buffer` and returns its length, or
    /// `None` when it does not fit.
    pub fn copy_to(&self, buffer: &mut [u8]) -> Option<usize> {
        let buffer = buffer.get_mut(..self.len())?;
        let (head, rest) = buffer.split_at_mut(self.header.len());
        let (first, second) = rest.split_at_mut(self.payload[0].len());
        head.copy_from_slice(self.header);
        first.copy_from_slice(self.payload[0]);
        second.copy_from_slice(self.payload[1]);
        Some(self.len())
    }
}

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxError {
    /// No room now. The driver owes one [`Uplink::transmit_ready`].
    Full,
    /// The device cannot send it at all; the stack drops it.
    Dropped,
}

/// A packet that came in, borrowed from the driver.
#[derive(Clone, Copy, Debug)]
pub struct RxPacket<'a> {
    /// From the Ethernet header on, without frame check sequence. With large
    /// receive offload this can be more than the MTU.
    pub bytes: &'a [u8],
    /// The device vouches for the TCP or UDP checksum, or the packet comes
    /// from the same machine and has only the pseudo header's sum there
    /// (VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub checksum_verified: bool,
}

/// A network device. All methods may be called on any CPU at any time.
pub trait NetDevice: Send + Sync {
    /// Its Ethernet address.
    fn mac(&self) -> MacAddress;

    /// Largest IP packet, in bytes (1500 for plain Ethernet).
    fn mtu(&self) -> usize;

    /// What it can do; constant from `attach` on.
    fn capabilities(&self) -> Capabilities;

    /// Whether there is a carrier.
    fn link_up(&self) -> bool {
        true
    }

    /// Gives the driver its way up. Called once, before any other call but
    /// `mac`, `mtu` and `capabilities`. Packets may be delivered from now on.
    fn attach(&self, uplink: Arc<dyn Uplink>);

    /// Puts a packet into the transmit queue.
    fn transmit(&self, packet: &TxPacket<'_>) -> Result<(), TxError>;

    /// The stack has no more packets for now: tell the device of those queued.
    fn flush(&self);
}

/// The way from a driver into the stack.
pub trait Uplink: Send + Sync {
    /// One packet came in.
    fn receive(&self, packet: &RxPacket<'_>);

    /// There are no more packets for now: acknowledgements go out and sockets
    /// are woken. To be called after one or more `receive`.
    fn end_of_batch(&self);

    /// There is room in the transmit queue again after [`TxError::Full`].
    fn transmit_ready(&self);

    /// [`NetDevice::link_up`] changed.
    fn link_changed(&self) {}
}
