// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The UDP socket that a program sees (udp(7)).

use super::input::Entry;
use super::{Datagram, Queue, send_info};
use crate::icmp::PathError;
use crate::ip::{Endpoint, HeaderBuffer, Ip, Outgoing, SendError, protocol};
use crate::options::SocketOptions;
use crate::port::Binding;
use crate::route::{Destination, Path};
use crate::socket::{common_ioctl, external, internal};
use crate::stack::Stack;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use kio::{
    Control, Errno, Events, File, FileKind, MessageFlags, Received, Result, Shutdown, Sink, Socket,
    SocketAddress, Source, Stat, UserWords, WaitQueue,
};
use ksync::SpinLock;

/// rmem_default and wmem_default.
const BUFFER: usize = 212_992;
const LARGEST: usize = 65_507;

struct Inner {
    options: SocketOptions,
    local: Endpoint,
    bound: bool,
    /// The address came from connect(2) and goes with it.
    local_by_connect: bool,
    remote: Endpoint,
    queue: Queue,
    error: Option<Errno>,
    shut_read: bool,
    shut_write: bool,
    closed: bool,
    path: Option<(Ip, u32, Path)>,
    /// Data that UDP_CORK or MSG_MORE holds back, and its destination.
    pending: Option<(Option<SocketAddress>, Vec<u8>)>,
    cork: bool,
}

/// Bytes of this call, destination, and the whole datagram.
type Gathered = (usize, Option<SocketAddress>, Vec<u8>);

/// A datagram that members on this host get too.
struct LoopBack {
    from: Endpoint,
    to: Endpoint,
    interface: u32,
}

/// A UDP socket.
pub(crate) struct UdpSocket {
    stack: Arc<Stack>,
    me: Weak<Self>,
    wait: WaitQueue,
    domain: u16,
    inode: u64,
    inner: SpinLock<Inner>,
}

