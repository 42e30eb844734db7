// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a kernel's ELF file to a bootable image in any of the formats.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::str::FromStr;

use bhojpur_abi::boot::COMMAND_LINE_MAX;
use bhojpur_abi::elf;

use crate::atomic::AtomicFile;
use crate::gpt::Identity;
use crate::loader::Loaders;
use crate::ova::Appliance;
use crate::{disk, fat, iso, ova, qcow2, vdi, vhd, vmdk};

/// Why an image could not be made.
#[derive(Debug)]
pub enum Error {
    /// Reading the kernel or writing the image failed.
    Io(io::Error),
    /// The kernel is no ELF file, or a damaged one.
    Elf(elf::Error),
    /// The kernel is an ELF file that cannot be booted.
    Kernel(&'static str),
    /// The kernel is 4 GiB or more, or the image does not fit its format.
    KernelSize,
    /// The command line is longer than the loaders have room for.
    CommandLine,
    /// A boot loader is not what it should be.
    Loader(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Elf(error) => write!(f, "not a bootable kernel: {error}"),
            Self::Kernel(problem) => write!(f, "not a bootable kernel: {problem}"),
            Self::KernelSize => write!(f, "the kernel is too large: it has to be below 4 GiB"),
            Self::CommandLine => {
                write!(f, "the command line is too long: it can have {COMMAND_LINE_MAX} bytes")
            }
            Self::Loader(problem) => write!(f, "damaged boot loader: {problem}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Elf(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<elf::Error> for Error {
    fn from(error: elf::Error) -> Self {
        Self::Elf(error)
    }
}

/// A kernel's ELF file, checked.
#[derive(Debug)]
pub struct Kernel<R> {
    source: R,
    size: u64,
    head: Vec<u8>,
}

/// What the loaders read at once: the ELF header and all program headers lie in it.
const HEAD: u64 = 4096;
/// Type and name of the note `XEN_ELFNOTE_PHYS32_ENTRY`.
const PVH_NOTE: [u8; 8] = [18, 0, 0, 0, b'X', b'e', b'n', 0];

impl<R: Read + Seek> Kernel<R> {
    /// Checks that the file is whole and that the loaders can boot it.
    pub fn new(mut source: R) -> Result<Self, Error> {
        let size = source.seek(SeekFrom::End(0))?;
        if size > fat::FILE_MAX {
            return Err(Error::KernelSize);
        }
        source.seek(SeekFrom::Start(0))?;
        let mut head = Vec::new();
        source.by_ref().take(HEAD).read_to_end(&mut head)?;
        let mut kernel = Self { source, size, head };
        kernel.check()?;
        Ok(kernel)
    }

    fn check(&mut self) -> Result<(), Error> {
        let header = elf::Header::parse(&self.head)?;
        let range = header.program_header_range();
        let table = usize::try_from(range.start)
            .ok()
            .and_then(|start| self.head.get(start..usize::try_from(range.end).ok()?))
            .ok_or(Error::Kernel("its program headers are not where a loader reads them"))?
            .to_vec();
        let plan = elf::Plan::parse_kernel(&header, &table, self.size)?;
        if plan.loads().any(|load| load.physical.saturating_add(load.memory_size) > 1 << 32) {
            return Err(Error::Kernel("a segment lies above 4 GiB"));
        }
        for note in plan.segments().filter(|segment| segment.kind == elf::PT_NOTE) {
            if self.has_entry(note.offset, note.file_size)? {
                return Ok(());
            }
        }
        Err(Error::Kernel("it has no PVH entry; is it a kernel at all?"))
    }

    /// Whether a note segment names the PVH entry.
    fn has_entry(&mut self, offset: u64, length: u64) -> io::Result<bool> {
        let mut notes = Vec::new();
        self.source.seek(SeekFrom::Start(offset))?;
        self.source.by_ref().take(length.min(HEAD)).read_to_end(&mut notes)?;
        Ok(notes.windows(PVH_NOTE.len()).any(|window| *window == PVH_NOTE))
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn identity(&self, parts: &[&[u8]]) -> Identity {
        let mut all = vec![&self.head[..]];
        let size = self.size.to_le_bytes();
        all.push(&size);
        all.extend(parts);
        Identity::of(&all)
    }

    pub(crate) fn into_source(self) -> R {
        self.source
    }
}

/// The formats of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// CD image that is a disk image too.
    Iso,
    /// The bytes of a disk.
    Raw,
    /// QEMU.
    Qcow2,
    /// VMware, as machines use it.
    Vmdk,
    /// Hyper-V, Azure, Xen.
    Vhd,
    /// VirtualBox.
    Vdi,
    /// Appliance for VirtualBox and VMware.
    Ova,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 7] =
        [Self::Iso, Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhd, Self::Vdi, Self::Ova];

    /// Name on the command line, and the usual extension.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iso => "iso",
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vdi => "vdi",
            Self::Ova => "ova",
        }
    }

    /// The format that the name of a file asks for.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "img" => Some(Self::Raw),
            extension => extension.parse().ok(),
        }
    }
}

/// A name that is none of a format.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown format; known are {}", Format::ALL.map(Format::name).join(", "))
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(UnknownFormat)
    }
}

/// What an image is made of besides the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The loaders.
    pub loaders: Loaders<'a>,
    /// Kernel command line.
    pub command_line: &'a str,
    /// Name, processors and memory for formats that describe a machine.
    pub appliance: Appliance<'a>,
}

/// Writes an image in the given format. The same input gives the same bytes.
pub fn write<R: Read + Seek>(
    format: Format,
    kernel: Kernel<R>,
    options: &Options<'_>,
    out: &mut (impl Write + Seek),
) -> Result<(), Error> {
    let Options { loaders, command_line, appliance } = options;
    let identity = kernel.identity(&[format.name().as_bytes(), command_line.as_bytes()]);
    let mut medium = match format {
        Format::Iso => iso::medium(kernel, loaders, command_line)?,
        _ => disk::medium(kernel, loaders, command_line)?,
    };
    match format {
        Format::Iso | Format::Raw => medium.write_raw(out)?,
        Format::Qcow2 => qcow2::write(&mut medium, out)?,
        Format::Vmdk => {
            let name = format!("{}.vmdk", appliance.name);
            vmdk::write_sparse(&mut medium, &name, &identity, out)?;
        }
        Format::Vhd => vhd::write(&mut medium, identity.guid("vhd"), out)?,
        Format::Vdi => vdi::write(&mut medium, &identity, out)?,
        Format::Ova => ova::write(&mut medium, appliance, &identity, out)?,
    }
    out.flush()?;
    Ok(())
}

/// Writes an image to a file that appears only when it is complete.
pub fn write_file<R: Read + Seek>(
    path: &Path,
    format: Format,
    kernel: Kernel<R>,
    options: &Options<'_>,
) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    write(format, kernel, options, &mut file)?;
    file.commit()?;
    Ok(())
}
