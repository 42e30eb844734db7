// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How long an image has to be, by its own headers: one that was cut short has to be seen before
//! a machine starts from it, since what is missing reads as zeros, or not at all.
//!
//! The headers are somebody else's: what they do not say, or say in a way that is not known here,
//! asks for nothing.

use std::io::{self, Read, Seek, SeekFrom};

/// What kind of image a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ISO 9660.
    Iso,
    /// The bytes of a disk.
    Raw,
    /// QEMU's.
    Qcow2,
    /// VMware's.
    Vmdk,
    /// VirtualBox's.
    Vdi,
}

/// Tables larger than this are no image's; QEMU takes no larger ones either.
const TABLE_MAX: u64 = 32 << 20;
const SECTOR: u64 = 512;

/// Bytes that the file has to have at least.
pub fn least_length(kind: Kind, source: &mut (impl Read + Seek)) -> io::Result<u64> {
    let length = source.seek(SeekFrom::End(0))?;
    let mut image = Image { source, length, least: 0 };
    // None: the headers themselves are not all there, or ask for nothing.
    let _: Option<()> = match kind {
        Kind::Iso => iso(&mut image)?,
        Kind::Raw => raw(&mut image)?,
        Kind::Qcow2 => qcow2(&mut image)?,
        Kind::Vmdk => vmdk(&mut image)?,
        Kind::Vdi => vdi(&mut image)?,
    };
    Ok(image.least)
}

struct Image<'a, R> {
    source: &'a mut R,
    length: u64,
    least: u64,
}

