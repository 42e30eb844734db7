// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Microsoft's fixed VHD ("Virtual Hard Disk Image Format Specification" 1.0, 2006): the raw
//! disk with a footer. Clouds that take VHDs take this kind.

use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::gpt::Guid;
use crate::medium::{Medium, round_up};

const FOOTER: usize = 512;
/// Azure wants whole mebibytes.
const ALIGN: u64 = 1 << 20;

/// Writes the medium as a fixed VHD.
pub fn write<R: Read + Seek>(
    medium: &mut Medium<R>,
    id: Guid,
    out: &mut (impl Write + Seek),
) -> io::Result<()> {
    let base = out.stream_position()?;
    let length = round_up(medium.length(), ALIGN);
    medium.write_raw(out)?;
    out.seek(SeekFrom::Start(base + length))?;
    out.write_all(&footer(length, id))?;
    out.flush()
}

fn footer(length: u64, id: Guid) -> [u8; FOOTER] {
    let mut footer = [0; FOOTER];
    let mut put = |at: usize, bytes: &[u8]| footer[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &2_u32.to_be_bytes());
    put(12, &0x0001_0000_u32.to_be_bytes());
    put(16, &u64::MAX.to_be_bytes());
    // Readers believe "current size" instead of the geometry, which cannot express every
    // size, only for creators that they know; Windows itself is known to all of them.
    put(28, b"win ");
    put(32, &0x000a_0000_u32.to_be_bytes());
    put(36, b"Wi2k");
    put(40, &length.to_be_bytes());
    put(48, &length.to_be_bytes());
    put(56, &geometry(length / 512));
    put(60, &2_u32.to_be_bytes());
    put(68, &id.bytes());
    let sum = footer.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// Cylinders, heads and sectors for a size: the calculation of the specification's appendix.
fn geometry(sectors: u64) -> [u8; 4] {
    let sectors = sectors.min(65535 * 16 * 255);
    let (cylinder_heads, heads, per_track) = if sectors > 65535 * 16 * 63 {
        (sectors / 255, 16, 255)
    } else {
        let heads = (sectors / 17).div_ceil(1024).max(4);
        if sectors / 17 < heads * 1024 && heads <= 16 {
            (sectors / 17, heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (sectors / 31, 16, 31)
        } else {
            (sectors / 63, 16, 63)
        }
    };
    let cylinders = ((cylinder_heads / heads) as u16).to_be_bytes();
    [cylinders[0], cylinders[1], heads as u8, per_track as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::Identity;

    #[test]
    fn the_checksum_is_the_complement_of_the_sum() {
        let footer = footer(5 << 20, Identity::of(&[]).guid("x"));
        let mut bytes = footer;
        bytes[64..68].fill(0);
        let sum = bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        assert_eq!(footer[64..68], (!sum).to_be_bytes());
        assert_eq!(footer[..8], *b"conectix");
    }

    #[test]
    fn geometries_are_those_of_the_specification() {
        // `qemu-img create -f vpc` makes one cylinder more: it rounds the size up first.
        assert_eq!(geometry((64 << 20) / 512), [0x03, 0xc3, 8, 17]);
        assert_eq!(geometry((2 << 30) / 512), [0x10, 0x41, 16, 63]);
        assert_eq!(geometry(u64::MAX), [0xff, 0xff, 16, 255]);
    }
}
