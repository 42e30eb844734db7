// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ISO that boots: ISO 9660 (ECMA-119) with El Torito entries for BIOS and UEFI, which
//! written to a disk or stick is a disk with MBR and GPT as well. For a GRUB that has it open
//! as a file, as in Ventoy's GRUB2 mode, there is a `grub.cfg` at the usual place.
//!
//! The kernel lies once on it, inside the FAT image of the UEFI entry; the ISO directory and
//! the BIOS loader point at the same bytes. El Torito 1.0 is the specification of 1995.

use std::io::{Read, Seek};

use bhojpur_abi::boot::{BIOS_SIZE_MAX, COMMAND_LINE_MAX};

use crate::disk::SystemPartition;
use crate::gpt::{self, Identity, Partition, SECTOR};
use crate::loader::{Loaders, with_place};
use crate::medium::{Medium, round_up};
use crate::pack::{Error, Kernel};

/// Bytes of a block of a CD.
const BLOCK: u64 = 2048;
const PRIMARY_DESCRIPTOR: u64 = 16;
/// El Torito fixes this place.
const BOOT_RECORD: u64 = 17;
const TERMINATOR: u64 = 18;
const PATH_TABLE_LITTLE: u64 = 19;
const PATH_TABLE_BIG: u64 = 20;
const DIRECTORIES: u64 = 21;
const CATALOG: u64 = DIRECTORIES + TREE.len() as u64;
const GRUB_CONFIGURATION: u64 = CATALOG + 1;
const BIOS_IMAGE: u64 = 40;
const _: () =
    assert!(GRUB_CONFIGURATION * BLOCK + GRUB_CONFIGURATION_MAX as u64 <= BIOS_IMAGE * BLOCK);
/// The UEFI image is the system partition: it begins behind the largest BIOS loader.
const SYSTEM: u64 = 72;
const _: () = assert!(BIOS_IMAGE * BLOCK + BIOS_SIZE_MAX as u64 <= SYSTEM * BLOCK);
/// Sectors that every BIOS loads for a no-emulation entry: one block.
const BIOS_LOAD_SECTORS: u16 = 4;
/// 1980-01-01 00:00:00 GMT as directory records write it.
const DATE: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];
const LONG_DATE: &[u8; 17] = b"1980010100000000\0";
const FLAG_DIRECTORY: u8 = 2;

/// What GRUB does with the ISO as its root: the entry at once, and the menu when it failed.
/// The words of the command line stand between the two.
const GRUB_BEFORE: &str = "set timeout=0\nmenuentry Bhojpur {\n  multiboot2 /KERNEL.ELF";
const GRUB_AFTER: &str = "\n}\n";
/// A command line of nothing but quotes: four bytes for each, three around them.
const GRUB_CONFIGURATION_MAX: usize =
    GRUB_BEFORE.len() + 4 * COMMAND_LINE_MAX + 3 + GRUB_AFTER.len();

/// A directory tree of a fixed shape, in the order of a path table (ECMA-119 section 6.9.1).
#[derive(Clone, Copy)]
struct Directory {
    name: &'static str,
    parent: usize,
}

const ROOT: usize = 0;
const GRUB: usize = 3;
const EFI_BOOT: usize = 4;
const TREE: [Directory; 5] = [
    Directory { name: "", parent: ROOT },
    Directory { name: "BOOT", parent: ROOT },
    Directory { name: "EFI", parent: ROOT },
    Directory { name: "GRUB", parent: 1 },
    Directory { name: "BOOT", parent: 2 },
];

/// A file in one of the directories: name, offset on the medium, bytes.
#[derive(Clone, Copy)]
struct File {
    directory: usize,
    name: &'static str,
    at: u64,
    size: u64,
}

