// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trait behind every socket, of whatever family.

use crate::{Errno, File, Result, Sink, Source};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bitflags::bitflags;
use core::any::Any;
use core::net::{SocketAddrV4, SocketAddrV6};

/// The address of a socket, parsed from or to be written as `sockaddr_*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// AF_UNSPEC, which dissolves the association of a datagram socket.
    Unspecified,
    /// AF_INET.
    Inet(SocketAddrV4),
    /// AF_INET6.
    Inet6(SocketAddrV6),
    /// AF_UNIX: a path (absolute by now), a name in the abstract name space
    /// (starts with a zero byte), or empty when unnamed.
    Unix(Vec<u8>),
    /// AF_NETLINK: port id and multicast groups.
    Netlink {
        /// Port id; 0 is the kernel.
        port: u32,
        /// Multicast groups, a bit mask.
        groups: u32,
    },
}

bitflags! {
    /// The `MSG_*` flags of send(2) and recv(2), with Linux's values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MessageFlags: u32 {
        /// Out-of-band data.
        const OOB = 0x1;
        /// Look without taking.
        const PEEK = 0x2;
        /// Control data was cut.
        const CTRUNC = 0x8;
        /// The datagram was longer; as input: return its real length.
        const TRUNC = 0x20;
        /// Do not wait (the system call layer handles it).
        const DONTWAIT = 0x40;
        /// End of record.
        const EOR = 0x80;
        /// Wait for all bytes (the system call layer handles it).
        const WAITALL = 0x100;
        /// From the error queue.
        const ERRQUEUE = 0x2000;
        /// No SIGPIPE (the system call layer handles it).
        const NOSIGNAL = 0x4000;
        /// More data follows.
        const MORE = 0x8000;
        /// close-on-exec for received descriptors.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// How much of a connection shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

/// One ancillary object, as raw as the family wants it on the wire of
/// cmsg(3): level, type and data; passed descriptors travel as objects.
#[derive(Clone)]
pub enum Control {
    /// SCM_RIGHTS: open file descriptions, opaque to the socket.
    Rights(Vec<Arc<dyn Any + Send + Sync>>),
    /// Any other control message.
    Raw {
        /// `cmsg_level`.
        level: i32,
        /// `cmsg_type`.
        kind: i32,
        /// The data behind the header.
        data: Vec<u8>,
    },
}

/// What a receive delivered.
#[derive(Default)]
pub struct Received {
    /// Bytes put into the sink, or the full length of the datagram when the
    /// caller asked with [`MessageFlags::TRUNC`].
    pub count: usize,
    /// The sender, for datagrams.
    pub from: Option<SocketAddress>,
    /// `msg_flags` of the result.
    pub flags: MessageFlags,
    /// Ancillary data.
    pub control: Vec<Control>,
}

/// A socket; as all files it never blocks: `EAGAIN`, and readiness through
/// the wait queue of the file.
pub trait Socket: File {
    /// AF_* number.
    fn domain(&self) -> u16;

    /// SOCK_* number.
    fn socket_type(&self) -> u16;

    /// IPPROTO_* number, 0 where the family has none.
    fn protocol(&self) -> u16 {
        0
    }

    /// bind(2).
    fn bind(&self, address: &SocketAddress) -> Result<()>;

    /// Starts connect(2): `EINPROGRESS` when the result comes later, as
    /// OUT, ERR or HUP readiness, with the error from
    /// [`take_error`](Self::take_error).
    fn connect(&self, address: &SocketAddress) -> Result<()>;

    /// listen(2).
    fn listen(&self, _backlog: usize) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes a finished connection and the address of its peer.
    fn accept(&self) -> Result<(Arc<dyn Socket>, SocketAddress)> {
        Err(Errno::EOPNOTSUPP)
    }

    /// send(2) and its kin.
    fn send(
        &self,
        source: &mut dyn Source,
        to: Option<&SocketAddress>,
        control: Vec<Control>,
        flags: MessageFlags,
    ) -> Result<usize>;

    /// recv(2) and its kin.
    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received>;

    /// shutdown(2).
    fn shutdown(&self, how: Shutdown) -> Result<()>;

    /// getsockname(2).
    fn local_address(&self) -> Result<SocketAddress>;

    /// getpeername(2); `ENOTCONN` without a peer.
    fn peer_address(&self) -> Result<SocketAddress>;

    /// Takes the pending error, as SO_ERROR does.
    fn take_error(&self) -> Option<Errno>;

    /// getsockopt(2): fills `value` and returns the length. SO_TYPE,
    /// SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_RCVTIMEO and SO_SNDTIMEO are
    /// answered by the system call layer.
    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize>;

    /// setsockopt(2).
    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()>;
}