impl UdpSocket {
    pub(crate) fn new(stack: Arc<Stack>, domain: u16) -> Arc<Self> {
        let inode = stack.next_inode();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            wait: WaitQueue::new(),
            domain,
            inode,
            inner: SpinLock::new(Inner {
                options: SocketOptions::new(BUFFER, BUFFER),
                local: Endpoint::NONE,
                bound: false,
                local_by_connect: false,
                remote: Endpoint::NONE,
                queue: Queue::default(),
                error: None,
                shut_read: false,
                shut_write: false,
                closed: false,
                path: None,
                pending: None,
                cork: false,
            }),
            stack,
        })
    }

    /// A datagram for this socket.
    pub(super) fn deliver(&self, datagram: Datagram) {
        let mut inner = self.inner.lock();
        if inner.closed || inner.shut_read {
            return;
        }
        let limit = inner.options.receive_buffer;
        if inner.queue.push(datagram, limit) {
            self.wait.notify(Events::READABLE);
        }
    }

    /// A datagram to a group or to everybody.
    pub(super) fn deliver_group(&self, datagram: Datagram, destination: Destination) {
        let inner = self.inner.lock();
        let options = &inner.options;
        let group = destination == Destination::Multicast;
        if group && !options.has_group(datagram.to, datagram.interface) {
            return;
        }
        drop(inner);
        self.deliver(datagram);
    }

    pub(super) fn path_error(&self, remote: Endpoint, error: PathError) {
        let mut inner = self.inner.lock();
        let asked = if remote.ip.is_v4() {
            inner.options.ip.receive_error4
        } else {
            inner.options.ip.receive_error6
        };
        // udp(7): errors reach connected sockets, and those that asked.
        if inner.remote.port == 0 && !asked {
            return;
        }
        if error.hard || asked {
            inner.error = Some(error.errno);
            self.wait.notify(Events::ERR | Events::READABLE | Events::WRITABLE);
        }
    }

    fn entry(&self, inner: &Inner) -> Option<Entry> {
        Some(Entry {
            local: inner.local.ip,
            remote: inner.remote,
            v6_only: inner.options.v6_only,
            device: inner.options.device,
            socket: self.me.upgrade()?,
        })
    }

    fn publish(&self, inner: &Inner) {
        if let Some(entry) = self.entry(inner) {
            self.stack.udp.set(inner.local.port, entry);
        }
    }

    fn take_port(&self, inner: &mut Inner, at: Endpoint) -> Result<()> {
        let binding = Binding {
            owner: self.inode,
            ip: at.ip,
            v6_only: inner.options.v6_only,
            device: inner.options.device,
            reuse_address: inner.options.reuse_address,
            reuse_port: inner.options.reuse_port,
            listening: false,
            connecting: false,
        };
        let mut ports = self.stack.udp_ports.lock();
        let port = if at.port != 0 {
            ports.bind(at.port, binding)?;
            at.port
        } else {
            ports.bind_any(binding, self.stack.random_u32(), |_| true)?
        };
        drop(ports);
        inner.local = Endpoint::new(at.ip, port);
        inner.bound = true;
        self.publish(inner);
        Ok(())
    }

    fn ensure_bound(&self, inner: &mut Inner) -> Result<()> {
        if inner.bound {
            return Ok(());
        }
        let any = if self.domain == 2 { Ip::ANY4 } else { Ip::ANY };
        self.take_port(inner, Endpoint::new(any, 0))
    }

    /// Gathers the datagram; `None` while more is to follow.
    fn gather(
        inner: &mut Inner,
        source: &mut dyn Source,
        to: Option<&SocketAddress>,
        more: bool,
    ) -> Result<Option<Gathered>> {
        let count = source.remaining();
        let (to, mut bytes) = match inner.pending.take() {
            Some((old, bytes)) => (old, bytes),
            None => (to.cloned(), Vec::new()),
        };
        let old = bytes.len();
        if old + count > LARGEST {
            inner.pending = (old > 0).then_some((to, bytes));
            return Err(Errno::EMSGSIZE);
        }
        bytes.try_reserve_exact(count).map_err(|_| Errno::ENOBUFS)?;
        bytes.resize(old + count, 0);
        let mut done = 0;
        while done < count {
            match source.take(&mut bytes[old + done..]) {
                Ok(n) if n > 0 => done += n,
                _ => {
                    bytes.truncate(old);
                    inner.pending = (old > 0).then_some((to, bytes));
                    return Err(Errno::EFAULT);
                }
            }
        }
        if more || inner.cork {
            inner.pending = Some((to, bytes));
            return Ok(None);
        }
        Ok(Some((count, to, bytes)))
    }

    fn transmit(
        &self,
        inner: &mut Inner,
        to: Option<&SocketAddress>,
        control: &[Control],
        bytes: &[u8],
    ) -> Result<Option<LoopBack>> {
        let info = send_info(control)?;
        let (mut remote, scope) = match to {
            Some(address) => internal(self.domain, address)?,
            None if inner.remote.port != 0 => (inner.remote, 0),
            None => return Err(Errno::EDESTADDRREQ),
        };
        if remote.port == 0 {
            return Err(Errno::EINVAL);
        }
        if remote.ip.is_unspecified() {
            let v4 = remote.ip.is_v4() || self.domain == 2;
            remote.ip = if v4 { Ip::LOOPBACK4 } else { Ip::LOOPBACK6 };
        }
        if remote.ip.is_v4() && inner.options.v6_only {
            return Err(Errno::ENETUNREACH);
        }
        self.ensure_bound(inner)?;
        let now = self.stack.now();
        let multicast = remote.ip.is_multicast();
        let interface = match (info.interface, scope, inner.options.device) {
            (0, 0, 0) if multicast => inner.options.multicast.interface,
            (0, 0, device) => device,
            (0, scope, _) => scope,
            (index, ..) => index,
        };
        let cached = inner.path.take().filter(|(ip, i, path)| {
            *ip == remote.ip && *i == interface && self.stack.path_is_current(path)
        });
        let mut path = match cached {
            Some((.., path)) => path,
            None => self.stack.path(remote.ip, interface, now)?,
        };
        let broadcast = path.mac == Some([0xff; 6]);
        if broadcast && !inner.options.broadcast {
            return Err(Errno::EACCES);
        }
        let source = match info.source {
            Some(ip) if !self.stack.config().is_local(ip) && !ip.is_multicast() => {
                return Err(Errno::EADDRNOTAVAIL);
            }
            Some(ip) => ip,
            None if !inner.local.ip.is_unspecified() && !inner.local.ip.is_multicast() => {
                inner.local.ip
            }
            None => path.source,
        };
        if source.is_v4() != remote.ip.is_v4() {
            return Err(Errno::ENETUNREACH);
        }
        let v4 = source.is_v4();
        let hops = if multicast { inner.options.multicast.ttl } else { inner.options.hops(v4) };
        let mut header = HeaderBuffer::new();
        header.push(&inner.local.port.to_be_bytes());
        header.push(&remote.port.to_be_bytes());
        header.push(&((8 + bytes.len()) as u16).to_be_bytes());
        header.push(&[0, 0]);
        let discover =
            if v4 { inner.options.ip.mtu_discover } else { inner.options.ip.mtu_discover6 };
        let out = Outgoing {
            source,
            destination: remote.ip,
            protocol: protocol::UDP,
            hops: info.hops.unwrap_or(hops),
            tos: info.tos.unwrap_or(inner.options.tos(v4)),
            // IP_PMTUDISC_DO and IP_PMTUDISC_PROBE.
            dont_fragment: matches!(discover, 2 | 3),
            payload: [bytes, &[]],
            checksum_at: Some(6),
            segment: None,
        };
        let sent = self.stack.send(&mut path, &out, &mut header, now);
        let loops = multicast && inner.options.multicast.loopback && !path.interface.is_loopback();
        let loop_back = loops.then(|| LoopBack {
            from: Endpoint::new(source, inner.local.port),
            to: remote,
            interface: path.interface.index,
        });
        inner.path = Some((remote.ip, interface, path));
        sent.map_err(SendError::errno)?;
        Ok(loop_back)
    }

    /// What follows a datagram, without the lock: members on this host get
    /// multicast too (IP_MULTICAST_LOOP).
    fn finish(&self, loop_back: Option<LoopBack>, bytes: &[u8]) {
        if let Some(l) = loop_back {
            self.stack.deliver_local_multicast(l.from, l.to, l.interface, bytes);
        }
        self.stack.flush();
    }

    pub(crate) fn summary(&self) -> (Endpoint, Endpoint, usize) {
        let inner = self.inner.lock();
        (inner.local, inner.remote, inner.queue.bytes())
    }

    pub(crate) fn domain_and_inode(&self) -> (u16, u64) {
        (self.domain, self.inode)
    }

    fn disconnect(&self, inner: &mut Inner) {
        inner.remote = Endpoint::NONE;
        if inner.local_by_connect {
            inner.local.ip = if self.domain == 2 { Ip::ANY4 } else { Ip::ANY };
            inner.local_by_connect = false;
        }
        if inner.bound {
            self.publish(inner);
        }
    }
}

