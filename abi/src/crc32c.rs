// SPDX-License-Identifier: Apache-2.0 OR MIT
//! CRC-32C (Castagnoli), RFC 3720 appendix B.4, as EROFS and the
//! configuration record use it.

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

/// Goes on with a running value; start with `!0`. There is no final
/// inversion, as in Linux's `crc32c()`.
pub fn update(mut crc: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        crc = (crc >> 8) ^ TABLE[((crc as u8) ^ byte) as usize];
    }
    crc
}

/// The checksum of `bytes` with initial and final inversion.
pub fn checksum(bytes: &[u8]) -> u32 {
    !update(!0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_3720() {
        assert_eq!(checksum(b"123456789"), 0xe306_9283);
        assert_eq!(checksum(&[0; 32]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(update(update(!0, b"1234"), b"56789"), !0xe306_9283);
    }
}
