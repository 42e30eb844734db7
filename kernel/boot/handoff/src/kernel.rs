// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What of the kernel's ELF file goes where, and its PVH entry.

use core::fmt;

use abi::elf;

/// Bytes at the beginning of the file that are read at once.
pub const HEAD: usize = 4096;
/// Segments that a kernel can have.
pub const LOADS_MAX: usize = 16;
/// Below this lie firmware data and the loaders themselves.
const LOWEST: u64 = 1 << 20;
/// The entry has no paging: everything lies below 4 GiB.
const HIGHEST: u64 = 1 << 32;
/// `XEN_ELFNOTE_PHYS32_ENTRY` of Xen's elfnote.h.
const PHYS32_ENTRY: u32 = 18;

/// Why a kernel cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The medium cannot be read.
    Read,
    /// The file is damaged or no kernel.
    Elf(elf::Error),
    /// It has more than [`LOADS_MAX`] segments, or program headers far from its beginning.
    Headers,
    /// A segment lies below 1 MiB, above 4 GiB, or on another.
    Place,
    /// It has no PVH entry.
    Entry,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("disk read error"),
            Self::Elf(_) => f.write_str("the kernel is damaged: not a whole ELF file"),
            Self::Headers => f.write_str("the kernel has too many segments"),
            Self::Place => f.write_str("the kernel is linked to an impossible address"),
            Self::Entry => f.write_str("the kernel has no PVH entry"),
        }
    }
}

/// Where a file comes from.
pub trait Source {
    /// Reads all of `into` from a byte offset in the file.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error>;
}

/// A segment: `file_size` bytes from the file, then zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Physical address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory.
    pub memory_size: u64,
}

impl Load {
    /// Where it ends.
    pub fn end(&self) -> u64 {
        self.address + self.memory_size
    }
}

/// The plan of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    loads: [Load; LOADS_MAX],
    count: usize,
    /// Physical address of the PVH entry.
    pub entry: u32,
}

impl Kernel {
    /// Reads the plan of a file of `size` bytes.
    pub fn read(source: &mut impl Source, size: u64) -> Result<Self, Error> {
        let mut head = [0; HEAD];
        let length = usize::try_from(size).map_or(HEAD, |size| size.min(HEAD));
        source.read(0, &mut head[..length])?;
        let header = elf::Header::parse(&head[..length]).map_err(Error::Elf)?;
        let range = header.program_header_range();
        let table = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok())
            .and_then(|(start, end)| head.get(start..end))
            .ok_or(Error::Headers)?;
        let plan = elf::Plan::parse_kernel(&header, table, size).map_err(Error::Elf)?;
        let mut kernel = Self { loads: [Load::default(); LOADS_MAX], count: 0, entry: 0 };
        for segment in plan.loads() {
            kernel.add(&segment)?;
        }
        kernel.entry = entry(source, &plan)?;
        let within = |load: &&Load| (load.address..load.end()).contains(&kernel.entry.into());
        kernel.loads().iter().find(within).ok_or(Error::Entry)?;
        Ok(kernel)
    }

    fn add(&mut self, segment: &elf::Segment) -> Result<(), Error> {
        let load = Load {
            address: segment.physical,
            offset: segment.offset,
            file_size: segment.file_size,
            memory_size: segment.memory_size,
        };
        let end = load.address.checked_add(load.memory_size).ok_or(Error::Place)?;
        let overlaps = |other: &Load| load.address < other.end() && other.address < end;
        if load.address < LOWEST || end > HIGHEST || self.loads().iter().any(overlaps) {
            return Err(Error::Place);
        }
        *self.loads.get_mut(self.count).ok_or(Error::Headers)? = load;
        self.count += 1;
        Ok(())
    }

    /// The segments.
    pub fn loads(&self) -> &[Load] {
        self.loads.get(..self.count).unwrap_or_default()
    }

    /// Whether a piece of memory is going to be overwritten by the kernel.
    pub fn covers(&self, start: u64, size: u64) -> bool {
        self.loads().iter().any(|load| start < load.end() && load.address < start + size)
    }
}

/// The PVH entry: the note of type `XEN_ELFNOTE_PHYS32_ENTRY` and name "Xen".
fn entry(source: &mut impl Source, plan: &elf::Plan<'_>) -> Result<u32, Error> {
    let mut notes = [0; HEAD];
    for segment in plan.segments().filter(|segment| segment.kind == elf::PT_NOTE) {
        let size = usize::try_from(segment.file_size).map_or(HEAD, |size| size.min(HEAD));
        let notes = &mut notes[..size];
        source.read(segment.offset, notes)?;
        if let Some(entry) = find_entry(notes) {
            return Ok(entry);
        }
    }
    Err(Error::Entry)
}

