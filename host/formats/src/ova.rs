// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An OVA: a tar archive with an OVF descriptor (DMTF DSP0243 1.1), a manifest and a
//! streamOptimized disk, written in one pass: the descriptor, which names the size of the
//! disk, and the manifest, which names its hash, have a fixed size and are filled in last.

use std::fmt::Write as _;
use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use crate::gpt::Identity;
use crate::medium::{Medium, pad};
use crate::vmdk;

/// Bytes of a tar record.
const RECORD: u64 = 512;
/// Bytes of the descriptor; spaces behind the last element fill it.
const DESCRIPTOR: usize = 4096;
const TEMPLATE: &str = include_str!("ova.xml");

/// The virtual machine that an appliance asks for.
#[derive(Clone, Copy, Debug)]
pub struct Appliance<'a> {
    /// Name of the machine; its files are named after it too.
    pub name: &'a str,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory: u32,
}

/// Writes the medium as an appliance.
pub fn write<R: Read + Seek>(
    medium: &mut Medium<R>,
    appliance: &Appliance<'_>,
    identity: &Identity,
    out: &mut (impl Write + Seek),
) -> io::Result<()> {
    let base = out.stream_position()?;
    let name = file_name(appliance.name);
    let [ovf, mf, disk] = ["ovf", "mf", "vmdk"].map(|kind| format!("{name}.{kind}"));
    let manifest_size = manifest(&ovf, &[0; 32], &disk, &[0; 32]).len() as u64;
    let manifest_at = RECORD + DESCRIPTOR as u64;
    let disk_at = manifest_at + RECORD + manifest_size.next_multiple_of(RECORD);
    out.seek(SeekFrom::Start(base + disk_at))?;
    out.write_all(&[0; RECORD as usize])?;

    let mut counted = Counted { out: &mut *out, hash: Sha256::new(), length: 0 };
    vmdk::write_stream(medium, &disk, identity, &mut counted)?;
    let (length, hash) = (counted.length, counted.hash.finalize().into());
    let end = pad(out, length, RECORD)?;
    // Two empty records end an archive; archives are multiples of 20 records.
    let total = disk_at + RECORD + end + 2 * RECORD;
    out.write_all(&[0; 2 * RECORD as usize])?;
    pad(out, total, 20 * RECORD)?;

    let descriptor = descriptor(appliance, &disk, length, medium.length())?;
    let manifest = manifest(&ovf, &Sha256::digest(&descriptor).into(), &disk, &hash);
    out.seek(SeekFrom::Start(base))?;
    out.write_all(&tar_header(&ovf, descriptor.len() as u64))?;
    out.write_all(&descriptor)?;
    out.write_all(&tar_header(&mf, manifest_size))?;
    out.write_all(manifest.as_bytes())?;
    pad(out, manifest_size, RECORD)?;
    out.write_all(&tar_header(&disk, length))?;
    out.flush()
}

/// A name that needs no escape in XML, tar or a URL.
fn file_name(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().take(64).map(|c| if keep(c) { c } else { '_' }).collect();
    if name.is_empty() { "kernel".to_owned() } else { name }
}

fn descriptor(
    appliance: &Appliance<'_>,
    disk: &str,
    size: u64,
    capacity: u64,
) -> io::Result<Vec<u8>> {
    let text = TEMPLATE
        .replace("@NAME@", &file_name(appliance.name))
        .replace("@DISK@", disk)
        .replace("@SIZE@", &size.to_string())
        .replace("@CAPACITY@", &capacity.to_string())
        .replace("@CPUS@", &appliance.cpus.to_string())
        .replace("@MEMORY@", &appliance.memory.to_string());
    let mut bytes = text.into_bytes();
    if bytes.len() > DESCRIPTOR {
        return Err(io::Error::other("the OVF descriptor is too long"));
    }
    bytes.resize(DESCRIPTOR, b' ');
    Ok(bytes)
}

fn manifest(ovf: &str, ovf_hash: &[u8; 32], disk: &str, disk_hash: &[u8; 32]) -> String {
    let mut text = String::new();
    for (name, hash) in [(ovf, ovf_hash), (disk, disk_hash)] {
        let _ = write!(text, "SHA256({name})= ");
        for byte in hash {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text
}

/// A ustar header (POSIX.1-2017, pax, "ustar Interchange Format").
fn tar_header(name: &str, size: u64) -> [u8; RECORD as usize] {
    let mut header = [0; RECORD as usize];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    if size < 1 << 33 {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        // The base-256 form that GNU, BSD and everyone else reads.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    // 1980-01-01, the first day of the other formats.
    put(136, format!("{:011o}\0", 315_532_800).as_bytes());
    put(148, b"        0");
    put(257, b"ustar\x0000");
    let sum = header.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// A writer that remembers the hash and the count of what went through it.
struct Counted<W> {
    out: W,
    hash: Sha256,
    length: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.hash.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_harmless() {
        assert_eq!(file_name("my app/<1>"), "my_app__1_");
        assert_eq!(file_name(""), "kernel");
    }

    #[test]
    fn tar_headers_have_their_checksum() {
        for size in [0, 5, 1 << 34] {
            let header = tar_header("a.ovf", size);
            let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
            let own: u32 = header[148..156].iter().map(|&byte| u32::from(byte)).sum();
            let text = std::str::from_utf8(&header[148..154]).unwrap();
            assert_eq!(u32::from_str_radix(text, 8).unwrap(), sum - own + 8 * 32);
            assert_eq!(header[156], b'0');
        }
    }

    #[test]
    fn every_place_of_the_template_is_filled() {
        let appliance = Appliance { name: &"n".repeat(100), cpus: 64, memory: 1 << 20 };
        let disk = "n".repeat(69);
        let bytes = descriptor(&appliance, &disk, u64::MAX, u64::MAX).unwrap();
        assert!(!bytes.contains(&b'@'));
    }
}
