// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ARP (RFC 826), and the timer that asks neighbours again.

use crate::interface::Interface;
use crate::ip::{Ip, ethertype};
use crate::neighbour::Ask;
use crate::stack::Stack;
use crate::timer::Expire;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::Ordering;
use kio::Instant;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

const BROADCAST: [u8; 6] = [0xff; 6];

impl Stack {
    pub(crate) fn receive_arp(&self, interface: &Interface, body: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(body) else { return };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(mac),
            source_protocol_addr: sender,
            target_protocol_addr: target,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        let (sender, target) = (Ip::v4(sender), Ip::v4(target));
        let config = self.config();
        let Some(own) = config.interface(interface.index) else { return };
        if mac[0] & 1 != 0 || mac == interface.mac {
            return;
        }
        let for_us = config.addresses_of(interface.index).any(|a| a.ip == target);
        if !sender.is_unspecified() && !config.is_local(sender) {
            // A request to us creates an entry; anything else only updates one.
            let request = operation == ArpOperation::Request;
            self.learn_neighbour(interface, sender, mac, request && for_us, self.now());
        }
        if operation == ArpOperation::Request && for_us {
            self.send_arp(own, ArpOperation::Reply, mac, mac, target, sender);
        }
    }

    fn send_arp(
        &self,
        interface: &Arc<Interface>,
        operation: ArpOperation,
        to: [u8; 6],
        target_mac: [u8; 6],
        source: Ip,
        target: Ip,
    ) {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(interface.mac),
            source_protocol_addr: source.to_v4(),
            target_hardware_addr: EthernetAddress(target_mac),
            target_protocol_addr: target.to_v4(),
        };
        let mut body = [0; 28];
        repr.emit(&mut ArpPacket::new_unchecked(&mut body[..]));
        self.send_raw(interface, to, ethertype::ARP, &body);
    }

    /// Announces an address (RFC 5227, 3), so that caches are corrected.
    pub(crate) fn announce(&self, interface: &Arc<Interface>, ip: Ip) {
        self.send_arp(interface, ArpOperation::Request, BROADCAST, [0; 6], ip, ip);
    }

    /// Asks for the link address of a neighbour.
    pub(crate) fn ask_neighbour(&self, interface: &Arc<Interface>, ip: Ip, ask: Ask) {
        let to = match ask {
            Ask::No => return,
            Ask::Everybody => None,
            Ask::Neighbour(mac) => Some(mac),
        };
        if !ip.is_v4() {
            return self.send_neighbour_solicitation(interface, ip, to);
        }
        let source = self.config().source_for(interface.index, ip, self.now());
        self.send_arp(
            interface,
            ArpOperation::Request,
            to.unwrap_or(BROADCAST),
            [0; 6],
            source,
            ip,
        );
    }

    /// Starts the retry timer of an interface unless it runs.
    pub(crate) fn start_neighbour_timer(&self, interface: &Arc<Interface>, now: Instant) {
        if !interface.neighbour_timer.swap(true, Ordering::AcqRel) {
            let timer = NeighbourTimer { interface: Arc::downgrade(interface) };
            self.timers.arm(now + crate::neighbour::RETRY, Arc::new(timer));
        }
    }
}

struct NeighbourTimer {
    interface: Weak<Interface>,
}

impl Expire for NeighbourTimer {
    fn expire(self: Arc<Self>, now: Instant) {
        let Some(interface) = self.interface.upgrade() else { return };
        let Some(stack) = interface.stack() else { return };
        // Cleared first: an entry made while we look starts a timer of its own.
        interface.neighbour_timer.store(false, Ordering::Release);
        let due = interface.neighbours.lock().due(now);
        for (ip, ask) in due.ask {
            stack.ask_neighbour(&interface, ip, ask);
        }
        if due.next.is_some() {
            stack.start_neighbour_timer(&interface, now);
        }
        if !due.failed.is_empty() {
            stack.generation.fetch_add(1, Ordering::AcqRel);
        }
        for held in due.failed {
            stack.report_unreachable(&held.frame);
        }
        stack.flush();
    }
}
