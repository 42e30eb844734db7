// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What kind of image a file is, and what a kernel image says of itself.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bhojpur_abi::config::OwnedConfig;
use bhojpur_abi::elf;
use bhojpur_formats::image::{self, KernelFile};
use bhojpur_formats::whole;
use bhojpur_monitor::{Boot, Size};

/// What a program gets beyond the least that its image needs.
const USUAL_BESIDE: u64 = 128 << 20;

/// Why a file cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An output that is no image, and would be lost.
    #[error("{} is not replaced: it is neither an ELF, an ISO nor a disk image", .0.display())]
    Precious(PathBuf),
    /// Its kind is not known.
    #[error("{} is neither an ELF, an ISO nor a disk image", .0.display())]
    Unknown(PathBuf),
    /// An ELF that is damaged, for another machine, or no image of ours.
    #[error("{} cannot be booted: {reason}", path.display())]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: image::Error,
    },
    /// A bare kernel.
    #[error("{} is a bare kernel: there is no program in it", .0.display())]
    Bare(PathBuf),
    /// An appliance is a bundle of a disk and a description.
    #[error("{} is an appliance, which a virtual machine manager imports", .0.display())]
    Appliance(PathBuf),
    /// Its end is missing.
    #[error(
        "{} was cut short: it has {length} bytes, and by its own headers it needs {least}",
        path.display()
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// What it has.
        length: u64,
        /// What it should have at least.
        least: u64,
    },
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Kernel { reason: image::Error::NotKernel, .. } | Self::Bare(_) => {
                "make an image from the program's sources: kernel build -o kernel.elf DIR"
                    .to_owned()
            }
            Self::Kernel { reason: image::Error::Elf(elf::Error::Machine(_)), .. } => {
                "images run on x86-64; build one with: kernel build -o kernel.elf DIR".to_owned()
            }
            Self::Cut { .. } => {
                "copy it again from where it is whole, or pack it again: kernel pack".to_owned()
            }
            Self::Kernel { .. } => "the file was cut short or changed; build it again".to_owned(),
            Self::Unknown(_) => {
                "give the file that `kernel build` or `kernel pack` made".to_owned()
            }
            Self::Appliance(_) => {
                "import it, or pack another format: kernel pack -o app.qcow2".to_owned()
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "make it first: kernel build -o kernel.elf".to_owned()
            }
            Self::Precious(_) => {
                "give another name with -o, or remove the file first if nobody needs it".to_owned()
            }
            Self::Read { .. } => return None,
        })
    }
}

/// A file that can be booted.
#[derive(Debug)]
pub struct Image {
    /// How it is booted.
    pub boot: Boot,
    /// The configuration inside; only ELF images can be looked into.
    pub configuration: Option<OwnedConfig>,
    /// Without this much memory it does not start.
    pub least_memory: Size,
    /// What it gets when the user says nothing.
    pub usual_memory: Size,
}

/// Finds out what a file is and whether it is whole.
pub fn open(path: &Path) -> Result<Image, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(io::ErrorKind::IsADirectory.into()));
    }
    let boot = match kind(path, &mut file).map_err(read)? {
        Kind::Elf => return kernel(path),
        Kind::Firmware(boot) => boot,
        Kind::Appliance => return Err(Error::Appliance(path.to_owned())),
        Kind::Unknown => return Err(Error::Unknown(path.to_owned())),
    };
    let length = check_whole(path, &boot, &mut file)?;
    // Firmware and loader hold their own copies while they work.
    let least = Size(length.min(1 << 30) + (64 << 20));
    Ok(Image {
        boot,
        configuration: None,
        least_memory: least,
        usual_memory: Size(least.0 + USUAL_BESIDE),
    })
}

/// Whether a file is what `kernel build` or `kernel pack` makes.
pub fn is_ours(path: &Path) -> io::Result<bool> {
    // Opening a pipe would wait for its other end.
    if !path.metadata()?.is_file() {
        return Ok(false);
    }
    Ok(match kind(path, &mut File::open(path)?)? {
        Kind::Elf => KernelFile::open(path).is_ok_and(|file| file.config().is_some()),
        Kind::Firmware(_) | Kind::Appliance => true,
        Kind::Unknown => false,
    })
}

