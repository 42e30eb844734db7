// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a transport packet to the device: route, header, checksum or offload,
//! fragments, link address.

use super::header::Emit;
use super::{HeaderBuffer, Ip, checksum, ethertype};
use crate::device::{
    ChecksumOffload, ETHERNET_HEADER, Segmentation, SegmentationKind, TxError, TxPacket,
};
use crate::interface::Interface;
use crate::neighbour::{Ask, Held, Lookup};
use crate::route::Path;
use crate::stack::Stack;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use kio::{Errno, Instant, Result};

/// A transport packet on its way out. Its header stands in the
/// [`HeaderBuffer`], its payload may lie in two pieces.
pub(crate) struct Outgoing<'a> {
    pub(crate) source: Ip,
    pub(crate) destination: Ip,
    pub(crate) protocol: u8,
    pub(crate) hops: u8,
    pub(crate) tos: u8,
    /// Do not fragment; a packet that is too large is `EMSGSIZE`.
    pub(crate) dont_fragment: bool,
    pub(crate) payload: [&'a [u8]; 2],
    /// Place of the checksum in the transport header, when it has one with a
    /// pseudo header.
    pub(crate) checksum_at: Option<usize>,
    /// Payload bytes per segment, when the packet is larger than one.
    pub(crate) segment: Option<usize>,
}

impl Outgoing<'_> {
    fn payload_length(&self) -> usize {
        self.payload[0].len() + self.payload[1].len()
    }
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The device has no room now.
    Full,
    /// Larger than the path allows.
    TooLarge(usize),
    /// Dropped.
    Dropped,
}

impl SendError {
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::TooLarge(_) => Errno::EMSGSIZE,
            Self::Full | Self::Dropped => Errno::ENOBUFS,
        }
    }
}

impl Stack {
    /// Computes the way to `destination`, with the link address if known.
    pub(crate) fn path(&self, destination: Ip, interface: u32, now: Instant) -> Result<Path> {
        let generation = self.generation.load(Ordering::Acquire);
        let config = self.config();
        let (interface, next_hop, source) = config.route(destination, interface, now)?;
        let mac = if interface.is_loopback() {
            Some([0; 6])
        } else if config.is_broadcast(next_hop) {
            Some([0xff; 6])
        } else if next_hop.is_multicast() {
            Some(next_hop.multicast_mac())
        } else {
            None
        };
        let fresh_until = if mac.is_some() { Instant::FAR_FUTURE } else { Instant::ZERO };
        Ok(Path { interface, next_hop, source, mac, generation, fresh_until })
    }

    /// True while the path needs no new look-up.
    #[inline]
    pub(crate) fn path_is_current(&self, path: &Path) -> bool {
        path.generation == self.generation.load(Ordering::Acquire)
    }

    /// Sends one packet along `path`, filling in its link address if missing.
    pub(crate) fn send(
        &self,
        path: &mut Path,
        out: &Outgoing<'_>,
        header: &mut HeaderBuffer,
        now: Instant,
    ) -> core::result::Result<(), SendError> {
        header.rewind();
        let interface = path.interface.clone();
        let length = header.transport().len() + out.payload_length();
        let ip_header = if out.source.is_v4() { 20 } else { 40 };
        let fits = ip_header + length <= interface.mtu;
        if !fits && out.segment.is_none() {
            if out.dont_fragment {
                return Err(SendError::TooLarge(interface.mtu));
            }
            return self.send_fragments(path, out, header, now);
        }
        let offload = self.put_checksum(&interface, out, header);
        let emit = Emit {
            source: out.source,
            destination: out.destination,
            protocol: out.protocol,
            hops: out.hops,
            tos: out.tos,
            dont_fragment: out.dont_fragment,
            id: if out.dont_fragment { 0 } else { self.next_ip_id() },
            fragment: None,
            length,
        };
        emit.put(header);
        let header_length = ETHERNET_HEADER + ip_header + header.transport().len();
        let checksum = offload.map(|offset| ChecksumOffload {
            start: (ETHERNET_HEADER + ip_header) as u16,
            offset: offset as u16,
        });
        let segmentation = out.segment.filter(|_| !fits).map(|size| Segmentation {
            kind: if out.source.is_v4() { SegmentationKind::Tcp4 } else { SegmentationKind::Tcp6 },
            size: size as u16,
            header_length: header_length as u16,
        });
        self.send_link(path, header, out.payload, checksum, segmentation, now)
    }

    /// Stores the checksum, or the pseudo header's sum for the device, and
    /// then gives its place.
    fn put_checksum(
        &self,
        interface: &Interface,
        out: &Outgoing<'_>,
        header: &mut HeaderBuffer,
    ) -> Option<usize> {
        let at = out.checksum_at?;
        let length = header.transport().len() + out.payload_length();
        let mut sum = checksum::pseudo_header(out.source, out.destination, out.protocol, length);
        if let Some(field) = header.transport_mut().get_mut(at..at + 2) {
            field.fill(0);
        }
        let offload = interface.capabilities.tx_checksum;
        let value = if offload {
            sum.folded().to_ne_bytes()
        } else {
            sum.add(header.transport());
            sum.add(out.payload[0]);
            sum.add(out.payload[1]);
            // RFC 768: a computed zero goes out as all ones.
            match sum.complement() {
                [0, 0] => [0xff, 0xff],
                sum => sum,
            }
        };
        if let Some(field) = header.transport_mut().get_mut(at..at + 2) {
            field.copy_from_slice(&value);
        }
        offload.then_some(at)
    }

