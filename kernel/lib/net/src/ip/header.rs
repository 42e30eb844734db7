// SPDX-License-Identifier: Apache-2.0 OR MIT
//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers: checked parsing, and a buffer
//! that headers are put into from the inside out.

use super::{Ip, be16, be32, checksum};

/// Room for Ethernet, IPv6 and a fragment header in front of the transport's.
const FRONT: usize = 64;
/// Room for everything.
const CAPACITY: usize = FRONT + 96;

/// The headers of one packet. The transport's is written first, the others
/// are put in front of it.
pub(crate) struct HeaderBuffer {
    bytes: [u8; CAPACITY],
    start: usize,
    end: usize,
}

impl HeaderBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; CAPACITY], start: FRONT, end: FRONT }
    }

    /// Drops what was put in front of the transport header.
    pub(crate) fn rewind(&mut self) {
        self.start = FRONT;
    }

    /// Appends to the transport header.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = (self.end + bytes.len()).min(CAPACITY);
        let n = end - self.end;
        self.bytes[self.end..end].copy_from_slice(&bytes[..n]);
        self.end = end;
    }

    /// Puts `n` bytes in front.
    #[inline]
    pub(crate) fn prepend(&mut self, n: usize) -> &mut [u8] {
        let end = self.start;
        self.start = self.start.saturating_sub(n);
        &mut self.bytes[self.start..end]
    }

    pub(crate) fn all(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(crate) fn transport(&self) -> &[u8] {
        &self.bytes[FRONT..self.end]
    }

    pub(crate) fn transport_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[FRONT..self.end]
    }
}

/// The fields of an IP header that the layers above want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) source: Ip,
    pub(crate) destination: Ip,
    pub(crate) protocol: u8,
    /// TTL or hop limit.
    pub(crate) hops: u8,
    /// Type of service or traffic class.
    pub(crate) tos: u8,
    /// Identifies the datagram that this is a fragment of.
    pub(crate) fragment: Option<Fragment>,
    /// Where the payload starts.
    pub(crate) header_length: usize,
    /// Where it ends.
    pub(crate) total_length: usize,
}

/// One piece of a fragmented datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) id: u32,
    /// In bytes.
    pub(crate) offset: usize,
    pub(crate) more: bool,
}

/// Parses the header of a packet of either version; `None` for what is not a
/// whole and sound packet.
pub(crate) fn parse(packet: &[u8]) -> Option<Header> {
    match packet.first()? >> 4 {
        4 => parse_v4(packet),
        6 => parse_v6(packet),
        _ => None,
    }
}

fn parse_v4(p: &[u8]) -> Option<Header> {
    let header_length = usize::from(p[0] & 0xf) * 4;
    if p.len() < 20 || header_length < 20 || p.len() < header_length {
        return None;
    }
    let total_length = usize::from(be16(p, 2));
    if total_length < header_length || total_length > p.len() {
        return None;
    }
    if !checksum::of(&p[..header_length]).is_valid() {
        return None;
    }
    let flags = be16(p, 6);
    let fragment = (flags & 0x3fff != 0).then(|| Fragment {
        id: u32::from(be16(p, 4)),
        offset: usize::from(flags & 0x1fff) * 8,
        more: flags & 0x2000 != 0,
    });
    Some(Header {
        source: Ip::from_v4_bytes([p[12], p[13], p[14], p[15]]),
        destination: Ip::from_v4_bytes([p[16], p[17], p[18], p[19]]),
        protocol: p[9],
        hops: p[8],
        tos: p[1],
        fragment,
        header_length,
        total_length,
    })
}

fn v6_address(p: &[u8], at: usize) -> Option<Ip> {
    let mut b = [0; 16];
    b.copy_from_slice(p.get(at..at + 16)?);
    Some(Ip(u128::from_be_bytes(b)))
}

fn parse_v6(p: &[u8]) -> Option<Header> {
    if p.len() < 40 {
        return None;
    }
    let total_length = 40 + usize::from(be16(p, 4));
    if total_length > p.len() {
        return None;
    }
    let (source, destination) = (v6_address(p, 8)?, v6_address(p, 24)?);
    // IPv4-mapped addresses do not belong on the wire (RFC 4942, 2.2), and
    // here they would pass as IPv4.
    if source.is_v4() || destination.is_v4() || source.is_multicast() {
        return None;
    }
    let mut header = Header {
        source,
        destination,
        protocol: p[6],
        hops: p[7],
        tos: (be16(p, 0) >> 4) as u8,
        fragment: None,
        header_length: 40,
        total_length,
    };
    skip_extensions(&mut header, p)?;
    Some(header)
}

