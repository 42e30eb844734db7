// SPDX-License-Identifier: Apache-2.0 OR MIT
//! VMware's VMDK ("Virtual Disk Format 5.0", VMware 2011): monolithicSparse for machines,
//! streamOptimized for appliances and uploads.

use std::io::{self, Read, Seek, Write};

use miniz_oxide::deflate::compress_to_vec_zlib;

use crate::gpt::Identity;
use crate::medium::{Medium, is_zero, pad};

const SECTOR: u64 = 512;
/// Sectors of a grain.
const GRAIN: u64 = 128;
const GRAIN_BYTES: u64 = GRAIN * SECTOR;
/// Entries of a grain table.
const ENTRIES: u64 = 512;
/// Sectors of a grain table.
const TABLE: u64 = ENTRIES * 4 / SECTOR;
const DESCRIPTOR_AT: u64 = 1;
const DESCRIPTOR: u64 = 20;
/// Sectors before the first grain of a stream.
const STREAM_OVERHEAD: u64 = 128;
const COMPRESSION: u8 = 6;

const FLAG_NEWLINES: u32 = 1 << 0;
const FLAG_REDUNDANT_TABLE: u32 = 1 << 1;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;
const DIRECTORY_AT_END: u64 = u64::MAX;
const DEFLATE: u16 = 1;

/// What a metadata marker announces (section "Stream-Optimized Compressed Sparse Extents").
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

#[derive(Clone, Copy)]
struct Header {
    version: u32,
    flags: u32,
    capacity: u64,
    redundant: u64,
    directory: u64,
    overhead: u64,
    compression: u16,
}

impl Header {
    fn bytes(&self) -> [u8; SECTOR as usize] {
        let mut header = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"KDMV");
        put(4, &self.version.to_le_bytes());
        put(8, &self.flags.to_le_bytes());
        put(12, &self.capacity.to_le_bytes());
        put(20, &GRAIN.to_le_bytes());
        put(28, &DESCRIPTOR_AT.to_le_bytes());
        put(36, &DESCRIPTOR.to_le_bytes());
        put(44, &(ENTRIES as u32).to_le_bytes());
        put(48, &self.redundant.to_le_bytes());
        put(56, &self.directory.to_le_bytes());
        put(64, &self.overhead.to_le_bytes());
        put(73, b"\n \r\n");
        put(77, &self.compression.to_le_bytes());
        header
    }
}

/// Sectors of the disk, as a whole number of grains.
fn capacity<R: Read + Seek>(medium: &Medium<R>) -> u64 {
    medium.length().div_ceil(GRAIN_BYTES) * GRAIN
}

/// The embedded text descriptor, filled up to its sectors.
fn descriptor(kind: &str, name: &str, capacity: u64, identity: &Identity) -> Vec<u8> {
    // The least geometry that every BIOS takes; disks are addressed by block anyway.
    let cylinders = (capacity / (16 * 63)).clamp(1, 16383);
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={:08x}\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n\
         # Extent description\nRW {capacity} SPARSE \"{name}\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"ide\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\n",
        // ffffffff means "no parent" and is no name of a content.
        identity.serial() & 0x7fff_ffff,
    );
    let mut bytes = text.into_bytes();
    bytes.resize((DESCRIPTOR * SECTOR) as usize, 0);
    bytes
}

/// A name fit for the descriptor: what else it has becomes `_`.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    name.chars().take(200).map(|c| if keep(c) { c } else { '_' }).collect()
}

/// Writes the medium as monolithicSparse; `name` is the name of the file itself.
pub fn write_sparse<R: Read + Seek>(
    medium: &mut Medium<R>,
    name: &str,
    identity: &Identity,
    out: &mut impl Write,
) -> io::Result<()> {
    let capacity = capacity(medium);
    let grains = capacity / GRAIN;
    let tables = grains.div_ceil(ENTRIES);
    let directory = (tables * 4).div_ceil(SECTOR);
    let redundant = DESCRIPTOR_AT + DESCRIPTOR;
    let first = redundant + directory + tables * TABLE;
    let overhead = (first + directory + tables * TABLE).next_multiple_of(GRAIN);
    let header = Header {
        version: 1,
        flags: FLAG_NEWLINES | FLAG_REDUNDANT_TABLE,
        capacity,
        redundant,
        directory: first,
        overhead,
        compression: 0,
    };
    out.write_all(&header.bytes())?;
    out.write_all(&descriptor("monolithicSparse", &plain(name), capacity, identity))?;
    let used: Vec<bool> = (0..grains)
        .map(|grain| medium.has_data(grain * GRAIN_BYTES..(grain + 1) * GRAIN_BYTES))
        .collect();
    for at in [redundant, first] {
        let begin = at + directory;
        words(out, (0..tables).map(|table| begin + table * TABLE), directory * SECTOR)?;
        let mut next = overhead;
        let places = used.iter().map(|&used| {
            next += if used { GRAIN } else { 0 };
            if used { next - GRAIN } else { 0 }
        });
        words(out, places, tables * TABLE * SECTOR)?;
    }
    pad(out, (first + directory + tables * TABLE) * SECTOR, GRAIN_BYTES)?;
    for (grain, _) in used.iter().enumerate().filter(|&(_, &used)| used) {
        let at = grain as u64 * GRAIN_BYTES;
        medium.copy_to(at..at + GRAIN_BYTES, out)?;
    }
    out.flush()
}

