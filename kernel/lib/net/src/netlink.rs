// SPDX-License-Identifier: Apache-2.0 OR MIT
//! AF_NETLINK sockets of NETLINK_ROUTE (rtnetlink(7)): dumps of links,
//! addresses and routes, as net.Interfaces of Go and getifaddrs(3) ask for.

use crate::ip::Ip;
use crate::route::Config;
use crate::socket::{common_ioctl, interface_flags};
use crate::stack::Stack;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::Ordering;
use kio::{
    Control, Errno, Events, File, FileKind, MessageFlags, Received, Result, Shutdown, Sink, Socket,
    SocketAddress, Source, Stat, UserWords, WaitQueue,
};
use ksync::SpinLock;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes of one message to the program.
const CHUNK: usize = 8192;
/// Messages that may wait.
const QUEUE: usize = 64;

struct Inner {
    port: u32,
    groups: u32,
    queue: VecDeque<Vec<u8>>,
}

/// A netlink socket.
pub(crate) struct NetlinkSocket {
    stack: Arc<Stack>,
    wait: WaitQueue,
    socket_type: u16,
    inode: u64,
    inner: SpinLock<Inner>,
}

/// One message under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32, port: u32) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes[12..16].copy_from_slice(&port.to_ne_bytes());
        Self(bytes)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

fn family(ip: Ip) -> u8 {
    if ip.is_v4() { AF_INET } else { AF_INET6 }
}

fn bytes_of(ip: Ip) -> Vec<u8> {
    if ip.is_v4() { ip.low32().to_be_bytes().to_vec() } else { ip.0.to_be_bytes().to_vec() }
}

struct Request {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Request {
    fn wants(&self, of: u8) -> bool {
        matches!(self.body.first(), None | Some(0)) || self.body.first() == Some(&of)
    }
}

impl NetlinkSocket {
    pub(crate) fn new(stack: Arc<Stack>, socket_type: u16) -> Arc<Self> {
        let inode = stack.next_inode();
        Arc::new(Self {
            stack,
            wait: WaitQueue::new(),
            socket_type,
            inode,
            inner: SpinLock::new(Inner { port: 0, groups: 0, queue: VecDeque::new() }),
        })
    }

    fn handle(&self, inner: &mut Inner, request: &Request) {
        let config = self.stack.config();
        let header = (request.sequence, inner.port);
        let dump = request.flags & NLM_F_DUMP != 0;
        let multi = if dump { NLM_F_MULTI } else { 0 };
        let messages = match request.kind {
            RTM_GETLINK => links(&config, request, header, multi),
            RTM_GETADDR => addresses(&config, request, header, multi),
            RTM_GETROUTE => routes(&config, request, header, multi),
            _ => return self.answer(inner, request, Errno::EOPNOTSUPP.number()),
        };
        if !dump && messages.is_empty() {
            return self.answer(inner, request, Errno::ENODEV.number());
        }
        let mut chunk = Vec::new();
        for message in messages {
            if chunk.len() + message.len() > CHUNK {
                inner.queue.push_back(core::mem::take(&mut chunk));
            }
            chunk.extend_from_slice(&message);
        }
        if dump {
            let done = Message::new(NLMSG_DONE, NLM_F_MULTI, request.sequence, inner.port);
            chunk.extend_from_slice(&done.put(&[0; 4]).end());
        }
        inner.queue.push_back(chunk);
        if request.flags & NLM_F_ACK != 0 && !dump {
            self.answer(inner, request, 0);
        }
    }

