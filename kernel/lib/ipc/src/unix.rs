// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unix domain sockets: unix(7).
//!
//! Each socket has a queue of messages that it receives; what a sender has
//! lying in the queues of others counts against its own SO_SNDBUF. Two sockets
//! are never locked at once: a sender learns its peer, unlocks, and puts the
//! message into the peer's queue unless that was shut down meanwhile.

mod connect;
mod names;
mod node;
mod options;
mod receive;
mod send;

pub use names::UnixNames;

use crate::copy::{FIONREAD, TIOCOUTQ, next_inode, store_count};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use kio::{
    Control, Errno, Events, File, FileKind, MessageFlags, Received, Result, Shutdown, Sink, Socket,
    SocketAddress, Source, Stat, UserWords, WaitQueue,
};
use node::{Down, Node, Phase};

const AF_UNIX: u16 = 1;

/// SOCK_* of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixKind {
    /// SOCK_STREAM.
    Stream = 1,
    /// SOCK_DGRAM.
    Datagram = 2,
    /// SOCK_SEQPACKET.
    SeqPacket = 5,
}

/// Who a process is, for SO_PEERCRED and SCM_CREDENTIALS: `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Credentials {
    fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.gid.to_ne_bytes());
        bytes
    }
}

/// A unix socket.
pub struct UnixSocket {
    node: Arc<Node>,
    names: Arc<UnixNames>,
    inode: u64,
}

impl UnixSocket {
    /// An unconnected socket of a process with `credentials`; `names` is the
    /// address table that all sockets of the kernel share.
    pub fn new(kind: UnixKind, names: Arc<UnixNames>, credentials: Credentials) -> Self {
        Self::over(Arc::new(Node::new(kind, credentials)), names)
    }

    fn over(node: Arc<Node>, names: Arc<UnixNames>) -> Self {
        Self { node, names, inode: next_inode() }
    }

    /// Two connected sockets: socketpair(2).
    pub fn pair(kind: UnixKind, names: &Arc<UnixNames>, credentials: Credentials) -> (Self, Self) {
        let one = Self::new(kind, names.clone(), credentials);
        let two = Self::new(kind, names.clone(), credentials);
        one.node.join(&two.node, credentials, Vec::new());
        two.node.join(&one.node, credentials, Vec::new());
        (one, two)
    }

    /// bind(2) to an inode that the kernel made: the address is the path as the
    /// program gave it, but others reach the socket under `key`, which stands
    /// for the inode whatever its path is by then.
    pub fn bind_inode(&self, path: &[u8], key: &[u8]) -> Result<()> {
        self.names.bind(&self.node, path, Some(key))
    }

    fn connected(&self) -> Option<Arc<Node>> {
        self.node.state.lock().peer.clone()
    }
}

impl File for UnixSocket {
    fn stat(&self) -> Result<Stat> {
        let stat = Stat::anonymous(FileKind::Socket);
        Ok(Stat { inode: self.inode, permissions: 0o777, ..stat })
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        Ok(self.receive(sink, MessageFlags::empty())?.count)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.send(source, None, Vec::new(), MessageFlags::empty())
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn poll(&self) -> Events {
        self.node.poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.node.queue)
    }

    fn close(&self) {
        self.node.close(&self.names);
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        let state = self.node.state.lock();
        if !matches!(request, FIONREAD | TIOCOUTQ) {
            return Err(Errno::ENOTTY);
        }
        if matches!(state.phase, Phase::Listening(_)) {
            return Err(Errno::EINVAL);
        }
        let count = match (request, self.node.kind) {
            (TIOCOUTQ, _) => self.node.used(),
            (_, UnixKind::Datagram) => state.messages.front().map_or(0, |m| m.rest().len()),
            _ => state.messages.iter().map(|m| m.rest().len()).sum(),
        };
        drop(state);
        store_count(argument, count)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for UnixSocket {
    fn domain(&self) -> u16 {
        AF_UNIX
    }

    fn socket_type(&self) -> u16 {
        self.node.kind as u16
    }

    fn bind(&self, address: &SocketAddress) -> Result<()> {
        let SocketAddress::Unix(name) = address else { return Err(Errno::EINVAL) };
        self.names.bind(&self.node, name, None)
    }

    fn connect(&self, address: &SocketAddress) -> Result<()> {
        connect::connect(&self.node, &self.names, address)
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        connect::listen(&self.node, backlog)
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, SocketAddress)> {
        let node = connect::accept(&self.node)?;
        let address = SocketAddress::Unix(node.state.lock().peer_name.clone());
        Ok((Arc::new(Self::over(node, self.names.clone())), address))
    }

    fn send(
        &self,
        source: &mut dyn Source,
        to: Option<&SocketAddress>,
        control: Vec<Control>,
        flags: MessageFlags,
    ) -> Result<usize> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let ancillary = send::Ancillary::new(&self.node, control)?;
        match self.node.kind {
            UnixKind::Stream => send::stream(&self.node, source, to, ancillary),
            UnixKind::SeqPacket => send::record(&self.node, None, source, ancillary),
            UnixKind::Datagram => {
                let target = match to {
                    Some(SocketAddress::Unix(name)) => {
                        Some(self.names.find(name, UnixKind::Datagram)?)
                    }
                    Some(_) => return Err(Errno::EINVAL),
                    None => None,
                };
                send::record(&self.node, target, source, ancillary)
            }
        }
    }

    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received> {
        if flags.contains(MessageFlags::OOB) {
            // Linux: EINVAL for streams without urgent data.
            let stream = self.node.kind == UnixKind::Stream;
            return Err(if stream { Errno::EINVAL } else { Errno::EOPNOTSUPP });
        }
        match self.node.kind {
            UnixKind::Stream => receive::stream(&self.node, sink, flags),
            _ => receive::record(&self.node, sink, flags),
        }
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let (own, other) = match how {
            Shutdown::Read => (Down::READ, Down::WRITE),
            Shutdown::Write => (Down::WRITE, Down::READ),
            Shutdown::Both => (Down::BOTH, Down::BOTH),
        };
        self.node.shut(own);
        let connection = self.node.kind != UnixKind::Datagram;
        if let Some(peer) = self.connected().filter(|_| connection) {
            peer.shut(other);
        }
        Ok(())
    }

    fn local_address(&self) -> Result<SocketAddress> {
        Ok(SocketAddress::Unix(self.node.state.lock().name.clone()))
    }

    fn peer_address(&self) -> Result<SocketAddress> {
        let state = self.node.state.lock();
        if state.peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        Ok(SocketAddress::Unix(state.peer_name.clone()))
    }

    fn take_error(&self) -> Option<Errno> {
        self.node.state.lock().error.take()
    }

    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        options::read(&self.node, level, name, value)
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        options::write(&self.node, level, name, value)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.close();
    }
}
