// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's own parts, out of a bare or an assembled kernel.

use super::Error;
use super::source::Source;
use bhojpur_abi::elf::{HEADER_SIZE, Header, PT_LOAD, PT_NOTE, Plan, Segment};
use bhojpur_abi::payload::{self, Descriptor};
use std::ops::Range;

pub(super) const PT_NULL: u32 = 0;
pub(super) const SECTION_HEADER_SIZE: usize = 64;
const SHT_SYMTAB: u32 = 2;
const SHF_ALLOC: u64 = 2;
pub(super) const SYMBOL_SIZE: usize = 24;
const STT_NOTYPE: u8 = 0;
const STT_FUNC: u8 = 2;
const PAGE: u64 = 4096;

/// A section that is loaded, as its raw header and its name.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) name: Vec<u8>,
    pub(super) raw: [u8; SECTION_HEADER_SIZE],
    pub(super) old_index: usize,
}

/// A function or a label, as its raw symbol and its name.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    pub(super) name: Vec<u8>,
    pub(super) raw: [u8; SYMBOL_SIZE],
}

/// Where a payload lies in the file.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    pub(super) descriptor: Descriptor,
    pub(super) offset: u64,
    pub(super) physical: u64,
}

impl Payload {
    /// Place in the file of something in physical memory.
    pub(super) fn in_file(&self, range: &Range<u64>) -> Range<u64> {
        let at = |address: u64| address - self.physical + self.offset;
        if range.is_empty() { 0..0 } else { at(range.start)..at(range.end) }
    }
}

/// A kernel without its payload.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) header: Header,
    /// Its segments but for empty ones and the payload's.
    pub(super) segments: Vec<Segment>,
    /// The raw program headers of the same.
    pub(super) raw_segments: Vec<Vec<u8>>,
    /// The file from its start to the end of the last segment's bytes.
    pub(super) head: Vec<u8>,
    /// Place of the descriptor in `head`.
    pub(super) descriptor_at: usize,
    pub(super) sections: Vec<Section>,
    pub(super) symbols: Vec<Symbol>,
    pub(super) payload: Option<Payload>,
}

impl Kernel {
    pub(super) fn read<S: Source + ?Sized>(source: &S) -> Result<Self, Error> {
        let len = source.len()?;
        let header = Header::parse(&source.read(0..len.min(HEADER_SIZE as u64))?)?;
        let range = header.program_header_range();
        let table = source.read(range.start.min(len)..range.end.min(len))?;
        let plan = Plan::parse_kernel(&header, &table, len)?;
        let mut kept: Vec<(Segment, Vec<u8>)> = plan
            .segments()
            .zip(table.chunks_exact(56).map(<[u8]>::to_vec))
            .filter(|(s, _)| s.kind != PT_NULL)
            .collect();
        let loads = kept.iter().filter(|(s, _)| s.kind == PT_LOAD);
        if loads.clone().any(|(s, _)| s.physical.checked_add(s.memory_size).is_none()) {
            return Err(Error::Damaged("a physical address"));
        }
        // The payload, if there is one, lies behind all else.
        let last = loads.clone().map(|(s, _)| s).max_by_key(|s| s.physical).copied();
        let last = last.ok_or(Error::NotKernel)?;
        let others = loads.clone().filter(|(s, _)| *s != last).map(|(s, _)| s.file_range().end);
        let (bare_end, full_end) = (others.max().unwrap_or(0), last.file_range().end);
        let mut head = source.read(0..bare_end)?;
        let payload = match find_descriptor(&head)? {
            Some((at, Some(descriptor))) => Some((at, check_payload(descriptor, &last)?)),
            _ => None,
        };
        let descriptor_at = match &payload {
            Some((at, _)) => *at,
            None => {
                head = source.read(0..full_end.max(bare_end))?;
                match find_descriptor(&head)?.ok_or(Error::NotKernel)? {
                    (at, None) => at,
                    (_, Some(_)) => return Err(Error::Damaged("its payload is missing")),
                }
            }
        };
        if payload.is_some() {
            kept.retain(|(s, _)| *s != last);
        }
        let (sections, symbols) = read_symbols(source, &header).unwrap_or_default();
        let (segments, raw_segments) = kept.into_iter().unzip();
        let payload = payload.map(|(_, p)| p);
        Ok(Self { header, segments, raw_segments, head, descriptor_at, sections, symbols, payload })
    }

