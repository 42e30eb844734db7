// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses of both versions of IP in one number.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAPPED: u128 = 0xffff_0000_0000;

/// An IP address; IPv4 is held in its IPv4-mapped form (RFC 4291, 2.5.5.2),
/// so that both versions share tables and comparisons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ip(pub(crate) u128);

impl Ip {
    /// `::`, also the wildcard of both versions.
    pub(crate) const ANY: Self = Self(0);
    /// `0.0.0.0`.
    pub(crate) const ANY4: Self = Self(MAPPED);
    pub(crate) const BROADCAST4: Self = Self(MAPPED | 0xffff_ffff);
    pub(crate) const LOOPBACK4: Self = Self(MAPPED | 0x7f00_0001);
    pub(crate) const LOOPBACK6: Self = Self(1);
    pub(crate) const ALL_NODES6: Self = Self(0xff02 << 112 | 1);
    pub(crate) const ALL_ROUTERS6: Self = Self(0xff02 << 112 | 2);

    pub(crate) fn v4(a: Ipv4Addr) -> Self {
        Self(MAPPED | u128::from(u32::from(a)))
    }

    pub(crate) fn v6(a: Ipv6Addr) -> Self {
        Self(u128::from(a))
    }

    pub(crate) fn from_v4_bytes(b: [u8; 4]) -> Self {
        Self(MAPPED | u128::from(u32::from_be_bytes(b)))
    }

    #[inline]
    pub(crate) fn is_v4(self) -> bool {
        self.0 >> 32 == MAPPED >> 32
    }

    #[inline]
    pub(crate) fn low32(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn to_v4(self) -> Ipv4Addr {
        Ipv4Addr::from(self.low32())
    }

    pub(crate) fn to_v6(self) -> Ipv6Addr {
        Ipv6Addr::from(self.0)
    }

    pub(crate) fn to_addr(self) -> IpAddr {
        if self.is_v4() { IpAddr::V4(self.to_v4()) } else { IpAddr::V6(self.to_v6()) }
    }

    pub(crate) fn is_unspecified(self) -> bool {
        self == Self::ANY || self == Self::ANY4
    }

    pub(crate) fn is_multicast(self) -> bool {
        if self.is_v4() { self.low32() >> 28 == 0xe } else { self.0 >> 120 == 0xff }
    }

    pub(crate) fn is_loopback(self) -> bool {
        if self.is_v4() { self.low32() >> 24 == 127 } else { self == Self::LOOPBACK6 }
    }

    /// fe80::/10 or multicast of link scope: an address that needs a scope.
    pub(crate) fn is_link_scope(self) -> bool {
        !self.is_v4()
            && (self.0 >> 118 == 0xfe80 >> 6 || (self.is_multicast() && (self.0 >> 112) & 0xf <= 2))
    }

    pub(crate) fn is_link_local(self) -> bool {
        !self.is_v4() && self.0 >> 118 == 0xfe80 >> 6
    }

    /// True when the first `prefix` bits (counted within the version of
    /// `network`) are the same.
    pub(crate) fn is_in(self, network: Self, prefix: u8) -> bool {
        if self.is_v4() != network.is_v4() {
            return false;
        }
        let bits = if network.is_v4() { u32::from(prefix) + 96 } else { u32::from(prefix) };
        bits == 0 || (self.0 ^ network.0) >> (128 - bits.min(128)) == 0
    }

    /// The network that the first `prefix` bits name.
    pub(crate) fn mask(self, prefix: u8) -> Self {
        let bits = if self.is_v4() { u32::from(prefix) + 96 } else { u32::from(prefix) };
        if bits == 0 { Self::ANY } else { Self(self.0 & (u128::MAX << (128 - bits.min(128)))) }
    }

    /// Bits of the longest common prefix.
    pub(crate) fn common_prefix(self, other: Self) -> u32 {
        (self.0 ^ other.0).leading_zeros()
    }

    /// The directed broadcast address of an IPv4 network.
    pub(crate) fn broadcast_of(self, prefix: u8) -> Self {
        if prefix >= 31 {
            return self;
        }
        Self(self.0 | u128::from(u32::MAX >> prefix))
    }

    /// ff02::1:ffXX:XXXX (RFC 4291, 2.7.1).
    pub(crate) fn solicited_node(self) -> Self {
        Self(0xff02_0000_0000_0000_0000_0001_ff00_0000 | (self.0 & 0xff_ffff))
    }

    /// Ethernet address of a multicast group (RFC 1112, 6.4; RFC 2464, 7).
    pub(crate) fn multicast_mac(self) -> [u8; 6] {
        let b = self.low32().to_be_bytes();
        if self.is_v4() {
            [0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]]
        } else {
            [0x33, 0x33, b[0], b[1], b[2], b[3]]
        }
    }
}

impl From<IpAddr> for Ip {
    fn from(a: IpAddr) -> Self {
        match a {
            IpAddr::V4(a) => Self::v4(a),
            IpAddr::V6(a) => Self::v6(a),
        }
    }
}

impl fmt::Debug for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_addr())
    }
}

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) ip: Ip,
    pub(crate) port: u16,
}

impl Endpoint {
    pub(crate) const NONE: Self = Self { ip: Ip::ANY, port: 0 };

    pub(crate) const fn new(ip: Ip, port: u16) -> Self {
        Self { ip, port }
    }
}

#[cfg(test)]
mod tests {
    use super::Ip;

    fn ip(s: &str) -> Ip {
        Ip::from(s.parse::<core::net::IpAddr>().unwrap())
    }

    #[test]
    fn prefixes_count_within_their_version() {
        assert!(ip("10.1.2.3").is_in(ip("10.1.0.0"), 16));
        assert!(!ip("10.2.2.3").is_in(ip("10.1.0.0"), 16));
        assert!(ip("10.2.2.3").is_in(ip("0.0.0.0"), 0));
        assert!(!ip("10.2.2.3").is_in(ip("::"), 0));
        assert!(ip("fe80::1").is_in(ip("fe80::"), 10));
        assert_eq!(ip("10.1.2.3").broadcast_of(24), ip("10.1.2.255"));
        assert_eq!(ip("fe80::1:2:3:4").solicited_node(), ip("ff02::1:ff03:4"));
        assert_eq!(ip("239.129.2.3").multicast_mac(), [1, 0, 0x5e, 1, 2, 3]);
        assert!(ip("ff02::1").is_link_scope() && !ip("ff0e::1").is_link_scope());
    }
}
