// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Keyed hashing of connection tuples (SipHash-1-3 over machine words), so
//! that a remote host cannot aim at one bucket.

use crate::ip::{Endpoint, Ip};

/// The secret of this boot.
#[derive(Clone, Copy)]
pub(crate) struct HashKey {
    k0: u64,
    k1: u64,
}

struct Sip {
    v: [u64; 4],
}

impl Sip {
    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = [a, b, c, d];
    }

    #[inline]
    fn word(&mut self, m: u64) {
        self.v[3] ^= m;
        self.round();
        self.v[0] ^= m;
    }
}

impl HashKey {
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        Self { k0: word(0), k1: word(8) }
    }

    /// Hash of a few words.
    pub(crate) fn words(&self, words: &[u64]) -> u64 {
        let mut sip = Sip {
            v: [
                self.k0 ^ 0x736f_6d65_7073_6575,
                self.k1 ^ 0x646f_7261_6e64_6f6d,
                self.k0 ^ 0x6c79_6765_6e65_7261,
                self.k1 ^ 0x7465_6462_7974_6573,
            ],
        };
        for w in words {
            sip.word(*w);
        }
        sip.v[2] ^= 0xff ^ ((words.len() as u64) << 56);
        sip.round();
        sip.round();
        sip.round();
        sip.v[0] ^ sip.v[1] ^ sip.v[2] ^ sip.v[3]
    }

    /// Hash of both ends of a connection.
    #[inline]
    pub(crate) fn tuple(&self, local: Endpoint, remote: Endpoint) -> u64 {
        let ports = u64::from(local.port) << 16 | u64::from(remote.port);
        if local.ip.is_v4() {
            let ips = u64::from(local.ip.low32()) << 32 | u64::from(remote.ip.low32());
            self.words(&[ips, ports])
        } else {
            let (l, r) = (local.ip.0, remote.ip.0);
            self.words(&[l as u64, (l >> 64) as u64, r as u64, (r >> 64) as u64, ports])
        }
    }

    /// Hash of one address.
    pub(crate) fn address(&self, ip: Ip) -> u64 {
        self.words(&[ip.0 as u64, (ip.0 >> 64) as u64])
    }
}