fn find_entry(mut notes: &[u8]) -> Option<u32> {
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let name_size = word(head, 0)? as usize;
        let value_size = word(head, 4)? as usize;
        let name = rest.get(..name_size)?;
        let rest = rest.get(name_size.checked_next_multiple_of(4)?..)?;
        let value = rest.get(..value_size)?;
        if word(head, 8)? == PHYS32_ENTRY && name == b"Xen\0" {
            // Of a 64-bit value the upper half is zero: the entry is 32-bit code.
            return word(value, 0);
        }
        notes = rest.get(value_size.checked_next_multiple_of(4)?..)?;
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    struct File(Vec<u8>);

    impl Source for File {
        fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
            let bytes = self.0.get(offset as usize..).and_then(|rest| rest.get(..into.len()));
            into.copy_from_slice(bytes.ok_or(Error::Read)?);
            Ok(())
        }
    }

    fn file(loads: &[(u64, u64, u64)], note: &[u8]) -> File {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        file.extend([0; 8]);
        file.extend(64_u64.to_le_bytes());
        file.extend([0; 12]);
        file.extend([64, 0, 56, 0, loads.len() as u8 + 1, 0, 64, 0, 0, 0, 0, 0]);
        for (index, &(address, file_size, memory_size)) in loads.iter().enumerate() {
            let at = 0x4000_0000 + index as u64 * 0x1000_0000;
            for word in [0x7_0000_0001, 4096, at, address, file_size, memory_size, 4096] {
                file.extend(word.to_le_bytes());
            }
        }
        for word in [0x4_0000_0004, 2048, 0, 0, note.len() as u64, 0, 4] {
            file.extend(word.to_le_bytes());
        }
        file.resize(2048, 0);
        file.extend(note);
        file.resize(3 * 4096, 0);
        File(file)
    }

    fn note(kind: u8, entry: u32) -> Vec<u8> {
        let mut note = b"\x04\0\0\0\x01\0\0\0\x07\0\0\0abc\0z\0\0\0".to_vec();
        note.extend([4, 0, 0, 0, 4, 0, 0, 0, kind, 0, 0, 0]);
        note.extend(b"Xen\0");
        note.extend(entry.to_le_bytes());
        note
    }

    fn read(mut file: File) -> Result<Kernel, Error> {
        let size = file.0.len() as u64;
        Kernel::read(&mut file, size)
    }

    #[test]
    fn segments_and_entry_are_found() {
        let kernel =
            read(file(&[(2 << 20, 100, 5000), (8 << 20, 0, 1)], &note(18, 2 << 20))).unwrap();
        assert_eq!(kernel.entry, 2 << 20);
        assert_eq!(kernel.loads().len(), 2);
        assert_eq!(kernel.loads()[0].end(), (2 << 20) + 5000);
        assert!(kernel.covers((2 << 20) - 1, 2) && !kernel.covers((2 << 20) + 5000, 10));
    }

    #[test]
    fn impossible_places_are_refused() {
        for loads in [
            &[(0x7c00, 1, 1)][..],
            &[((1 << 32) - 1, 1, 2)],
            &[(u64::MAX, 1, 1)],
            &[(2 << 20, 1, 4097), ((2 << 20) + 4096, 1, 1)],
        ] {
            assert_eq!(read(file(loads, &note(18, 2 << 20))).unwrap_err(), Error::Place);
        }
    }

    #[test]
    fn a_kernel_without_an_entry_of_its_own_is_refused() {
        let loads = [(2 << 20, 1, 1)];
        for note in [&note(17, 2 << 20)[..], &[], &note(18, 1 << 20), &note(18, 2 << 20)[..39]] {
            assert_eq!(read(file(&loads, note)).unwrap_err(), Error::Entry);
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = file(&[(2 << 20, 8192, 8192)], &note(18, 2 << 20)).0;
        for size in [0, 10, 63, 100, whole.len() - 1] {
            assert!(matches!(
                read(File(whole[..size].to_vec())),
                Err(Error::Elf(_) | Error::Headers)
            ));
        }
        assert!(read(File(whole)).is_ok());
    }
}
