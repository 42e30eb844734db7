// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parsers by themselves, for fuzz targets. Each takes any bytes and says
//! whether they were well-formed. Whole packets go in through
//! [`Uplink::receive`](crate::device::Uplink::receive).

/// An IPv4 or IPv6 packet with its extension headers.
pub fn ip_packet(bytes: &[u8]) -> bool {
    crate::ip::parse(bytes).is_some_and(|h| h.header_length <= h.total_length)
}

/// A TCP segment with its options.
pub fn tcp_segment(bytes: &[u8]) -> bool {
    crate::tcp::is_segment(bytes)
}

/// Netlink requests; how many there are.
pub fn netlink_requests(bytes: &[u8]) -> usize {
    crate::netlink::count_requests(bytes)
}

/// A DHCP message.
pub fn dhcp_message(bytes: &[u8]) -> bool {
    smoltcp::wire::DhcpPacket::new_checked(bytes)
        .is_ok_and(|p| smoltcp::wire::DhcpRepr::parse(&p).is_ok())
}
