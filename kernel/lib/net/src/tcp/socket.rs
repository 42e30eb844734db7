// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The TCP socket that a program sees (tcp(7), socket(7)).

use super::listener::{BACKLOG_MAX, Listener};
use super::options::TcpOptions;
use super::state::{Context, State, Tcb};
use super::table::Listening;
use crate::ip::{Endpoint, Ip};
use crate::options::{IPPROTO_TCP, SocketOptions};
use crate::port::Binding;
use crate::socket::{common_ioctl, external, internal};
use crate::stack::Stack;
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::any::Any;
use core::sync::atomic::{AtomicBool, AtomicUsize};
use kio::{
    Control, Errno, Events, File, FileKind, MessageFlags, Received, Result, Shutdown, Sink, Socket,
    SocketAddress, Source, Stat, UserWords, WaitQueue,
};
use ksync::SpinLock;

/// tcp_rmem and tcp_wmem.
const RECEIVE_BUFFER: usize = 131_072;
pub(super) const RECEIVE_BUFFER_MAX: usize = 6 << 20;
const SEND_BUFFER: usize = 262_144;

/// A TCP socket: listener, connection, or neither yet.
pub(crate) struct TcpSocket {
    pub(super) stack: Arc<Stack>,
    pub(super) me: Weak<Self>,
    pub(super) wait: WaitQueue,
    pub(super) domain: u16,
    pub(super) inode: u64,
    /// Of a listener: connections that are half-open.
    pub(super) half_open: AtomicUsize,
    /// This connection counts in its listener's `half_open`.
    pub(super) is_half_open: AtomicBool,
    pub(super) inner: SpinLock<Tcb>,
}

impl TcpSocket {
    pub(crate) fn new(stack: Arc<Stack>, domain: u16) -> Arc<Self> {
        let options = SocketOptions::new(SEND_BUFFER, RECEIVE_BUFFER);
        Self::make(stack, domain, options, TcpOptions::default())
    }

