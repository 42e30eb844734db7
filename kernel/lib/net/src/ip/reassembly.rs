// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reassembly of fragments (RFC 815 in spirit, RFC 5722 for overlaps), bounded
//! in datagrams, bytes and time.

use super::{Header, Ip};
use alloc::vec::Vec;
use core::time::Duration;
use kio::Instant;

/// RFC 8200, 4.5; Linux gives IPv4 30 s as well.
const LIFETIME: Duration = Duration::from_secs(30);
const DATAGRAMS: usize = 64;
const BYTES: usize = 1 << 20;
const PIECES: usize = 64;

#[derive(PartialEq, Eq, Clone, Copy)]
struct Key {
    source: Ip,
    destination: Ip,
    id: u32,
    protocol: u8,
}

struct Datagram {
    key: Key,
    started: Instant,
    /// Sorted, without overlaps: offset and bytes.
    pieces: Vec<(usize, Vec<u8>)>,
    bytes: usize,
    length: Option<usize>,
}

/// All incomplete datagrams.
#[derive(Default)]
pub(crate) struct Reassembler {
    datagrams: Vec<Datagram>,
    bytes: usize,
}

impl Reassembler {
    /// Adds a fragment; gives the payload of the datagram once it is complete.
    pub(crate) fn add(&mut self, header: &Header, payload: &[u8], now: Instant) -> Option<Vec<u8>> {
        let fragment = header.fragment?;
        let end = fragment.offset + payload.len();
        // Only the last may have an odd length, and 64 KiB is the end.
        if (fragment.more && !payload.len().is_multiple_of(8)) || payload.is_empty() || end > 65_535
        {
            return None;
        }
        self.expire(now);
        let key = Key {
            source: header.source,
            destination: header.destination,
            id: fragment.id,
            protocol: header.protocol,
        };
        let at = match self.datagrams.iter().position(|d| d.key == key) {
            Some(at) => at,
            None => {
                self.make_room(payload.len());
                self.datagrams.push(Datagram {
                    key,
                    started: now,
                    pieces: Vec::new(),
                    bytes: 0,
                    length: None,
                });
                self.datagrams.len() - 1
            }
        };
        match self.datagrams[at].insert(fragment.offset, payload, fragment.more) {
            Insert::Kept => {
                self.bytes += payload.len();
                let whole = self.datagrams[at].take_whole()?;
                self.remove(at);
                Some(whole)
            }
            Insert::Duplicate => None,
            // RFC 5722: an overlap discards the whole datagram.
            Insert::Bad => {
                self.remove(at);
                None
            }
        }
    }

    fn remove(&mut self, at: usize) {
        let gone = self.datagrams.swap_remove(at);
        self.bytes -= gone.bytes;
    }

    fn expire(&mut self, now: Instant) {
        while let Some(at) = self.datagrams.iter().position(|d| now - d.started > LIFETIME) {
            self.remove(at);
        }
    }

    fn make_room(&mut self, length: usize) {
        while self.datagrams.len() >= DATAGRAMS || self.bytes + length > BYTES {
            let oldest = self.datagrams.iter().enumerate().min_by_key(|(_, d)| d.started);
            let Some((at, _)) = oldest else { return };
            self.remove(at);
        }
    }
}

enum Insert {
    Kept,
    Duplicate,
    Bad,
}

impl Datagram {
    fn insert(&mut self, offset: usize, payload: &[u8], more: bool) -> Insert {
        let end = offset + payload.len();
        if !more {
            if self.length.is_some_and(|l| l != end) {
                return Insert::Bad;
            }
            self.length = Some(end);
        }
        if self.length.is_some_and(|l| end > l) {
            return Insert::Bad;
        }
        let at = self.pieces.partition_point(|(o, _)| *o < offset);
        if let Some((o, p)) = self.pieces.get(at) {
            if *o == offset && p.len() == payload.len() {
                return Insert::Duplicate;
            }
            if *o < end {
                return Insert::Bad;
            }
        }
        if at > 0 && self.pieces[at - 1].0 + self.pieces[at - 1].1.len() > offset {
            return Insert::Bad;
        }
        if self.pieces.len() >= PIECES {
            return Insert::Bad;
        }
        self.pieces.insert(at, (offset, payload.to_vec()));
        self.bytes += payload.len();
        Insert::Kept
    }

    fn take_whole(&self) -> Option<Vec<u8>> {
        if self.length != Some(self.bytes) {
            return None;
        }
        let mut whole = Vec::with_capacity(self.bytes);
        for (_, piece) in &self.pieces {
            whole.extend_from_slice(piece);
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::Fragment;
    use super::{Header, Ip, Reassembler};
    use core::time::Duration;
    use kio::Instant;

    fn header(id: u32, offset: usize, more: bool) -> Header {
        Header {
            source: Ip(0xffff_0a00_0001),
            destination: Ip(0xffff_0a00_0002),
            protocol: 17,
            hops: 64,
            tos: 0,
            fragment: Some(Fragment { id, offset, more }),
            header_length: 20,
            total_length: 0,
        }
    }

    #[test]
    fn any_order_and_duplicates() {
        let mut r = Reassembler::default();
        let now = Instant::ZERO;
        assert!(r.add(&header(1, 16, false), &[3; 5], now).is_none());
        assert!(r.add(&header(1, 0, true), &[1; 8], now).is_none());
        assert!(r.add(&header(1, 0, true), &[1; 8], now).is_none());
        let whole = r.add(&header(1, 8, true), &[2; 8], now).unwrap();
        assert_eq!(whole[7..9], [1, 2]);
        assert_eq!(whole.len(), 21);
        assert_eq!((r.bytes, r.datagrams.len()), (0, 0));
    }

    #[test]
    fn overlap_discards_and_time_ends_it() {
        let mut r = Reassembler::default();
        let now = Instant::ZERO;
        r.add(&header(1, 0, true), &[1; 16], now);
        assert!(r.add(&header(1, 8, false), &[2; 16], now).is_none());
        assert!(r.datagrams.is_empty());
        r.add(&header(2, 0, true), &[1; 16], now);
        let later = now + Duration::from_secs(31);
        assert!(r.add(&header(2, 16, false), &[1; 16], later).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let mut r = Reassembler::default();
        for id in 0..10_000 {
            r.add(&header(id, 0, true), &[0; 1024], Instant::ZERO);
        }
        assert!(r.datagrams.len() <= 64 && r.bytes <= 1 << 20);
    }
}
