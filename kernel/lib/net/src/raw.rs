// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sockets below the transports: ping sockets (icmp(7)), raw(7) and
//! packet(7).

use crate::interface::Interface;
use crate::ip::{Endpoint, HeaderBuffer, Incoming, Ip, Outgoing, be16, checksum, protocol};
use crate::options::SocketOptions;
use crate::socket::{common_ioctl, external, internal};
use crate::stack::Stack;
use crate::udp::{Datagram, Queue, send_info};
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicUsize, Ordering};
use kio::{
    Control, Errno, Events, File, FileKind, MessageFlags, Received, Result, Shutdown, Sink, Socket,
    SocketAddress, Source, Stat, UserWords, WaitQueue,
};
use ksync::SpinLock;

const BUFFER: usize = 212_992;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// SOCK_DGRAM of ICMP: echo with an identifier of our choice.
    Ping,
    /// SOCK_RAW of an IP protocol.
    Raw(u8),
    /// AF_PACKET, with or without (SOCK_DGRAM) the link header.
    Packet { header: bool, ethertype: u16 },
}

struct Inner {
    options: SocketOptions,
    local: Endpoint,
    remote: Endpoint,
    queue: Queue,
    closed: bool,
    /// ICMP_FILTER: types that are not wanted.
    filter: u32,
}

/// A socket below the transports.
pub(crate) struct RawSocket {
    stack: Arc<Stack>,
    me: Weak<Self>,
    wait: WaitQueue,
    domain: u16,
    socket_type: u16,
    inode: u64,
    kind: Kind,
    inner: SpinLock<Inner>,
}

/// All of them; usually none.
#[derive(Default)]
pub(crate) struct RawTable {
    count: AtomicUsize,
    packets: AtomicUsize,
    sockets: SpinLock<Vec<Arc<RawSocket>>>,
}

impl RawTable {
    fn all(&self) -> Vec<Arc<RawSocket>> {
        self.sockets.lock().clone()
    }

    /// Gives an IP packet to the raw sockets of its protocol.
    pub(crate) fn deliver(&self, incoming: &Incoming<'_>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for socket in self.all() {
            if socket.kind == Kind::Raw(incoming.header.protocol) {
                socket.deliver_raw(incoming);
            }
        }
    }

    /// Gives an echo reply to the ping socket with its identifier.
    pub(crate) fn deliver_echo(&self, incoming: &Incoming<'_>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let id = be16(incoming.payload, 4);
        for socket in self.all() {
            if socket.kind == Kind::Ping {
                socket.deliver_ping(incoming, id);
            }
        }
    }

    /// Gives a frame to the packet sockets.
    pub(crate) fn deliver_frame(&self, interface: &Interface, frame: &[u8]) {
        if self.packets.load(Ordering::Acquire) == 0 {
            return;
        }
        for socket in self.all() {
            socket.deliver_packet(interface, frame);
        }
    }
}

impl RawSocket {
    pub(crate) fn ping(stack: Arc<Stack>, domain: u16) -> Arc<Self> {
        Self::new(stack, domain, 2, Kind::Ping)
    }

    pub(crate) fn raw(stack: Arc<Stack>, domain: u16, protocol: u8) -> Arc<Self> {
        Self::new(stack, domain, 3, Kind::Raw(protocol))
    }

    pub(crate) fn packet(stack: Arc<Stack>, socket_type: u16, protocol: u16) -> Arc<Self> {
        // The protocol comes in network order.
        let kind = Kind::Packet { header: socket_type == 3, ethertype: u16::from_be(protocol) };
        Self::new(stack, 17, socket_type, kind)
    }