    pub(super) fn make(
        stack: Arc<Stack>,
        domain: u16,
        options: SocketOptions,
        tcp: TcpOptions,
    ) -> Arc<Self> {
        let inode = stack.next_inode();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            wait: WaitQueue::new(),
            domain,
            inode,
            half_open: AtomicUsize::new(0),
            is_half_open: AtomicBool::new(false),
            inner: SpinLock::new(Tcb::new(options, tcp)),
            stack,
        })
    }

    /// Runs an operation under the lock, then wakes and flushes.
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut Tcb, &Context<'_>) -> R) -> R {
        let context = Context { stack: &self.stack, socket: self, now: self.stack.now() };
        let mut tcb = self.inner.lock();
        let result = f(&mut tcb, &context);
        tcb.flush_wake(self);
        drop(tcb);
        self.stack.flush();
        result
    }

    /// The device has room again.
    pub(crate) fn transmit_ready(&self) {
        let context = Context { stack: &self.stack, socket: self, now: self.stack.now() };
        let mut tcb = self.inner.lock();
        tcb.waiting_for_room = false;
        if tcb.hashed {
            tcb.output(&context);
        }
        tcb.flush_wake(self);
    }

    pub(super) fn binding(&self, tcb: &Tcb, ip: Ip) -> Binding {
        Binding {
            owner: self.inode,
            ip,
            v6_only: tcb.options.v6_only,
            device: tcb.options.device,
            reuse_address: tcb.options.reuse_address,
            reuse_port: tcb.options.reuse_port,
            listening: false,
            connecting: false,
        }
    }

    /// For /proc/net/tcp: state, ends, queues, retransmits.
    pub(crate) fn summary(&self) -> (State, Endpoint, Endpoint, usize, usize, u32) {
        let tcb = self.inner.lock();
        let accept = tcb.listener.as_ref().map_or(0, |l| l.ready.len());
        (
            tcb.state,
            tcb.local,
            tcb.remote,
            tcb.send.buffer.len(),
            tcb.receive.buffer.len() + accept,
            tcb.send.retries,
        )
    }

    pub(crate) fn domain_and_inode(&self) -> (u16, u64) {
        (self.domain, self.inode)
    }

    /// Copies received bytes out.
    fn take(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<usize> {
        if flags.contains(MessageFlags::OOB) {
            return Err(Errno::EINVAL);
        }
        let wants = sink.remaining();
        self.with(|tcb, context| {
            if tcb.state == State::Listen
                || (tcb.state == State::Closed && tcb.remote.port == 0 && tcb.error.is_none())
            {
                return Err(Errno::ENOTCONN);
            }
            if tcb.receive.buffer.is_empty() {
                if let Some(error) = tcb.error.take() {
                    return Err(error);
                }
                if tcb.receive.fin || tcb.shut_read || tcb.state == State::Closed || wants == 0 {
                    return Ok(0);
                }
                return Err(Errno::EAGAIN);
            }
            let count = if flags.contains(MessageFlags::TRUNC) {
                tcb.receive.buffer.len().min(wants)
            } else {
                tcb.receive.buffer.copy_out(0, sink)?
            };
            if !flags.contains(MessageFlags::PEEK) {
                tcb.consume(context, count);
            }
            Ok(count)
        })
    }

    fn put(&self, source: &mut dyn Source, flags: MessageFlags) -> Result<usize> {
        self.with(|tcb, context| {
            if let Some(error) = tcb.error.take() {
                return Err(error);
            }
            if tcb.shut_write {
                return Err(Errno::EPIPE);
            }
            match tcb.state {
                State::Established | State::CloseWait => {}
                State::SynSent | State::SynReceived => {
                    tcb.send.no_space = true;
                    return Err(Errno::EAGAIN);
                }
                _ => return Err(Errno::EPIPE),
            }
            if source.remaining() == 0 {
                return Ok(0);
            }
            let room = tcb.send_room();
            if room == 0 {
                tcb.send.no_space = true;
                return Err(Errno::EAGAIN);
            }
            let wanted = source.remaining();
            let count = tcb.send.buffer.fill(source, room)?;
            tcb.send.no_space |= count < wanted;
            tcb.send.more = flags.contains(MessageFlags::MORE);
            if tcb.flight() == 0 && context.now - tcb.send.last_sent > tcb.send.rtt.timeout() {
                let mss = tcb.send.mss;
                tcb.send.congestion.restart(mss);
            }
            tcb.output(context);
            Ok(count)
        })
    }
}

impl File for TcpSocket {
    fn stat(&self) -> Result<Stat> {
        let mut stat = Stat::anonymous(FileKind::Socket);
        stat.inode = self.inode;
        stat.permissions = 0o777;
        Ok(stat)
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        self.take(sink, MessageFlags::empty())
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        self.put(source, MessageFlags::empty())
    }

