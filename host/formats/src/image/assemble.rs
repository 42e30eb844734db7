// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Puts kernel, configuration and root image together.

use super::kernel::{Kernel, PT_NULL, SECTION_HEADER_SIZE, SYMBOL_SIZE, Symbol};
use super::memory::{least_memory, program_memory};
use super::source::Source;
use super::{Error, KERNEL_OFFSET, Symbols};
use crate::atomic::AtomicFile;
use crate::erofs::{self, Plan};
use bhojpur_abi::config::OwnedConfig;
use bhojpur_abi::elf::{PROGRAM_HEADER_SIZE, PT_GNU_RELRO, PT_GNU_STACK, PT_LOAD};
use bhojpur_abi::erofs::Image;
use bhojpur_abi::payload::{Descriptor, SIZE};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

const PAGE: u64 = 4096;
/// All of kernel and payload must lie in the kernel's part of the addresses.
const PHYSICAL_MAX: u64 = 2 << 30;
const PF_R: u32 = 4;
const SHT_SYMTAB: u32 = 2;
const SHT_STRTAB: u32 = 3;
const SHN_ABS: u16 = 0xfff1;

/// Where the root image comes from.
#[derive(Clone, Copy, Debug)]
pub enum Root<'a> {
    /// There is none.
    None,
    /// A tree that is written now.
    Tree(&'a Plan<'a>),
    /// An image in memory.
    Bytes(&'a [u8]),
    /// An image in a file, from this offset, of this length.
    File(&'a File, u64, u64),
}

impl Root<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Tree(plan) => plan.size(),
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, _, len) => *len,
        }
    }
}

/// Where things are in an assembled kernel: physical addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kernel, its zeroed memory included.
    pub kernel: Range<u64>,
    /// The configuration record.
    pub config: Range<u64>,
    /// The root image; empty when there is none.
    pub root: Range<u64>,
    /// Bytes of the file.
    pub file_size: u64,
}

impl Layout {
    /// End of all that is loaded.
    pub fn end(&self) -> u64 {
        self.kernel.end.max(self.config.end).max(self.root.end)
    }
}

/// What goes into a kernel.
#[derive(Debug)]
pub struct Assembly<'a> {
    kernel: Kernel,
    config: OwnedConfig,
    root: Root<'a>,
    symbols: Symbols,
}

impl<'a> Assembly<'a> {
    /// Of the bytes of a kernel, bare or assembled; an old payload is dropped.
    /// A `memory_minimum` that is missing is estimated from a tree.
    pub fn new(kernel: &[u8], config: &OwnedConfig, root: Root<'a>) -> Result<Self, Error> {
        Self::of(Kernel::read(kernel)?, config, root)
    }

    pub(super) fn of(kernel: Kernel, config: &OwnedConfig, root: Root<'a>) -> Result<Self, Error> {
        if let Root::Bytes(bytes) = root {
            Image::open(bytes)?;
        }
        let config = config.clone();
        let mut assembly = Self { kernel, config, root, symbols: Symbols::default() };
        assembly.estimate_memory()?;
        Ok(assembly)
    }

    /// Whether the functions' names stay in the image; they do by default.
    pub fn symbols(mut self, symbols: Symbols) -> Self {
        self.symbols = symbols;
        self
    }

    /// The configuration, with what was estimated.
    pub fn config(&self) -> &OwnedConfig {
        &self.config
    }

    fn estimate_memory(&mut self) -> Result<(), Error> {
        let Root::Tree(plan) = self.root else { return Ok(()) };
        if self.config.memory_minimum.is_none() {
            self.config.memory_minimum = Some(0);
            let path = self.config.program.as_ref().or(self.config.args.first());
            let data = path.and_then(|p| plan.tree().file(p));
            let program = data.map_or(Ok(0), program_memory)?;
            let end = self.layout()?.end();
            self.config.memory_minimum = Some(least_memory(end, program));
        }
        Ok(())
    }

    /// Where things will be; the size of the file is not known yet.
    fn layout(&self) -> Result<Layout, Error> {
        let kernel = self.kernel.physical_range();
        let config_len = self.config.encode()?.len() as u64;
        let config = kernel.end..kernel.end.saturating_add(config_len);
        let start = config.end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        let root = start..start.saturating_add(self.root.len());
        let root = if root.is_empty() { 0..0 } else { root };
        let layout = Layout { kernel, config, root, file_size: 0 };
        match layout.end() {
            end if end > PHYSICAL_MAX => Err(Error::TooLarge(end)),
            _ => Ok(layout),
        }
    }