    /// NLMSG_ERROR, which with 0 is an acknowledgement.
    fn answer(&self, inner: &mut Inner, request: &Request, errno: u16) {
        let length = (16 + request.body.len()) as u32;
        let message = Message::new(NLMSG_ERROR, 0, request.sequence, inner.port)
            .put(&(-i32::from(errno)).to_ne_bytes())
            .put(&length.to_ne_bytes())
            .put(&request.kind.to_ne_bytes())
            .put(&request.flags.to_ne_bytes())
            .put(&request.sequence.to_ne_bytes())
            .put(&inner.port.to_ne_bytes());
        inner.queue.push_back(message.end());
    }
}

/// Requests in a message, for fuzz targets.
pub(crate) fn count_requests(bytes: &[u8]) -> usize {
    parse(bytes).len()
}

fn parse(mut bytes: &[u8]) -> Vec<Request> {
    let mut all = Vec::new();
    while bytes.len() >= 16 {
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let length = word(0) as usize;
        if length < 16 || length > bytes.len() {
            break;
        }
        all.push(Request {
            kind: word(4) as u16,
            flags: (word(4) >> 16) as u16,
            sequence: word(8),
            body: bytes[16..length].to_vec(),
        });
        let next = length.next_multiple_of(4).min(bytes.len());
        bytes = &bytes[next..];
    }
    all
}

fn links(config: &Config, request: &Request, (seq, port): (u32, u32), multi: u16) -> Vec<Vec<u8>> {
    let index = request.body.get(4..8).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    let wanted = |i: u32| multi != 0 || index == 0 || index == i;
    let mut all = Vec::new();
    for interface in config.interfaces.iter().filter(|i| wanted(i.index)) {
        let mut info = [0u8; 16];
        let kind: u16 = if interface.is_loopback() { 772 } else { 1 };
        info[2..4].copy_from_slice(&kind.to_ne_bytes());
        info[4..8].copy_from_slice(&interface.index.to_ne_bytes());
        info[8..12].copy_from_slice(&interface_flags(interface).to_ne_bytes());
        let mut name = interface.name.as_bytes().to_vec();
        name.push(0);
        let broadcast = if interface.is_loopback() { [0; 6] } else { [0xff; 6] };
        // Up is 6; loopback says 0, unknown.
        let state = if interface.is_loopback() { 0 } else { 6 };
        let c = &interface.counters;
        let mut statistics = [0u8; 96];
        let counts = [
            &c.rx_packets,
            &c.tx_packets,
            &c.rx_bytes,
            &c.tx_bytes,
            &c.rx_errors,
            &c.rx_errors,
            &c.rx_dropped,
            &c.tx_dropped,
            &c.rx_multicast,
        ];
        for (at, count) in counts.iter().enumerate() {
            // rtnl_link_stats: errors of transmission are not counted.
            let value = if at == 5 { 0 } else { count.load(Ordering::Relaxed) as u32 };
            statistics[at * 4..at * 4 + 4].copy_from_slice(&value.to_ne_bytes());
        }
        all.push(
            Message::new(RTM_NEWLINK, multi, seq, port)
                .put(&info)
                .attribute(3, &name)
                .attribute(13, &1000u32.to_ne_bytes())
                .attribute(16, &[state])
                .attribute(17, &[0])
                .attribute(4, &(interface.mtu as u32).to_ne_bytes())
                .attribute(1, &interface.mac)
                .attribute(2, &broadcast)
                .attribute(6, b"noqueue\0")
                .attribute(7, &statistics)
                .end(),
        );
    }
    all
}

fn addresses(
    config: &Config,
    request: &Request,
    (seq, port): (u32, u32),
    multi: u16,
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for a in config.addresses.iter().filter(|a| request.wants(family(a.ip))) {
        let Some(interface) = config.interface(a.interface) else { continue };
        // Scopes: host 254, link 253, global 0. Flags: permanent, tentative.
        let scope = if a.ip.is_loopback() {
            254
        } else if a.ip.is_link_local() {
            253
        } else {
            0
        };
        let flags = 0x80 | if a.tentative { 0x40 } else { 0 };
        let ip = bytes_of(a.ip);
        let mut message = Message::new(RTM_NEWADDR, multi, seq, port)
            .put(&[family(a.ip), a.prefix, flags, scope])
            .put(&a.interface.to_ne_bytes())
            .attribute(1, &ip);
        if a.ip.is_v4() {
            let mut name = interface.name.as_bytes().to_vec();
            name.push(0);
            message = message.attribute(2, &ip);
            if !interface.is_loopback() {
                message = message.attribute(4, &bytes_of(a.ip.broadcast_of(a.prefix)));
            }
            message = message.attribute(3, &name);
        }
        message = message.attribute(8, &u32::from(flags).to_ne_bytes());
        all.push(message.end());
    }
    all
}

fn routes(config: &Config, request: &Request, (seq, port): (u32, u32), multi: u16) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for r in config.routes.iter().filter(|r| request.wants(family(r.network))) {
        let scope = if r.gateway.is_some() { 0 } else { 253 };
        // Table main, protocol boot (3) or kernel (2), type unicast.
        let protocol = if r.gateway.is_some() { 3 } else { 2 };
        let mut message = Message::new(RTM_NEWROUTE, multi, seq, port)
            .put(&[family(r.network), r.prefix, 0, 0, 254, protocol, scope, 1])
            .put(&[0; 4])
            .attribute(15, &254u32.to_ne_bytes());
        if r.prefix != 0 {
            message = message.attribute(1, &bytes_of(r.network));
        }
        if let Some(gateway) = r.gateway {
            message = message.attribute(5, &bytes_of(gateway));
        }
        all.push(message.attribute(4, &r.interface.to_ne_bytes()).end());
    }
    all
}

