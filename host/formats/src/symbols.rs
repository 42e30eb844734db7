// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names the addresses of a kernel's backtrace.
//!
//! With the bare kernel, which has its debug information, a frame is a
//! function with file and line, and inlined functions are told too. With an
//! assembled kernel there are the functions' names alone.

use addr2line::Context;
use bhojpur_abi::elf::{self, File};
use gimli::{Dwarf, EndianArcSlice, LittleEndian, SectionId};
use rustc_demangle::demangle;
use std::fmt;
use std::sync::Arc;

type Reader = EndianArcSlice<LittleEndian>;

const SYMBOL_SIZE: usize = 24;

/// One function of a backtrace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Name of the function, readable.
    pub function: String,
    /// Bytes from the function's start, when only the symbol table is known.
    pub offset: Option<u64>,
    /// Source file.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        if let Some(offset) = self.offset {
            write!(f, "+{offset:#x}")?;
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            _ => Ok(()),
        }
    }
}

/// What is known of a kernel's addresses.
pub struct Symbols {
    /// Start, size and raw name of each function, by ascending start.
    functions: Vec<(u64, u64, String)>,
    lines: Option<Context<Reader>>,
}

impl fmt::Debug for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Symbols")
            .field("functions", &self.functions.len())
            .field("lines", &self.lines.is_some())
            .finish()
    }
}

impl Symbols {
    /// Reads the symbols of a kernel, bare or assembled. One without any is
    /// no error: it names nothing.
    pub fn parse(kernel: &[u8]) -> Result<Self, elf::Error> {
        let file = File::parse_kernel(kernel)?;
        Ok(Self { functions: functions(&file).unwrap_or_default(), lines: lines(&file) })
    }

    /// Whether there is nothing to name addresses by.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.lines.is_none()
    }

    /// The functions at an address, the innermost inlined one first; none if
    /// it is not known. Of a return address, ask for the byte before it: the
    /// call may be the last instruction of its function.
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let known = self.by_table(address);
        let frames = self.lines.as_ref().map(|l| inlined(l, address, known.as_ref()));
        let frames = frames.unwrap_or_default();
        if frames.is_empty() { known.into_iter().collect() } else { frames }
    }

    fn by_table(&self, address: u64) -> Option<Frame> {
        let after = self.functions.partition_point(|f| f.0 <= address);
        let (start, size, name) = self.functions.get(after.checked_sub(1)?)?;
        let offset = address - start;
        // Labels of assembly have no size; the next function ends them.
        let next = self.functions.get(after).map_or(u64::MAX, |f| f.0);
        let within = if *size == 0 { address < next && offset < 1 << 20 } else { offset < *size };
        within.then(|| Frame {
            function: readable(name),
            offset: Some(offset),
            file: None,
            line: None,
        })
    }
}

fn readable(name: &str) -> String {
    format!("{:#}", demangle(name))
}

/// `STT_FUNC` and `STT_NOTYPE` of the symbol table.
fn functions(file: &File<'_>) -> Option<Vec<(u64, u64, String)>> {
    let (table, names) = (file.section(".symtab")?.data, file.section(".strtab")?.data);
    let number = |raw: &[u8], at: usize| {
        raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let mut found: Vec<_> = table
        .chunks_exact(SYMBOL_SIZE)
        .filter(|raw| matches!(raw[4] & 0xf, 0 | 2) && raw[6..8] != [0; 2])
        .filter_map(|raw| {
            let at = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize;
            let name = names.get(at..)?.split(|&b| b == 0).next()?;
            let name = String::from_utf8_lossy(name).into_owned();
            (!name.is_empty()).then(|| (number(raw, 8), number(raw, 16), name))
        })
        .collect();
    // Of several names for one place, one with a size tells more.
    found.sort_by(|a, b| (a.0, a.1, &b.2).cmp(&(b.0, b.1, &a.2)));
    Some(found)
}

fn lines(file: &File<'_>) -> Option<Context<Reader>> {
    file.section(".debug_info").filter(|s| !s.data.is_empty())?;
    let section = |id: SectionId| -> Result<Reader, gimli::Error> {
        let data = file.section(id.name()).map_or(&[][..], |s| s.data);
        Ok(EndianArcSlice::new(Arc::from(data), LittleEndian))
    };
    Context::from_dwarf(Dwarf::load(section).ok()?).ok()
}

/// Tables of lines alone name no function but those that were inlined: the outermost one is the
/// one that the table of symbols knows.
fn inlined(lines: &Context<Reader>, address: u64, known: Option<&Frame>) -> Vec<Frame> {
    let mut found = Vec::new();
    let Ok(mut frames) = lines.find_frames(address).skip_all_loads() else { return found };
    while let Ok(Some(frame)) = frames.next() {
        let name = frame.function.as_ref().and_then(|f| f.raw_name().ok().map(|n| readable(&n)));
        let place = frame.location.as_ref();
        let name = name.or_else(|| known.map(|frame| frame.function.clone()));
        let Some(function) = name else { continue };
        found.push(Frame {
            function,
            offset: None,
            file: place.and_then(|p| p.file).map(str::to_owned),
            line: place.and_then(|p| p.line),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A function of a known place: this program has debug information.
    #[inline(never)]
    fn landmark() -> u32 {
        line!()
    }

    fn own_program() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    /// Address in the file of something in this process.
    fn in_file(symbols: &Symbols, name: &str) -> u64 {
        let found = symbols.functions.iter().find(|f| readable(&f.2).ends_with(name));
        found.unwrap().0
    }

    #[test]
    fn names_with_lines_when_there_is_debug_information() {
        let symbols = Symbols::parse(&own_program()).unwrap();
        let address = in_file(&symbols, "symbols::tests::landmark");
        let frames = symbols.frames(address);
        let last = frames.last().unwrap();
        assert!(last.function.ends_with("symbols::tests::landmark"), "{last}");
        assert!(last.file.as_ref().unwrap().ends_with("symbols.rs"), "{last}");
        assert!(landmark().abs_diff(last.line.unwrap()) <= 1, "{last}");
        assert!(last.to_string().contains("symbols.rs:"));
    }

    #[test]
    fn names_from_the_table_alone() {
        let mut symbols = Symbols::parse(&own_program()).unwrap();
        symbols.lines = None;
        let address = in_file(&symbols, "symbols::tests::landmark");
        let frames = symbols.frames(address + 1);
        assert_eq!((frames.len(), frames[0].offset), (1, Some(1)));
        assert!(frames[0].to_string().ends_with("landmark+0x1"));
        assert!(symbols.frames(0).is_empty() && symbols.frames(u64::MAX).is_empty());
    }

    #[test]
    fn labels_without_size_end_at_the_next() {
        let function = |at, size, name: &str| (at, size, name.to_owned());
        let functions = vec![function(0x100, 0, "entry"), function(0x180, 0x10, "next")];
        let symbols = Symbols { functions, lines: None };
        let name = |at| symbols.frames(at).pop().map(|f| f.to_string());
        assert_eq!(name(0xff), None);
        assert_eq!(name(0x17f).as_deref(), Some("entry+0x7f"));
        assert_eq!(name(0x18f).as_deref(), Some("next+0xf"));
        assert_eq!(name(0x190), None);
    }

    #[test]
    fn no_symbols_is_no_error() {
        let mut bytes = own_program();
        bytes[40..48].fill(0);
        let symbols = Symbols::parse(&bytes).unwrap();
        assert!(symbols.is_empty() && symbols.frames(0x1000).is_empty());
        assert!(Symbols::parse(b"nothing").is_err());
    }
}