impl<R: Read + Seek> Image<'_, R> {
    fn needs(&mut self, end: u64) {
        self.least = self.least.max(end);
    }

    /// A part that has to be there; `None` when it is not.
    fn part(&mut self, at: u64, size: u64) -> io::Result<Option<Vec<u8>>> {
        let end = at.saturating_add(size);
        self.needs(end);
        if end > self.length || size > TABLE_MAX {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.source.seek(SeekFrom::Start(at))?;
        self.source.by_ref().take(size).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Leaves the reading of headers when a part is not there.
macro_rules! present {
    ($part:expr) => {
        match $part {
            Some(part) => part,
            None => return Ok(None),
        }
    };
}

/// The blocks of the volume (ECMA-119 section 8.4.8).
fn iso<R: Read + Seek>(image: &mut Image<'_, R>) -> io::Result<Option<()>> {
    let volume = present!(image.part(16 * 2048, 2048)?);
    if !volume.starts_with(b"\x01CD001") {
        return Ok(None);
    }
    let blocks = present!(little(&volume, 80, 4));
    let size = present!(little(&volume, 128, 2));
    image.needs(blocks.saturating_mul(size));
    Ok(Some(()))
}

/// The backup table at the end of the disk (UEFI 2.10 section 5.3.2).
fn raw<R: Read + Seek>(image: &mut Image<'_, R>) -> io::Result<Option<()>> {
    let head = present!(image.part(0, SECTOR)?);
    if head.get(450) != Some(&0xee) || image.length < 2 * SECTOR {
        return Ok(None);
    }
    let table = present!(image.part(SECTOR, SECTOR)?);
    if table.starts_with(b"EFI PART") {
        let backup = present!(little(&table, 32, 8));
        image.needs(backup.saturating_add(1).saturating_mul(SECTOR));
    }
    Ok(Some(()))
}

/// The last cluster that is counted (docs/interop/qcow2.txt of QEMU). It has to begin: what is
/// not written to its end is left out of the file.
fn qcow2<R: Read + Seek>(image: &mut Image<'_, R>) -> io::Result<Option<()>> {
    let header = present!(image.part(0, 72)?);
    let version = present!(big(&header, 4, 4));
    let bits = present!(big(&header, 20, 4));
    // Counts of 16 bits, which version 2 always has.
    let known = match version {
        2 => true,
        3 => big(&present!(image.part(96, 4)?), 0, 4) == Some(4),
        _ => false,
    };
    if !known || !(9..=21).contains(&bits) {
        return Ok(None);
    }
    let cluster = 1 << bits;
    let table_at = present!(big(&header, 48, 8));
    let table_size = present!(big(&header, 56, 4)).saturating_mul(cluster);
    let table = present!(image.part(table_at, table_size)?);
    let blocks = table.chunks_exact(8).map(|entry| big(entry, 0, 8).unwrap_or(0));
    let Some((index, at)) = blocks.enumerate().rfind(|&(_, at)| at != 0) else {
        return Ok(None);
    };
    let counts = present!(image.part(at, cluster)?);
    if let Some(last) = counts.chunks_exact(2).rposition(|count| count != [0, 0]) {
        let before = (index as u64).saturating_mul(cluster / 2);
        image.needs(before.saturating_add(last as u64).saturating_mul(cluster).saturating_add(1));
    }
    Ok(Some(()))
}

/// The last grain ("Virtual Disk Format 5.0", VMware 2011). Streams have their directory behind
/// the grains, where a footer tells of it.
fn vmdk<R: Read + Seek>(image: &mut Image<'_, R>) -> io::Result<Option<()>> {
    const COMPRESSED: u64 = 1 << 16;
    let mut header = present!(image.part(0, SECTOR)?);
    if little(&header, 56, 8) == Some(u64::MAX) {
        let footer = present!(image.part(image.length.saturating_sub(2 * SECTOR), SECTOR)?);
        if !footer.starts_with(b"KDMV") {
            image.needs(image.length.saturating_add(SECTOR));
            return Ok(None);
        }
        header = footer;
    }
    let capacity = present!(little(&header, 12, 8));
    let grain = present!(little(&header, 20, 8));
    let entries = present!(little(&header, 44, 4));
    let directory = present!(little(&header, 56, 8));
    let per_table = grain.saturating_mul(entries);
    if per_table == 0 {
        return Ok(None);
    }
    let whole = little(&header, 8, 4).is_some_and(|flags| flags & COMPRESSED == 0);
    let size = capacity.div_ceil(per_table).saturating_mul(4);
    let tables = present!(image.part(directory.saturating_mul(SECTOR), size)?);
    for table in words(&tables).filter(|&table| table != 0) {
        let grains = present!(image.part(table * SECTOR, entries.saturating_mul(4))?);
        // 1 stands for a grain of zeros.
        if let Some(last) = words(&grains).filter(|&place| place > 1).max() {
            let sectors = if whole { grain } else { 1 };
            image.needs(last.saturating_add(sectors).saturating_mul(SECTOR));
        }
    }
    Ok(Some(()))
}

/// The blocks that are there (`VDIHEADER1PLUS` of VirtualBox).
fn vdi<R: Read + Seek>(image: &mut Image<'_, R>) -> io::Result<Option<()>> {
    let header = present!(image.part(0, SECTOR)?);
    let data = present!(little(&header, 344, 4));
    let block = present!(little(&header, 376, 4)).saturating_add(present!(little(&header, 380, 4)));
    let used = present!(little(&header, 388, 4));
    image.needs(data.saturating_add(used.saturating_mul(block)));
    Ok(Some(()))
}

fn words(table: &[u8]) -> impl Iterator<Item = u64> {
    table.chunks_exact(4).filter_map(|entry| little(entry, 0, 4))
}

fn little(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at + size)?;
    Some(field.iter().rev().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
}

fn big(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let field = bytes.get(at..at + size)?;
    Some(field.iter().fold(0, |value, &byte| (value << 8) | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::gpt::Identity;
    use crate::medium::Medium;
    use crate::{gpt, qcow2, vdi, vmdk};

    const LENGTH: u64 = 8 << 20;

    fn medium() -> Medium<Cursor<Vec<u8>>> {
        let mut medium = Medium::new(Cursor::new(Vec::new()), LENGTH);
        gpt::put(&mut medium, &[0; gpt::BOOT_CODE], &[], &Identity::of(&[]));
        medium.put_bytes(3 << 20, vec![1; 1 << 20]);
        medium
    }

    fn image(kind: Kind) -> Vec<u8> {
        let (mut out, identity) = (Cursor::new(Vec::new()), Identity::of(&[]));
        match kind {
            Kind::Iso => {
                let mut volume = vec![0; 40 * 2048];
                volume[16 * 2048..][..6].copy_from_slice(b"\x01CD001");
                volume[16 * 2048 + 80] = 40;
                volume[16 * 2048 + 129] = 8;
                out.get_mut().extend(volume);
            }
            Kind::Raw => medium().write_raw(&mut out).unwrap(),
            Kind::Qcow2 => qcow2::write(&mut medium(), &mut out).unwrap(),
            Kind::Vmdk => {
                vmdk::write_sparse(&mut medium(), "a.vmdk", &identity, &mut out).unwrap();
            }
            Kind::Vdi => vdi::write(&mut medium(), &identity, &mut out).unwrap(),
        }
        out.into_inner()
    }

    fn least(kind: Kind, image: &[u8]) -> u64 {
        least_length(kind, &mut Cursor::new(image)).unwrap()
    }

    #[test]
    fn what_was_cut_short_is_seen() {
        for kind in [Kind::Iso, Kind::Raw, Kind::Qcow2, Kind::Vmdk, Kind::Vdi] {
            let whole = image(kind);
            let length = whole.len() as u64;
            assert!(least(kind, &whole) <= length, "{kind:?}");
            // Of a qcow2 file, the last cluster may lack its end.
            for part in [length / 2, length - (64 << 10)] {
                let cut = &whole[..part as usize];
                assert!(least(kind, cut) > part, "{kind:?} cut to {part} of {length}");
            }
        }
    }

    #[test]
    fn a_stream_without_its_end_is_seen() {
        let mut out = Vec::new();
        vmdk::write_stream(&mut medium(), "a.vmdk", &Identity::of(&[]), &mut out).unwrap();
        assert!(least(Kind::Vmdk, &out) <= out.len() as u64);
        let half = out.len() / 2;
        assert!(least(Kind::Vmdk, &out[..half]) > half as u64);
    }

    #[test]
    fn headers_of_nonsense_ask_for_no_memory() {
        for kind in [Kind::Iso, Kind::Raw, Kind::Qcow2, Kind::Vmdk, Kind::Vdi] {
            let mut bytes = image(kind);
            for byte in bytes.iter_mut().skip(8).take(600) {
                *byte = 0xff;
            }
            let _ = least(kind, &bytes);
            assert!(least(kind, &[]) > 0);
        }
    }
}