/// Lays out an ISO that boots `kernel` on BIOS and UEFI machines, from CD and from disk.
pub fn medium<R: Read + Seek>(
    kernel: Kernel<R>,
    loaders: &Loaders<'_>,
    command_line: &str,
) -> Result<Medium<R>, Error> {
    let identity = kernel.identity(&[b"iso", loaders.bios, loaders.uefi, command_line.as_bytes()]);
    let at = SYSTEM * BLOCK;
    let system = SystemPartition::new(at, kernel.size(), loaders, command_line, &identity)?;
    let bios_at = BIOS_IMAGE * BLOCK;
    let on_disk = with_place(&system.bios, bios_at, SECTOR as u16)?;
    let on_cd = with_place(&system.bios, bios_at, BLOCK as u16)?;
    let end = at + round_up(system.length(), BLOCK);
    let length = round_up(end + gpt::BACKUP * SECTOR, BLOCK);
    let blocks = u32::try_from(length / BLOCK).map_err(|_| Error::KernelSize)?;
    let grub = grub_configuration(command_line);
    let files = files(&system, grub.len() as u64);

    let mut medium = Medium::new(kernel.into_source(), length);
    gpt::put(&mut medium, &on_disk, &[partition(at, end)], &identity);
    medium.put_bytes(PRIMARY_DESCRIPTOR * BLOCK, primary_descriptor(blocks, &identity));
    medium.put_bytes(BOOT_RECORD * BLOCK, boot_record());
    medium.put_bytes(TERMINATOR * BLOCK, descriptor(255));
    medium.put_bytes(PATH_TABLE_LITTLE * BLOCK, path_table(u32::to_le_bytes, u16::to_le_bytes));
    medium.put_bytes(PATH_TABLE_BIG * BLOCK, path_table(u32::to_be_bytes, u16::to_be_bytes));
    for index in 0..TREE.len() {
        medium.put_bytes(directory_block(index) * BLOCK, directory(index, &files));
    }
    medium.put_bytes(CATALOG * BLOCK, catalog(system.length()));
    medium.put_bytes(GRUB_CONFIGURATION * BLOCK, grub);
    medium.put_bytes(bios_at, on_cd);
    system.put(&mut medium);
    Ok(medium)
}

fn partition(at: u64, end: u64) -> Partition<'static> {
    Partition {
        kind: gpt::ESP,
        name: "EFI system partition",
        first: at / SECTOR,
        count: (end - at) / SECTOR,
    }
}

fn directory_block(index: usize) -> u64 {
    DIRECTORIES + index as u64
}

/// A volume descriptor with nothing but its type (ECMA-119 section 8.1).
fn descriptor(kind: u8) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    block[0] = kind;
    block[1..7].copy_from_slice(b"CD001\x01");
    block
}

/// ECMA-119 section 8.4.
fn primary_descriptor(blocks: u32, identity: &Identity) -> Vec<u8> {
    let mut block = descriptor(1);
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &[b' '; 32]);
    put(40, &[b' '; 32]);
    put(40, b"BHOJPUR");
    put(80, &both32(blocks));
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(BLOCK as u16));
    put(132, &both32(path_table(u32::to_le_bytes, u16::to_le_bytes).len() as u32));
    put(140, &(PATH_TABLE_LITTLE as u32).to_le_bytes());
    put(148, &(PATH_TABLE_BIG as u32).to_be_bytes());
    put(156, &record(b"\0", DIRECTORIES, BLOCK as u32, FLAG_DIRECTORY));
    put(190, &[b' '; 623]);
    // The volume set names the content: two images differ in it when they differ at all.
    put(190, format!("BHOJPUR_{:08X}", identity.serial()).as_bytes());
    put(574, b"BHOJPUR KERNEL");
    for date in [813, 830] {
        put(date, LONG_DATE);
    }
    // "Not specified" for the dates of expiration and of effect.
    for date in [847, 864] {
        put(date, b"0000000000000000\0");
    }
    put(881, &[1]);
    block
}