    /// Writes the kernel to `path`: all of it or nothing.
    pub fn write_file(&self, path: &Path) -> Result<Layout, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let file = AtomicFile::create(path).map_err(failed)?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        let layout = self.write(&mut out).map_err(|error| match error {
            Error::Io(source) | Error::Root(erofs::Error::Write(source)) => failed(source),
            other => other,
        })?;
        let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
        file.commit().map_err(failed)?;
        Ok(layout)
    }

    /// Writes the kernel from the start of `out` on.
    pub fn write<W: Write + Seek>(&self, out: &mut W) -> Result<Layout, Error> {
        let mut layout = self.layout()?;
        let offset = (self.kernel.head.len() as u64).next_multiple_of(PAGE);
        let record = self.config.encode()?;
        let size = layout.end() - layout.config.start;

        out.seek(SeekFrom::Start(offset))?;
        out.write_all(&record)?;
        if !layout.root.is_empty() {
            zeroes(out, layout.root.start - layout.config.end)?;
            self.write_root(out)?;
        }
        let mut end = offset + size;
        let mut head = self.head(&layout)?;
        let table = self.program_headers(&layout, offset, size);
        end = self.put_program_headers(&mut head, &table, end, out)?;
        end = self.write_symbols(&mut head, end, out)?;
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&head)?;
        zeroes(out, offset - head.len() as u64)?;
        out.seek(SeekFrom::Start(end))?;
        out.flush()?;
        layout.file_size = end;
        Ok(layout)
    }

    fn write_root<W: Write + Seek>(&self, out: &mut W) -> Result<(), Error> {
        match self.root {
            Root::None => Ok(()),
            Root::Tree(plan) => Ok(plan.write(out)?),
            Root::Bytes(bytes) => Ok(out.write_all(bytes)?),
            Root::File(file, offset, len) => {
                let end = offset.saturating_add(len);
                let mut at = offset;
                while at < end {
                    let next = end.min(at + (1 << 20));
                    out.write_all(&Source::read(file, at..next)?)?;
                    at = next;
                }
                Ok(())
            }
        }
    }

    /// The kernel's own bytes with the descriptor filled in.
    fn head(&self, layout: &Layout) -> Result<Vec<u8>, Error> {
        let mut head = self.kernel.head.clone();
        let descriptor =
            Descriptor { config: layout.config.clone(), root: layout.root.clone() }.encode();
        let at = self.kernel.descriptor_at;
        head.get_mut(at..at + SIZE).ok_or(Error::NotKernel)?.copy_from_slice(&descriptor);
        Ok(head)
    }

    /// The program headers with the payload's behind the last that is loaded.
    fn program_headers(&self, layout: &Layout, offset: u64, size: u64) -> Vec<Vec<u8>> {
        let kernel = &self.kernel;
        let mut table = kernel.raw_segments.clone();
        let mut raw = [PT_LOAD, PF_R].map(u32::to_le_bytes).concat();
        let physical = layout.config.start;
        let fields = [offset, physical.wrapping_add(KERNEL_OFFSET), physical, size, size, PAGE];
        fields.iter().for_each(|f| raw.extend_from_slice(&f.to_le_bytes()));
        if let Some(i) = self.entry_segment() {
            let physical = kernel.segments[i].physical;
            put(&mut table[i], 16, &physical.to_le_bytes());
        }
        let last = kernel.segments.iter().rposition(|s| s.kind == PT_LOAD);
        table.insert(last.map_or(0, |i| i + 1), raw);
        table
    }

    /// The segment that holds a physical entry point in its physical range
    /// alone. Firecracker jumps to the entry point as it stands; GRUB looks
    /// for it in the virtual ranges. With one segment's virtual address
    /// lowered to its physical one, which nothing else uses, both are content.
    fn entry_segment(&self) -> Option<usize> {
        let entry = self.kernel.header.entry;
        let loads = || self.kernel.segments.iter().enumerate().filter(|(_, s)| s.kind == PT_LOAD);
        if loads().any(|(_, s)| s.memory_range().contains(&entry)) {
            return None;
        }
        let mut holders =
            loads().filter(|(_, s)| (s.physical..s.physical + s.memory_size).contains(&entry));
        holders.next().map(|(i, _)| i)
    }

    /// Puts the table where the old one was, if it fits there: spare entries
    /// are for that, and notes about stacks mean nothing to a kernel. Else it
    /// goes to the end of the file, where all loaders but GRUB find it.
    fn put_program_headers<W: Write + Seek>(
        &self,
        head: &mut [u8],
        table: &[Vec<u8>],
        end: u64,
        out: &mut W,
    ) -> Result<u64, Error> {
        let mut table = table.to_vec();
        let room = usize::from(self.kernel.header.program_header_count);
        for dispensable in [PT_GNU_STACK, PT_GNU_RELRO] {
            if table.len() > room {
                table.retain(|raw| raw[..4] != dispensable.to_le_bytes());
            }
        }
        let place = self.kernel.header.program_header_range();
        let inside = place.end <= head.len() as u64;
        if table.len() <= room && inside {
            let mut null = PT_NULL.to_le_bytes().to_vec();
            null.resize(PROGRAM_HEADER_SIZE, 0);
            table.resize(room, null);
            let start = place.start as usize;
            head[start..place.end as usize].copy_from_slice(&table.concat());
            return Ok(end);
        }
        let at = end.next_multiple_of(8);
        out.seek(SeekFrom::Start(end))?;
        zeroes(out, at - end)?;
        let bytes = table.concat();
        out.write_all(&bytes)?;
        put(head, 32, &at.to_le_bytes());
        put(head, 56, &(table.len() as u16).to_le_bytes());
        Ok(at + bytes.len() as u64)
    }

    /// Writes the functions' names and the section headers that belong to
    /// them, and tells the ELF header of it.
    fn write_symbols<W: Write + Seek>(
        &self,
        head: &mut [u8],
        end: u64,
        out: &mut W,
    ) -> Result<u64, Error> {
        let kernel = &self.kernel;
        if self.symbols == Symbols::None || kernel.symbols.is_empty() {
            put(head, 40, &[0; 8]);
            put(head, 60, &[0; 4]);
            return Ok(end);
        }
        let mut names = vec![0];
        let mut headers = vec![vec![0; SECTION_HEADER_SIZE]];
        for section in &kernel.sections {
            let mut raw = section.raw.to_vec();
            put(&mut raw, 0, &intern(&mut names, &section.name).to_le_bytes());
            headers.push(raw);
        }
        let (symbols, locals, strings) = self.symbol_table();
        let count = headers.len() as u32;
        let places = [b".symtab".as_slice(), b".strtab", b".shstrtab"];
        let name_offsets = places.map(|name| intern(&mut names, name));
        let mut at = end.next_multiple_of(8);
        out.seek(SeekFrom::Start(end))?;
        zeroes(out, at - end)?;
        for (i, data) in [&symbols, &strings, &names].into_iter().enumerate() {
            let size = data.len() as u64;
            let symtab = i == 0;
            let kind = if symtab { SHT_SYMTAB } else { SHT_STRTAB };
            let (link, info) = if symtab { (count + 1, locals) } else { (0, 0) };
            let entry = if symtab { SYMBOL_SIZE as u64 } else { 0 };
            let mut raw = [name_offsets[i], kind].map(u32::to_le_bytes).concat();
            [0, 0, at, size].iter().for_each(|f: &u64| raw.extend(f.to_le_bytes()));
            [link, info].iter().for_each(|f| raw.extend(f.to_le_bytes()));
            [1, entry].iter().for_each(|f: &u64| raw.extend(f.to_le_bytes()));
            headers.push(raw);
            out.write_all(data)?;
            at += size;
        }
        let table = at.next_multiple_of(8);
        zeroes(out, table - at)?;
        let bytes = headers.concat();
        out.write_all(&bytes)?;
        put(head, 40, &table.to_le_bytes());
        put(head, 58, &(SECTION_HEADER_SIZE as u16).to_le_bytes());
        put(head, 60, &(headers.len() as u16).to_le_bytes());
        put(head, 62, &(headers.len() as u16 - 1).to_le_bytes());
        Ok(table + bytes.len() as u64)
    }

    /// The symbol table, the number of its local symbols, and the names.
    fn symbol_table(&self) -> (Vec<u8>, u32, Vec<u8>) {
        let mut strings = vec![0];
        let mut table = vec![0; SYMBOL_SIZE];
        // Local symbols come first (System V ABI, chapter 4).
        let local = |s: &&Symbol| s.raw[4] >> 4 == 0;
        let symbols = &self.kernel.symbols;
        let ordered = symbols.iter().filter(local).chain(symbols.iter().filter(|s| !local(s)));
        for symbol in ordered {
            let mut raw = symbol.raw;
            let old = usize::from(u16::from_le_bytes([raw[6], raw[7]]));
            let new = self.kernel.sections.iter().position(|s| s.old_index == old);
            let index = new.map_or(SHN_ABS, |i| i as u16 + 1);
            put(&mut raw, 0, &intern(&mut strings, &symbol.name).to_le_bytes());
            put(&mut raw, 6, &index.to_le_bytes());
            table.extend_from_slice(&raw);
        }
        (table, symbols.iter().filter(local).count() as u32 + 1, strings)
    }
}

/// Writes the file to debug an assembled kernel with: the bare kernel as it is,
/// for debuggers and for [`Symbols`](crate::symbols::Symbols).
pub fn write_debug_file(kernel: &[u8], path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let mut file = AtomicFile::create(path).map_err(failed)?;
    file.write_all(kernel).and_then(|()| file.commit()).map_err(failed)
}

/// Appends a name and tells its offset.
fn intern(strings: &mut Vec<u8>, name: &[u8]) -> u32 {
    let at = strings.len() as u32;
    strings.extend_from_slice(name);
    strings.push(0);
    at
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn zeroes(out: &mut impl Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), out).map(drop)
}
