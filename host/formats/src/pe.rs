// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From what the stock compiler puts out, an ELF file, to what firmware starts: a PE32+
//! application for UEFI, a flat binary for BIOS.
//!
//! After "PE Format" (Microsoft) and UEFI 2.10 section 2.1.1. The ELF file is a static
//! position-independent one, whose segments become sections at the same offsets from the
//! base, and whose `R_X86_64_RELATIVE` relocations become base relocations.

use bhojpur_abi::boot::{BIOS_BASE, BIOS_SIZE_MAX};
use bhojpur_abi::elf::{File, PT_DYNAMIC};

use crate::pack::Error;

const PAGE: u64 = 4096;
const FILE_ALIGN: usize = 512;
/// The PE header follows the DOS header at once.
const PE_AT: usize = 64;
const COFF_HEADER: usize = 24;
const OPTIONAL_HEADER: usize = 112 + DIRECTORIES * 8;
const DIRECTORIES: usize = 16;
const DIRECTORY_RELOCATIONS: usize = 5;
const SECTION_HEADER: usize = 40;
const MACHINE_X86_64: u16 = 0x8664;
/// Executable, line and symbol information stripped, large addresses.
const CHARACTERISTICS: u16 = 0x0002 | 0x0004 | 0x0008 | 0x0020 | 0x0200;
const SUBSYSTEM_EFI_APPLICATION: u16 = 10;
/// Relocatable to anywhere, no code on data pages.
const DLL_CHARACTERISTICS: u16 = 0x0020 | 0x0040 | 0x0100;
const SECTION_CODE: u32 = 0x0000_0020;
const SECTION_DATA: u32 = 0x0000_0040;
const SECTION_DISCARDABLE: u32 = 0x0200_0000;
const SECTION_EXECUTE: u32 = 0x2000_0000;
const SECTION_READ: u32 = 0x4000_0000;
const SECTION_WRITE: u32 = 0x8000_0000;
const RELOCATION_DIR64: u16 = 10;

const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_REL: u64 = 17;
const DT_RELR: u64 = 36;
const R_X86_64_RELATIVE: u64 = 8;
const RELA_SIZE: usize = 24;

struct Section {
    name: &'static [u8],
    address: u64,
    memory_size: u64,
    data: Vec<u8>,
    flags: u32,
}

/// Makes `BOOTX64.EFI` out of a static position-independent ELF file.
pub fn efi_application(elf: &[u8]) -> Result<Vec<u8>, Error> {
    let file = File::parse(elf)?;
    if !file.plan().position_independent() {
        return Err(Error::Loader("the UEFI loader is not position-independent"));
    }
    let mut sections: Vec<Section> = file
        .plan()
        .loads()
        .map(|load| {
            let (name, flags): (&[u8], _) = match (load.executable(), load.writable()) {
                (true, _) => (b".text", SECTION_CODE | SECTION_EXECUTE),
                (false, true) => (b".data", SECTION_DATA | SECTION_WRITE),
                (false, false) => (b".rdata", SECTION_DATA),
            };
            let data = file.segment_data(&load).to_vec();
            let flags = flags | SECTION_READ;
            Section { name, address: load.address, memory_size: load.memory_size, data, flags }
        })
        .collect();
    let headers = PE_AT + COFF_HEADER + OPTIONAL_HEADER + (sections.len() + 1) * SECTION_HEADER;
    let first = sections.first().map_or(0, |section| section.address);
    if first < headers as u64 || sections.iter().any(|section| section.address % PAGE != 0) {
        return Err(Error::Loader("the UEFI loader is not laid out as a PE image"));
    }
    let mut places = relocate(&file, &mut sections)?;
    places.sort_unstable();
    let address = file.plan().span().end;
    let data = base_relocations(&places);
    let memory_size = data.len() as u64;
    let flags = SECTION_DATA | SECTION_DISCARDABLE | SECTION_READ;
    sections.push(Section { name: b".reloc", address, memory_size, data, flags });
    image(file.header().entry, &sections)
}