/// El Torito figure 7: points at the catalog.
fn boot_record() -> Vec<u8> {
    let mut block = descriptor(0);
    block[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    block[71..75].copy_from_slice(&(CATALOG as u32).to_le_bytes());
    block
}

/// The boot catalog: a validation entry, the BIOS entry, and one section with the UEFI entry
/// (El Torito figures 2 to 5; UEFI 2.10 section 13.3.2.1).
fn catalog(system: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    block[0] = 1;
    block[4..18].copy_from_slice(b"BHOJPUR KERNEL");
    block[30..32].copy_from_slice(&[0x55, 0xaa]);
    let sum = block[..32]
        .chunks_exact(2)
        .fold(0_u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    block[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    block[32..64].copy_from_slice(&boot_entry(BIOS_LOAD_SECTORS, BIOS_IMAGE));
    block[64..68].copy_from_slice(&[0x91, 0xef, 1, 0]);
    // Too long for the field: 0 means "to the end of the medium".
    let sectors = u16::try_from(system.div_ceil(SECTOR)).unwrap_or(0);
    block[96..128].copy_from_slice(&boot_entry(sectors, SYSTEM));
    block
}

fn boot_entry(sectors: u16, first: u64) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[0] = 0x88;
    entry[6..8].copy_from_slice(&sectors.to_le_bytes());
    entry[8..12].copy_from_slice(&(first as u32).to_le_bytes());
    entry
}

/// ECMA-119 section 9.4.
fn path_table(word: fn(u32) -> [u8; 4], half: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut table = Vec::new();
    for (index, directory) in TREE.iter().enumerate() {
        let name = if index == 0 { b"\0" } else { directory.name.as_bytes() };
        table.extend([name.len() as u8, 0]);
        table.extend(word(directory_block(index) as u32));
        table.extend(half(directory.parent as u16 + 1));
        table.extend(name);
        table.resize(table.len().next_multiple_of(2), 0);
    }
    table
}

/// `grub.cfg`: the kernel through Multiboot2, each word of its command line quoted. GRUB puts a
/// backslash before quotes and backslashes of the words when it hands them over.
fn grub_configuration(command_line: &str) -> Vec<u8> {
    let quoted = |word: &str| format!(" '{}'", word.replace('\'', r"'\''"));
    let words: String = command_line.split_ascii_whitespace().map(quoted).collect();
    format!("{GRUB_BEFORE}{words}{GRUB_AFTER}").into_bytes()
}

/// The files, those of a directory in the order of their names.
fn files(system: &SystemPartition, grub: u64) -> [File; 3] {
    let file = |directory, name, (at, size)| File { directory, name, at, size };
    [
        file(ROOT, "KERNEL.ELF;1", system.kernel()),
        file(GRUB, "GRUB.CFG;1", (GRUB_CONFIGURATION * BLOCK, grub)),
        file(EFI_BOOT, "BOOTX64.EFI;1", system.uefi()),
    ]
}

fn directory(index: usize, files: &[File]) -> Vec<u8> {
    let folder =
        |name: &[u8], index| record(name, directory_block(index), BLOCK as u32, FLAG_DIRECTORY);
    let mut block = folder(b"\0", index);
    block.extend(folder(b"\x01", TREE[index].parent));
    // In the order of the names, as section 9.3 wants it.
    for (child, entry) in TREE.iter().enumerate().skip(1) {
        if entry.parent == index {
            block.extend(folder(entry.name.as_bytes(), child));
        }
    }
    for file in files.iter().filter(|file| file.directory == index) {
        block.extend(record(file.name.as_bytes(), file.at / BLOCK, file.size as u32, 0));
    }
    block.resize(BLOCK as usize, 0);
    block
}

/// A directory record (ECMA-119 section 9.1).
fn record(name: &[u8], block: u64, size: u32, flags: u8) -> Vec<u8> {
    let length = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![length as u8, 0];
    record.extend(both32(block as u32));
    record.extend(both32(size));
    record.extend(DATE);
    record.extend([flags, 0, 0]);
    record.extend(both16(1));
    record.push(name.len() as u8);
    record.extend(name);
    record.resize(length, 0);
    record
}

fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grub_gets_the_words_of_the_command_line_as_they_are() {
        let text = |line| String::from_utf8(grub_configuration(line)).unwrap();
        assert!(text("").contains("\n  multiboot2 /KERNEL.ELF\n}\n"));
        assert!(text("a=$b;  it's").contains(r"/KERNEL.ELF 'a=$b;' 'it'\''s'"));
        for worst in ["'".repeat(COMMAND_LINE_MAX), "' ".repeat(COMMAND_LINE_MAX / 2)] {
            assert!(grub_configuration(&worst).len() <= GRUB_CONFIGURATION_MAX);
        }
    }

    /// ECMA-119 section 6.9.1: by level, then by the number of the parent, then by name.
    #[test]
    fn the_tree_is_in_the_order_of_a_path_table() {
        let level = |mut index: usize| {
            let mut level = 0;
            while index != ROOT {
                (index, level) = (TREE[index].parent, level + 1);
            }
            level
        };
        let key = |index: usize| (level(index), TREE[index].parent, TREE[index].name);
        assert!((1..TREE.len()).all(|index| key(index - 1) < key(index)));
        assert_eq!((TREE[GRUB].name, TREE[EFI_BOOT].name), ("GRUB", "BOOT"));
    }
}
