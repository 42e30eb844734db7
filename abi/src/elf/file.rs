// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole ELF file: interpreter, needed libraries and sections.

use super::{Error, HEADER_SIZE, Header, Plan, Segment};
use crate::bytes::{slice, u16_at, u32_at, u64_at};
use core::ops::Range;

const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DYNAMIC_SIZE: usize = 16;
const SECTION_HEADER_SIZE: usize = 64;
const SHT_NOBITS: u32 = 8;

/// A checked ELF file with all its bytes.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    bytes: &'a [u8],
    plan: Plan<'a>,
}

/// A section, by name.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// `sh_type`.
    pub kind: u32,
    /// Address when loaded, or 0.
    pub address: u64,
    /// Offset of its bytes in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Its bytes; empty for `SHT_NOBITS`.
    pub data: &'a [u8],
}

impl<'a> File<'a> {
    /// Checks a user program or library.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::with(bytes, Plan::parse)
    }

    /// Checks a kernel, whose addresses may lie anywhere.
    pub fn parse_kernel(bytes: &'a [u8]) -> Result<Self, Error> {
        Self::with(bytes, Plan::parse_kernel)
    }

    fn with(
        bytes: &'a [u8],
        parse: fn(&Header, &'a [u8], u64) -> Result<Plan<'a>, Error>,
    ) -> Result<Self, Error> {
        let header = Header::parse(bytes)?;
        let table = range(bytes, header.program_header_range())
            .ok_or(Error::Truncated("the program headers"))?;
        Ok(Self { bytes, plan: parse(&header, table, bytes.len() as u64)? })
    }

    /// The load plan.
    pub fn plan(&self) -> &Plan<'a> {
        &self.plan
    }

    /// The header.
    pub fn header(&self) -> &Header {
        self.plan.header()
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of a segment in the file.
    pub fn segment_data(&self, segment: &Segment) -> &'a [u8] {
        range(self.bytes, segment.file_range()).unwrap_or_default()
    }

    /// Path of the program interpreter, without its NUL.
    pub fn interpreter(&self) -> Option<&'a [u8]> {
        let path = range(self.bytes, self.plan.interpreter()?)?;
        path.split(|&b| b == 0).next().filter(|p| !p.is_empty())
    }

    /// Names of the shared libraries it is linked with (`DT_NEEDED`).
    pub fn needed(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.dynamic_strings(DT_NEEDED)
    }

    /// Where to look for them (`DT_RUNPATH`), separated by colons.
    pub fn runpath(&self) -> Option<&'a [u8]> {
        self.dynamic_strings(DT_RUNPATH).next()
    }

    /// The older `DT_RPATH`, which counts only without a runpath.
    pub fn rpath(&self) -> Option<&'a [u8]> {
        self.dynamic_strings(DT_RPATH).next()
    }

    /// The name by which others need it (`DT_SONAME`).
    pub fn soname(&self) -> Option<&'a [u8]> {
        self.dynamic_strings(DT_SONAME).next()
    }

    fn dynamic_entries(&self) -> impl Iterator<Item = (u64, u64)> + Clone + use<'a> {
        let table = self.plan.dynamic().map_or(&[][..], |s| self.segment_data(&s));
        table
            .chunks_exact(DYNAMIC_SIZE)
            .filter_map(|e| Some((u64_at(e, 0)?, u64_at(e, 8)?)))
            .take_while(|e| e.0 != DT_NULL)
    }

    fn dynamic_strings(&self, tag: u64) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let value = |t| self.dynamic_entries().find(|e| e.0 == t).map(|e| e.1);
        let strings = value(DT_STRTAB)
            .and_then(|address| self.at_address(address))
            .map(|s| value(DT_STRSZ).and_then(|n| s.get(..usize::try_from(n).ok()?)).unwrap_or(s))
            .unwrap_or_default();
        self.dynamic_entries()
            .filter(move |e| e.0 == tag)
            .filter_map(move |e| string(strings, usize::try_from(e.1).ok()?))
    }

    /// The file's bytes from those at a loaded address to the segment's end.
    fn at_address(&self, address: u64) -> Option<&'a [u8]> {
        let holder = self.plan.loads().find(|s| s.memory_range().contains(&address))?;
        self.segment_data(&holder).get(usize::try_from(address - holder.address).ok()?..)
    }

    /// The sections that can be read; none if the table is missing.
    pub fn sections(&self) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let header = *self.header();
        let len = usize::from(header.section_header_count) * SECTION_HEADER_SIZE;
        let bytes = self.bytes;
        let table = usize::try_from(header.section_headers)
            .ok()
            .filter(|&at| at >= HEADER_SIZE)
            .and_then(|at| slice(bytes, at, len))
            .unwrap_or_default();
        let names = table
            .chunks_exact(SECTION_HEADER_SIZE)
            .nth(header.section_names.into())
            .and_then(|raw| section(bytes, &[], raw))
            .map_or(&[][..], |s| s.data);
        table.chunks_exact(SECTION_HEADER_SIZE).filter_map(move |raw| section(bytes, names, raw))
    }

    /// The section with this name.
    pub fn section(&self, name: &str) -> Option<Section<'a>> {
        self.sections().find(|s| s.name == name.as_bytes())
    }

    /// Whether the `e_shentsize` field agrees with the table this reads.
    pub fn has_section_table(&self) -> bool {
        u16_at(self.bytes, 58) == Some(SECTION_HEADER_SIZE as u16)
            && self.header().section_header_count > 0
    }
}

fn range(bytes: &[u8], range: Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

fn string(strings: &[u8], at: usize) -> Option<&[u8]> {
    let tail = strings.get(at..)?;
    tail.get(..tail.iter().position(|&b| b == 0)?).filter(|s| !s.is_empty())
}

fn section<'a>(bytes: &'a [u8], names: &'a [u8], raw: &[u8]) -> Option<Section<'a>> {
    let (kind, offset, size) = (u32_at(raw, 4)?, u64_at(raw, 24)?, u64_at(raw, 32)?);
    let data = match kind {
        SHT_NOBITS => &[][..],
        _ => range(bytes, offset..offset.checked_add(size)?)?,
    };
    let name = string(names, u32_at(raw, 0)? as usize).unwrap_or_default();
    Some(Section { name, kind, address: u64_at(raw, 16)?, offset, size, data })
}