    fn send_fragments(
        &self,
        path: &mut Path,
        out: &Outgoing<'_>,
        header: &mut HeaderBuffer,
        now: Instant,
    ) -> core::result::Result<(), SendError> {
        let v4 = out.source.is_v4();
        let total = header.transport().len() + out.payload_length();
        if total > 65_535 - 20 {
            return Err(SendError::TooLarge(65_535));
        }
        if let Some(at) = out.checksum_at {
            let mut sum = checksum::pseudo_header(out.source, out.destination, out.protocol, total);
            if let Some(field) = header.transport_mut().get_mut(at..at + 2) {
                field.fill(0);
            }
            sum.add(header.transport());
            sum.add(out.payload[0]);
            sum.add(out.payload[1]);
            let value = match sum.complement() {
                [0, 0] => [0xff, 0xff],
                sum => sum,
            };
            if let Some(field) = header.transport_mut().get_mut(at..at + 2) {
                field.copy_from_slice(&value);
            }
        }
        let mut whole = Vec::new();
        whole.try_reserve_exact(total).map_err(|_| SendError::Dropped)?;
        whole.extend_from_slice(header.transport());
        whole.extend_from_slice(out.payload[0]);
        whole.extend_from_slice(out.payload[1]);
        let room = (path.interface.mtu - if v4 { 20 } else { 48 }) & !7;
        let id = self.next_ip_id();
        for (n, piece) in whole.chunks(room).enumerate() {
            let offset = n * room;
            let mut buffer = HeaderBuffer::new();
            let emit = Emit {
                source: out.source,
                destination: out.destination,
                protocol: out.protocol,
                hops: out.hops,
                tos: out.tos,
                dont_fragment: false,
                id,
                fragment: Some((offset, offset + piece.len() < total)),
                length: piece.len(),
            };
            emit.put(&mut buffer);
            self.send_link(path, &mut buffer, [piece, &[]], None, None, now)?;
        }
        Ok(())
    }

    /// Puts the Ethernet header in front and transmits, or holds the frame
    /// until the neighbour answers.
    fn send_link(
        &self,
        path: &mut Path,
        header: &mut HeaderBuffer,
        payload: [&[u8]; 2],
        checksum: Option<ChecksumOffload>,
        segmentation: Option<Segmentation>,
        now: Instant,
    ) -> core::result::Result<(), SendError> {
        let interface = path.interface.clone();
        if interface.is_loopback() {
            let packet =
                TxPacket { header: header.all(), payload, checksum: None, segmentation: None };
            return interface.transmit(&packet).map_err(from_device);
        }
        let v4 = header.all().first().is_some_and(|b| b >> 4 == 4);
        let kind = if v4 { ethertype::IPV4 } else { ethertype::IPV6 };
        if path.mac.is_none() || now >= path.fresh_until {
            self.resolve(path, now);
        }
        let h = header.prepend(ETHERNET_HEADER);
        h[0..6].copy_from_slice(&path.mac.unwrap_or_default());
        h[6..12].copy_from_slice(&interface.mac);
        h[12..14].copy_from_slice(&kind.to_be_bytes());
        let packet = TxPacket { header: header.all(), payload, checksum, segmentation };
        if path.mac.is_some() {
            return interface.transmit(&packet).map_err(from_device);
        }
        let mut frame = Vec::new();
        frame.try_reserve_exact(packet.len()).map_err(|_| SendError::Dropped)?;
        frame.resize(packet.len(), 0);
        packet.copy_to(&mut frame);
        let held = Held { frame, checksum, segmentation };
        interface.neighbours.lock().hold(path.next_hop, held);
        Ok(())
    }

    /// Looks the next hop up in the neighbour cache and asks when needed.
    fn resolve(&self, path: &mut Path, now: Instant) {
        let found = path.interface.neighbours.lock().look_up(path.next_hop, now);
        let ask = match found {
            Lookup::Known(mac, until, ask) => {
                path.mac = Some(mac);
                path.fresh_until = until;
                ask
            }
            Lookup::Wait(ask) => {
                path.mac = None;
                ask
            }
        };
        if ask != Ask::No {
            self.ask_neighbour(&path.interface, path.next_hop, ask);
            self.start_neighbour_timer(&path.interface, now);
        }
    }

    /// Notes an answer (or a hint) and sends what waited for it.
    pub(crate) fn learn_neighbour(
        &self,
        interface: &Interface,
        ip: Ip,
        mac: [u8; 6],
        create: bool,
        now: Instant,
    ) {
        let (held, changed) = interface.neighbours.lock().learn(ip, mac, create, now);
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        for mut held in held {
            held.frame[0..6].copy_from_slice(&mac);
            interface.transmit_held(&held.frame, held.checksum, held.segmentation);
        }
    }

    /// Sends a frame without IP, such as ARP.
    pub(crate) fn send_raw(
        &self,
        interface: &Arc<Interface>,
        mac: [u8; 6],
        kind: u16,
        body: &[u8],
    ) {
        let mut h = [0; ETHERNET_HEADER];
        h[0..6].copy_from_slice(&mac);
        h[6..12].copy_from_slice(&interface.mac);
        h[12..14].copy_from_slice(&kind.to_be_bytes());
        let packet =
            TxPacket { header: &h, payload: [body, &[]], checksum: None, segmentation: None };
        let _ = interface.transmit(&packet);
    }
}

fn from_device(error: TxError) -> SendError {
    match error {
        TxError::Full => SendError::Full,
        TxError::Dropped => SendError::Dropped,
    }
}