    fn new(stack: Arc<Stack>, domain: u16, socket_type: u16, kind: Kind) -> Arc<Self> {
        let inode = stack.next_inode();
        let protocol = match kind {
            Kind::Raw(p) => u16::from(p),
            _ => 0,
        };
        let socket = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            wait: WaitQueue::new(),
            domain,
            socket_type,
            inode,
            kind,
            inner: SpinLock::new(Inner {
                options: SocketOptions::new(BUFFER, BUFFER),
                local: Endpoint::new(if domain == 2 { Ip::ANY4 } else { Ip::ANY }, protocol),
                remote: Endpoint::NONE,
                queue: Queue::default(),
                closed: false,
                filter: 0,
            }),
            stack,
        });
        // Ping sockets come in with their identifier.
        if kind != Kind::Ping {
            socket.register();
        }
        socket
    }

    fn register(&self) {
        let Some(me) = self.me.upgrade() else { return };
        let table = &self.stack.raw;
        table.sockets.lock().push(me);
        table.count.fetch_add(1, Ordering::AcqRel);
        if matches!(self.kind, Kind::Packet { .. }) {
            table.packets.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn push(&self, inner: &mut Inner, datagram: Datagram) {
        let limit = inner.options.receive_buffer;
        if !inner.closed && inner.queue.push(datagram, limit) {
            self.wait.notify(Events::READABLE);
        }
    }

    fn datagram(incoming: &Incoming<'_>, bytes: Vec<u8>, port: u16) -> Datagram {
        Datagram {
            bytes,
            from: Endpoint::new(incoming.header.source, port),
            to: incoming.header.destination,
            interface: incoming.interface.index,
            hops: incoming.header.hops,
            tos: incoming.header.tos,
        }
    }

    fn deliver_raw(&self, incoming: &Incoming<'_>) {
        let v4 = incoming.header.source.is_v4();
        if v4 != (self.domain == 2) {
            return;
        }
        let mut inner = self.inner.lock();
        let h = &incoming.header;
        let local = inner.local.ip.is_unspecified() || inner.local.ip == h.destination;
        let remote = inner.remote.ip.is_unspecified() || inner.remote.ip == h.source;
        if !local || !remote {
            return;
        }
        if self.kind == Kind::Raw(protocol::ICMP) {
            let kind = incoming.payload.first().copied().unwrap_or(0);
            if kind < 32 && inner.filter >> kind & 1 != 0 {
                return;
            }
        }
        // IPv4 shows its header, IPv6 does not (raw(7), ipv6(7)).
        let bytes = if v4 { incoming.packet.to_vec() } else { incoming.payload.to_vec() };
        self.push(&mut inner, Self::datagram(incoming, bytes, 0));
    }

    fn deliver_ping(&self, incoming: &Incoming<'_>, id: u16) {
        let mut inner = self.inner.lock();
        if inner.local.port != id || incoming.header.source.is_v4() != (self.domain == 2) {
            return;
        }
        self.push(&mut inner, Self::datagram(incoming, incoming.payload.to_vec(), 0));
    }

    fn deliver_packet(&self, interface: &Interface, frame: &[u8]) {
        let Kind::Packet { header, ethertype } = self.kind else { return };
        let mut inner = self.inner.lock();
        let device = inner.options.device;
        // 3 is ETH_P_ALL.
        let wanted = ethertype == 3 || ethertype == be16(frame, 12);
        if !wanted || (device != 0 && device != interface.index) {
            return;
        }
        let bytes = if header { frame } else { frame.get(14..).unwrap_or(&[]) };
        let datagram = Datagram {
            bytes: bytes.to_vec(),
            from: Endpoint::NONE,
            to: Ip::ANY,
            interface: interface.index,
            hops: 0,
            tos: 0,
        };
        self.push(&mut inner, datagram);
    }

    /// Gives a ping socket its identifier.
    fn identify(&self, inner: &mut Inner, id: u16) -> Result<()> {
        if inner.local.port != 0 {
            return Ok(());
        }
        let others = self.stack.raw.all();
        let taken = |id: u16| {
            others.iter().any(|s| {
                s.kind == Kind::Ping && s.inode != self.inode && s.inner.lock().local.port == id
            })
        };
        let id = if id != 0 {
            if taken(id) {
                return Err(Errno::EADDRINUSE);
            }
            id
        } else {
            let start = self.stack.random_u32() as u16;
            (0..u16::MAX)
                .map(|i| start.wrapping_add(i))
                .find(|id| *id != 0 && !taken(*id))
                .ok_or(Errno::EAGAIN)?
        };
        inner.local.port = id;
        Ok(())
    }

    fn transmit(
        &self,
        inner: &Inner,
        bytes: &mut [u8],
        to: Endpoint,
        scope: u32,
        control: &[Control],
    ) -> Result<()> {
        let info = send_info(control)?;
        let now = self.stack.now();
        let device = if scope != 0 { scope } else { inner.options.device };
        let mut path = self.stack.path(to.ip, device, now)?;
        let source = info.source.unwrap_or(if inner.local.ip.is_unspecified() {
            path.source
        } else {
            inner.local.ip
        });
        let v4 = to.ip.is_v4();
        let number = match self.kind {
            Kind::Raw(p) => p,
            _ if v4 => protocol::ICMP,
            _ => protocol::ICMPV6,
        };
        let mut header = HeaderBuffer::new();
        if self.kind == Kind::Ping && bytes.len() >= 8 {
            bytes[2..4].fill(0);
            bytes[4..6].copy_from_slice(&inner.local.port.to_be_bytes());
        }
        if (self.kind == Kind::Ping && v4) || number == protocol::ICMPV6 {
            if bytes.len() < 4 {
                return Err(Errno::EINVAL);
            }
            bytes[2..4].fill(0);
            let mut sum = if v4 {
                checksum::Sum::default()
            } else {
                checksum::pseudo_header(source, to.ip, number, bytes.len())
            };
            sum.add(bytes);
            bytes[2..4].copy_from_slice(&sum.complement());
        }
        header.push(&[]);
        let out = Outgoing {
            source,
            destination: to.ip,
            protocol: number,
            hops: info.hops.unwrap_or(inner.options.hops(v4)),
            tos: info.tos.unwrap_or(inner.options.tos(v4)),
            dont_fragment: false,
            payload: [bytes, &[]],
            checksum_at: None,
            segment: None,
        };
        self.stack.send(&mut path, &out, &mut header, now).map_err(|e| e.errno())
    }
}

impl File for RawSocket {
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
        let readable = if inner.queue.is_empty() { Events::empty() } else { Events::READABLE };
        readable | Events::WRITABLE
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.wait)
    }

    fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.queue.clear();
        drop(inner);
        let table = &self.stack.raw;
        let mut sockets = table.sockets.lock();
        let at = sockets.iter().position(|s| core::ptr::eq(&**s, self));
        let gone = at.map(|at| sockets.swap_remove(at));
        drop(sockets);
        if gone.is_some() {
            table.count.fetch_sub(1, Ordering::AcqRel);
            if matches!(self.kind, Kind::Packet { .. }) {
                table.packets.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        if request != 0x541b {
            return common_ioctl(&self.stack, request, argument);
        }
        let value = self.inner.lock().queue.first().map_or(0, |d| d.bytes.len());
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

impl Socket for RawSocket {
    fn domain(&self) -> u16 {
        self.domain
    }

    fn socket_type(&self) -> u16 {
        self.socket_type
    }

    fn protocol(&self) -> u16 {
        match self.kind {
            Kind::Ping if self.domain == 2 => 1,
            Kind::Ping => 58,
            Kind::Raw(p) => p.into(),
            Kind::Packet { ethertype, .. } => ethertype.to_be(),
        }
    }

    fn bind(&self, address: &SocketAddress) -> Result<()> {
        if matches!(self.kind, Kind::Packet { .. }) {
            return Err(Errno::EINVAL);
        }
        let (at, scope) = internal(self.domain, address)?;
        if !at.ip.is_unspecified() && !self.stack.config().is_local(at.ip) {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let mut inner = self.inner.lock();
        inner.local.ip = at.ip;
        if scope != 0 {
            inner.options.device = scope;
        }
        if self.kind != Kind::Ping {
            return Ok(());
        }
        drop(inner);
        self.bind_ping(at.port)
    }

    fn connect(&self, address: &SocketAddress) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.remote = match address {
            SocketAddress::Unspecified => Endpoint::NONE,
            _ => internal(self.domain, address)?.0,
        };
        if inner.remote.port == 0 && *address != SocketAddress::Unspecified {
            // Marks the socket as connected.
            inner.remote.port = 1;
        }
        Ok(())
    }

    fn send(
        &self,
        source: &mut dyn Source,
        to: Option<&SocketAddress>,
        control: Vec<Control>,
        _flags: MessageFlags,
    ) -> Result<usize> {
        if matches!(self.kind, Kind::Packet { .. }) {
            return Err(Errno::EOPNOTSUPP);
        }
        let count = source.remaining();
        if count > 65_535 {
            return Err(Errno::EMSGSIZE);
        }
        let mut bytes = vec![0; count];
        let mut done = 0;
        while done < count {
            match source.take(&mut bytes[done..])? {
                0 => return Err(Errno::EFAULT),
                n => done += n,
            }
        }
        if self.kind == Kind::Ping {
            let request = if self.domain == 2 { 8 } else { 128 };
            if count < 8 || bytes[0] != request || bytes[1] != 0 {
                return Err(Errno::EINVAL);
            }
            self.bind_ping(0)?;
        }
        let inner = self.inner.lock();
        let (to, scope) = match to {
            Some(address) => internal(self.domain, address)?,
            None if inner.remote.port != 0 => (inner.remote, 0),
            None => return Err(Errno::EDESTADDRREQ),
        };
        let sent = self.transmit(&inner, &mut bytes, to, scope, &control);
        drop(inner);
        self.stack.flush();
        sent.map(|()| count)
    }

    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received> {
        let mut inner = self.inner.lock();
        let Inner { queue, options, .. } = &mut *inner;
        let (mut received, from, interface) = queue.take(sink, flags, options, self.domain)?;
        if self.domain != 17 {
            received.from = Some(external(self.domain, from, interface));
        }
        Ok(received)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        let connected = self.inner.lock().remote.port != 0;
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn local_address(&self) -> Result<SocketAddress> {
        if self.domain == 17 {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(external(self.domain, self.inner.lock().local, 0))
    }

    fn peer_address(&self) -> Result<SocketAddress> {
        let inner = self.inner.lock();
        if inner.remote.port == 0 || self.domain == 17 {
            return Err(Errno::ENOTCONN);
        }
        Ok(external(self.domain, Endpoint::new(inner.remote.ip, 0), 0))
    }

    fn take_error(&self) -> Option<Errno> {
        None
    }

    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        let inner = self.inner.lock();
        let known = inner.options.value(&self.stack, self.domain, level, name);
        Ok(known.ok_or(Errno::ENOPROTOOPT)?.store(value))
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let mut inner = self.inner.lock();
        match (level, name) {
            // SOL_RAW: ICMP_FILTER; SOL_ICMPV6: ICMP6_FILTER is not applied.
            (255, 1) => {
                inner.filter = crate::options::int(value)? as u32;
                return Ok(());
            }
            (58, 1) | (255, 7) | (41, 7) => return Ok(()),
            _ => {}
        }
        let done = inner.options.set(&self.stack, self.domain, level, name, value);
        done.ok_or(Errno::ENOPROTOOPT)?
    }
}

impl RawSocket {
    fn bind_ping(&self, id: u16) -> Result<()> {
        // Not under our lock: it looks at the others.
        let known = self.inner.lock().local.port != 0;
        if known {
            return Ok(());
        }
        let mut probe = Inner {
            options: SocketOptions::new(0, 0),
            local: Endpoint::NONE,
            remote: Endpoint::NONE,
            queue: Queue::default(),
            closed: false,
            filter: 0,
        };
        self.identify(&mut probe, id)?;
        self.inner.lock().local.port = probe.local.port;
        self.register();
        Ok(())
    }
}
