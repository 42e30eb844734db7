// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages: send(2), recv(2) and their kin.

use super::address::{self, AF_INET, AF_INET6, AF_UNIX, RawAddress, SOCK_STREAM};
use super::{control, socket_of, unix};
use crate::files::OpenFile;
use crate::syscall::Args;
use crate::syscall::fd::usable;
use crate::syscall::file::raise_sigpipe;
use crate::syscall::time::{read_timespec, write_timespec};
use crate::thread::Thread;
use crate::user::{self, IOV_MAX, UserBuffers};
use crate::wait::wait_for_socket;
use alloc::vec::Vec;
use khal::USER_END;
use kio::{Control, Errno, Events, MessageFlags, Received, Result, Socket, SocketAddress};

/// Bytes of `struct msghdr` and of `struct mmsghdr`.
const MSGHDR_SIZE: usize = 56;
const MMSGHDR_SIZE: u64 = 64;
/// Offsets in `struct msghdr`, and of `msg_len` in `struct mmsghdr`.
const NAMELEN_AT: u64 = 8;
const CONTROLLEN_AT: u64 = 40;
const FLAGS_AT: u64 = 48;
const LEN_AT: u64 = 56;
/// recvmmsg(2): wait for the first message only.
const MSG_WAITFORONE: u32 = 0x10000;
/// For programs of 32 bits; others may not.
const MSG_CMSG_COMPAT: u32 = 0x8000_0000;

/// One buffer; `EFAULT` for one that reaches out of user memory.
fn one_buffer(address: u64, len: usize) -> Result<UserBuffers> {
    let end = address.checked_add(len.min(user::MAX_COUNT) as u64);
    end.filter(|end| *end <= USER_END).ok_or(Errno::EFAULT)?;
    Ok(UserBuffers::one(address, len))
}

/// Where a message of `raw` goes.
fn destination(
    thread: &Thread,
    socket: &dyn Socket,
    raw: &RawAddress,
) -> Result<Option<SocketAddress>> {
    match socket.domain() {
        AF_INET | AF_INET6 => raw.to_send(socket),
        // Nothing is as no address, but for the network.
        _ if raw.bytes().is_empty() => Ok(None),
        AF_UNIX => unix::to_send(thread, socket, raw),
        _ => raw.to_send(socket),
    }
}

