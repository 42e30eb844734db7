// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Internet checksum (RFC 1071).

use super::Ip;

/// A running ones' complement sum, in the byte order of this machine, over
/// parts of even length (only the last may be odd).
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum {
    total: u64,
    odd: bool,
}

impl Sum {
    /// Adds bytes. A part may start at an odd position: RFC 1071, 2(B).
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let mut sum = 0u64;
        let mut words = bytes.chunks_exact(4);
        for w in &mut words {
            sum += u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        }
        let rest = words.remainder();
        let mut tail = [0u8; 4];
        tail[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(tail));
        if self.odd {
            sum = u64::from(fold(sum).swap_bytes());
        }
        self.total += u64::from(fold(sum));
        self.odd ^= bytes.len() % 2 == 1;
    }

    fn add_word(&mut self, word: u16) {
        self.total += u64::from(word.to_be());
    }

    /// The sum, in network byte order when stored with `to_ne_bytes`.
    pub(crate) fn folded(self) -> u16 {
        fold(self.total)
    }

    /// The checksum to store, as bytes on the wire.
    pub(crate) fn complement(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// True when the bytes included a right checksum.
    pub(crate) fn is_valid(self) -> bool {
        self.folded() == 0xffff
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The pseudo header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1).
pub(crate) fn pseudo_header(source: Ip, destination: Ip, protocol: u8, length: usize) -> Sum {
    let mut sum = Sum::default();
    if source.is_v4() {
        sum.add(&source.low32().to_be_bytes());
        sum.add(&destination.low32().to_be_bytes());
    } else {
        sum.add(&source.0.to_be_bytes());
        sum.add(&destination.0.to_be_bytes());
    }
    sum.add_word((length >> 16) as u16);
    sum.add_word(length as u16);
    sum.add_word(u16::from(protocol));
    sum
}

/// The checksum of one run of bytes.
pub(crate) fn of(bytes: &[u8]) -> Sum {
    let mut sum = Sum::default();
    sum.add(bytes);
    sum
}

#[cfg(test)]
mod tests {
    use super::{Sum, of};

    #[test]
    fn parts_of_odd_length_sum_as_one() {
        let data: std::vec::Vec<u8> = (0..255u8).chain(100..231).collect();
        let whole = of(&data).folded();
        for cut in 0..data.len() {
            let mut sum = Sum::default();
            sum.add(&data[..cut / 2]);
            sum.add(&data[cut / 2..cut]);
            sum.add(&data[cut..]);
            assert_eq!(sum.folded(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn known_ipv4_header() {
        // The header of RFC 1071-style examples: checksum 0xb861.
        let mut h = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7u8,
        ];
        let sum = of(&h).complement();
        assert_eq!(sum, [0xb8, 0x61]);
        h[10..12].copy_from_slice(&sum);
        assert!(of(&h).is_valid());
    }
}
