// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stack as a value: what all sockets and interfaces share.
//!
//! Lock order, outermost first; no lock is taken while one further down is held:
//!
//! 1. a TCP socket (a connection before the listener it came from),
//!    or a UDP, raw or netlink socket;
//! 2. the DHCP client and the reassembler;
//! 3. tables: one shard of the connection table, ports, UDP shards,
//!    configuration, a neighbour table;
//! 4. the timer queue, the batch list, a loopback queue, the device;
//! 5. wait queues and what they wake.
//!
//! The locks of one level are never nested, but for a connection and its
//! listener. Received packets are processed without any lock held outside.

use crate::device::NetDevice;
use crate::dhcp::DhcpClient;
use crate::hash::HashKey;
use crate::interface::Interface;
use crate::ip::{Ip, Reassembler};
use crate::port::PortTable;
use crate::raw::RawTable;
use crate::route::{Address, Config, Route};
use crate::tcp::{TcpSocket, TcpTable};
use crate::timer::TimerQueue;
use crate::udp::UdpTable;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kio::{Clock, Errno, Instant, Result, Socket, Timers};
use ksync::SpinLock;

/// A source of random bytes fit for secrets.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// What the stack needs from the kernel.
#[derive(Clone)]
pub struct Environment {
    /// Reads the time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the stack.
    pub timers: Arc<dyn Timers>,
    /// Sequence numbers, ports, hash keys.
    pub random: Arc<dyn Random>,
}

/// The network stack; shared by all CPUs.
pub struct Stack {
    pub(crate) me: Weak<Self>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) timers: Arc<TimerQueue>,
    config: SpinLock<Arc<Config>>,
    /// Changes with routes, addresses and link addresses; cached paths compare it.
    pub(crate) generation: AtomicU64,
    pub(crate) hash: HashKey,
    ip_id: AtomicU32,
    pub(crate) tcp: TcpTable,
    pub(crate) tcp_ports: SpinLock<PortTable>,
    pub(crate) udp: UdpTable,
    pub(crate) udp_ports: SpinLock<PortTable>,
    pub(crate) raw: RawTable,
    pub(crate) reassembler: SpinLock<Reassembler>,
    pub(crate) batch: SpinLock<Vec<Arc<TcpSocket>>>,
    pub(crate) dhcp: SpinLock<Vec<Arc<DhcpClient>>>,
    pub(crate) hostname: SpinLock<String>,
    next_inode: AtomicU64,
    pub(crate) icmp_errors: crate::icmp::RateLimit,
}

