// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel.elf`: the bare kernel, a configuration record and a root image in
//! one bootable ELF.
//!
//! The kernel's own segments keep their places in the file, which matters to
//! GRUB (the Multiboot2 header lies in the first 32 KiB). Behind them comes
//! one more `PT_LOAD` with the record and, page aligned, the root image; it is
//! loaded right behind the kernel's end. The payload descriptor inside the
//! kernel tells the guest where both are. Debug information is left out; the
//! bare kernel itself is the file to debug with, for all addresses agree.

mod assemble;
mod kernel;
mod memory;
mod opened;
mod source;
#[cfg(test)]
mod tests;

pub use assemble::{Assembly, Layout, Root, write_debug_file};
pub use memory::{least_memory, program_memory};
pub use opened::{KernelFile, Summary};

use crate::erofs;
use bhojpur_abi::{config, elf, payload};
use std::io;
use std::path::PathBuf;

/// Distance from physical to virtual addresses of the kernel.
pub const KERNEL_OFFSET: u64 = 0xffff_ffff_8000_0000;

/// Whether the function names of the kernel stay in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Symbols {
    /// Names and addresses of functions, so that a panic can be read.
    #[default]
    Functions,
    /// None at all.
    None,
}

/// Why a kernel could not be assembled or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel is no ELF file that can be loaded.
    #[error("{0}")]
    Elf(#[from] elf::Error),
    /// It is an ELF file, but has no place for a payload.
    #[error("not a Bhojpur kernel: it has no payload descriptor")]
    NotKernel,
    /// More than one place looks like the descriptor.
    #[error("the kernel has more than one payload descriptor")]
    Ambiguous,
    /// The descriptor is for another version of the tools.
    #[error("the kernel does not fit these tools: {0}")]
    Descriptor(#[from] payload::Error),
    /// The descriptor and the segments contradict each other.
    #[error("the kernel is damaged: {0}")]
    Damaged(&'static str),
    /// A bare kernel where one with a program was needed.
    #[error("the kernel carries no program yet")]
    Bare,
    /// The configuration cannot be encoded, or the record in the file is bad.
    #[error("{0}")]
    Config(#[from] config::Error),
    /// The root image cannot be written.
    #[error("{0}")]
    Root(#[from] erofs::Error),
    /// The root image that was given is none.
    #[error("{0}")]
    RootImage(#[from] bhojpur_abi::erofs::Error),
    /// Kernel and payload do not fit below 2 GiB.
    #[error("kernel and root image need {0} bytes; 2 GiB are the most")]
    TooLarge(u64),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The result could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Reading or writing failed where no file name is known.
    #[error("{0}")]
    Io(#[from] io::Error),
}