impl File for UdpSocket {
    fn stat(&self) -> Result<Stat> {
        let mut stat = Stat::anonymous(FileKind::Socket);
        stat.inode = self.inode;
        stat.permissions = 0o777;
        Ok(stat)
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.receive(sink, MessageFlags::empty()).map(|r| r.count)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.send(source, None, Vec::new(), MessageFlags::empty())
    }

    fn poll(&self) -> Events {
        let inner = self.inner.lock();
        let mut events = Events::WRITABLE;
        if inner.error.is_some() {
            events |= Events::ERR;
        }
        if !inner.queue.is_empty() || inner.shut_read {
            events |= Events::READABLE;
        }
        if inner.shut_read {
            events |= Events::RDHUP;
        }
        if inner.shut_read && inner.shut_write {
            events |= Events::HUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.wait)
    }

    fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.queue.clear();
        inner.path = None;
        let port = inner.local.port;
        let bound = core::mem::replace(&mut inner.bound, false);
        drop(inner);
        if bound {
            self.stack.udp.remove(port, self);
            self.stack.udp_ports.lock().release(port, self.inode);
        }
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        let value = match request {
            0x541b => self.inner.lock().queue.first().map_or(0, |d| d.bytes.len()),
            0x5411 => 0,
            _ => return common_ioctl(&self.stack, request, argument),
        };
        argument.store(&(value as i32).to_ne_bytes())?;
        Ok(0)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for UdpSocket {
    fn domain(&self) -> u16 {
        self.domain
    }

    fn socket_type(&self) -> u16 {
        2
    }

    fn protocol(&self) -> u16 {
        17
    }

    fn bind(&self, address: &SocketAddress) -> Result<()> {
        let (at, scope) = internal(self.domain, address)?;
        let mut inner = self.inner.lock();
        if inner.bound {
            return Err(Errno::EINVAL);
        }
        let config = self.stack.config();
        let local = at.ip.is_unspecified()
            || at.ip.is_multicast()
            || config.is_local(at.ip)
            || config.is_broadcast(at.ip)
            || inner.options.ip.free_bind;
        if !local {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if at.ip.is_link_scope() && scope != 0 {
            inner.options.device = scope;
        }
        self.take_port(&mut inner, at)
    }

    fn connect(&self, address: &SocketAddress) -> Result<()> {
        let mut inner = self.inner.lock();
        if *address == SocketAddress::Unspecified {
            self.disconnect(&mut inner);
            return Ok(());
        }
        let (mut to, scope) = internal(self.domain, address)?;
        if to.ip.is_unspecified() {
            let v4 = to.ip.is_v4() || self.domain == 2;
            to.ip = if v4 { Ip::LOOPBACK4 } else { Ip::LOOPBACK6 };
        }
        if to.ip.is_v4() && inner.options.v6_only {
            return Err(Errno::ENETUNREACH);
        }
        let interface = if scope != 0 { scope } else { inner.options.device };
        let path = self.stack.path(to.ip, interface, self.stack.now())?;
        if path.mac == Some([0xff; 6]) && !inner.options.broadcast {
            return Err(Errno::EACCES);
        }
        self.ensure_bound(&mut inner)?;
        if inner.local.ip.is_unspecified() || inner.local_by_connect {
            inner.local.ip = path.source;
            inner.local_by_connect = true;
        }
        if to.ip.is_link_scope() && scope != 0 {
            inner.options.device = scope;
        }
        inner.remote = to;
        inner.path = None;
        self.publish(&inner);
        Ok(())
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
        let mut inner = self.inner.lock();
        if inner.shut_write {
            return Err(Errno::EPIPE);
        }
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        let wanted = source.remaining();
        let more = flags.contains(MessageFlags::MORE);
        let Some((count, to, bytes)) = Self::gather(&mut inner, source, to, more)? else {
            return Ok(wanted);
        };
        let sent = self.transmit(&mut inner, to.as_ref(), &control, &bytes);
        drop(inner);
        self.finish(sent?, &bytes);
        Ok(count)
    }

    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received> {
        let mut inner = self.inner.lock();
        if flags.contains(MessageFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        if inner.queue.is_empty() && inner.shut_read {
            return Ok(Received::default());
        }
        let Inner { queue, options, .. } = &mut *inner;
        let (mut received, from, interface) = queue.take(sink, flags, options, self.domain)?;
        received.from = Some(external(self.domain, from, interface));
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut inner = self.inner.lock();
        let connected = inner.remote.port != 0;
        inner.shut_read |= how != Shutdown::Write;
        inner.shut_write |= how != Shutdown::Read;
        self.wait.notify(Events::all().difference(Events::ERR | Events::NVAL));
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn local_address(&self) -> Result<SocketAddress> {
        let inner = self.inner.lock();
        Ok(external(self.domain, inner.local, inner.options.device))
    }

    fn peer_address(&self) -> Result<SocketAddress> {
        let inner = self.inner.lock();
        if inner.remote.port == 0 {
            return Err(Errno::ENOTCONN);
        }
        Ok(external(self.domain, inner.remote, inner.options.device))
    }

    fn take_error(&self) -> Option<Errno> {
        self.inner.lock().error.take()
    }

    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        let inner = self.inner.lock();
        if (level, name) == (17, 1) {
            return Ok(crate::options::OptionValue::Int(inner.cork.into()).store(value));
        }
        let known = inner.options.value(&self.stack, self.domain, level, name);
        Ok(known.ok_or(Errno::ENOPROTOOPT)?.store(value))
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        if (level, name) == (17, 1) {
            inner.cork = crate::options::int(value)? != 0;
            if !inner.cork
                && let Some((to, bytes)) = inner.pending.take()
            {
                let sent = self.transmit(&mut inner, to.as_ref(), &[], &bytes)?;
                drop(inner);
                self.finish(sent, &bytes);
            }
            return Ok(());
        }
        if level == 41 && name == 26 && inner.bound {
            return Err(Errno::EINVAL);
        }
        let done = inner.options.set(&self.stack, self.domain, level, name, value);
        done.ok_or(Errno::ENOPROTOOPT)??;
        if inner.bound {
            let (address, port) = (inner.options.reuse_address, inner.options.reuse_port);
            self.stack.udp_ports.lock().update(inner.local.port, self.inode, |b| {
                b.reuse_address = address;
                b.reuse_port = port;
            });
            self.publish(&inner);
        }
        Ok(())
    }
}
