// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that tests write for whoever runs them: profiles, a trace, the coverage. They leave the
//! guest on a volume, which is read here when its machine has ended.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bhojpur_monitor::Volume as Disk;
use bhojpur_volume::{Access, CreateOptions, ErrorKind, Volume};

use crate::Failure;

/// Where the tests write them.
pub(super) const DIRECTORY: &str = "/kernel-test";
/// What they can be together, in bytes. The volume takes only as much of this disk as they are.
const ROOM: u64 = 4 << 30;
/// Nobody asks for the volume by its UUID.
const UUID: [u8; 16] = [0; 16];
/// The first line of a coverage profile begins so.
const MODE: &[u8] = b"mode: ";

/// The files that flags ask for.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Where relative names begin, if not here.
    pub(super) directory: Option<PathBuf>,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    /// The flag that asks for it, which is its name in the guest.
    flag: String,
    path: PathBuf,
    /// Whether those of all packages become one.
    merged: bool,
}

impl Files {
    /// One more; the last flag of a name counts.
    pub(super) fn add(&mut self, flag: &str, path: PathBuf, merged: bool) {
        self.wanted.retain(|wanted| wanted.flag != flag);
        self.wanted.push(Wanted { flag: flag.to_owned(), path, merged });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The flag of a file that only one package can write.
    pub(super) fn of_one_package(&self) -> Option<&str> {
        self.wanted.iter().find(|wanted| !wanted.merged).map(|wanted| &*wanted.flag)
    }

    /// Whether the test program is kept, as `go test` keeps it: it has the names of functions,
    /// which a profile is read with. Traces and coverage have their own.
    pub(super) fn want_program(&self) -> bool {
        self.wanted.iter().any(|wanted| wanted.flag.ends_with("profile") && !wanted.merged)
    }

    fn place(&self, wanted: &Wanted) -> PathBuf {
        self.directory.as_deref().unwrap_or(Path::new("")).join(&wanted.path)
    }

    /// Begins what all packages add to, so that it is there even when none does.
    pub(super) fn begin(&self, mode: &str) -> Result<(), Failure> {
        for wanted in self.wanted.iter().filter(|wanted| wanted.merged) {
            let path = self.place(wanted);
            fs::write(&path, format!("mode: {mode}\n")).map_err(|error| unwritten(&path, error))?;
        }
        Ok(())
    }

    /// A volume for the machine of one package, if it needs one.
    pub(super) fn outbox(&self) -> Result<Option<Outbox<'_>>, Failure> {
        if self.is_empty() {
            return Ok(None);
        }
        let failed = |why: &dyn Display| {
            Failure::new(format!("cannot make a place for the files of the tests: {why}"))
        };
        let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
        let path = directory.path().join("outbox");
        let options = CreateOptions::new(ROOM, UUID);
        Volume::create_filled(&path, &options, |_| Ok(())).map_err(|error| failed(&error))?;
        Ok(Some(Outbox { files: self, path, _directory: directory }))
    }
}

/// The volume of one machine.
#[derive(Debug)]
pub(super) struct Outbox<'a> {
    files: &'a Files,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Outbox<'_> {
    /// The same for the machine.
    pub(super) fn disk(&self) -> Disk {
        let target = DIRECTORY.to_owned();
        Disk { path: self.path.clone(), target, read_only: false, serial: None }
    }

    /// Brings out what the tests have written. Tests that ended early may not have written all.
    pub(super) fn empty(self) -> Result<(), Failure> {
        let unread = |error| Failure::new(format!("cannot read what the tests wrote: {error}"));
        let mut volume = Volume::open(&self.path, Access::Read).map_err(unread)?;
        for wanted in &self.files.wanted {
            let path = self.files.place(wanted);
            let source = format!("/{}", wanted.flag);
            match volume.stat(&source) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found.map_err(unread)?,
            };
            if wanted.merged {
                let mut profile = Vec::new();
                volume.read_file(&source, &mut profile).map_err(unread)?;
                let written = File::options().append(true).open(&path);
                let written = written.and_then(|mut file| file.write_all(without_mode(&profile)));
                written.map_err(|error| unwritten(&path, error))?;
            } else {
                let file = File::create(&path).map_err(|error| unwritten(&path, error))?;
                volume.read_file(&source, file).map_err(unread)?;
            }
        }
        Ok(())
    }
}

/// The lines of a coverage profile without the first, which the file for all has already.
fn without_mode(profile: &[u8]) -> &[u8] {
    let end = profile.iter().position(|byte| *byte == b'\n').map_or(profile.len(), |at| at + 1);
    if profile.starts_with(MODE) { &profile[end..] } else { profile }
}

/// Why a file of the tests is not there.
pub(super) fn unwritten(path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_of_packages_becomes_one() {
        assert_eq!(without_mode(b"mode: set\na.go:1.2,3.4 1 1\n"), b"a.go:1.2,3.4 1 1\n");
        assert_eq!(without_mode(b"mode: set"), b"");
        assert_eq!(without_mode(b"a.go:1.2,3.4 1 1\n"), b"a.go:1.2,3.4 1 1\n");
    }

    #[test]
    fn the_last_flag_of_a_name_counts() {
        let mut files = Files { directory: Some("out".into()), ..Files::default() };
        files.add("trace", "a".into(), false);
        files.add("trace", "b".into(), false);
        assert_eq!(files.wanted.len(), 1);
        assert_eq!(files.place(&files.wanted[0]), Path::new("out/b"));
        assert!(!files.want_program());
        files.add("cpuprofile", "/c".into(), false);
        assert!(files.want_program());
        assert_eq!(files.place(&files.wanted[1]), Path::new("/c"));
    }
}