/// Writes a table of 32-bit entries, filled up to `size` bytes.
fn words(out: &mut impl Write, words: impl Iterator<Item = u64>, size: u64) -> io::Result<()> {
    let mut table: Vec<u8> = words.flat_map(|word| (word as u32).to_le_bytes()).collect();
    table.resize(size as usize, 0);
    out.write_all(&table)
}

/// Writes the medium as streamOptimized: compressed, for one sequential reading.
pub fn write_stream<R: Read + Seek>(
    medium: &mut Medium<R>,
    name: &str,
    identity: &Identity,
    out: &mut impl Write,
) -> io::Result<()> {
    let capacity = capacity(medium);
    let header = Header {
        version: 3,
        flags: FLAG_NEWLINES | FLAG_COMPRESSED | FLAG_MARKERS,
        capacity,
        redundant: 0,
        directory: DIRECTORY_AT_END,
        overhead: STREAM_OVERHEAD,
        compression: DEFLATE,
    };
    let mut stream = Stream { out, sector: STREAM_OVERHEAD };
    stream.out.write_all(&header.bytes())?;
    stream.out.write_all(&descriptor("streamOptimized", &plain(name), capacity, identity))?;
    pad(stream.out, (DESCRIPTOR_AT + DESCRIPTOR) * SECTOR, STREAM_OVERHEAD * SECTOR)?;

    let grains = capacity / GRAIN;
    let mut directory = Vec::new();
    for first in (0..grains).step_by(ENTRIES as usize) {
        let mut table = [0; ENTRIES as usize];
        for (grain, entry) in (first..grains).zip(&mut table) {
            *entry = stream.grain(medium, grain)?;
        }
        let empty = table.iter().all(|&entry| entry == 0);
        directory.push(if empty {
            0
        } else {
            stream.marker(Marker::Table, TABLE)?;
            stream.table(&table, TABLE)?
        });
    }
    let sectors = (directory.len() as u64 * 4).div_ceil(SECTOR);
    stream.marker(Marker::Directory, sectors)?;
    let place = stream.table(&directory, sectors)?;
    stream.marker(Marker::Footer, 1)?;
    stream.out.write_all(&Header { directory: place, ..header }.bytes())?;
    stream.marker(Marker::EndOfStream, 0)?;
    stream.out.flush()
}

struct Stream<'a, W> {
    out: &'a mut W,
    /// Where the next byte goes.
    sector: u64,
}

impl<W: Write> Stream<'_, W> {
    /// Writes a grain unless it is empty, and gives its sector or 0.
    fn grain<R: Read + Seek>(&mut self, medium: &mut Medium<R>, grain: u64) -> io::Result<u64> {
        let at = grain * GRAIN_BYTES;
        if !medium.has_data(at..at + GRAIN_BYTES) {
            return Ok(0);
        }
        let mut bytes = vec![0; GRAIN_BYTES as usize];
        medium.read_at(at, &mut bytes)?;
        if is_zero(&bytes) {
            return Ok(0);
        }
        let packed = compress_to_vec_zlib(&bytes, COMPRESSION);
        self.out.write_all(&(grain * GRAIN).to_le_bytes())?;
        self.out.write_all(&(packed.len() as u32).to_le_bytes())?;
        self.out.write_all(&packed)?;
        let written = pad(self.out, 12 + packed.len() as u64, SECTOR)?;
        let place = self.sector;
        self.sector += written / SECTOR;
        Ok(place)
    }

    fn marker(&mut self, kind: Marker, sectors: u64) -> io::Result<()> {
        let mut marker = [0; SECTOR as usize];
        marker[..8].copy_from_slice(&sectors.to_le_bytes());
        marker[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
        self.sector += 1;
        self.out.write_all(&marker)
    }

    fn table(&mut self, entries: &[u64], sectors: u64) -> io::Result<u64> {
        words(self.out, entries.iter().copied(), sectors * SECTOR)?;
        let place = self.sector;
        self.sector += sectors;
        Ok(place)
    }
}