/// Refuses to write an image over a file that may be somebody's work: by a slip, the output is
/// easily a source file. What is not there, empty, a program or an image may be replaced.
pub fn check_replaceable(path: &Path) -> Result<(), Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(read(error)),
    };
    let empty = file.metadata().map_err(read)?.len() == 0;
    if empty || !matches!(kind(path, &mut file).map_err(read)?, Kind::Unknown) {
        return Ok(());
    }
    Err(Error::Precious(path.to_owned()))
}

/// What the first bytes of a file say.
enum Kind {
    Elf,
    Firmware(Boot),
    Appliance,
    Unknown,
}

fn kind(path: &Path, file: &mut File) -> io::Result<Kind> {
    let mut head = Vec::new();
    file.by_ref().take(0x8800).read_to_end(&mut head)?;
    if head.starts_with(b"\x7fELF") {
        return Ok(Kind::Elf);
    }
    Ok(match firmware_boot(path, &head, file)? {
        Some(boot) => Kind::Firmware(boot),
        None if head.get(257..262) == Some(b"ustar") => Kind::Appliance,
        None => Kind::Unknown,
    })
}

/// The kinds of images that a PC's firmware boots.
fn firmware_boot(path: &Path, head: &[u8], file: &mut File) -> io::Result<Option<Boot>> {
    let disk = |format| Some(Boot::Disk(path.to_owned(), format));
    if head.get(0x8001..0x8006) == Some(b"CD001") {
        return Ok(Some(Boot::CdRom(path.to_owned())));
    }
    if head.starts_with(b"QFI\xfb") {
        return Ok(disk("qcow2"));
    }
    if head.starts_with(b"KDMV") {
        return Ok(disk("vmdk"));
    }
    if head.get(64..68) == Some(&0xbeda_107f_u32.to_le_bytes()) {
        return Ok(disk("vdi"));
    }
    if file.metadata()?.len() >= 512 {
        let mut footer = [0; 8];
        file.seek(SeekFrom::End(-512))?;
        file.read_exact(&mut footer)?;
        if &footer == b"conectix" {
            return Ok(disk("vpc"));
        }
    }
    Ok((head.get(510..512) == Some(&[0x55, 0xaa])).then_some(disk("raw")).flatten())
}

/// Gives the length of an image with no end missing. A machine would start from another one, and
/// its firmware or loader would find out in its own words, at best.
fn check_whole(path: &Path, boot: &Boot, file: &mut File) -> Result<u64, Error> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    let kind = match boot {
        Boot::CdRom(_) => whole::Kind::Iso,
        Boot::Disk(_, "qcow2") => whole::Kind::Qcow2,
        Boot::Disk(_, "vmdk") => whole::Kind::Vmdk,
        Boot::Disk(_, "vdi") => whole::Kind::Vdi,
        // A fixed VHD is the disk itself; without its footer it is taken for one anyway.
        Boot::Disk(..) | Boot::Kernel(_) => whole::Kind::Raw,
    };
    let length = file.seek(SeekFrom::End(0)).map_err(read)?;
    let least = whole::least_length(kind, file).map_err(read)?;
    if length < least {
        return Err(Error::Cut { path: path.to_owned(), length, least });
    }
    Ok(length)
}

/// Looks into an ELF image.
fn kernel(path: &Path) -> Result<Image, Error> {
    let refused = |reason| Error::Kernel { path: path.to_owned(), reason };
    let file = KernelFile::open(path).map_err(refused)?;
    let summary = file.summary().map_err(refused)?;
    let configuration = file.config().ok_or_else(|| Error::Bare(path.to_owned()))?;
    let least = summary.memory_needed;
    Ok(Image {
        boot: Boot::Kernel(path.to_owned()),
        configuration: Some(configuration.clone()),
        least_memory: Size::mebibytes(Size(least).as_mebibytes()),
        usual_memory: Size::mebibytes(Size(least + USUAL_BESIDE).as_mebibytes()),
    })
}
