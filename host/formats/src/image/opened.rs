// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An existing kernel: what is in it, and another configuration for it.

use super::assemble::{Assembly, Layout, Root};
use super::kernel::Kernel;
use super::memory::least_memory;
use super::source::Source;
use super::{Error, Symbols};
use bhojpur_abi::config::{Config, OwnedConfig};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What `inspect` shows of a kernel; ranges are physical addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of the file.
    pub file_size: u64,
    /// Where the kernel is entered.
    pub entry: u64,
    /// The kernel, its zeroed memory included.
    pub kernel: Range<u64>,
    /// The configuration record; empty for a bare kernel.
    pub config: Range<u64>,
    /// The root image; empty when there is none.
    pub root: Range<u64>,
    /// Whether it has the note that PVH loaders look for.
    pub pvh: bool,
    /// Number of functions with names.
    pub symbols: usize,
    /// Bytes of memory that a machine needs for it.
    pub memory_needed: u64,
}

/// A kernel in a file. Of the root image nothing is read before it is asked
/// for.
#[derive(Debug)]
pub struct KernelFile {
    path: PathBuf,
    file: File,
    kernel: Kernel,
    config: Option<OwnedConfig>,
}

impl KernelFile {
    /// Opens and checks a kernel, bare or assembled.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let named = |error| match error {
            Error::Io(source) => Error::Read { path: path.clone(), source },
            other => other,
        };
        let file = File::open(&path).map_err(|e| named(e.into()))?;
        let kernel = Kernel::read(&file).map_err(named)?;
        let config = match &kernel.payload {
            Some(payload) => {
                let place = payload.in_file(&payload.descriptor.config);
                let record = file.read(place).map_err(named)?;
                Some(OwnedConfig::from(&Config::parse(&record)?))
            }
            None => None,
        };
        Ok(Self { path, file, kernel, config })
    }

    /// The configuration; `None` for a bare kernel.
    pub fn config(&self) -> Option<&OwnedConfig> {
        self.config.as_ref()
    }

    /// What is in the kernel.
    pub fn summary(&self) -> Result<Summary, Error> {
        let kernel = self.kernel.physical_range();
        let descriptor = self.kernel.payload.as_ref().map(|p| p.descriptor.clone());
        let (config, root) = descriptor.map_or((0..0, 0..0), |d| (d.config, d.root));
        let end = kernel.end.max(config.end).max(root.end);
        let stated = self.config.as_ref().and_then(|c| c.memory_minimum);
        Ok(Summary {
            file_size: Source::len(&self.file)?,
            entry: self.kernel.header.entry,
            kernel,
            config,
            root,
            pvh: self.kernel.has_note(),
            symbols: self.kernel.symbols.len(),
            memory_needed: stated.unwrap_or_else(|| least_memory(end, 0)),
        })
    }

    /// Where the root image lies in the file; `None` when there is none.
    pub fn root_place(&self) -> Option<Range<u64>> {
        let payload = self.kernel.payload.as_ref()?;
        Some(payload.in_file(&payload.descriptor.root)).filter(|r| !r.is_empty())
    }

    /// Reads the root image, for [`Image::open`](bhojpur_abi::erofs::Image::open).
    pub fn read_root(&self) -> Result<Option<Vec<u8>>, Error> {
        self.root_place().map(|place| self.file.read(place)).transpose()
    }

    /// Writes the same kernel and root image with another configuration to
    /// `path`, which may be that of this file.
    pub fn write_with_config(&self, config: &OwnedConfig, path: &Path) -> Result<Layout, Error> {
        if self.kernel.payload.is_none() {
            return Err(Error::Bare);
        }
        let root = match self.root_place() {
            Some(place) => Root::File(&self.file, place.start, place.end - place.start),
            None => Root::None,
        };
        let symbols =
            if self.kernel.symbols.is_empty() { Symbols::None } else { Symbols::Functions };
        Assembly::of(self.kernel.clone(), config, root)?.symbols(symbols).write_file(path)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