impl File for NetlinkSocket {
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
        let empty = self.inner.lock().queue.is_empty();
        Events::WRITABLE | if empty { Events::empty() } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.wait)
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        common_ioctl(&self.stack, request, argument)
    }

    fn as_socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Socket for NetlinkSocket {
    fn domain(&self) -> u16 {
        16
    }

    fn socket_type(&self) -> u16 {
        self.socket_type
    }

    fn bind(&self, address: &SocketAddress) -> Result<()> {
        let SocketAddress::Netlink { port, groups } = address else { return Err(Errno::EINVAL) };
        let mut inner = self.inner.lock();
        inner.port = if *port == 0 { self.inode as u32 } else { *port };
        inner.groups = *groups;
        Ok(())
    }

    fn connect(&self, _address: &SocketAddress) -> Result<()> {
        Ok(())
    }

    fn send(
        &self,
        source: &mut dyn Source,
        _to: Option<&SocketAddress>,
        _control: Vec<Control>,
        _flags: MessageFlags,
    ) -> Result<usize> {
        let count = source.remaining();
        if count > CHUNK {
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
        let mut inner = self.inner.lock();
        if inner.port == 0 {
            inner.port = self.inode as u32;
        }
        for request in parse(&bytes) {
            if inner.queue.len() >= QUEUE {
                return Err(Errno::ENOBUFS);
            }
            self.handle(&mut inner, &request);
        }
        if !inner.queue.is_empty() {
            self.wait.notify(Events::READABLE);
        }
        Ok(count)
    }

    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received> {
        let mut inner = self.inner.lock();
        let first = inner.queue.front().ok_or(Errno::EAGAIN)?;
        let want = first.len().min(sink.remaining());
        if want > 0 && sink.put(&first[..want])? < want {
            return Err(Errno::EFAULT);
        }
        let cut = want < first.len();
        let count = if flags.contains(MessageFlags::TRUNC) { first.len() } else { want };
        if !flags.contains(MessageFlags::PEEK) {
            inner.queue.pop_front();
        }
        Ok(Received {
            count,
            from: Some(SocketAddress::Netlink { port: 0, groups: 0 }),
            flags: if cut { MessageFlags::TRUNC } else { MessageFlags::empty() },
            control: Vec::new(),
        })
    }

    fn shutdown(&self, _how: Shutdown) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<SocketAddress> {
        let inner = self.inner.lock();
        Ok(SocketAddress::Netlink { port: inner.port, groups: inner.groups })
    }

    fn peer_address(&self) -> Result<SocketAddress> {
        Ok(SocketAddress::Netlink { port: 0, groups: 0 })
    }

    fn take_error(&self) -> Option<Errno> {
        None
    }

    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        let options = crate::options::SocketOptions::new(212_992, 212_992);
        let known = options.value(&self.stack, 16, level, name);
        Ok(known.ok_or(Errno::ENOPROTOOPT)?.store(value))
    }

    fn set_option(&self, level: i32, name: i32, _value: &[u8]) -> Result<()> {
        match (level, name) {
            // Buffer sizes; NETLINK_* such as EXT_ACK and GET_STRICT_CHK.
            (1, _) | (270, 1..=12) => Ok(()),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}
