// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The load plan of an ELF64 program for x86-64: what the guest's execve(2)
//! maps, and what the host tools check before.
//!
//! Reading goes in two steps, so that a kernel need not have the whole file
//! in memory: [`Header::parse`] takes the first 64 bytes, [`Plan::parse`] the
//! program header table that the header tells of. [`File`] does both on a
//! whole file and reads what else the host wants to know.
//!
//! Specification: System V ABI, chapters 4 and 5, and elf(5).

mod error;
mod file;
#[cfg(test)]
mod tests;

pub use error::{Error, machine_name};
pub use file::{File, Section};

use crate::bytes::{u16_at, u32_at, u64_at};
use core::ops::Range;

/// Bytes of the ELF64 header.
pub const HEADER_SIZE: usize = 64;
/// Bytes of a program header.
pub const PROGRAM_HEADER_SIZE: usize = 56;
/// Longest program header table that is read, as in Linux: one page.
pub const PROGRAM_HEADERS_MAX: usize = 4096;
/// Addresses of a program lie below this.
pub const ADDRESS_MAX: u64 = 1 << 47;
/// Size of a page.
pub const PAGE_SIZE: u64 = 4096;

/// `p_type`: a segment to load.
pub const PT_LOAD: u32 = 1;
/// `p_type`: the dynamic section.
pub const PT_DYNAMIC: u32 = 2;
/// `p_type`: path of the program interpreter.
pub const PT_INTERP: u32 = 3;
/// `p_type`: notes.
pub const PT_NOTE: u32 = 4;
/// `p_type`: the program header table itself.
pub const PT_PHDR: u32 = 6;
/// `p_type`: template of thread-local storage.
pub const PT_TLS: u32 = 7;
/// `p_type`: whether the stack is executable.
pub const PT_GNU_STACK: u32 = 0x6474_e551;
/// `p_type`: what becomes read-only after relocation.
pub const PT_GNU_RELRO: u32 = 0x6474_e552;

const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
/// `e_machine` of x86-64.
pub const EM_X86_64: u16 = 62;

/// What kind of object it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectType {
    /// `ET_EXEC`: at fixed addresses.
    Executable,
    /// `ET_DYN`: a position-independent program or a shared library.
    Shared,
}

/// The checked ELF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Fixed or position-independent.
    pub object_type: ObjectType,
    /// Where it starts; relative to the load base for a shared object.
    pub entry: u64,
    /// Offset of the program header table in the file.
    pub program_headers: u64,
    /// Number of its entries.
    pub program_header_count: u16,
    /// Offset of the section header table; 0 when there is none.
    pub section_headers: u64,
    /// Number of its entries.
    pub section_header_count: u16,
    /// Index of the section with the sections' names.
    pub section_names: u16,
}

impl Header {
    /// Checks the first bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let magic = b"\x7fELF";
        if bytes.get(..4) != Some(magic) {
            let cut = !bytes.is_empty() && magic.starts_with(bytes);
            return Err(if cut { Error::Truncated("the ELF header") } else { Error::NotElf });
        }
        let h = bytes.get(..HEADER_SIZE).ok_or(Error::Truncated("the ELF header"))?;
        let u16_of = |at| u16_at(h, at).ok_or(Error::Truncated("the ELF header"));
        let u64_of = |at| u64_at(h, at).ok_or(Error::Truncated("the ELF header"));
        match (h[4], h[5], h[6]) {
            (1, 1 | 2, _) => return Err(Error::Class32),
            (2, 2, _) => return Err(Error::BigEndian),
            (2, 1, 1) => {}
            _ => return Err(Error::Malformed("identification bytes")),
        }
        let machine = u16_of(18)?;
        if machine != EM_X86_64 {
            return Err(Error::Machine(machine));
        }
        let object_type = match u16_of(16)? {
            ET_EXEC => ObjectType::Executable,
            ET_DYN => ObjectType::Shared,
            other => return Err(Error::NotExecutable(other)),
        };
        let count = u16_of(56)?;
        if count > 0 && usize::from(u16_of(54)?) != PROGRAM_HEADER_SIZE {
            return Err(Error::Malformed("size of a program header"));
        }
        let header = Self {
            object_type,
            entry: u64_of(24)?,
            program_headers: u64_of(32)?,
            program_header_count: count,
            section_headers: u64_of(40)?,
            section_header_count: u16_of(60)?,
            section_names: u16_of(62)?,
        };
        header.table()?;
        Ok(header)
    }

    fn table(&self) -> Result<Range<u64>, Error> {
        let len = usize::from(self.program_header_count) * PROGRAM_HEADER_SIZE;
        if len == 0 {
            return Err(Error::NoSegments);
        }
        if len > PROGRAM_HEADERS_MAX {
            return Err(Error::Malformed("number of program headers"));
        }
        let end = self.program_headers.checked_add(len as u64);
        Ok(self.program_headers..end.ok_or(Error::Malformed("place of the program headers"))?)
    }

    /// Where the program header table lies in the file: at most
    /// [`PROGRAM_HEADERS_MAX`] bytes.
    pub fn program_header_range(&self) -> Range<u64> {
        self.table().unwrap_or(0..0)
    }
}

