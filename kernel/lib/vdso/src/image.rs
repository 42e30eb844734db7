// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ELF image: headers and tables, the code at its fixed place, sections.
//!
//! Everything lies in one page that is loaded as it is. The System V ABI and
//! the "Linux Standard Base" (symbol versions) describe the structures.

use crate::{PAGE_SIZE, hash};
use alloc::vec::Vec;

/// The machine code and what it contains.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where in the image they have to lie.
    pub offset: usize,
    /// Name without `__vdso_`, and offset within `bytes`, in ascending order.
    pub functions: &'a [(&'a str, usize)],
}

/// Tables and code do not fit into the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

const SONAME: &str = "linux-vdso.so.1";
const VERSION: &str = "LINUX_2.6";

const EHDR: usize = 64;
const PHDR: usize = 56;
const PHDRS: usize = 2;
const SHDR: u16 = 64;
const TEXT_SECTION: u16 = 8;

const SHT_PROGBITS: u32 = 1;
const SHT_STRTAB: u32 = 3;
const SHT_HASH: u32 = 5;
const SHT_DYNAMIC: u32 = 6;
const SHT_DYNSYM: u32 = 11;
const SHT_GNU_HASH: u32 = 0x6fff_fff6;
const SHT_GNU_VERDEF: u32 = 0x6fff_fffd;
const SHT_GNU_VERSYM: u32 = 0x6fff_ffff;

/// A string table under construction.
struct Strings(Vec<u8>);

impl Strings {
    fn new() -> Self {
        Self(Vec::from([0]))
    }

    fn add(&mut self, parts: &[&str]) -> u32 {
        let at = self.0.len() as u32;
        parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
        self.0.push(0);
        at
    }
}

struct Symbol {
    /// With prefix, or without and weak.
    weak: bool,
    function: usize,
}