/// Walks over hop-by-hop, routing, destination options and fragment headers.
fn skip_extensions(header: &mut Header, p: &[u8]) -> Option<()> {
    for _ in 0..8 {
        let at = header.header_length;
        let length = match header.protocol {
            0 if at == 40 => 8 + usize::from(*p.get(at + 1)?) * 8,
            43 | 60 => 8 + usize::from(*p.get(at + 1)?) * 8,
            44 => 8,
            _ => return Some(()),
        };
        if at + length > header.total_length {
            return None;
        }
        // Routing headers with segments left are not for a host.
        if header.protocol == 43 && p[at + 3] != 0 {
            return None;
        }
        if header.protocol == 44 {
            let offset = be16(p, at + 2);
            let fragment = Fragment {
                id: be32(p, at + 4),
                offset: usize::from(offset & !7),
                more: offset & 1 != 0,
            };
            // A lone fragment is a whole datagram (RFC 6946).
            if fragment.more || fragment.offset != 0 {
                header.fragment = Some(fragment);
            }
        }
        header.protocol = p[at];
        header.header_length = at + length;
        if header.fragment.is_some() {
            return Some(());
        }
    }
    None
}

/// What goes into an IP header.
#[derive(Clone, Copy)]
pub(super) struct Emit {
    pub(super) source: Ip,
    pub(super) destination: Ip,
    pub(super) protocol: u8,
    pub(super) hops: u8,
    pub(super) tos: u8,
    pub(super) dont_fragment: bool,
    pub(super) id: u32,
    /// Offset in bytes, and whether more follow.
    pub(super) fragment: Option<(usize, bool)>,
    /// Bytes behind the IP header.
    pub(super) length: usize,
}

impl Emit {
    /// Writes the IP header in front.
    pub(super) fn put(&self, buffer: &mut HeaderBuffer) {
        if self.source.is_v4() { self.put_v4(buffer) } else { self.put_v6(buffer) }
    }

    fn put_v4(&self, buffer: &mut HeaderBuffer) {
        let h = buffer.prepend(20);
        h[0] = 0x45;
        h[1] = self.tos;
        h[2..4].copy_from_slice(&((20 + self.length) as u16).to_be_bytes());
        h[4..6].copy_from_slice(&(self.id as u16).to_be_bytes());
        let flags = match self.fragment {
            Some((offset, more)) => (offset / 8) as u16 | if more { 0x2000 } else { 0 },
            None => u16::from(self.dont_fragment) << 14,
        };
        h[6..8].copy_from_slice(&flags.to_be_bytes());
        h[8] = self.hops;
        h[9] = self.protocol;
        h[10..12].fill(0);
        h[12..16].copy_from_slice(&self.source.low32().to_be_bytes());
        h[16..20].copy_from_slice(&self.destination.low32().to_be_bytes());
        let sum = checksum::of(h).complement();
        h[10..12].copy_from_slice(&sum);
    }

    fn put_v6(&self, buffer: &mut HeaderBuffer) {
        let mut length = self.length;
        let mut next = self.protocol;
        if let Some((offset, more)) = self.fragment {
            let h = buffer.prepend(8);
            h[0] = next;
            h[1] = 0;
            h[2..4].copy_from_slice(&(offset as u16 | u16::from(more)).to_be_bytes());
            h[4..8].copy_from_slice(&self.id.to_be_bytes());
            length += 8;
            next = 44;
        }
        let h = buffer.prepend(40);
        let first = 6 << 28 | u32::from(self.tos) << 20;
        h[0..4].copy_from_slice(&first.to_be_bytes());
        h[4..6].copy_from_slice(&(length as u16).to_be_bytes());
        h[6] = next;
        h[7] = self.hops;
        h[8..24].copy_from_slice(&self.source.0.to_be_bytes());
        h[24..40].copy_from_slice(&self.destination.0.to_be_bytes());
    }
}
