// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TCP segments on the wire (RFC 9293, 3.1; options: RFC 7323, RFC 2018).

use super::seq::Seq;
use crate::ip::{HeaderBuffer, be16, be32};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// Place of the checksum in the header.
pub(crate) const CHECKSUM_AT: usize = 16;

/// The options of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) sack: [(Seq, Seq); 4],
    pub(crate) sack_count: usize,
}

/// A parsed segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Options,
    pub(crate) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Parses a segment; options that make no sense end the parsing of
    /// options, as on Linux.
    pub(crate) fn parse(p: &'a [u8]) -> Option<Self> {
        let header = usize::from(p.get(12)? >> 4) * 4;
        if header < 20 || p.len() < header {
            return None;
        }
        Some(Self {
            seq: Seq(be32(p, 4)),
            ack: Seq(be32(p, 8)),
            flags: p[13],
            window: be16(p, 14),
            options: Options::parse(&p[20..header]),
            payload: &p[header..],
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers that it occupies.
    pub(crate) fn length(&self) -> usize {
        self.payload.len() + usize::from(self.has(SYN)) + usize::from(self.has(FIN))
    }
}

impl Options {
    #[inline]
    fn parse(mut o: &[u8]) -> Self {
        let mut options = Self::default();
        // What nearly every segment has: two NOPs and timestamps.
        if o.len() == 12 && o[..4] == [1, 1, 8, 10] {
            options.timestamps = Some((be32(o, 4), be32(o, 8)));
            return options;
        }
        while let [kind, rest @ ..] = o {
            match kind {
                0 => break,
                1 => {
                    o = rest;
                    continue;
                }
                _ => {}
            }
            let length = usize::from(rest.first().copied().unwrap_or(0));
            if length < 2 || length > o.len() {
                break;
            }
            options.set(*kind, &o[2..length]);
            o = &o[length..];
        }
        options
    }

    fn set(&mut self, kind: u8, value: &[u8]) {
        match (kind, value.len()) {
            (2, 2) => self.mss = Some(be16(value, 0)),
            (3, 1) => self.window_scale = Some(value[0].min(14)),
            (4, 0) => self.sack_permitted = true,
            (5, 8..) => {
                for (slot, block) in self.sack.iter_mut().zip(value.chunks_exact(8)) {
                    *slot = (Seq(be32(block, 0)), Seq(be32(block, 4)));
                }
                self.sack_count = (value.len() / 8).min(4);
            }
            (8, 8) => self.timestamps = Some((be32(value, 0), be32(value, 4))),
            _ => {}
        }
    }
}

/// What goes into the header of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) seq: Seq,
    pub(crate) ack: Seq,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Options,
}

impl Fields {
    /// Writes header and options.
    pub(crate) fn put(&self) -> HeaderBuffer {
        let mut buffer = HeaderBuffer::new();
        let mut options = [0u8; 40];
        let n = self.options.put(&mut options);
        let mut h = [0u8; 20];
        h[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        h[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        h[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        h[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        h[12] = (((20 + n) / 4) << 4) as u8;
        h[13] = self.flags;
        h[14..16].copy_from_slice(&self.window.to_be_bytes());
        buffer.push(&h);
        buffer.push(&options[..n]);
        buffer
    }
}

impl Options {
    /// Bytes that they take, padded.
    fn put(&self, o: &mut [u8; 40]) -> usize {
        let mut n = 0;
        let mut push = |bytes: &[u8]| {
            o[n..n + bytes.len()].copy_from_slice(bytes);
            n += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            push(&[2, 4, a, b]);
        }
        if self.sack_permitted {
            push(&[1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            push(&[1, 1, 8, 10]);
            push(&value.to_be_bytes());
            push(&echo.to_be_bytes());
        }
        if let Some(scale) = self.window_scale {
            push(&[1, 3, 3, scale]);
        }
        if self.sack_count > 0 {
            push(&[1, 1, 5, (2 + 8 * self.sack_count) as u8]);
            for (start, end) in &self.sack[..self.sack_count] {
                push(&start.0.to_be_bytes());
                push(&end.0.to_be_bytes());
            }
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::{ACK, Fields, Options, SYN, Segment, Seq};

    #[test]
    fn options_survive_a_round_trip() {
        let mut options = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some((1, 2)),
            ..Options::default()
        };
        options.sack[0] = (Seq(5), Seq(9));
        options.sack_count = 1;
        let fields = Fields {
            source_port: 1,
            destination_port: 2,
            seq: Seq(3),
            ack: Seq(4),
            flags: SYN | ACK,
            window: 5,
            options,
        };
        let buffer = fields.put();
        let s = Segment::parse(buffer.transport()).unwrap();
        assert_eq!((s.seq, s.ack, s.window, s.payload.len()), (Seq(3), Seq(4), 5, 0));
        assert_eq!((s.options.mss, s.options.window_scale), (Some(1460), Some(7)));
        assert_eq!((s.options.timestamps, s.options.sack_count), (Some((1, 2)), 1));
        assert_eq!(s.options.sack[0], (Seq(5), Seq(9)));
        assert!(s.options.sack_permitted);
    }

    #[test]
    fn broken_options_end_the_list() {
        let mut bytes = [0u8; 28];
        bytes[12] = 7 << 4;
        for options in
            [[2, 0, 0, 0, 0, 0, 0, 0], [2, 9, 0, 0, 0, 0, 0, 0], [5, 255, 1, 1, 1, 1, 1, 1]]
        {
            bytes[20..].copy_from_slice(&options);
            let s = Segment::parse(&bytes).unwrap();
            assert!(s.options.mss.is_none() && s.options.sack_count == 0);
        }
        bytes[12] = 8 << 4;
        assert!(Segment::parse(&bytes).is_none());
    }
}
