// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DHCPv4 client (RFC 2131): discover, request, renew, rebind, expire.

use crate::interface::Interface;
use crate::ip::{HeaderBuffer, Incoming, Ip, Outgoing, be16, protocol};
use crate::route::Path;
use crate::stack::Stack;
use crate::timer::{Expire, TimerKey};
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use kio::{Errno, Instant, Result};
use ksync::SpinLock;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address,
};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// RFC 2131, 4.1: doubled each time, up to this.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_secs(64);
/// Requests for an offer before starting over.
const REQUESTS: u32 = 4;

/// What a DHCP server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Interface that it is for.
    pub interface: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, for /etc/resolv.conf.
    pub dns: Vec<Ipv4Addr>,
    /// The server.
    pub server: Ipv4Addr,
    /// How long the address is ours.
    pub duration: Duration,
}

/// Told of each change: a new or renewed lease, or `None` when it ended.
/// Called without locks.
pub type LeaseObserver = Arc<dyn Fn(u32, Option<&Lease>) + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Selecting,
    Requesting(Lease),
    Bound(Lease),
    Renewing(Lease),
    Rebinding(Lease),
}

struct Inner {
    phase: Phase,
    transaction: u32,
    started: Instant,
    tries: u32,
    next: Instant,
    renew_at: Instant,
    rebind_at: Instant,
    expires_at: Instant,
    timer: Option<TimerKey>,
}

/// The client of one interface.
pub(crate) struct DhcpClient {
    stack: Weak<Stack>,
    interface: Arc<Interface>,
    observer: Option<LeaseObserver>,
    inner: SpinLock<Inner>,
}

impl Stack {
    /// Starts a DHCP client on an interface. `observer` hears of each lease.
    pub fn start_dhcp(&self, interface: u32, observer: Option<LeaseObserver>) -> Result<()> {
        let config = self.config();
        let interface = config.interface(interface).ok_or(Errno::ENODEV)?;
        if interface.is_loopback() {
            return Err(Errno::EINVAL);
        }
        let now = self.now();
        let client = Arc::new(DhcpClient {
            stack: self.me.clone(),
            interface: interface.clone(),
            observer,
            inner: SpinLock::new(Inner {
                phase: Phase::Selecting,
                transaction: self.random_u32(),
                started: now,
                tries: 0,
                next: now,
                renew_at: now,
                rebind_at: now,
                expires_at: now,
                timer: None,
            }),
        });
        let mut clients = self.dhcp.lock();
        if clients.iter().any(|c| c.interface.index == interface.index) {
            return Err(Errno::EALREADY);
        }
        clients.push(client.clone());
        drop(clients);
        client.expire(now);
        Ok(())
    }

    /// The current lease of an interface.
    pub fn lease(&self, interface: u32) -> Option<Lease> {
        let clients = self.dhcp.lock().clone();
        let client = clients.iter().find(|c| c.interface.index == interface)?;
        match &client.inner.lock().phase {
            Phase::Bound(l) | Phase::Renewing(l) | Phase::Rebinding(l) => Some(l.clone()),
            Phase::Selecting | Phase::Requesting(_) => None,
        }
    }

    /// True when the packet was for a DHCP client.
    pub(crate) fn receive_dhcp(&self, incoming: &Incoming<'_>) -> bool {
        let p = incoming.payload;
        if be16(p, 2) != CLIENT_PORT || be16(p, 0) != SERVER_PORT || p.len() < 8 {
            return false;
        }
        let clients = self.dhcp.lock().clone();
        let Some(client) = clients.iter().find(|c| c.interface.index == incoming.interface.index)
        else {
            return false;
        };
        let length = usize::from(be16(p, 4)).clamp(8, p.len());
        client.receive(self, &p[8..length]);
        true
    }
}

impl Phase {
    fn lease(&self) -> Option<&Lease> {
        match self {
            Self::Selecting => None,
            Self::Requesting(l) | Self::Bound(l) | Self::Renewing(l) | Self::Rebinding(l) => {
                Some(l)
            }
        }
    }
}

impl DhcpClient {
    pub(crate) fn interface(&self) -> u32 {
        self.interface.index
    }

    /// The carrier came back: ask at once whether the address is still good.
    pub(crate) fn link_up(self: &Arc<Self>) {
        let Some(stack) = self.stack.upgrade() else { return };
        let now = stack.now();
        let mut inner = self.inner.lock();
        inner.next = now;
        inner.tries = 0;
        if let Phase::Bound(lease) = &inner.phase {
            inner.phase = Phase::Rebinding(lease.clone());
        }
        drop(inner);
        self.clone().expire(now);
    }

    fn arm(self: &Arc<Self>, stack: &Stack, inner: &mut Inner, at: Instant) {
        if let Some(old) = inner.timer.take() {
            stack.timers.cancel(old);
        }
        inner.timer = Some(stack.timers.arm(at, self.clone()));
    }