    fn poll(&self) -> Events {
        self.inner.lock().poll()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.wait)
    }

    fn close(&self) {
        let orphans = self.with(|tcb, context| {
            if tcb.orphan {
                return Vec::new();
            }
            tcb.orphan = true;
            if tcb.state == State::Listen {
                return self.close_listener(tcb, context);
            }
            tcb.shut_read = true;
            tcb.shut_write = true;
            let abort = tcb.options.linger == Some(0) || !tcb.receive.buffer.is_empty();
            match tcb.state {
                State::Closed | State::SynSent => tcb.destroy(context),
                _ if abort => {
                    tcb.send_reset(context);
                    tcb.destroy(context);
                }
                State::FinWait2 => {
                    tcb.deadlines.linger = Some(context.now + tcb.tcp.linger2());
                    tcb.schedule(context);
                }
                _ => tcb.finish_sending(context),
            }
            Vec::new()
        });
        self.abort_all(orphans);
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        let value = match request {
            // FIONREAD (SIOCINQ), and SIOCOUTQ.
            0x541b => {
                let tcb = self.inner.lock();
                if tcb.state == State::Listen {
                    return Err(Errno::EINVAL);
                }
                tcb.receive.buffer.len()
            }
            0x5411 => self.inner.lock().send.buffer.len(),
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

impl Socket for TcpSocket {
    fn domain(&self) -> u16 {
        self.domain
    }

    fn socket_type(&self) -> u16 {
        1
    }

    fn protocol(&self) -> u16 {
        6
    }

    fn bind(&self, address: &SocketAddress) -> Result<()> {
        let (at, scope) = internal(self.domain, address)?;
        self.with(|tcb, context| {
            if tcb.bound || tcb.state != State::Closed || tcb.remote.port != 0 {
                return Err(Errno::EINVAL);
            }
            let config = context.stack.config();
            let free = tcb.options.ip.free_bind || tcb.options.ip.transparent;
            if !at.ip.is_unspecified() && !free && !config.is_local(at.ip) {
                return Err(Errno::EADDRNOTAVAIL);
            }
            if at.ip.is_link_scope() {
                if scope == 0 {
                    return Err(Errno::EINVAL);
                }
                tcb.options.device = scope;
            }
            let binding = self.binding(tcb, at.ip);
            let mut ports = context.stack.tcp_ports.lock();
            let port = if at.port != 0 {
                ports.bind(at.port, binding)?;
                at.port
            } else {
                ports.bind_any(binding, context.stack.random_u32(), |_| true)?
            };
            drop(ports);
            tcb.local = Endpoint::new(at.ip, port);
            tcb.bound = true;
            tcb.port_locked = at.port != 0;
            tcb.address_locked = !at.ip.is_unspecified();
            Ok(())
        })
    }

    fn connect(&self, address: &SocketAddress) -> Result<()> {
        if *address == SocketAddress::Unspecified {
            self.disconnect();
            return Ok(());
        }
        let (to, scope) = internal(self.domain, address)?;
        if self.domain == 10 && to.ip.is_v4() && self.inner.lock().options.v6_only {
            return Err(Errno::ENETUNREACH);
        }
        self.start_connect(to, if to.ip.is_link_scope() { scope } else { 0 })
    }

    fn listen(&self, backlog: usize) -> Result<()> {
        let me = self.me.upgrade().ok_or(Errno::EINVAL)?;
        self.with(|tcb, context| {
            let backlog = backlog.min(BACKLOG_MAX);
            if let Some(listener) = tcb.listener.as_mut() {
                listener.backlog = backlog;
                return Ok(());
            }
            if tcb.state != State::Closed || tcb.hashed {
                return Err(Errno::EINVAL);
            }
            if tcb.remote.port != 0 {
                tcb.reset_for_reuse();
            }
            let stack = context.stack;
            if !tcb.bound {
                let any = if self.domain == 2 { Ip::ANY4 } else { Ip::ANY };
                let binding = self.binding(tcb, any);
                let random = stack.random_u32();
                let port = stack.tcp_ports.lock().bind_any(binding, random, |_| true)?;
                tcb.local = Endpoint::new(any, port);
                tcb.bound = true;
            }
            stack.tcp_ports.lock().listen(tcb.local.port, self.inode, true)?;
            tcb.listener = Some(Box::new(Listener { backlog, ..Listener::default() }));
            tcb.state = State::Listen;
            tcb.error = None;
            let listening = Listening {
                ip: tcb.local.ip,
                v6_only: tcb.options.v6_only,
                device: tcb.options.device,
                socket: me,
            };
            stack.tcp.add_listener(tcb.local.port, listening);
            Ok(())
        })
    }

    fn accept(&self) -> Result<(Arc<dyn Socket>, SocketAddress)> {
        let mut tcb = self.inner.lock();
        let Some(listener) = tcb.listener.as_mut() else { return Err(Errno::EINVAL) };
        let socket = listener.ready.pop_front().ok_or(Errno::EAGAIN)?;
        drop(tcb);
        let remote = socket.inner.lock().remote;
        let address = external(self.domain, remote, 0);
        Ok((socket, address))
    }

    fn send(
        &self,
        source: &mut dyn Source,
        _to: Option<&SocketAddress>,
        _control: Vec<Control>,
        flags: MessageFlags,
    ) -> Result<usize> {
        if flags.contains(MessageFlags::OOB) && source.remaining() == 0 {
            return Err(Errno::EINVAL);
        }
        self.put(source, flags)
    }

    fn receive(&self, sink: &mut dyn Sink, flags: MessageFlags) -> Result<Received> {
        if flags.contains(MessageFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        let count = self.take(sink, flags)?;
        Ok(Received { count, ..Received::default() })
    }

    fn shutdown(&self, how: Shutdown) -> Result<()> {
        let orphans = self.with(|tcb, context| {
            let read = how != Shutdown::Write;
            let write = how != Shutdown::Read;
            match tcb.state {
                State::Closed => return Err(Errno::ENOTCONN),
                State::Listen if !read => return Ok(Vec::new()),
                State::Listen => {
                    let ready = self.close_listener(tcb, context);
                    return Ok(ready);
                }
                State::SynSent => {
                    tcb.destroy(context);
                    return Ok(Vec::new());
                }
                _ => {}
            }
            tcb.shut_read |= read;
            tcb.shut_write |= write;
            if write {
                tcb.finish_sending(context);
            }
            let mut events = Events::WRITABLE;
            if read {
                events |= Events::READABLE | Events::RDHUP;
            }
            if tcb.shut_write && (tcb.shut_read || tcb.receive.fin) {
                events |= Events::HUP;
            }
            tcb.notify(events);
            Ok(Vec::new())
        })?;
        self.abort_all(orphans);
        Ok(())
    }

    fn local_address(&self) -> Result<SocketAddress> {
        let tcb = self.inner.lock();
        let local = if tcb.bound || tcb.remote.port != 0 { tcb.local } else { Endpoint::NONE };
        Ok(external(self.domain, local, tcb.options.device))
    }

    fn peer_address(&self) -> Result<SocketAddress> {
        let tcb = self.inner.lock();
        let connected = !matches!(tcb.state, State::Closed | State::Listen | State::SynSent);
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        Ok(external(self.domain, tcb.remote, tcb.options.device))
    }

    fn take_error(&self) -> Option<Errno> {
        let mut tcb = self.inner.lock();
        tcb.error.take()
    }

    fn option(&self, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
        self.with(|tcb, context| {
            if level == IPPROTO_TCP {
                return Ok(tcb.tcp_option(context, name)?.store(value));
            }
            if (level, name) == (1, 30) {
                let listening = i32::from(tcb.state == State::Listen);
                return Ok(crate::options::OptionValue::Int(listening).store(value));
            }
            let known = tcb.options.value(context.stack, self.domain, level, name);
            Ok(known.ok_or(Errno::ENOPROTOOPT)?.store(value))
        })
    }

    fn set_option(&self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.with(|tcb, context| {
            if level == IPPROTO_TCP {
                return tcb.set_tcp_option(context, name, value);
            }
            if level == 41 && name == 26 && tcb.bound {
                return Err(Errno::EINVAL);
            }
            let done = tcb.options.set(context.stack, self.domain, level, name, value);
            done.ok_or(Errno::ENOPROTOOPT)??;
            tcb.options_changed(context);
            if tcb.bound {
                let (address, port) = (tcb.options.reuse_address, tcb.options.reuse_port);
                context.stack.tcp_ports.lock().update(tcb.local.port, self.inode, |b| {
                    b.reuse_address = address;
                    b.reuse_port = port;
                });
            }
            Ok(())
        })
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        // A socket that was bound and never closed.
        let tcb = self.inner.get_mut();
        if tcb.bound {
            self.stack.tcp_ports.lock().release(tcb.local.port, self.inode);
        }
    }
}
