// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a program to the tree and the configuration of its image, and to the one ELF.

use std::io;
use std::path::{Path, PathBuf};

use bhojpur_abi::config::{OwnedConfig, OwnedMount};
use bhojpur_formats::erofs::{self, Attributes, Data, Plan, Tree};
use bhojpur_formats::image;

use crate::shared::{self, Trust};
use crate::system::{self, Missing, Needs};

/// The directory of the program in the guest.
pub const PROGRAM_DIRECTORY: &str = "/app";
/// What a login would set; programs rely on it.
const ENVIRONMENT: &[(&str, &str)] =
    &[("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root")];

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root image.
    #[error(transparent)]
    Tree(#[from] erofs::Error),
    /// A shared library.
    #[error(transparent)]
    Shared(#[from] shared::Error),
    /// The ELF.
    #[error("cannot make the image: {0}")]
    Image(#[from] image::Error),
    /// What is to be included or mounted is not there.
    #[error("{} is not there: {source}", path.display())]
    Host {
        /// What was named.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// A volume would lie over the program.
    #[error("a volume on {0} would hide the program, which lies in {PROGRAM_DIRECTORY}")]
    Hides(String),
    /// The output cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Shared(error) => error.advice(),
            Self::Write { source, .. } => write_advice(source).map(str::to_owned),
            Self::Hides(_) => {
                Some("mount it on a directory of its own, for example /data".to_owned())
            }
            Self::Host { .. } => {
                Some("--include and --mount take HOST:GUEST, and HOST has to exist".to_owned())
            }
            _ => None,
        }
    }
}

/// What to do when a file cannot be written.
#[must_use]
pub fn write_advice(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
            "make room on that disk, or choose another place with -o; nothing half-written was left there",
        ),
        io::ErrorKind::NotFound => {
            Some("make its directory first, or choose another place with -o")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("choose a place that you may write to with -o")
        }
        _ => None,
    }
}

/// Whether what is to be mounted is a volume, and not a directory of the host.
#[must_use]
pub fn is_volume(host: &str) -> bool {
    ["/dev/", "LABEL=", "UUID="].iter().any(|prefix| host.starts_with(prefix)) || host == "tmpfs"
}

/// Whether something can be mounted at a place of the guest: a volume there must leave the program
/// in sight.
pub fn check_mount(host: &str, guest: &str) -> Result<(), Error> {
    let place = shared::without_detours(&Path::new("/").join(guest));
    let hides = [Path::new("/"), Path::new(PROGRAM_DIRECTORY)].contains(&place.as_path());
    if hides && is_volume(host) { Err(Error::Hides(guest.to_owned())) } else { Ok(()) }
}

/// An image that is being put together.
#[derive(Debug)]
pub struct Assembly {
    /// The guest's files.
    pub tree: Tree,
    /// What the guest does.
    pub config: OwnedConfig,
    /// Large files that the host does not have.
    pub missing: Vec<Missing>,
    /// Shared libraries and the loader.
    pub libraries: Vec<PathBuf>,
    /// Seconds since 1970 that all files of the image bear. Those of the host's files are no part of
    /// it: the same sources give the same bytes, whenever they were fetched.
    pub time: u64,
    trust: Trust,
}

/// Sizes of a finished image, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The whole file.
    pub image: u64,
    /// The root image in it.
    pub root: u64,
}

impl Assembly {
    /// An image that runs `executable` under the name `name`. What it and included programs may
    /// name as their libraries is said by `trust`.
    pub fn new(executable: &Path, name: &str, needs: Needs, trust: Trust) -> Result<Self, Error> {
        let mut tree = Tree::new();
        let missing = system::populate(&mut tree, needs)?;
        let guest = format!("{PROGRAM_DIRECTORY}/{name}");
        let libraries = shared::collect(&mut tree, executable, Path::new(&guest), trust)?;
        tree.add_file(&guest, Data::host(executable)?, Attributes::EXECUTABLE)?;
        let mut config = OwnedConfig { args: vec![guest.into_bytes()], ..OwnedConfig::default() };
        for (variable, value) in ENVIRONMENT {
            config.set_env(variable, value);
        }
        Ok(Self { tree, config, missing, libraries, time: 0, trust })
    }

    /// Puts a file or directory of the host at a place in the guest; with a program that is
    /// named itself come its shared libraries.
    pub fn include(&mut self, host: &Path, guest: &str) -> Result<(), Error> {
        // The name that the user gives may be a link; links below it stay links.
        let host =
            host.canonicalize().map_err(|source| Error::Host { path: host.to_owned(), source })?;
        if shared::is_program(&host) {
            let libraries = shared::collect(&mut self.tree, &host, Path::new(guest), self.trust)?;
            self.libraries.extend(libraries);
        }
        Ok(self.tree.add_host(host, guest)?)
    }

    /// Mounts a volume when the guest starts. A directory of the host is included instead:
    /// the root of the guest can be written to, in memory.
    pub fn mount(&mut self, host: &str, guest: &str) -> Result<(), Error> {
        if !is_volume(host) {
            return self.include(Path::new(host), guest);
        }
        check_mount(host, guest)?;
        self.tree.add_directory(guest, Attributes::DIRECTORY)?;
        self.config.mounts.push(OwnedMount {
            kind: if host == "tmpfs" { "tmpfs" } else { "auto" }.to_owned(),
            source: host.as_bytes().to_vec(),
            target: guest.as_bytes().to_vec(),
            read_only: false,
        });
        Ok(())
    }

    /// Writes the image; it appears only when it is complete.
    pub fn write(&self, kernel: &[u8], path: &Path) -> Result<Sizes, Error> {
        let options = erofs::Options { time: self.time, ..erofs::Options::default() };
        let plan = Plan::new(&self.tree, &options)?;
        let assembly = image::Assembly::new(kernel, &self.config, image::Root::Tree(&plan))?;
        let layout = assembly.write_file(path).map_err(|error| match error {
            image::Error::Write { path, source } => Error::Write { path, source },
            error => Error::Image(error),
        })?;
        Ok(Sizes { image: layout.file_size, root: plan.size() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_leave_the_program_in_sight() {
        for guest in ["/", "//", "/app", "/app/", "//app/.", "/data/../app", "/.."] {
            for host in ["tmpfs", "/dev/vdb", "LABEL=x", "UUID=x"] {
                assert!(matches!(check_mount(host, guest), Err(Error::Hides(_))), "{host}:{guest}");
            }
            check_mount("./directory", guest).unwrap();
        }
        for guest in ["/data", "/app/data", "/application", "/srv/app"] {
            check_mount("tmpfs", guest).unwrap();
        }
    }
}
