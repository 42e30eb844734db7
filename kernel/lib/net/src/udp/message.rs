// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Datagrams that wait for a reader, and the ancillary data of ip(7) and
//! ipv6(7). Shared by UDP and raw sockets.

use crate::ip::{Endpoint, Ip};
use crate::options::{SocketOptions, int};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use kio::{Control, Errno, MessageFlags, Received, Result, Sink};

/// What each datagram costs besides its bytes.
const OVERHEAD: usize = 256;

/// A datagram with what its header said.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: Endpoint,
    pub(crate) to: Ip,
    pub(crate) interface: u32,
    pub(crate) hops: u8,
    pub(crate) tos: u8,
}

/// A bounded queue of datagrams.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(crate) fn first(&self) -> Option<&Datagram> {
        self.datagrams.front()
    }

    /// Bytes that are queued.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a datagram; false when there is no room.
    pub(crate) fn push(&mut self, datagram: Datagram, limit: usize) -> bool {
        let size = datagram.bytes.len() + OVERHEAD;
        if self.bytes + size > limit && !self.datagrams.is_empty() {
            return false;
        }
        self.bytes += size;
        self.datagrams.push_back(datagram);
        true
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Copies the first datagram out and drops it, unless it is only looked
    /// at, or the program's memory was missing.
    pub(crate) fn take(
        &mut self,
        sink: &mut dyn Sink,
        flags: MessageFlags,
        options: &SocketOptions,
        domain: u16,
    ) -> Result<(Received, Endpoint, u32)> {
        let first = self.datagrams.front().ok_or(Errno::EAGAIN)?;
        let want = first.bytes.len().min(sink.remaining());
        if want > 0 && sink.put(&first.bytes[..want])? < want {
            return Err(Errno::EFAULT);
        }
        let cut = want < first.bytes.len();
        let full = flags.contains(MessageFlags::TRUNC);
        let received = Received {
            count: if full { first.bytes.len() } else { want },
            from: None,
            flags: if cut { MessageFlags::TRUNC } else { MessageFlags::empty() },
            control: control_for(first, options, domain),
        };
        let (from, interface) = (first.from, first.interface);
        if !flags.contains(MessageFlags::PEEK) {
            if let Some(gone) = self.datagrams.pop_front() {
                self.bytes -= gone.bytes.len() + OVERHEAD;
            }
            if self.datagrams.is_empty() && self.datagrams.capacity() > 64 {
                self.datagrams = VecDeque::new();
            }
        }
        Ok((received, from, interface))
    }
}

fn raw(level: i32, kind: i32, data: &[u8]) -> Control {
    Control::Raw { level, kind, data: data.to_vec() }
}

/// The control messages that the reader asked for.
fn control_for(d: &Datagram, options: &SocketOptions, domain: u16) -> Vec<Control> {
    let mut all = Vec::new();
    let f = &options.ip;
    let v4 = d.from.ip.is_v4();
    if v4 && f.packet_info4 {
        let mut info = [0u8; 12];
        info[..4].copy_from_slice(&(d.interface as i32).to_ne_bytes());
        info[4..8].copy_from_slice(&d.to.low32().to_be_bytes());
        info[8..12].copy_from_slice(&d.to.low32().to_be_bytes());
        all.push(raw(0, 8, &info));
    }
    if v4 && f.receive_ttl {
        all.push(raw(0, 2, &i32::from(d.hops).to_ne_bytes()));
    }
    if v4 && f.receive_tos {
        all.push(raw(0, 1, &[d.tos]));
    }
    if domain == 10 && f.packet_info6 {
        let mut info = [0u8; 20];
        info[..16].copy_from_slice(&d.to.0.to_be_bytes());
        info[16..].copy_from_slice(&(d.interface as i32).to_ne_bytes());
        all.push(raw(41, 50, &info));
    }
    if !v4 && f.receive_hops {
        all.push(raw(41, 52, &i32::from(d.hops).to_ne_bytes()));
    }
    if !v4 && f.receive_class {
        all.push(raw(41, 67, &i32::from(d.tos).to_ne_bytes()));
    }
    all
}

/// What the control messages of a send ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SendInfo {
    pub(crate) source: Option<Ip>,
    pub(crate) interface: u32,
    pub(crate) hops: Option<u8>,
    pub(crate) tos: Option<u8>,
}

/// Reads IP_PKTINFO, IPV6_PKTINFO, IP_TTL and their like.
pub(crate) fn send_info(control: &[Control]) -> Result<SendInfo> {
    let mut info = SendInfo::default();
    for c in control {
        let Control::Raw { level, kind, data } = c else { return Err(Errno::EINVAL) };
        match (level, kind) {
            (0, 8) if data.len() >= 12 => {
                info.interface = int(data)? as u32;
                let ip = Ip::from_v4_bytes([data[4], data[5], data[6], data[7]]);
                info.source = Some(ip).filter(|ip| !ip.is_unspecified());
            }
            (41, 50) if data.len() >= 20 => {
                let mut ip = [0; 16];
                ip.copy_from_slice(&data[..16]);
                let ip = Ip(u128::from_be_bytes(ip));
                info.source = Some(ip).filter(|ip| !ip.is_unspecified());
                info.interface = int(&data[16..])? as u32;
            }
            (0, 2) | (41, 52) => info.hops = Some(int(data)?.clamp(1, 255) as u8),
            (0, 1) => info.tos = data.first().copied(),
            (41, 67) => info.tos = Some(int(data)? as u8),
            // UDP_SEGMENT is not offered, others are for other levels.
            (17, _) => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(info)
}