/// Sends one message; of a stream all of it, if it may wait.
fn send(
    thread: &Thread,
    open: &OpenFile,
    buffers: &mut UserBuffers,
    to: Option<&SocketAddress>,
    mut control: Vec<Control>,
    flags: MessageFlags,
) -> Result<usize> {
    let socket = socket_of(open)?;
    let stream = socket.socket_type() == SOCK_STREAM;
    let nonblocking = flags.contains(MessageFlags::DONTWAIT) || open.nonblocking();
    let deadline = open.socket.deadline(true);
    let mut total = 0;
    loop {
        let result = wait_for_socket(open.file(), Events::WRITABLE, nonblocking, deadline, || {
            let send = |buffers: &mut UserBuffers| socket.send(buffers, to, control.clone(), flags);
            buffers.attempt(send, |count| *count)
        });
        match result {
            Ok(count) => {
                total += count;
                // What goes along went with the first bytes.
                control = Vec::new();
                if !stream || count == 0 || buffers.is_empty() {
                    return Ok(total);
                }
                let missed = buffers.resolve_missing(false).unwrap_or(false);
                if nonblocking && !missed {
                    return Ok(total);
                }
            }
            Err(_) if total > 0 && !matches!(result, Err(Errno::EFAULT)) => return Ok(total),
            Err(Errno::EFAULT) => match buffers.resolve_missing(false) {
                Ok(true) => {}
                _ if total > 0 => return Ok(total),
                Ok(false) => return Err(Errno::EFAULT),
                Err(error) => return Err(error),
            },
            Err(Errno::EPIPE) => {
                if stream && !flags.contains(MessageFlags::NOSIGNAL) {
                    raise_sigpipe(thread);
                }
                return Err(Errno::EPIPE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Receives one message, or what a stream has; with MSG_WAITALL a stream fills
/// the buffers.
fn receive(open: &OpenFile, buffers: &mut UserBuffers, flags: MessageFlags) -> Result<Received> {
    let socket = socket_of(open)?;
    let stream = socket.socket_type() == SOCK_STREAM;
    let at_once = MessageFlags::DONTWAIT | MessageFlags::ERRQUEUE | MessageFlags::OOB;
    let nonblocking = flags.intersects(at_once) || open.nonblocking();
    let goes_on = stream && !flags.intersects(MessageFlags::PEEK | MessageFlags::OOB);
    let all = goes_on && flags.contains(MessageFlags::WAITALL);
    let deadline = open.socket.deadline(false);
    let mut total: Option<Received> = None;
    loop {
        let no_wait = nonblocking || (total.is_some() && !all);
        let mut asked = flags;
        asked.set(MessageFlags::DONTWAIT, no_wait);
        let interest = Events::READABLE | Events::RDHUP;
        let result = wait_for_socket(open.file(), interest, no_wait, deadline, || {
            buffers.attempt(|buffers| socket.receive(buffers, asked), |r| r.count)
        });
        let count = match result {
            Ok(received) => {
                let count = received.count;
                merge(&mut total, received);
                count
            }
            Err(Errno::EFAULT) => match (buffers.resolve_missing(true), total) {
                (Ok(true), so_far) => {
                    total = so_far;
                    continue;
                }
                (_, Some(total)) => return Ok(total),
                (Ok(false), None) => return Err(Errno::EFAULT),
                (Err(error), None) => return Err(error),
            },
            Err(error) => return total.ok_or(error),
        };
        let missed = goes_on && count > 0 && buffers.resolve_missing(true).unwrap_or(false);
        let passed = total.as_ref().is_some_and(|t| !t.control.is_empty());
        if count == 0 || buffers.is_empty() || passed || !(missed || all) {
            return Ok(total.unwrap_or_default());
        }
    }
}

/// Adds what another receive gave to what there is.
fn merge(total: &mut Option<Received>, more: Received) {
    match total {
        None => *total = Some(more),
        Some(total) => {
            total.count += more.count;
            total.flags |= more.flags;
            total.control.extend(more.control);
        }
    }
}

pub(in crate::syscall) fn sendto(thread: &Thread, a: Args) -> Result<u64> {
    let mut buffers = one_buffer(a.u64(1), a.usize(2))?;
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let to = match a.u64(4) {
        0 => None,
        address => destination(thread, socket, &RawAddress::read(address, a.i32(5))?)?,
    };
    let flags = MessageFlags::from_bits_truncate(a.u32(3));
    send(thread, &open, &mut buffers, to.as_ref(), Vec::new(), flags).map(|n| n as u64)
}

pub(in crate::syscall) fn recvfrom(thread: &Thread, a: Args) -> Result<u64> {
    let mut buffers = one_buffer(a.u64(1), a.usize(2))?;
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let received = receive(&open, &mut buffers, MessageFlags::from_bits_truncate(a.u32(3)))?;
    if a.u64(4) != 0 {
        address::store(&address::encode_sender(socket, received.from), a.u64(4), a.u64(5))?;
    }
    Ok(received.count as u64)
}

/// `struct msghdr`.
struct Header {
    address: u64,
    name: u64,
    name_len: i32,
    vector: u64,
    vector_len: u64,
    control: u64,
    control_len: u64,
}

impl Header {
    fn read(address: u64) -> Result<Self> {
        let bytes = user::read_bytes::<MSGHDR_SIZE>(address)?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let name_len = (word(8) as u32).cast_signed();
        if name_len < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            address,
            name: word(0),
            // Longer than any address is as long as the longest.
            name_len: name_len.min(128),
            vector: word(16),
            vector_len: word(24),
            control: word(32),
            control_len: word(40),
        })
    }

    fn buffers(&self) -> Result<UserBuffers> {
        if self.vector_len > IOV_MAX as u64 {
            return Err(Errno::EMSGSIZE);
        }
        if self.vector_len != 1 {
            return UserBuffers::vector(self.vector, self.vector_len as usize);
        }
        let [base, len] = user::read_words(self.vector)?;
        let len = usize::try_from(len).ok().filter(|n| *n <= isize::MAX as usize);
        one_buffer(base, len.ok_or(Errno::EINVAL)?)
    }
}

fn send_message(thread: &Thread, open: &OpenFile, address: u64, flags: u32) -> Result<usize> {
    let socket = socket_of(open)?;
    let header = Header::read(address)?;
    let raw = match (header.name, header.name_len) {
        (0, _) | (_, 0) => None,
        (name, len) => Some(RawAddress::read(name, len)?),
    };
    let mut buffers = header.buffers()?;
    if header.control_len > i32::MAX as u64 {
        return Err(Errno::ENOBUFS);
    }
    let control = control::read(thread, socket, header.control, header.control_len)?;
    let to = match raw {
        None => None,
        Some(raw) => destination(thread, socket, &raw)?,
    };
    let flags = MessageFlags::from_bits_truncate(flags);
    send(thread, open, &mut buffers, to.as_ref(), control, flags)
}

pub(in crate::syscall) fn sendmsg(thread: &Thread, a: Args) -> Result<u64> {
    if a.u32(2) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let open = usable(thread, a.i32(0))?;
    send_message(thread, &open, a.u64(1), a.u32(2)).map(|n| n as u64)
}

fn receive_message(thread: &Thread, open: &OpenFile, address: u64, flags: u32) -> Result<usize> {
    let socket = socket_of(open)?;
    let header = Header::read(address)?;
    let mut buffers = header.buffers()?;
    let flags = MessageFlags::from_bits_truncate(flags);
    let received = receive(open, &mut buffers, flags)?;
    let close_on_exec = flags.contains(MessageFlags::CMSG_CLOEXEC);
    let room = if header.control == 0 { 0 } else { header.control_len };
    let mut control = control::Encoder::new(usize::try_from(room).unwrap_or(usize::MAX));
    control.add(thread, received.control, close_on_exec);
    let mut told = received.flags | (flags & MessageFlags::CMSG_CLOEXEC);
    told.set(MessageFlags::CTRUNC, control.cut || received.flags.contains(MessageFlags::CTRUNC));
    // The message is taken: memory that is not there costs its control data.
    let control_len = control.store(thread, header.control).unwrap_or(0);
    if header.name != 0 {
        let from = address::encode_sender(socket, received.from);
        address::store(&from, header.name, header.address.wrapping_add(NAMELEN_AT))?;
    }
    user::write_u32(header.address.wrapping_add(FLAGS_AT), told.bits())?;
    user::write_u64(header.address.wrapping_add(CONTROLLEN_AT), control_len)?;
    Ok(received.count)
}

pub(in crate::syscall) fn recvmsg(thread: &Thread, a: Args) -> Result<u64> {
    if a.u32(2) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let open = usable(thread, a.i32(0))?;
    receive_message(thread, &open, a.u64(1), a.u32(2)).map(|n| n as u64)
}

pub(in crate::syscall) fn sendmmsg(thread: &Thread, a: Args) -> Result<u64> {
    if a.u32(3) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let count = u64::from(a.u32(2)).min(IOV_MAX as u64);
    let open = usable(thread, a.i32(0))?;
    socket_of(&open)?;
    for done in 0..count {
        let at = a.u64(1).wrapping_add(done * MMSGHDR_SIZE);
        let sent = send_message(thread, &open, at, a.u32(3))
            .and_then(|len| user::write_u32(at.wrapping_add(LEN_AT), len as u32));
        match sent {
            Ok(()) => {}
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

pub(in crate::syscall) fn recvmmsg(thread: &Thread, a: Args) -> Result<u64> {
    if a.u32(3) & MSG_CMSG_COMPAT != 0 {
        return Err(Errno::EINVAL);
    }
    let deadline = match a.u64(4) {
        0 => None,
        address => Some(khal::clock::monotonic() + read_timespec(address)?),
    };
    let open = usable(thread, a.i32(0))?;
    if let Some(error) = socket_of(&open)?.take_error() {
        return Err(error);
    }
    let done = receive_many(thread, &open, a, || {
        deadline.is_some_and(|at| khal::clock::monotonic() >= at)
    })?;
    if let Some(at) = deadline.filter(|_| done > 0) {
        write_timespec(a.u64(4), at - khal::clock::monotonic())?;
    }
    Ok(done)
}

/// Receives until all is full, there is no more, or `over` says that time is:
/// it looks after each message only, see recvmmsg(2), BUGS.
fn receive_many(thread: &Thread, open: &OpenFile, a: Args, over: impl Fn() -> bool) -> Result<u64> {
    let mut flags = a.u32(3) & !MSG_WAITFORONE;
    let mut done = 0;
    while done < u64::from(a.u32(2)) {
        let at = a.u64(1).wrapping_add(done * MMSGHDR_SIZE);
        let received = receive_message(thread, open, at, flags)
            .and_then(|len| user::write_u32(at.wrapping_add(LEN_AT), len as u32));
        match received {
            Ok(()) => done += 1,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        if a.u32(3) & MSG_WAITFORONE != 0 {
            flags |= MessageFlags::DONTWAIT.bits();
        }
        if over() {
            break;
        }
    }
    Ok(done)
}
