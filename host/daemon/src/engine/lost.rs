// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the database does not know, and somebody may miss.
//!
//! An operation has its row before it has a directory, and loses the directory before the row. So
//! a directory without a row is not left over by one that was cut short: the database was lost, or
//! an older one took its place. Such directories are moved to `lost/`, never removed, and come back
//! when a database knows them again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use bhojpur_volume as ext4;

use crate::home::{self, Home};
use crate::{Error, Result};

/// One directory for each thing of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Images,
    Volumes,
    Snapshots,
}

impl Kept {
    fn place(self, home: &Home) -> PathBuf {
        match self {
            Self::Images => home.images(),
            Self::Volumes => home.volumes(),
            Self::Snapshots => home.snapshots(),
        }
    }

    fn lost(self, home: &Home) -> PathBuf {
        home.lost().join(match self {
            Self::Images => "images",
            Self::Volumes => "volumes",
            Self::Snapshots => "snapshots",
        })
    }

    /// What a person does with it, when no database that knows it comes back.
    fn advice(self, lost: &Path) -> String {
        match self {
            Self::Images => {
                let file = lost.join("kernel.elf");
                format!("to have it as an image: kernctl import {} NAME", file.display())
            }
            Self::Volumes => {
                let disk = lost.join("disk.raw");
                let label = ext4::check(&disk).map(|found| found.label).unwrap_or_default();
                format!(
                    "to have it as a volume (its name began with {label:?}): \
                     kernctl volume create NAME --from {} --raw",
                    disk.display()
                )
            }
            Self::Snapshots => {
                "it can be used with the state.db that knows its instance".to_owned()
            }
        }
    }

    /// Brings back from `lost/` what the database wants and has no directory.
    pub(super) fn bring_back(self, home: &Home, wanted: &BTreeSet<String>) {
        for id in wanted {
            let (lost, place) = (self.lost(home).join(id), self.place(home).join(id));
            if place.exists() || !lost.is_dir() {
                continue;
            }
            match home::settle(&lost, &place) {
                Ok(()) => tracing::warn!(path = %place.display(), "it was lost and is back"),
                Err(error) => tracing::error!(path = %lost.display(), %error, "stays lost"),
            }
        }
    }

    /// Moves what the database does not know to `lost/`. What cannot be moved stays.
    pub(super) fn put_aside(self, home: &Home, known: &BTreeSet<String>) {
        for entry in fs::read_dir(self.place(home)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| known.contains(name)) {
                continue;
            }
            match move_away(&entry.path(), &self.lost(home), &name) {
                Ok(to) => tracing::error!(
                    from = %entry.path().display(),
                    to = %to.display(),
                    advice = self.advice(&to),
                    "state.db does not know this, so it was put aside; it comes back by itself \
                     with a state.db that does; remove it if nobody needs it"
                ),
                Err(error) => tracing::error!(
                    path = %entry.path().display(), %error,
                    "state.db does not know this, and it cannot be put aside"
                ),
            }
        }
    }
}

/// Moves `from` into a directory, beside what has its name there already.
fn move_away(from: &Path, directory: &Path, name: &OsStr) -> Result<PathBuf> {
    home::make(directory)?;
    let numbered = |number: u32| {
        let mut name = name.to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        directory.join(name)
    };
    let mut names = (0..=u32::from(u16::MAX)).map(numbered);
    let to = names.find(|to| fs::symlink_metadata(to).is_err()).ok_or_else(|| {
        Error::conflict(format!("{} is full of things of one name", directory.display()))
            .advise("remove what nobody needs there")
    })?;
    home::settle(from, &to)?;
    Ok(to)
}
