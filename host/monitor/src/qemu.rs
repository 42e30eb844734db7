// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finding QEMU on this machine.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

/// The variable that names another QEMU.
const OVERRIDE: &str = "KERNEL_QEMU";
const PROGRAM: &str = "qemu-system-x86_64";

/// A QEMU that can be started.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The program.
    pub path: PathBuf,
}

/// Why there is no QEMU to run the image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nowhere in `PATH`.
    #[error("{PROGRAM} is not installed: it is nowhere in PATH")]
    Missing,
    /// The variable leads nowhere.
    #[error("{OVERRIDE} names {path}, which cannot be run: {source}", path = path.display())]
    Override {
        /// What it names.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Missing => {
                "install it: `sudo apt-get install qemu-system-x86` (Debian, Ubuntu), \
                 `sudo dnf install qemu-system-x86` (Fedora), `brew install qemu` (macOS)"
                    .to_owned()
            }
            Self::Override { .. } => format!("unset {OVERRIDE} to use the {PROGRAM} of PATH"),
        })
    }
}

impl Qemu {
    /// The QEMU of `KERNEL_QEMU`, else the first of `PATH`.
    pub fn locate() -> Result<Self, Error> {
        if let Some(path) = env::var_os(OVERRIDE).map(PathBuf::from) {
            return match path.metadata() {
                Ok(_) => Ok(Self { path }),
                Err(source) => Err(Error::Override { path, source }),
            };
        }
        env::var_os("PATH")
            .as_deref()
            .map(env::split_paths)
            .into_iter()
            .flatten()
            .map(|directory| directory.join(PROGRAM))
            .find(|path| is_executable(path))
            .map(|path| Self { path })
            .ok_or(Error::Missing)
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
