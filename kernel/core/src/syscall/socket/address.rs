// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Addresses of sockets in the program's memory: `struct sockaddr_*`.

use crate::user;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use kio::{Errno, Result, Socket, SocketAddress};

pub(super) const AF_UNSPEC: u16 = 0;
pub(super) const AF_UNIX: u16 = 1;
pub(super) const AF_INET: u16 = 2;
pub(super) const AF_INET6: u16 = 10;
pub(super) const AF_NETLINK: u16 = 16;
pub(super) const AF_PACKET: u16 = 17;
pub(super) const SOCK_STREAM: u16 = 1;

/// Bytes of `struct sockaddr_storage`.
const STORAGE: usize = 128;
/// Bytes of `struct sockaddr_in`.
const INET_SIZE: usize = 16;
/// Bytes of `struct sockaddr_in6` without its scope, which RFC 2133 had not.
const INET6_MIN: usize = 24;
const NETLINK_SIZE: usize = 12;

/// An address as the program gave it.
pub(super) struct RawAddress {
    bytes: [u8; STORAGE],
    len: usize,
}

impl RawAddress {
    pub(super) fn read(address: u64, len: i32) -> Result<Self> {
        let len = usize::try_from(len).ok().filter(|n| *n <= STORAGE).ok_or(Errno::EINVAL)?;
        let mut bytes = [0; STORAGE];
        user::read(address, &mut bytes[..len])?;
        Ok(Self { bytes, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The family; `EINVAL` when not even that is there.
    pub(super) fn family(&self) -> Result<u16> {
        if self.len < 2 {
            return Err(Errno::EINVAL);
        }
        Ok(u16::from_ne_bytes([self.bytes[0], self.bytes[1]]))
    }

    fn require(&self, len: usize) -> Result<()> {
        if self.len < len { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn word(&self, at: usize) -> [u8; 4] {
        [0, 1, 2, 3].map(|i| self.bytes[at + i])
    }

    fn port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    fn inet(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(self.word(4)), self.port())
    }

    fn inet6(&self) -> SocketAddrV6 {
        let mut ip = [0; 16];
        ip.copy_from_slice(&self.bytes[8..24]);
        let flow = u32::from_be_bytes(self.word(4));
        // Zero when the program gave the short form: the rest is cleared.
        let scope = u32::from_ne_bytes(self.word(24));
        SocketAddrV6::new(Ipv6Addr::from(ip), self.port(), flow, scope)
    }

    fn netlink(&self) -> Result<SocketAddress> {
        self.require(NETLINK_SIZE)?;
        if self.family()? != AF_NETLINK {
            return Err(Errno::EINVAL);
        }
        let port = u32::from_ne_bytes(self.word(4));
        Ok(SocketAddress::Netlink { port, groups: u32::from_ne_bytes(self.word(8)) })
    }

    /// For bind(2) of all families but AF_UNIX.
    pub(super) fn to_bind(&self, domain: u16) -> Result<SocketAddress> {
        match domain {
            AF_INET => {
                self.require(INET_SIZE)?;
                let wildcard = self.family()? == AF_UNSPEC && self.inet().ip().is_unspecified();
                if self.family()? != AF_INET && !wildcard {
                    return Err(Errno::EAFNOSUPPORT);
                }
                Ok(SocketAddress::Inet(self.inet()))
            }
            AF_INET6 => self.plain_inet6(),
            AF_NETLINK => self.netlink(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn plain_inet6(&self) -> Result<SocketAddress> {
        self.require(INET6_MIN)?;
        if self.family()? != AF_INET6 {
            return Err(Errno::EAFNOSUPPORT);
        }
        Ok(SocketAddress::Inet6(self.inet6()))
    }

    /// An IPv4 address that is given to a socket of IPv6.
    fn mapped(&self) -> Result<SocketAddress> {
        self.require(INET_SIZE)?;
        let ip = self.inet().ip().to_ipv6_mapped();
        Ok(SocketAddress::Inet6(SocketAddrV6::new(ip, self.port(), 0, 0)))
    }

    fn to_inet(&self) -> Result<SocketAddress> {
        self.require(INET_SIZE)?;
        match self.family()? {
            AF_INET => Ok(SocketAddress::Inet(self.inet())),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// For connect(2) of all families but AF_UNIX.
    pub(super) fn to_connect(&self, socket: &dyn Socket) -> Result<SocketAddress> {
        let stream = socket.socket_type() == SOCK_STREAM;
        match (socket.domain(), self.family()?) {
            (AF_INET | AF_INET6 | AF_NETLINK, AF_UNSPEC) => Ok(SocketAddress::Unspecified),
            (AF_INET, _) => self.to_inet(),
            (AF_INET6, AF_INET) if !stream => self.mapped(),
            (AF_INET6, _) => self.plain_inet6(),
            (AF_NETLINK, _) => self.netlink(),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// For a message to somewhere, of all families but AF_UNIX. `None` is the
    /// peer.
    pub(super) fn to_send(&self, socket: &dyn Socket) -> Result<Option<SocketAddress>> {
        if socket.socket_type() == SOCK_STREAM {
            // TCP sends to its peer whatever the address says.
            return Ok(None);
        }
        match socket.domain() {
            AF_INET => {
                self.require(INET_SIZE)?;
                match self.family()? {
                    AF_INET | AF_UNSPEC => Ok(Some(SocketAddress::Inet(self.inet()))),
                    _ => Err(Errno::EAFNOSUPPORT),
                }
            }
            AF_INET6 => match self.family()? {
                AF_INET6 => self.plain_inet6().map(Some),
                AF_INET => self.mapped().map(Some),
                AF_UNSPEC => Ok(None),
                _ => Err(Errno::EINVAL),
            },
            AF_NETLINK => self.netlink().map(Some),
            // Packet sockets know where they send by their own header.
            _ => Ok(None),
        }
    }
}

/// An address as `struct sockaddr_*`.
pub(super) fn encode(address: &SocketAddress) -> Vec<u8> {
    let mut out = Vec::with_capacity(28);
    match address {
        SocketAddress::Unspecified => out.extend_from_slice(&AF_UNSPEC.to_ne_bytes()),
        SocketAddress::Inet(at) => {
            out.extend_from_slice(&AF_INET.to_ne_bytes());
            out.extend_from_slice(&at.port().to_be_bytes());
            out.extend_from_slice(&at.ip().octets());
            out.resize(INET_SIZE, 0);
        }
        SocketAddress::Inet6(at) => {
            out.extend_from_slice(&AF_INET6.to_ne_bytes());
            out.extend_from_slice(&at.port().to_be_bytes());
            out.extend_from_slice(&at.flowinfo().to_be_bytes());
            out.extend_from_slice(&at.ip().octets());
            out.extend_from_slice(&at.scope_id().to_ne_bytes());
        }
        SocketAddress::Unix(name) => {
            out.extend_from_slice(&AF_UNIX.to_ne_bytes());
            out.extend_from_slice(name);
            // A path ends with a NUL, an abstract name does not.
            if name.first().is_some_and(|first| *first != 0) {
                out.push(0);
            }
        }
        SocketAddress::Netlink { port, groups } => {
            out.extend_from_slice(&AF_NETLINK.to_ne_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&port.to_ne_bytes());
            out.extend_from_slice(&groups.to_ne_bytes());
        }
    }
    out
}

/// Stores an address as getsockname(2) does: cut to the room that the length
/// at `len_address` says, and then its whole length there.
pub(super) fn store(encoded: &[u8], address: u64, len_address: u64) -> Result<()> {
    let room = user::read_u32(len_address)?.cast_signed();
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let count = room.min(encoded.len());
    if count > 0 {
        user::write(address, &encoded[..count])?;
    }
    user::write_u32(len_address, encoded.len() as u32)
}

/// The sender of a message as `msg_name`: nothing for one without a name.
pub(super) fn encode_sender(socket: &dyn Socket, from: Option<SocketAddress>) -> Vec<u8> {
    let from = match from {
        // The bytes of a unix connection come from its peer.
        None if socket.domain() == AF_UNIX => socket.peer_address().ok(),
        from => from,
    };
    match from {
        None => Vec::new(),
        Some(SocketAddress::Unix(name)) if name.is_empty() => Vec::new(),
        Some(address) => encode(&address),
    }
}