/// Applies the relocations for the base 0, and gives the places that depend on the base.
fn relocate(file: &File<'_>, sections: &mut [Section]) -> Result<Vec<u64>, Error> {
    let Some(dynamic) = file.plan().segments().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let (mut table, mut size) = (0, 0);
    for entry in file.segment_data(&dynamic).chunks_exact(16) {
        match (word(entry, 0), word(entry, 8)) {
            (0, _) => break,
            (DT_RELA, value) => table = value,
            (DT_RELASZ, value) => size = value as usize,
            (DT_REL | DT_RELR, _) => {
                return Err(Error::Loader("the UEFI loader has relocations of another form"));
            }
            _ => {}
        }
    }
    let entries = at(sections, table, size)
        .ok_or(Error::Loader("the relocations of the UEFI loader are not in it"))?
        .to_vec();
    let mut places = Vec::new();
    for entry in entries.chunks_exact(RELA_SIZE) {
        if word(entry, 8) != R_X86_64_RELATIVE {
            return Err(Error::Loader("the UEFI loader needs a symbol of someone else"));
        }
        let place = word(entry, 0);
        at(sections, place, 8)
            .ok_or(Error::Loader("a relocation of the UEFI loader lies outside of it"))?
            .copy_from_slice(&entry[16..24]);
        places.push(place);
    }
    Ok(places)
}

/// The bytes at an address.
fn at(sections: &mut [Section], address: u64, size: usize) -> Option<&mut [u8]> {
    let section = sections.iter_mut().rfind(|section| section.address <= address)?;
    let start = (address - section.address) as usize;
    section.data.get_mut(start..start.checked_add(size)?)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte))
}

/// One block a page, each a multiple of four bytes. A file without any has an empty block:
/// firmware takes an image without relocations for one that cannot be moved.
fn base_relocations(places: &[u64]) -> Vec<u8> {
    let mut data = Vec::new();
    for page in places.chunk_by(|a, b| a / PAGE == b / PAGE) {
        let size = (8 + page.len() * 2).next_multiple_of(4);
        let end = data.len() + size;
        data.extend(((page[0] & !(PAGE - 1)) as u32).to_le_bytes());
        data.extend((size as u32).to_le_bytes());
        for place in page {
            data.extend(((RELOCATION_DIR64 << 12) | (place % PAGE) as u16).to_le_bytes());
        }
        data.resize(end, 0);
    }
    if data.is_empty() {
        data.extend([0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]);
    }
    data
}