/// One program header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// One of `PT_*`.
    pub kind: u32,
    flags: u32,
    /// Offset of its bytes in the file.
    pub offset: u64,
    /// Where it is mapped; relative to the load base for a shared object.
    pub address: u64,
    /// Physical address, for kernels.
    pub physical: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Bytes in memory; zeroes follow those of the file.
    pub memory_size: u64,
    /// Boundary, a power of two or 0.
    pub align: u64,
}

impl Segment {
    fn parse(raw: &[u8]) -> Option<Self> {
        Some(Self {
            kind: u32_at(raw, 0)?,
            flags: u32_at(raw, 4)?,
            offset: u64_at(raw, 8)?,
            address: u64_at(raw, 16)?,
            physical: u64_at(raw, 24)?,
            file_size: u64_at(raw, 32)?,
            memory_size: u64_at(raw, 40)?,
            align: u64_at(raw, 48)?,
        })
    }

    /// Whether it may be read.
    pub fn readable(&self) -> bool {
        self.flags & PF_R != 0
    }

    /// Whether it may be written.
    pub fn writable(&self) -> bool {
        self.flags & PF_W != 0
    }

    /// Whether it may be executed.
    pub fn executable(&self) -> bool {
        self.flags & PF_X != 0
    }

    /// The bytes in the file; a checked plan's never wrap.
    pub fn file_range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.file_size)
    }

    /// The addresses; a checked plan's never wrap.
    pub fn memory_range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.memory_size)
    }

    fn check_file(&self, file_len: u64) -> Result<(), Error> {
        let end = self.offset.checked_add(self.file_size);
        match end {
            Some(end) if end <= file_len => Ok(()),
            Some(_) => Err(Error::Truncated("a segment")),
            None => Err(Error::Malformed("place of a segment")),
        }
    }

    fn check_load(&self, limit: u64) -> Result<(), Error> {
        if self.file_size > self.memory_size {
            return Err(Error::Malformed("size of a segment"));
        }
        if self.address.checked_add(self.memory_size).is_none_or(|end| end > limit) {
            return Err(Error::Malformed("address of a segment"));
        }
        if self.align > 1 && !self.align.is_power_of_two() {
            return Err(Error::Malformed("alignment of a segment"));
        }
        // What mmap(2) needs; for larger alignments Linux does not insist.
        if self.file_size > 0 && self.address % PAGE_SIZE != self.offset % PAGE_SIZE {
            return Err(Error::Malformed("alignment of a segment"));
        }
        Ok(())
    }
}