    /// What it takes of physical memory.
    pub(super) fn physical_range(&self) -> Range<u64> {
        let loads = || self.segments.iter().filter(|s| s.kind == PT_LOAD && s.memory_size > 0);
        let start = loads().map(|s| s.physical).min().unwrap_or(0);
        let end = loads().map(|s| s.physical + s.memory_size).max().unwrap_or(0);
        start & !(PAGE - 1)..end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
    }

    /// Whether it can be started through PVH.
    pub(super) fn has_note(&self) -> bool {
        self.segments.iter().any(|s| s.kind == PT_NOTE)
    }
}

/// Finds the one descriptor of this version, at a multiple of its alignment.
fn find_descriptor(head: &[u8]) -> Result<Option<(usize, Option<Descriptor>)>, Error> {
    let mut found = None;
    let mut refused = None;
    for (i, chunk) in head.chunks_exact(payload::ALIGN).enumerate() {
        if chunk != payload::MAGIC {
            continue;
        }
        let at = i * payload::ALIGN;
        match Descriptor::parse(&head[at..]) {
            Ok(_) if found.is_some() => return Err(Error::Ambiguous),
            Ok(descriptor) => found = Some((at, descriptor)),
            Err(error) => refused = Some(error),
        }
    }
    match (found, refused) {
        (None, Some(error)) => Err(error.into()),
        (found, _) => Ok(found),
    }
}

fn check_payload(descriptor: Descriptor, load: &Segment) -> Result<Payload, Error> {
    let place = load.physical..load.physical + load.file_size;
    let within = |r: &Range<u64>| r.is_empty() || place.start <= r.start && r.end <= place.end;
    if descriptor.config.start != place.start
        || !within(&descriptor.config)
        || !within(&descriptor.root)
    {
        return Err(Error::Damaged("its payload is not where it says"));
    }
    Ok(Payload { descriptor, offset: load.offset, physical: load.physical })
}

fn number(raw: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = raw.get(at..at + len)?;
    Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

fn name(strings: &[u8], at: u64) -> Option<Vec<u8>> {
    let tail = strings.get(usize::try_from(at).ok()?..)?;
    Some(tail.split(|&b| b == 0).next()?.to_vec())
}

/// The loaded sections and the functions; `None` when the tables are missing
/// or damaged, for a kernel runs without.
fn read_symbols<S: Source + ?Sized>(
    source: &S,
    header: &Header,
) -> Option<(Vec<Section>, Vec<Symbol>)> {
    let count = usize::from(header.section_header_count);
    let start = header.section_headers;
    let end = start.checked_add((count * SECTION_HEADER_SIZE) as u64)?;
    let table = source.read(start..end).ok()?;
    let raw = |i: usize| table.get(i * SECTION_HEADER_SIZE..(i + 1) * SECTION_HEADER_SIZE);
    let data = |i: usize| {
        let (offset, size) = (number(raw(i)?, 24, 8)?, number(raw(i)?, 32, 8)?);
        source.read(offset..offset.checked_add(size)?).ok()
    };
    let names = data(header.section_names.into())?;
    let mut sections = Vec::new();
    let mut symbols = Vec::new();
    for i in 0..count {
        let header = raw(i)?;
        if number(header, 8, 8)? & SHF_ALLOC != 0 {
            let name = name(&names, number(header, 0, 4)?)?;
            sections.push(Section { name, raw: header.try_into().ok()?, old_index: i });
        } else if number(header, 4, 4)? == SHT_SYMTAB.into() {
            let strings = data(number(header, 40, 4)? as usize)?;
            for raw in data(i)?.chunks_exact(SYMBOL_SIZE) {
                let name = name(&strings, number(raw, 0, 4)?)?;
                if matches!(raw[4] & 0xf, STT_NOTYPE | STT_FUNC) && !name.is_empty() {
                    symbols.push(Symbol { name, raw: raw.try_into().ok()? });
                }
            }
        }
    }
    Some((sections, symbols))
}
