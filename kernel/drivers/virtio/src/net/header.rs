// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The header in front of each packet (5.1.6).

use knet::device::{SegmentationKind, TxPacket};

/// Feature bits of network devices (5.1.3).
pub(super) mod feature {
    pub(crate) const CSUM: u64 = 1 << 0;
    pub(crate) const GUEST_CSUM: u64 = 1 << 1;
    pub(crate) const MTU: u64 = 1 << 3;
    pub(crate) const MAC: u64 = 1 << 5;
    pub(crate) const GUEST_TSO4: u64 = 1 << 7;
    pub(crate) const GUEST_TSO6: u64 = 1 << 8;
    pub(crate) const HOST_TSO4: u64 = 1 << 11;
    pub(crate) const HOST_TSO6: u64 = 1 << 12;
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    pub(crate) const STATUS: u64 = 1 << 16;
}

/// Length with `num_buffers`.
pub(super) const LEN: usize = 12;
/// Length on legacy devices without mergeable buffers.
pub(super) const LEN_SHORT: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// The header of a packet to send. `num_buffers` is zero, as it has to be.
pub(super) fn for_transmit(packet: &TxPacket<'_>) -> [u8; LEN] {
    let mut header = [0; LEN];
    if let Some(checksum) = packet.checksum {
        header[0] = NEEDS_CSUM;
        header[6..8].copy_from_slice(&checksum.start.to_le_bytes());
        header[8..10].copy_from_slice(&checksum.offset.to_le_bytes());
    }
    if let Some(segmentation) = packet.segmentation {
        header[1] = match segmentation.kind {
            SegmentationKind::Tcp4 => GSO_TCPV4,
            SegmentationKind::Tcp6 => GSO_TCPV6,
        };
        header[2..4].copy_from_slice(&segmentation.header_length.to_le_bytes());
        header[4..6].copy_from_slice(&segmentation.size.to_le_bytes());
    }
    header
}

/// Whether the host vouches for the checksum of a received packet.
pub(super) fn checksum_verified(flags: u8) -> bool {
    flags & (NEEDS_CSUM | DATA_VALID) != 0
}

#[cfg(test)]
mod tests {
    use super::for_transmit;
    use knet::device::{ChecksumOffload, Segmentation, SegmentationKind, TxPacket};

    #[test]
    fn offloads_are_little_endian_at_their_places() {
        let packet = TxPacket {
            header: &[0; 54],
            payload: [&[], &[]],
            checksum: Some(ChecksumOffload { start: 34, offset: 0x0110 }),
            segmentation: Some(Segmentation {
                kind: SegmentationKind::Tcp6,
                size: 1460,
                header_length: 54,
            }),
        };
        let expected = [1, 4, 54, 0, 0xb4, 0x05, 34, 0, 0x10, 0x01, 0, 0];
        assert_eq!(for_transmit(&packet), expected);
        let plain = TxPacket { checksum: None, segmentation: None, ..packet };
        assert_eq!(for_transmit(&plain), [0; 12]);
    }
}
