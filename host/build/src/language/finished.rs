// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs that are built already: any Linux executable for x86-64.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::{Error, Language, Program, Source, file_name};
use crate::system::Needs;

/// A finished executable.
#[derive(Debug)]
pub(super) struct Finished;

/// Whether a file is an ELF.
pub(super) fn is_executable(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && &magic == b"\x7fELF"
}

impl Language for Finished {
    fn name(&self) -> &'static str {
        "binary"
    }

    fn marker_files(&self) -> &'static [&'static str] {
        &[]
    }

    fn extensions(&self) -> &'static [&'static str] {
        &[]
    }

    fn build(&self, source: &Source<'_>) -> Result<Program, Error> {
        let path = source.path;
        if !path.is_file() {
            return Err(Error::NoProgram { directory: path.to_owned(), deeper: Vec::new() });
        }
        let executable = fs::canonicalize(path)
            .map_err(|error| Error::Unreadable { path: path.to_owned(), source: error })?;
        let name = file_name(path.file_name().unwrap_or_default());
        Ok(Program {
            executable,
            name,
            toolchain: "its own toolchain".to_owned(),
            needs: Needs::ALL,
        })
    }
}
