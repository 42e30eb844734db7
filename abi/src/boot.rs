// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The record through which a packing tool tells a boot loader where the kernel lies.
//!
//! Each loader carries one [`LoaderParameters`] record with the magic and zeros; the tool
//! finds it by its magic and fills it in. All numbers are little-endian.

/// First bytes of the record inside a loader.
pub const LOADER_MAGIC: [u8; 16] = *b"\x7fBhojpurLoader\x01\0";
/// Bytes of the whole record.
pub const LOADER_RECORD_SIZE: usize = 4096;
/// Bytes that a kernel command line can have.
pub const COMMAND_LINE_MAX: usize = LOADER_RECORD_SIZE - COMMAND_LINE - 1;

const KERNEL_OFFSET: usize = 16;
const KERNEL_SIZE: usize = 24;
const COMMAND_LINE_LENGTH: usize = 32;
const COMMAND_LINE: usize = 36;

/// File name of the kernel in the root directory of the system partition and of the ISO.
pub const KERNEL_FILE: &str = "KERNEL.ELF";

/// Where the BIOS loader's flat binary is linked: the first sector is the boot sector.
pub const BIOS_BASE: u64 = 0x7c00;
/// Offset of the second stage in the flat binary: a whole sector on disks and on CDs.
pub const BIOS_STAGE2: usize = 2048;
/// The flat binary has to end below this offset: the next thing in memory is its stack.
pub const BIOS_SIZE_MAX: usize = 0x1_0000;
/// Offset of the boot sector's own record: sector number of stage two (`u64`), sectors
/// of stage two (`u16`), bytes in a sector (`u16`).
pub const BIOS_SECTOR_RECORD: usize = 0x1a0;

/// What a loader needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderParameters<'a> {
    /// Byte offset of the kernel's ELF file on the medium.
    pub kernel_offset: u64,
    /// Bytes of the kernel's ELF file.
    pub kernel_size: u64,
    /// Kernel command line.
    pub command_line: &'a [u8],
}

impl<'a> LoaderParameters<'a> {
    /// Reads a filled-in record; `None` when it is not one.
    #[must_use]
    pub fn parse(record: &'a [u8; LOADER_RECORD_SIZE]) -> Option<Self> {
        if record[..16] != LOADER_MAGIC {
            return None;
        }
        let length = u32_at(record, COMMAND_LINE_LENGTH) as usize;
        Some(Self {
            kernel_offset: u64_at(record, KERNEL_OFFSET),
            kernel_size: u64_at(record, KERNEL_SIZE),
            command_line: record[COMMAND_LINE..LOADER_RECORD_SIZE - 1].get(..length)?,
        })
    }

    /// The record as bytes; `None` when the command line does not fit.
    #[must_use]
    pub fn record(&self) -> Option<[u8; LOADER_RECORD_SIZE]> {
        if self.command_line.len() > COMMAND_LINE_MAX {
            return None;
        }
        let mut record = [0; LOADER_RECORD_SIZE];
        let length = u32::try_from(self.command_line.len()).ok()?;
        record[..16].copy_from_slice(&LOADER_MAGIC);
        record[KERNEL_OFFSET..][..8].copy_from_slice(&self.kernel_offset.to_le_bytes());
        record[KERNEL_SIZE..][..8].copy_from_slice(&self.kernel_size.to_le_bytes());
        record[COMMAND_LINE_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        record[COMMAND_LINE..][..self.command_line.len()].copy_from_slice(self.command_line);
        Some(record)
    }
}

fn u32_at(bytes: &[u8; LOADER_RECORD_SIZE], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8; LOADER_RECORD_SIZE], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let parameters =
            LoaderParameters { kernel_offset: 1 << 33, kernel_size: 7, command_line: b"a=b c" };
        let record = parameters.record().unwrap();
        assert_eq!(LoaderParameters::parse(&record), Some(parameters));
    }

    #[test]
    fn a_command_line_too_long_or_a_bad_length_is_refused() {
        let long = [b'x'; COMMAND_LINE_MAX + 1];
        let mut parameters =
            LoaderParameters { kernel_offset: 0, kernel_size: 0, command_line: &long };
        assert_eq!(parameters.record(), None);
        parameters.command_line = &long[1..];
        let mut record = parameters.record().unwrap();
        assert_eq!(LoaderParameters::parse(&record), Some(parameters));
        record[COMMAND_LINE_LENGTH] = 0xff;
        record[COMMAND_LINE_LENGTH + 1] = 0xff;
        assert_eq!(LoaderParameters::parse(&record), None);
        record[0] = 0;
        assert_eq!(LoaderParameters::parse(&record), None);
    }
}
