// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The internet layer: addresses, headers, input, output, fragments.

mod address;
pub(crate) mod checksum;
mod header;
mod input;
mod output;
mod reassembly;

pub(crate) use address::{Endpoint, Ip};
pub(crate) use header::{Header, HeaderBuffer, parse};
pub(crate) use input::Incoming;
pub(crate) use output::{Outgoing, SendError};
pub(crate) use reassembly::Reassembler;

/// Protocol numbers.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMPV6: u8 = 58;
}

/// Ethernet types.
pub(crate) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
}

/// Two bytes of a packet, in network order; 0 behind its end.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(b) => u16::from_be_bytes([b[0], b[1]]),
        None => 0,
    }
}

/// Four bytes of a packet, in network order; 0 behind its end.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..at + 4) {
        Some(b) => u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}