impl Stack {
    /// A stack with a loopback interface (127.0.0.1/8, ::1).
    pub fn new(environment: Environment) -> Arc<Self> {
        let mut key = [0; 16];
        environment.random.fill(&mut key);
        let mut id = [0; 4];
        environment.random.fill(&mut id);
        let stack = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            timers: TimerQueue::new(environment.timers.clone(), environment.clock.clone()),
            clock: environment.clock,
            random: environment.random,
            config: SpinLock::default(),
            generation: AtomicU64::new(1),
            hash: HashKey::new(key),
            ip_id: AtomicU32::new(u32::from_ne_bytes(id)),
            tcp: TcpTable::new(),
            tcp_ports: SpinLock::default(),
            udp: UdpTable::new(),
            udp_ports: SpinLock::default(),
            raw: RawTable::default(),
            reassembler: SpinLock::default(),
            batch: SpinLock::default(),
            dhcp: SpinLock::default(),
            hostname: SpinLock::default(),
            next_inode: AtomicU64::new(0x1000),
            icmp_errors: crate::icmp::RateLimit::default(),
        });
        stack.change(|config| {
            config.interfaces.push(Arc::new(Interface::loopback(1, stack.me.clone())));
            for (ip, prefix) in [(Ip::LOOPBACK4, 8), (Ip::LOOPBACK6, 128)] {
                config.addresses.push(permanent(1, ip, prefix));
            }
        });
        stack
    }

    /// Adds an Ethernet interface, attaches its device and returns its index.
    /// The interface has no addresses yet: see [`configure`](Self::configure)
    /// and [`start_dhcp`](Self::start_dhcp). IPv6 link-local addressing and
    /// router discovery start at once.
    pub fn add_interface(&self, name: &str, device: Arc<dyn NetDevice>) -> u32 {
        let mut interface = None;
        self.change(|config| {
            let index = config.interfaces.len() as u32 + 1;
            let new = Arc::new(Interface::ethernet(index, name, device.clone(), self.me.clone()));
            config.interfaces.push(new.clone());
            interface = Some(new);
        });
        let Some(interface) = interface else { return 0 };
        device.attach(interface.clone());
        self.start_ipv6(&interface);
        self.flush();
        interface.index
    }

    /// Gives an interface a static address, and a default gateway.
    pub fn configure(
        &self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
    ) -> Result<()> {
        let ip = Ip::from(address);
        if prefix > if ip.is_v4() { 32 } else { 128 } {
            return Err(Errno::EINVAL);
        }
        if self.config().interface(interface).is_none() {
            return Err(Errno::ENODEV);
        }
        self.add_address(permanent(interface, ip, prefix));
        if let Some(gateway) = gateway {
            self.add_route(
                if ip.is_v4() { Ip::ANY4 } else { Ip::ANY },
                0,
                Some(Ip::from(gateway)),
                interface,
                Instant::FAR_FUTURE,
            );
        }
        Ok(())
    }

    /// Adds a route to a network that is on the interface's own link.
    pub fn add_link_route(&self, interface: u32, network: IpAddr, prefix: u8) -> Result<()> {
        let ip = Ip::from(network);
        if prefix > if ip.is_v4() { 32 } else { 128 } {
            return Err(Errno::EINVAL);
        }
        if self.config().interface(interface).is_none() {
            return Err(Errno::ENODEV);
        }
        self.add_route(ip, prefix, None, interface, Instant::FAR_FUTURE);
        Ok(())
    }

    /// Adds an address with the route of its network.
    pub(crate) fn add_address(&self, address: Address) {
        let (ip, prefix, interface) = (address.ip, address.prefix, address.interface);
        self.change(|config| {
            config.addresses.retain(|a| a.ip != ip || a.interface != interface);
            config.addresses.push(address);
        });
        self.add_route(ip, prefix, None, interface, Instant::FAR_FUTURE);
    }

    /// Removes an address with its routes.
    pub(crate) fn remove_address(&self, interface: u32, ip: Ip) {
        self.change(|config| {
            let gone = config.addresses.iter().position(|a| a.ip == ip && a.interface == interface);
            let Some(at) = gone else { return };
            let address = config.addresses.remove(at);
            config.routes.retain(|r| {
                r.interface != interface
                    || r.network.is_v4() != ip.is_v4()
                    || (r.gateway.is_none()
                        && !(ip.is_in(r.network, r.prefix) && r.prefix == address.prefix))
                    || r.gateway.is_some_and(|g| !g.is_in(ip, address.prefix))
            });
        });
    }

    pub(crate) fn add_route(
        &self,
        network: Ip,
        prefix: u8,
        gateway: Option<Ip>,
        interface: u32,
        valid_until: Instant,
    ) {
        self.change(|config| {
            config.routes.retain(|r| {
                r.interface != interface
                    || r.prefix != prefix
                    || r.gateway.is_some() != gateway.is_some()
                    || !network.is_in(r.network, prefix)
            });
            config.routes.push(Route {
                network: network.mask(prefix),
                prefix,
                gateway,
                interface,
                metric: 0,
                valid_until,
            });
        });
    }

    /// The name sent with DHCP requests.
    pub fn set_hostname(&self, name: &str) {
        *self.hostname.lock() = String::from(name);
    }

    /// socket(2) for AF_INET, AF_INET6, AF_NETLINK and AF_PACKET.
    /// `socket_type` comes without the SOCK_NONBLOCK and SOCK_CLOEXEC bits.
    pub fn socket(&self, domain: u16, socket_type: u16, protocol: u16) -> Result<Arc<dyn Socket>> {
        crate::socket::create(self, domain, socket_type, protocol)
    }

    /// The stack as an `Arc`. It is alive while it is being called.
    pub(crate) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ENETDOWN)
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.monotonic()
    }

    pub(crate) fn random_u32(&self) -> u32 {
        let mut bytes = [0; 4];
        self.random.fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    pub(crate) fn next_ip_id(&self) -> u32 {
        self.ip_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_inode(&self) -> u64 {
        self.next_inode.fetch_add(1, Ordering::Relaxed)
    }

    /// The configuration of this moment.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.lock().clone()
    }

    /// Replaces the configuration.
    pub(crate) fn change(&self, f: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock();
        let mut new = Config::clone(&config);
        f(&mut new);
        let old = core::mem::replace(&mut *config, Arc::new(new));
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(config);
        drop(old);
    }

    /// Tells the devices of what was queued and delivers loopback packets; to
    /// be called after each operation, without locks.
    pub(crate) fn flush(&self) {
        let config = self.config();
        for interface in &config.interfaces {
            interface.flush();
        }
    }

    /// Remembers a connection for the end of the batch of received packets.
    pub(crate) fn defer(&self, socket: Arc<TcpSocket>) {
        self.batch.lock().push(socket);
    }

    /// Sends acknowledgements and wakes readers of the packets since the last
    /// call.
    pub(crate) fn finish_batch(&self) {
        let mut sockets = core::mem::take(&mut *self.batch.lock());
        if sockets.is_empty() {
            return;
        }
        let now = self.now();
        for socket in sockets.drain(..) {
            socket.finish_batch(now);
        }
        // The list keeps its memory for the next batch.
        let mut batch = self.batch.lock();
        if batch.capacity() == 0 && sockets.capacity() <= 1024 {
            *batch = sockets;
        }
    }

    pub(crate) fn link_changed(&self, interface: &Interface) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        if interface.link_up() {
            let clients = self.dhcp.lock().clone();
            for client in clients.iter().filter(|c| c.interface() == interface.index) {
                client.link_up();
            }
        }
        self.flush();
    }
}

/// An address without an end.
pub(crate) fn permanent(interface: u32, ip: Ip, prefix: u8) -> Address {
    Address {
        ip,
        prefix,
        interface,
        tentative: false,
        valid_until: Instant::FAR_FUTURE,
        preferred_until: Instant::FAR_FUTURE,
    }
}