    fn send(&self, stack: &Stack, inner: &Inner, now: Instant) {
        let mac = EthernetAddress(self.interface.mac);
        let lease = inner.phase.lease();
        let bound = matches!(inner.phase, Phase::Renewing(_) | Phase::Rebinding(_));
        let requesting = matches!(inner.phase, Phase::Requesting(_));
        let hostname = stack.hostname.lock().clone();
        let extra = [DhcpOption { kind: 12, data: hostname.as_bytes() }];
        let named = !hostname.is_empty() && hostname.len() < 64;
        let repr = DhcpRepr {
            message_type: match inner.phase {
                Phase::Selecting => DhcpMessageType::Discover,
                _ => DhcpMessageType::Request,
            },
            transaction_id: inner.transaction,
            secs: (now - inner.started).as_secs().min(0xffff) as u16,
            client_hardware_address: mac,
            client_ip: lease.filter(|_| bound).map_or(Ipv4Address::UNSPECIFIED, |l| l.address),
            your_ip: Ipv4Address::UNSPECIFIED,
            server_ip: Ipv4Address::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: lease.filter(|_| requesting).map(|l| l.address),
            client_identifier: Some(mac),
            server_identifier: lease.filter(|_| requesting).map(|l| l.server),
            // Subnet mask, router, name servers, MTU.
            parameter_request_list: Some(&[1, 3, 6, 26]),
            dns_servers: None,
            max_size: Some(1432),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: if named { &extra } else { &[] },
        };
        let mut body = vec![0; repr.buffer_len()];
        if repr.emit(&mut DhcpPacket::new_unchecked(&mut body[..])).is_err() {
            return;
        }
        let unicast = match &inner.phase {
            Phase::Renewing(lease) => Some(Ip::v4(lease.server)),
            _ => None,
        };
        let destination = unicast.unwrap_or(Ip::BROADCAST4);
        let source = if bound { lease.map_or(Ip::ANY4, |l| Ip::v4(l.address)) } else { Ip::ANY4 };
        let path = match unicast {
            Some(server) => stack.path(server, self.interface.index, now).ok(),
            None => None,
        };
        let mut path = path.unwrap_or(Path {
            interface: self.interface.clone(),
            next_hop: destination,
            source,
            mac: Some([0xff; 6]),
            generation: 0,
            fresh_until: Instant::FAR_FUTURE,
        });
        let mut header = HeaderBuffer::new();
        header.push(&CLIENT_PORT.to_be_bytes());
        header.push(&SERVER_PORT.to_be_bytes());
        header.push(&((8 + body.len()) as u16).to_be_bytes());
        header.push(&[0, 0]);
        let out = Outgoing {
            source,
            destination,
            protocol: protocol::UDP,
            hops: 64,
            tos: 0xc0,
            dont_fragment: false,
            payload: [&body, &[]],
            checksum_at: Some(6),
            segment: None,
        };
        let _ = stack.send(&mut path, &out, &mut header, now);
    }

    fn receive(self: &Arc<Self>, stack: &Stack, bytes: &[u8]) {
        let Ok(packet) = DhcpPacket::new_checked(bytes) else { return };
        let Ok(repr) = DhcpRepr::parse(&packet) else { return };
        let mut inner = self.inner.lock();
        if repr.transaction_id != inner.transaction
            || repr.client_hardware_address != EthernetAddress(self.interface.mac)
        {
            return;
        }
        let now = stack.now();
        match (repr.message_type, inner.phase.clone()) {
            (DhcpMessageType::Offer, Phase::Selecting) => {
                let Some(lease) = self.lease_of(&repr) else { return };
                inner.phase = Phase::Requesting(lease);
                inner.tries = 0;
                self.send(stack, &inner, now);
                self.retry(stack, &mut inner, now);
            }
            (
                DhcpMessageType::Ack,
                Phase::Requesting(_) | Phase::Renewing(_) | Phase::Rebinding(_),
            ) => {
                let Some(lease) = self.lease_of(&repr) else { return };
                let old = inner.phase.lease().cloned();
                self.bind(stack, &mut inner, &repr, &lease, now);
                drop(inner);
                self.apply(stack, old.as_ref(), &lease);
            }
            (
                DhcpMessageType::Nak,
                Phase::Requesting(_) | Phase::Renewing(_) | Phase::Rebinding(_),
            ) => {
                let old = inner.phase.lease().cloned();
                let had = !matches!(inner.phase, Phase::Requesting(_));
                self.start_over(stack, &mut inner, now);
                drop(inner);
                if let Some(old) = old.filter(|_| had) {
                    self.withdraw(stack, &old);
                }
            }
            _ => {}
        }
    }

    fn lease_of(&self, repr: &DhcpRepr<'_>) -> Option<Lease> {
        let mask = repr.subnet_mask.unwrap_or(Ipv4Address::new(255, 255, 255, 0));
        let mask = u32::from(mask);
        let good = !repr.your_ip.is_unspecified()
            && !repr.your_ip.is_broadcast()
            && !repr.your_ip.is_multicast()
            && mask.leading_ones() + mask.trailing_zeros() == 32;
        good.then(|| Lease {
            interface: self.interface.index,
            address: repr.your_ip,
            prefix: mask.leading_ones() as u8,
            gateway: repr.router.filter(|r| !r.is_unspecified()),
            dns: repr.dns_servers.iter().flatten().copied().collect(),
            server: repr.server_identifier.unwrap_or(repr.server_ip),
            duration: Duration::from_secs(repr.lease_duration.unwrap_or(3600).into()),
        })
    }