/// One part of the image: what its section header says.
#[derive(Clone, Copy, Default)]
struct Section {
    kind: u32,
    offset: usize,
    size: usize,
    link: u32,
    info: u32,
    align: u64,
    entry: u64,
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) -> usize {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
        self.0.len()
    }

    fn half(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn word(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn long(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a section's contents; the caller completes its description.
    fn section(&mut self, kind: u32, align: usize, write: impl FnOnce(&mut Self)) -> Section {
        let offset = self.align(align);
        write(self);
        let size = self.0.len() - offset;
        Section { kind, offset, size, align: align as u64, ..Section::default() }
    }
}

/// Builds the image: exactly one page.
pub fn build(code: &Code<'_>) -> Result<Vec<u8>, TooLarge> {
    let mut symbols: Vec<Symbol> = (0..code.functions.len())
        .flat_map(|function| [false, true].map(|weak| Symbol { weak, function }))
        .collect();
    symbols.sort_by_key(|symbol| hash::gnu_bucket(&symbol_name(code, symbol)));
    let mut strings = Strings::new();
    let places: Vec<u32> =
        symbols.iter().map(|symbol| strings.add(&[&symbol_name(code, symbol)])).collect();
    let (soname, version) = (strings.add(&[SONAME]), strings.add(&[VERSION]));

    let mut out = Writer(alloc::vec![0; EHDR + PHDRS * PHDR]);
    let mut sections = write_tables(&mut out, code, &symbols, &places, [soname, version], &strings);
    let dynamic = write_dynamic(&mut out, &sections, soname, strings.0.len());
    sections.push(dynamic);
    if out.0.len() > code.offset {
        return Err(TooLarge);
    }
    out.0.resize(code.offset, 0);
    sections.push(out.section(SHT_PROGBITS, 16, |out| out.0.extend_from_slice(code.bytes)));
    let headers = write_sections(&mut out, sections);
    if out.0.len() > PAGE_SIZE {
        return Err(TooLarge);
    }
    out.0.resize(PAGE_SIZE, 0);
    write_headers(&mut out.0, &dynamic, headers);
    Ok(out.0)
}

fn symbol_name(code: &Code<'_>, symbol: &Symbol) -> alloc::string::String {
    let prefix = if symbol.weak { "" } else { "__vdso_" };
    [prefix, code.functions[symbol.function].0].concat()
}

fn write_tables(
    out: &mut Writer,
    code: &Code<'_>,
    symbols: &[Symbol],
    places: &[u32],
    [soname, version]: [u32; 2],
    strings: &Strings,
) -> Vec<Section> {
    let names: Vec<_> = symbols.iter().map(|symbol| symbol_name(code, symbol)).collect();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    // Sections 1 to 6: .hash .gnu.hash .dynsym .dynstr .gnu.version
    // .gnu.version_d; 3 is the symbol and 4 the string table.
    let words = |out: &mut Writer, table: Vec<u32>| table.iter().for_each(|w| out.word(*w));
    let sysv = out.section(SHT_HASH, 8, |out| words(out, hash::sysv_table(&names)));
    let gnu = out.section(SHT_GNU_HASH, 8, |out| words(out, hash::gnu_table(&names)));
    let dynsym = out.section(SHT_DYNSYM, 8, |out| write_symbols(out, code, symbols, places));
    let dynstr = out.section(SHT_STRTAB, 1, |out| out.0.extend_from_slice(&strings.0));
    let versions = out.section(SHT_GNU_VERSYM, 2, |out| {
        // The null symbol is local; all others have version 2.
        out.half(0);
        symbols.iter().for_each(|_| out.half(2));
    });
    let definitions = out.section(SHT_GNU_VERDEF, 8, |out| {
        // Version 1 names the object itself (VER_FLG_BASE).
        write_version(out, 1, 1, SONAME, soname, false);
        write_version(out, 0, 2, VERSION, version, true);
    });
    Vec::from([
        Section { link: 3, entry: 4, ..sysv },
        Section { link: 3, ..gnu },
        Section { link: 4, info: 1, entry: 24, ..dynsym },
        dynstr,
        Section { link: 3, entry: 2, ..versions },
        Section { link: 4, info: 2, ..definitions },
    ])
}

fn write_symbols(out: &mut Writer, code: &Code<'_>, symbols: &[Symbol], places: &[u32]) {
    (0..3).for_each(|_| out.long(0));
    for (symbol, place) in symbols.iter().zip(places) {
        let start = code.functions[symbol.function].1;
        let end = code.functions.get(symbol.function + 1).map_or(code.bytes.len(), |next| next.1);
        const GLOBAL_FUNCTION: u8 = 0x12;
        const WEAK_FUNCTION: u8 = 0x22;
        out.word(*place);
        out.0.push(if symbol.weak { WEAK_FUNCTION } else { GLOBAL_FUNCTION });
        out.0.push(0);
        out.half(TEXT_SECTION);
        out.long((code.offset + start) as u64);
        out.long(end.saturating_sub(start) as u64);
    }
}

fn write_version(out: &mut Writer, flags: u16, index: u16, name: &str, place: u32, last: bool) {
    const VERDEF: u32 = 20;
    const VERDAUX: u32 = 8;
    [1, flags, index, 1].into_iter().for_each(|half| out.half(half));
    out.word(hash::sysv(name));
    out.word(VERDEF);
    out.word(if last { 0 } else { VERDEF + VERDAUX });
    out.word(place);
    out.word(0);
}

fn write_dynamic(out: &mut Writer, tables: &[Section], soname: u32, strings: usize) -> Section {
    let at = |section: usize| tables[section - 1].offset as u64;
    let entries = [
        (14, u64::from(soname)), // DT_SONAME
        (4, at(1)),              // DT_HASH
        (0x6fff_fef5, at(2)),    // DT_GNU_HASH
        (5, at(4)),              // DT_STRTAB
        (6, at(3)),              // DT_SYMTAB
        (10, strings as u64),    // DT_STRSZ
        (11, 24),                // DT_SYMENT
        (0x6fff_fff0, at(5)),    // DT_VERSYM
        (0x6fff_fffc, at(6)),    // DT_VERDEF
        (0x6fff_fffd, 2),        // DT_VERDEFNUM
        (0, 0),                  // DT_NULL
    ];
    let section = out.section(SHT_DYNAMIC, 8, |out| {
        for (tag, value) in entries {
            out.long(tag);
            out.long(value);
        }
    });
    Section { link: 4, entry: 16, ..section }
}

/// Writes names and headers of the sections; returns where the headers are and
/// how many. Only debuggers read them.
fn write_sections(out: &mut Writer, sections: Vec<Section>) -> (usize, u16) {
    const NAMES: [&str; 9] = [
        ".hash",
        ".gnu.hash",
        ".dynsym",
        ".dynstr",
        ".gnu.version",
        ".gnu.version_d",
        ".dynamic",
        ".text",
        ".shstrtab",
    ];
    const ALLOC: u64 = 2;
    const EXECINSTR: u64 = 4;
    let mut strings = Strings::new();
    let places = NAMES.map(|name| strings.add(&[name]));
    let names = out.section(SHT_STRTAB, 1, |out| out.0.extend_from_slice(&strings.0));
    let offset = out.align(8);
    (0..8).for_each(|_| out.long(0));
    for (section, place) in sections.into_iter().chain([names]).zip(places) {
        let loaded = place != places[8];
        let text = if section.kind == SHT_PROGBITS { EXECINSTR } else { 0 };
        out.word(place);
        out.word(section.kind);
        out.long(if loaded { ALLOC | text } else { 0 });
        out.long(if loaded { section.offset as u64 } else { 0 });
        out.long(section.offset as u64);
        out.long(section.size as u64);
        out.word(section.link);
        out.word(section.info);
        out.long(section.align);
        out.long(section.entry);
    }
    (offset, NAMES.len() as u16 + 1)
}

fn write_headers(image: &mut [u8], dynamic: &Section, (shoff, shnum): (usize, u16)) {
    let mut out = Writer::default();
    // 64-bit, little-endian, ELF version 1, System V.
    out.0.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    out.half(3); // ET_DYN
    out.half(62); // EM_X86_64
    out.word(1);
    out.long(0);
    out.long(EHDR as u64);
    out.long(shoff as u64);
    out.word(0);
    let sizes = [EHDR as u16, PHDR as u16, PHDRS as u16, SHDR, shnum, shnum - 1];
    sizes.into_iter().for_each(|half| out.half(half));
    // PT_LOAD, readable and executable, then PT_DYNAMIC, readable.
    let page = PAGE_SIZE as u64;
    let (at, size) = (dynamic.offset as u64, dynamic.size as u64);
    for (kind, flags, offset, size, align) in [(1, 5, 0, page, page), (2, 4, at, size, 8)] {
        out.word(kind);
        out.word(flags);
        [offset, offset, offset, size, size, align].into_iter().for_each(|long| out.long(long));
    }
    image[..out.0.len()].copy_from_slice(&out.0);
}