fn image(entry: u64, sections: &[Section]) -> Result<Vec<u8>, Error> {
    let table = PE_AT + COFF_HEADER + OPTIONAL_HEADER;
    let headers = (table + sections.len() * SECTION_HEADER).next_multiple_of(FILE_ALIGN);
    let end = sections.last().map_or(0, |last| last.address + last.memory_size);
    let size = u32::try_from(end.next_multiple_of(PAGE))
        .map_err(|_| Error::Loader("the UEFI loader is too large"))?;
    let mut image = vec![0; headers];
    image[..2].copy_from_slice(b"MZ");
    image[60..64].copy_from_slice(&(PE_AT as u32).to_le_bytes());
    image[PE_AT..PE_AT + COFF_HEADER].copy_from_slice(&coff_header(sections.len() as u16));
    image[PE_AT + COFF_HEADER..table].copy_from_slice(&optional_header(
        entry,
        size,
        headers as u32,
        sections,
    ));
    for (index, section) in sections.iter().enumerate() {
        let place = image.len() as u32;
        let raw = section.data.len().next_multiple_of(FILE_ALIGN) as u32;
        let header = &mut image[table + index * SECTION_HEADER..][..SECTION_HEADER];
        header[..section.name.len()].copy_from_slice(section.name);
        header[8..12].copy_from_slice(&(section.memory_size as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(section.address as u32).to_le_bytes());
        header[16..20].copy_from_slice(&raw.to_le_bytes());
        header[20..24].copy_from_slice(&place.to_le_bytes());
        header[36..40].copy_from_slice(&section.flags.to_le_bytes());
        image.extend(&section.data);
        image.resize((place + raw) as usize, 0);
    }
    Ok(image)
}

fn coff_header(sections: u16) -> [u8; COFF_HEADER] {
    let mut header = [0; COFF_HEADER];
    header[..4].copy_from_slice(b"PE\0\0");
    header[4..6].copy_from_slice(&MACHINE_X86_64.to_le_bytes());
    header[6..8].copy_from_slice(&sections.to_le_bytes());
    header[20..22].copy_from_slice(&(OPTIONAL_HEADER as u16).to_le_bytes());
    header[22..24].copy_from_slice(&CHARACTERISTICS.to_le_bytes());
    header
}

fn optional_header(
    entry: u64,
    size: u32,
    headers: u32,
    sections: &[Section],
) -> [u8; OPTIONAL_HEADER] {
    let mut header = [0; OPTIONAL_HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    let sum = |flag: u32| {
        let of_kind = sections.iter().filter(|section| section.flags & flag != 0);
        of_kind.map(|section| section.data.len().next_multiple_of(FILE_ALIGN) as u32).sum::<u32>()
    };
    let code = sections.iter().find(|section| section.flags & SECTION_CODE != 0);
    put(0, &0x020b_u16.to_le_bytes());
    put(4, &sum(SECTION_CODE).to_le_bytes());
    put(8, &sum(SECTION_DATA).to_le_bytes());
    put(16, &(entry as u32).to_le_bytes());
    put(20, &code.map_or(0, |section| section.address as u32).to_le_bytes());
    put(32, &(PAGE as u32).to_le_bytes());
    put(36, &(FILE_ALIGN as u32).to_le_bytes());
    put(56, &size.to_le_bytes());
    put(60, &headers.to_le_bytes());
    put(68, &SUBSYSTEM_EFI_APPLICATION.to_le_bytes());
    put(70, &DLL_CHARACTERISTICS.to_le_bytes());
    put(108, &(DIRECTORIES as u32).to_le_bytes());
    if let Some(relocations) = sections.last() {
        let directory = 112 + DIRECTORY_RELOCATIONS * 8;
        put(directory, &(relocations.address as u32).to_le_bytes());
        put(directory + 4, &(relocations.memory_size as u32).to_le_bytes());
    }
    header
}

/// Makes the flat binary of the BIOS loader out of an ELF file linked at [`BIOS_BASE`].
pub fn bios_image(elf: &[u8]) -> Result<Vec<u8>, Error> {
    let file = File::parse(elf)?;
    let mut image = Vec::new();
    for load in file.plan().loads() {
        let start = load
            .physical
            .checked_sub(BIOS_BASE)
            .filter(|&start| start.saturating_add(load.file_size) <= BIOS_SIZE_MAX as u64)
            .ok_or(Error::Loader("the BIOS loader is linked at the wrong address"))?
            as usize;
        let data = file.segment_data(&load);
        image.resize(image.len().max(start + data.len()), 0);
        image[start..start + data.len()].copy_from_slice(data);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relocations_are_blocks_of_pages() {
        let data = base_relocations(&[0x1008, 0x1ff8, 0x1010, 0x3000]);
        let block = [0, 0x10, 0, 0, 16, 0, 0, 0, 0x08, 0xa0, 0xf8, 0xaf, 0x10, 0xa0, 0, 0];
        assert_eq!(data[..16], block);
        assert_eq!(data[16..], [0, 0x30, 0, 0, 12, 0, 0, 0, 0, 0xa0, 0, 0]);
        assert_eq!(base_relocations(&[])[4], 12);
    }

    #[test]
    fn what_is_no_loader_is_refused() {
        assert!(efi_application(b"MZ").is_err());
        assert!(bios_image(&[]).is_err());
    }
}