    fn bind(
        self: &Arc<Self>,
        stack: &Stack,
        inner: &mut Inner,
        repr: &DhcpRepr<'_>,
        lease: &Lease,
        now: Instant,
    ) {
        let forever = lease.duration.as_secs() == u64::from(u32::MAX);
        let seconds = |s: Option<u32>, part: Duration| match s {
            Some(s) if u64::from(s) < lease.duration.as_secs() => Duration::from_secs(s.into()),
            _ => part,
        };
        let renew = seconds(repr.renew_duration, lease.duration / 2);
        let rebind = seconds(repr.rebind_duration, lease.duration * 7 / 8).max(renew);
        inner.renew_at = now + renew;
        inner.rebind_at = now + rebind;
        inner.expires_at = now + lease.duration;
        inner.phase = Phase::Bound(lease.clone());
        inner.tries = 0;
        if forever {
            if let Some(timer) = inner.timer.take() {
                stack.timers.cancel(timer);
            }
            return;
        }
        let at = inner.renew_at;
        self.arm(stack, inner, at);
    }

    /// Puts the lease into effect, outside of the client's lock.
    fn apply(&self, stack: &Stack, old: Option<&Lease>, lease: &Lease) {
        if let Some(old) = old.filter(|o| o.address != lease.address) {
            stack.remove_address(self.interface.index, Ip::v4(old.address));
        }
        let gateway = lease.gateway.map(Into::into);
        let _ = stack.configure(self.interface.index, lease.address.into(), lease.prefix, gateway);
        stack.announce(&self.interface, Ip::v4(lease.address));
        if let Some(observer) = &self.observer {
            observer(self.interface.index, Some(lease));
        }
    }

    fn withdraw(&self, stack: &Stack, lease: &Lease) {
        stack.remove_address(self.interface.index, Ip::v4(lease.address));
        if let Some(observer) = &self.observer {
            observer(self.interface.index, None);
        }
    }

    fn start_over(self: &Arc<Self>, stack: &Stack, inner: &mut Inner, now: Instant) {
        inner.phase = Phase::Selecting;
        inner.transaction = stack.random_u32();
        inner.started = now;
        inner.tries = 0;
        self.arm(stack, inner, now + Duration::from_millis(500));
        inner.next = now;
    }

    fn retry(self: &Arc<Self>, stack: &Stack, inner: &mut Inner, now: Instant) {
        let wait = (RETRY_FIRST * (1 << inner.tries.min(5))).min(RETRY_LAST);
        // Randomised by up to a second (RFC 2131, 4.1).
        let jitter = Duration::from_millis(u64::from(stack.random_u32() % 1000));
        inner.tries += 1;
        inner.next = now + wait + jitter;
        let at = inner.next;
        self.arm(stack, inner, at);
    }

    /// While an address is held: half of the time that is left (4.4.5).
    fn retry_bound(
        self: &Arc<Self>,
        stack: &Stack,
        inner: &mut Inner,
        until: Instant,
        now: Instant,
    ) {
        let half = ((until - now) / 2).max(Duration::from_secs(60)).min(until - now);
        self.arm(stack, inner, now + half.max(Duration::from_secs(1)));
    }
}

impl Expire for DhcpClient {
    fn expire(self: Arc<Self>, now: Instant) {
        let Some(stack) = self.stack.upgrade() else { return };
        let mut inner = self.inner.lock();
        let mut lost = None;
        match inner.phase.clone() {
            Phase::Requesting(_) if inner.tries >= REQUESTS => {
                self.start_over(&stack, &mut inner, now);
            }
            Phase::Selecting | Phase::Requesting(_) => {
                self.send(&stack, &inner, now);
                self.retry(&stack, &mut inner, now);
            }
            Phase::Bound(lease) | Phase::Renewing(lease) | Phase::Rebinding(lease) => {
                if now >= inner.expires_at {
                    lost = Some(lease);
                    self.start_over(&stack, &mut inner, now);
                } else if now >= inner.rebind_at || matches!(inner.phase, Phase::Rebinding(_)) {
                    inner.phase = Phase::Rebinding(lease);
                    self.send(&stack, &inner, now);
                    let until = inner.expires_at;
                    self.retry_bound(&stack, &mut inner, until, now);
                } else {
                    inner.phase = Phase::Renewing(lease);
                    self.send(&stack, &inner, now);
                    let until = inner.rebind_at;
                    self.retry_bound(&stack, &mut inner, until, now);
                }
            }
        }
        drop(inner);
        if let Some(lease) = lost {
            self.withdraw(&stack, &lease);
        }
        stack.flush();
    }
}