/// The checked program header table.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    header: Header,
    table: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Checks a user program's table: `table` holds the bytes of
    /// [`Header::program_header_range`], `file_len` is the file's length.
    /// Segments must ascend without overlap in bytes; two of them may share a
    /// page, which the later one then takes, as on Linux.
    pub fn parse(header: &Header, table: &'a [u8], file_len: u64) -> Result<Self, Error> {
        Self::parse_below(header, table, file_len, ADDRESS_MAX)
    }

    /// The same for an object whose addresses may lie anywhere: a kernel.
    pub fn parse_kernel(header: &Header, table: &'a [u8], file_len: u64) -> Result<Self, Error> {
        Self::parse_below(header, table, file_len, u64::MAX)
    }

    fn parse_below(
        header: &Header,
        table: &'a [u8],
        file_len: u64,
        limit: u64,
    ) -> Result<Self, Error> {
        let range = header.table()?;
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let table = table.get(..len).ok_or(Error::Truncated("the program headers"))?;
        let plan = Self { header: *header, table };
        let mut end = 0;
        for segment in plan.segments() {
            match segment.kind {
                PT_LOAD => {
                    segment.check_load(limit)?;
                    segment.check_file(file_len)?;
                    if segment.memory_size > 0 {
                        if segment.address < end {
                            return Err(Error::Overlap);
                        }
                        end = segment.memory_range().end;
                    }
                }
                PT_INTERP | PT_DYNAMIC | PT_TLS => segment.check_file(file_len)?,
                _ => {}
            }
        }
        if end == 0 {
            return Err(Error::NoSegments);
        }
        Ok(plan)
    }

    /// The header it belongs to.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the load base is free to choose.
    pub fn position_independent(&self) -> bool {
        self.header.object_type == ObjectType::Shared
    }

    /// All entries of the table, in its order.
    pub fn segments(&self) -> impl Iterator<Item = Segment> + Clone + use<'a> {
        self.table.chunks_exact(PROGRAM_HEADER_SIZE).filter_map(Segment::parse)
    }

    /// What is loaded: ascending addresses, not empty.
    pub fn loads(&self) -> impl Iterator<Item = Segment> + Clone + use<'a> {
        self.segments().filter(|s| s.kind == PT_LOAD && s.memory_size > 0)
    }

    fn first(&self, kind: u32) -> Option<Segment> {
        self.segments().find(|s| s.kind == kind)
    }

    /// From the first page to the end of the last, in whole pages.
    pub fn span(&self) -> Range<u64> {
        let start = self.loads().next().map_or(0, |s| s.address) & !(PAGE_SIZE - 1);
        let end = self.loads().last().map_or(0, |s| s.memory_range().end);
        start..end.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX)
    }

    /// The strictest alignment of a loaded segment, at least a page: what the
    /// load base of a shared object has to be a multiple of.
    pub fn alignment(&self) -> u64 {
        self.loads().map(|s| s.align).fold(PAGE_SIZE, u64::max)
    }

    /// Where the interpreter's path lies in the file, its NUL included.
    pub fn interpreter(&self) -> Option<Range<u64>> {
        self.first(PT_INTERP).map(|s| s.file_range())
    }

    /// The dynamic section.
    pub fn dynamic(&self) -> Option<Segment> {
        self.first(PT_DYNAMIC)
    }

    /// The template of thread-local storage.
    pub fn thread_local(&self) -> Option<Segment> {
        self.first(PT_TLS)
    }

    /// Whether the stack has to be executable; without `PT_GNU_STACK` it has
    /// not, as on x86-64 since Linux 5.8.
    pub fn executable_stack(&self) -> bool {
        self.first(PT_GNU_STACK).is_some_and(|s| s.executable())
    }

    /// The first segment that is writable and executable at once.
    pub fn writable_and_executable(&self) -> Option<Segment> {
        self.loads().find(|s| s.writable() && s.executable())
    }

    /// Address of the table in memory, for `AT_PHDR`: that of the segment
    /// which holds its place in the file.
    pub fn table_address(&self) -> Option<u64> {
        let at = self.header.program_headers;
        let holder = self.loads().find(|s| s.file_range().contains(&at))?;
        holder.address.checked_add(at - holder.offset)
    }
}
