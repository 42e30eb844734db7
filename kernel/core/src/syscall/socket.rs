// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sockets as system calls: creation, addresses, connections.

mod address;
mod control;
mod message;
mod options;
mod unix;

pub(super) use message::{recvfrom, recvmmsg, recvmsg, sendmmsg, sendmsg, sendto};
pub(super) use options::{getsockopt, setsockopt};

use super::Args;
use super::event::install;
use super::fd::usable;
use crate::files::OpenFile;
use crate::limits;
use crate::thread::Thread;
use crate::user;
use crate::wait::wait_for_socket;
use address::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, RawAddress};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use kio::{Errno, Events, File, Result, Shutdown as Direction, Socket};
use kipc::{Credentials, UnixKind, UnixSocket};
use kvfs::OpenFlags;

const SOCK_CLOEXEC: u32 = OpenFlags::CLOEXEC.bits();
const SOCK_NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();

fn socket_of(open: &OpenFile) -> Result<&dyn Socket> {
    open.file().as_socket().ok_or(Errno::ENOTSOCK)
}

fn unix_of(open: &OpenFile) -> Option<&UnixSocket> {
    open.file().as_any().downcast_ref::<UnixSocket>()
}

/// The arguments of socket(2), checked: family, type, protocol, flags.
fn parameters(a: Args) -> Result<(u16, u16, i32, u32)> {
    const FAMILIES: i32 = 46;
    const TYPES: u32 = 11;
    let (domain, kind, protocol) = (a.i32(0), a.u32(1) & 0xf, a.i32(2));
    let flags = a.u32(1) & !0xf;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if !(0..FAMILIES).contains(&domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    if kind >= TYPES {
        return Err(Errno::EINVAL);
    }
    Ok((domain as u16, kind as u16, protocol, flags))
}

fn unix_kind(kind: u16, protocol: i32) -> Result<UnixKind> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        1 => Ok(UnixKind::Stream),
        // unix(7): SOCK_RAW is taken for SOCK_DGRAM.
        2 | 3 => Ok(UnixKind::Datagram),
        5 => Ok(UnixKind::SeqPacket),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

fn credentials(thread: &Thread) -> Credentials {
    Credentials { pid: thread.process.pid as i32, uid: 0, gid: 0 }
}

fn create(thread: &Thread, domain: u16, kind: u16, protocol: i32) -> Result<Arc<dyn File>> {
    let services = &thread.process.services;
    if domain == AF_UNIX {
        let kind = unix_kind(kind, protocol)?;
        return Ok(Arc::new(UnixSocket::new(kind, services.unix.clone(), credentials(thread))));
    }
    /// IPPROTO_MAX.
    const PROTOCOLS: u16 = 263;
    let internet = domain == AF_INET || domain == AF_INET6;
    let known = u16::try_from(protocol).ok().filter(|p| !internet || *p < PROTOCOLS);
    let protocol = known.ok_or(match domain {
        AF_INET | AF_INET6 | AF_PACKET => Errno::EINVAL,
        AF_NETLINK => Errno::EPROTONOSUPPORT,
        _ => Errno::EAFNOSUPPORT,
    })?;
    Ok(services.provider.socket(domain, kind, protocol)?)
}

pub(super) fn socket(thread: &Thread, a: Args) -> Result<u64> {
    let (domain, kind, protocol, flags) = parameters(a)?;
    let file = create(thread, domain, kind, protocol)?;
    install(thread, file, flags).map(|fd| fd as u64)
}

pub(super) fn socketpair(thread: &Thread, a: Args) -> Result<u64> {
    let (domain, kind, protocol, flags) = parameters(a)?;
    if domain != AF_UNIX {
        // No other family has it; an unknown one fails for that reason.
        create(thread, domain, kind, protocol)?;
        return Err(Errno::EOPNOTSUPP);
    }
    let kind = unix_kind(kind, protocol)?;
    let names = &thread.process.services.unix;
    let (one, two) = UnixSocket::pair(kind, names, credentials(thread));
    let files = &thread.process.files;
    let one = install(thread, Arc::new(one), flags)?;
    let two = install(thread, Arc::new(two), flags).inspect_err(|_| {
        let _ = files.close(one);
    })?;
    let pair = u64::from(one as u32) | u64::from(two as u32) << 32;
    user::write_u64(a.u64(3), pair).inspect_err(|_| {
        let _ = files.close(one);
        let _ = files.close(two);
    })?;
    Ok(0)
}

pub(super) fn bind(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let raw = RawAddress::read(a.u64(1), a.i32(2))?;
    match unix_of(&open) {
        Some(unix) => unix::bind(thread, unix, &raw)?,
        None => socket.bind(&raw.to_bind(socket.domain())?)?,
    }
    Ok(0)
}

pub(super) fn connect(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    // Linux looks at the address first here.
    let raw = RawAddress::read(a.u64(1), a.i32(2))?;
    let socket = socket_of(&open)?;
    if socket.domain() == AF_UNIX {
        connect_unix(thread, &open, socket, &raw)?;
    } else {
        connect_network(&open, socket, &raw)?;
    }
    Ok(0)
}

/// A full backlog is waited for, as accept(2) makes room.
fn connect_unix(
    thread: &Thread,
    open: &OpenFile,
    socket: &dyn Socket,
    raw: &RawAddress,
) -> Result<()> {
    let address = unix::to_connect(thread, socket, raw)?;
    let deadline = open.socket.deadline(true);
    wait_for_socket(open.file(), Events::WRITABLE, open.nonblocking(), deadline, || {
        socket.connect(&address)
    })
}

fn connect_network(open: &OpenFile, socket: &dyn Socket, raw: &RawAddress) -> Result<()> {
    let connecting = &open.socket.connecting;
    let begun = match socket.connect(&raw.to_connect(socket)?) {
        Err(begun @ (Errno::EINPROGRESS | Errno::EALREADY)) => begun,
        // The first call after a connection was made says so.
        Err(Errno::EISCONN) if connecting.swap(false, Ordering::Relaxed) => return Ok(()),
        result => {
            connecting.store(false, Ordering::Relaxed);
            return result;
        }
    };
    connecting.store(true, Ordering::Relaxed);
    if open.nonblocking() {
        return Err(begun);
    }
    let file = open.file();
    let settled = Events::WRITABLE | Events::ALWAYS;
    let deadline = open.socket.deadline(true);
    wait_for_socket(file, settled, false, deadline, || {
        if file.poll().intersects(settled) { Ok(()) } else { Err(Errno::EAGAIN) }
    })
    .map_err(|error| if error == Errno::EAGAIN { begun } else { error })?;
    connecting.store(false, Ordering::Relaxed);
    socket.take_error().map_or(Ok(()), Err)
}

pub(super) fn listen(thread: &Thread, a: Args) -> Result<u64> {
    /// `net.core.somaxconn`.
    const SOMAXCONN: u32 = 4096;
    let open = usable(thread, a.i32(0))?;
    socket_of(&open)?.listen(a.u32(1).min(SOMAXCONN) as usize)?;
    Ok(0)
}

pub(super) fn accept(thread: &Thread, a: Args, flags: u32) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = &thread.process;
    process.files.check_room(process.limits.soft(limits::NOFILE))?;
    let socket = socket_of(&open)?;
    let deadline = open.socket.deadline(false);
    let (accepted, peer) =
        wait_for_socket(open.file(), Events::READABLE, open.nonblocking(), deadline, || {
            socket.accept()
        })?;
    let kept = OpenFlags::from_bits_retain(flags & SOCK_NONBLOCK) | OpenFlags::RDWR;
    let accepted = OpenFile::new(accepted, None, kept);
    if socket.domain() != AF_UNIX {
        for send in [false, true] {
            accepted.socket.set_timeout(send, open.socket.timeout(send));
        }
    }
    if a.u64(1) != 0 {
        address::store(&address::encode(&peer), a.u64(1), a.u64(2))?;
    }
    let limit = process.limits.soft(limits::NOFILE);
    process.files.insert(accepted, flags & SOCK_CLOEXEC != 0, 0, limit).map(|fd| fd as u64)
}

pub(super) fn shutdown(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let how = match a.i32(1) {
        0 => Direction::Read,
        1 => Direction::Write,
        2 => Direction::Both,
        _ => return Err(Errno::EINVAL),
    };
    socket.shutdown(how)?;
    Ok(0)
}

pub(super) fn getsockname(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    let name = socket_of(&open)?.local_address()?;
    address::store(&address::encode(&name), a.u64(1), a.u64(2))?;
    Ok(0)
}

pub(super) fn getpeername(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    let name = socket_of(&open)?.peer_address()?;
    address::store(&address::encode(&name), a.u64(1), a.u64(2))?;
    Ok(0)
}
