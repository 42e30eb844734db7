// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Partition tables: GPT with a protective MBR that also boots (UEFI 2.10 chapter 5).

use std::io::{Read, Seek};

use sha2::{Digest, Sha256};

use crate::medium::Medium;

/// Bytes of a sector of a disk.
pub const SECTOR: u64 = 512;
/// Sectors that the table takes at the beginning (with the MBR) and at the end.
pub const FIRST_USABLE: u64 = 34;
/// Sectors of the backup table.
pub const BACKUP: u64 = 33;
/// Bytes of boot code that the MBR has room for.
pub const BOOT_CODE: usize = 440;
const ENTRIES: usize = 128;
const ENTRY_SIZE: usize = 128;

/// An EFI system partition.
pub const ESP: Guid = Guid::new(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Where a BIOS loader keeps its second stage.
pub const BIOS_BOOT: Guid = Guid::new(0x2168_6148, 0x6449, 0x6e6f, 0x744e_6565_6445_4649);

/// A GUID as it lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    const fn new(first: u32, second: u16, third: u16, rest: u64) -> Self {
        let (a, b, c, d) =
            (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes(), rest.to_be_bytes());
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }

    /// The 16 bytes as they lie on disk: the first three fields little-endian.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

/// Names that follow from the content, so that the same input gives the same bytes.
#[derive(Clone, Copy, Debug)]
pub struct Identity([u8; 32]);

impl Identity {
    /// An identity from what makes an image different from others.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A GUID (version 8, RFC 9562 section 5.8) for one of the parts of an image.
    pub fn guid(&self, part: &str) -> Guid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Self::of(&[&self.0, part.as_bytes()]).0[..16]);
        bytes[7] = bytes[7] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid(bytes)
    }

    /// A 32-bit serial number.
    pub fn serial(&self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }
}

/// A partition.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    /// What it is for.
    pub kind: Guid,
    /// At most 36 characters.
    pub name: &'a str,
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub count: u64,
}

/// Puts the MBR with boot code, and both copies of the partition table.
pub fn put<R: Read + Seek>(
    medium: &mut Medium<R>,
    boot_code: &[u8],
    partitions: &[Partition<'_>],
    identity: &Identity,
) {
    let sectors = medium.length() / SECTOR;
    let entries = entries(partitions, identity);
    let disk = identity.guid("disk");
    let header = |own, other, table| header(own, other, table, sectors, &entries, disk);
    let mut start = mbr(boot_code, sectors);
    start.extend(header(1, sectors - 1, 2));
    start.extend(&entries);
    medium.put_bytes(0, start);
    let mut end = entries.clone();
    end.extend(header(sectors - 1, 1, sectors - BACKUP));
    medium.put_bytes((sectors - BACKUP) * SECTOR, end);
}

/// The protective MBR. Some BIOSes boot no disk without an active partition, and some UEFI
/// firmware takes no active protective one: so an empty second entry carries the mark, as on
/// the installation media of common distributions.
fn mbr(boot_code: &[u8], sectors: u64) -> Vec<u8> {
    let mut sector = vec![0; SECTOR as usize];
    sector[..BOOT_CODE].copy_from_slice(&boot_code[..BOOT_CODE]);
    let count = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    sector[446..454].copy_from_slice(&[0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]);
    sector[454..458].copy_from_slice(&1_u32.to_le_bytes());
    sector[458..462].copy_from_slice(&count.to_le_bytes());
    sector[462] = 0x80;
    sector[474] = 1;
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn entries(partitions: &[Partition<'_>], identity: &Identity) -> Vec<u8> {
    let mut entries = vec![0; ENTRIES * ENTRY_SIZE];
    for (partition, entry) in partitions.iter().zip(entries.chunks_exact_mut(ENTRY_SIZE)) {
        entry[..16].copy_from_slice(&partition.kind.bytes());
        entry[16..32].copy_from_slice(&identity.guid(partition.name).bytes());
        entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
        entry[40..48].copy_from_slice(&(partition.first + partition.count - 1).to_le_bytes());
        for (unit, place) in partition.name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
    }
    entries
}

fn header(own: u64, other: u64, table: u64, sectors: u64, entries: &[u8], disk: Guid) -> Vec<u8> {
    let mut header = vec![0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"EFI PART");
    put(8, &0x0001_0000_u32.to_le_bytes());
    put(12, &92_u32.to_le_bytes());
    put(24, &own.to_le_bytes());
    put(32, &other.to_le_bytes());
    put(40, &FIRST_USABLE.to_le_bytes());
    put(48, &(sectors - BACKUP - 1).to_le_bytes());
    put(56, &disk.bytes());
    put(72, &table.to_le_bytes());
    put(80, &(ENTRIES as u32).to_le_bytes());
    put(84, &(ENTRY_SIZE as u32).to_le_bytes());
    put(88, &crc32(entries).to_le_bytes());
    let sum = crc32(&header[..92]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// CRC-32 of ISO 3309, reflected.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_has_its_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn guids_lie_mixed_endian_on_disk() {
        assert_eq!(ESP.bytes()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
        assert_eq!(BIOS_BOOT.bytes(), *b"Hah!IdontNeedEFI");
    }

    #[test]
    fn identities_follow_from_the_parts() {
        let one = Identity::of(&[b"a", b"bc"]);
        assert_ne!(one.guid("disk"), Identity::of(&[b"ab", b"c"]).guid("disk"));
        assert_ne!(one.guid("disk"), one.guid("ESP"));
        assert_eq!(one.guid("disk"), Identity::of(&[b"a", b"bc"]).guid("disk"));
    }
}
