// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names of unix sockets: paths are inodes, found in the tree of files.

use super::address::{AF_UNIX, AF_UNSPEC, RawAddress};
use crate::thread::Thread;
use alloc::vec::Vec;
use kio::{Errno, FileKind, Result, Socket, SocketAddress};
use kipc::{UnixKind, UnixSocket};
use kvfs::{Follow, Location, Start};

/// Bytes of `struct sockaddr_un`.
const SIZE: usize = 110;

/// What an address says.
enum Name<'a> {
    Path(&'a [u8]),
    /// Without an inode; begins with a zero byte.
    Abstract(&'a [u8]),
}

fn parse(raw: &RawAddress) -> Result<Name<'_>> {
    let bytes = raw.bytes();
    if bytes.len() <= 2 || bytes.len() > SIZE || raw.family()? != AF_UNIX {
        return Err(Errno::EINVAL);
    }
    let name = &bytes[2..];
    if name[0] == 0 {
        return Ok(Name::Abstract(name));
    }
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok(Name::Path(&name[..end]))
}

/// What stands for an inode in the table of names.
fn key_of(at: &Location) -> Result<Vec<u8>> {
    let stat = at.inode().stat()?;
    let mut key = Vec::from(*b"inode");
    key.extend_from_slice(&stat.device.to_ne_bytes());
    key.extend_from_slice(&stat.inode.to_ne_bytes());
    Ok(key)
}

pub(super) fn bind(thread: &Thread, socket: &UnixSocket, raw: &RawAddress) -> Result<()> {
    if raw.bytes().len() == 2 && raw.family()? == AF_UNIX {
        return socket.bind(&SocketAddress::Unix(Vec::new()));
    }
    let path = match parse(raw)? {
        Name::Abstract(name) => return socket.bind(&SocketAddress::Unix(name.to_vec())),
        Name::Path(path) => path,
    };
    let fs = thread.process.places();
    let start = Start { root: &fs.root, base: &fs.cwd };
    let namespace = &thread.process.services.namespace;
    let permissions = 0o777 & !fs.umask;
    let made = namespace.make_node(start, path, FileKind::Socket, permissions, 0);
    let at = made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
    key_of(&at).and_then(|key| socket.bind_inode(path, &key)).inspect_err(|_| {
        let _ = namespace.unlink(start, path);
    })
}

/// The address under which the socket of a name is found.
fn find(thread: &Thread, raw: &RawAddress) -> Result<SocketAddress> {
    let path = match parse(raw)? {
        Name::Abstract(name) => return Ok(SocketAddress::Unix(name.to_vec())),
        Name::Path(path) => path,
    };
    let fs = thread.process.places();
    let start = Start { root: &fs.root, base: &fs.cwd };
    let at = thread.process.services.namespace.resolve(start, path, Follow::Yes)?;
    if at.kind() != FileKind::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    key_of(&at).map(SocketAddress::Unix)
}

pub(super) fn to_connect(
    thread: &Thread,
    socket: &dyn Socket,
    raw: &RawAddress,
) -> Result<SocketAddress> {
    let datagram = socket.socket_type() == UnixKind::Datagram as u16;
    match raw.family() {
        Ok(AF_UNSPEC) if datagram => Ok(SocketAddress::Unspecified),
        _ => find(thread, raw),
    }
}

pub(super) fn to_send(
    thread: &Thread,
    socket: &dyn Socket,
    raw: &RawAddress,
) -> Result<Option<SocketAddress>> {
    match socket.socket_type() {
        // Whatever it is, a connection does not take it.
        kind if kind == UnixKind::Stream as u16 => Ok(Some(SocketAddress::Unspecified)),
        kind if kind == UnixKind::SeqPacket as u16 => Ok(None),
        _ => find(thread, raw).map(Some),
    }
}
