// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The loader and the shared libraries of a dynamic program, found by the rules of ld.so(8).
//!
//! A program names its loader and, if it likes, its libraries by paths of the host. Whose files
//! these may be is said by [`Trust`], before any of them is looked at.
//!
//! In the guest they lie where they lie here, but the program itself does not: what it finds by
//! `$ORIGIN`, its own directory, moves with it, and so does what such a library finds in turn.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use bhojpur_abi::elf::{EM_X86_64, File};
use bhojpur_formats::erofs::{self, Attributes, Data, Tree};

/// Directories that every glibc loader searches without being told.
const TRUSTED: &[&str] = &[
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// Directories whose libraries may get into an image of somebody else's program.
const LIBRARIES: &[&str] = &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"];

/// Which files of the host a program may name as its loader and libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// All: whoever has the program could read them anyway.
    Owner,
    /// Libraries in directories of libraries: the program came from somebody who may not read
    /// whatever the host has.
    Stranger,
}

/// Why the libraries of a program could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a program for x86-64, or a damaged one.
    #[error("{} cannot be used: {reason}", path.display())]
    NotProgram {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: bhojpur_abi::elf::Error,
    },
    /// A shared library: loaded, there would be nothing to run.
    #[error("{} cannot be used: a shared library, not a program", .0.display())]
    Library(PathBuf),
    /// A library that is nowhere.
    #[error("the shared library {library} is missing: {} needs it", needed_by.display())]
    MissingLibrary {
        /// Its name.
        library: String,
        /// Who wants it.
        needed_by: PathBuf,
        /// Where was looked.
        searched: Vec<PathBuf>,
    },
    /// The loader is not there.
    #[error("the loader {} is missing: {} needs it", loader.display(), program.display())]
    MissingLoader {
        /// Its path.
        loader: PathBuf,
        /// Who wants it.
        program: PathBuf,
    },
    /// A stranger's program names a file that is no library, or none of the system.
    #[error(
        "{} wants {}, which is no library of this machine", program.display(), file.display()
    )]
    NoLibrary {
        /// What it names.
        file: PathBuf,
        /// Who wants it.
        program: PathBuf,
    },
    /// The tree refuses a file.
    #[error(transparent)]
    Tree(#[from] erofs::Error),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::MissingLibrary { library, searched, .. } => {
                let searched: Vec<_> =
                    searched.iter().map(|path| path.display().to_string()).collect();
                Some(format!(
                    "install the package that holds {library}, or set LD_LIBRARY_PATH; searched {}",
                    searched.join(", ")
                ))
            }
            Self::MissingLoader { .. } => Some(
                "install the C library of that program, or build it static (CGO_ENABLED=0)"
                    .to_owned(),
            ),
            Self::NoLibrary { .. } => Some("build it static (CGO_ENABLED=0)".to_owned()),
            Self::NotProgram { reason: bhojpur_abi::elf::Error::Machine(_), .. } => {
                Some("build it for linux/amd64".to_owned())
            }
            _ => None,
        }
    }
}

/// What the dynamic section of a file says.
#[derive(Debug, Default)]
struct Dynamic {
    entry: u64,
    interpreter: Option<PathBuf>,
    needed: Vec<String>,
    search: Vec<Place>,
}

/// A file or directory here, and where its like is looked for in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: PathBuf,
    guest: PathBuf,
}

impl Place {
    /// The same path in both.
    fn same(path: PathBuf) -> Self {
        Self { host: path.clone(), guest: path }
    }

    fn join(&self, name: &str) -> Self {
        Self { host: self.host.join(name), guest: self.guest.join(name) }
    }
}

/// Whether a file is a program that a loader starts.
#[must_use]
pub fn is_program(path: &Path) -> bool {
    path.is_file()
        && is_x86_64(path)
        && read(&Place::same(path.to_owned())).is_ok_and(|dynamic| dynamic.interpreter.is_some())
}

/// Puts the loader and all libraries of `program`, which is to be `guest`, into the tree; gives
/// their paths in the guest.
///
/// A static program has none.
pub fn collect(
    tree: &mut Tree,
    program: &Path,
    guest: &Path,
    trust: Trust,
) -> Result<Vec<PathBuf>, Error> {
    let root = read(&Place { host: program.to_owned(), guest: guest.to_owned() })?;
    let Some(loader) = root.interpreter.clone() else {
        // Linkers give a library no place to start at.
        return if root.entry == 0 {
            Err(Error::Library(program.to_owned()))
        } else {
            Ok(Vec::new())
        };
    };
    trust.check(&loader, program)?;
    if !loader.is_file() {
        return Err(Error::MissingLoader { loader, program: program.to_owned() });
    }
    copy(tree, &loader, &loader)?;
    let mut found = vec![loader];
    let configured = Search::of_host();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut pending = vec![(program.to_owned(), root)];
    while let Some((file, dynamic)) = pending.pop() {
        for library in &dynamic.needed {
            if !seen.insert(library.clone()) || found.iter().any(|path| path.ends_with(library)) {
                continue;
            }
            let place =
                configured.find(library, &dynamic.search).ok_or_else(|| Error::MissingLibrary {
                    library: library.clone(),
                    needed_by: file.clone(),
                    searched: configured.order(&dynamic.search).map(|place| place.host).collect(),
                })?;
            trust.check(&place.host, &file)?;
            copy(tree, &place.host, &place.guest)?;
            if !dynamic
                .search
                .iter()
                .map(|directory| &directory.guest)
                .chain(configured.trusted.iter())
                .any(|directory| place.guest.starts_with(directory))
            {
                // The guest has no ld.so.cache: a trusted directory has to lead there.
                copy(tree, &place.host, &Path::new("/usr/lib").join(library))?;
            }
            pending.push((place.host.clone(), read(&place)?));
            found.push(place.guest);
        }
    }
    Ok(found)
}

impl Trust {
    /// Refuses a file that `program` may not name.
    fn check(self, file: &Path, program: &Path) -> Result<(), Error> {
        if self == Self::Owner || is_library(file) {
            return Ok(());
        }
        Err(Error::NoLibrary { file: file.to_owned(), program: program.to_owned() })
    }
}

/// Whether a file lies where libraries do, links and all, and is an ELF.
fn is_library(file: &Path) -> bool {
    let Ok(real) = file.canonicalize() else { return false };
    let trusted = |directory: &&str| {
        let directory = Path::new(directory);
        let place = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        real.starts_with(place)
    };
    LIBRARIES.iter().any(trusted) && is_x86_64(&real)
}

fn copy(tree: &mut Tree, host: &Path, guest: &Path) -> Result<(), Error> {
    let from =
        fs::canonicalize(host).map_err(|source| Error::Read { path: host.to_owned(), source })?;
    Ok(tree.add_file(guest.as_os_str().as_bytes(), Data::host(from)?, Attributes::EXECUTABLE)?)
}

/// Where libraries are looked for, beside what a file itself says.
#[derive(Debug)]
struct Search {
    environment: Vec<PathBuf>,
    configured: Vec<PathBuf>,
    trusted: Vec<PathBuf>,
}

impl Search {
    fn of_host() -> Self {
        let environment = std::env::var_os("LD_LIBRARY_PATH");
        Self {
            environment: environment
                .as_deref()
                .map(|list| std::env::split_paths(list).collect())
                .unwrap_or_default(),
            configured: configured(Path::new("/etc/ld.so.conf"), 0),
            trusted: TRUSTED.iter().map(PathBuf::from).collect(),
        }
    }

    fn order<'a>(&'a self, own: &'a [Place]) -> impl Iterator<Item = Place> {
        // A trusted directory comes first where it holds the library, since only these work in
        // the guest without help; the host's configuration may list the same ones.
        let others = self.environment.iter().chain(&self.trusted).chain(&self.configured);
        own.iter().cloned().chain(others.cloned().map(Place::same))
    }

    fn find(&self, library: &str, own: &[Place]) -> Option<Place> {
        if library.contains('/') {
            return Some(PathBuf::from(library)).filter(|path| path.is_file()).map(Place::same);
        }
        self.order(own)
            .map(|directory| directory.join(library))
            .find(|place| is_x86_64(&place.host))
    }
}

/// The directories of ld.so.conf and of the files that it includes.
fn configured(path: &Path, depth: u32) -> Vec<PathBuf> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    let mut directories = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(pattern) = line.strip_prefix("include ") {
            // The pattern is always DIRECTORY/*.conf in practice.
            let directory = Path::new(pattern.trim()).parent().unwrap_or(Path::new("/"));
            let mut files: Vec<PathBuf> = fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .collect();
            files.sort();
            if depth < 4 {
                let conf = files
                    .iter()
                    .filter(|file| file.extension().is_some_and(|extension| extension == "conf"));
                directories.extend(conf.flat_map(|file| configured(file, depth + 1)));
            }
        } else if line.starts_with('/') {
            directories.push(PathBuf::from(line));
        }
    }
    directories
}

fn is_x86_64(path: &Path) -> bool {
    let mut header = [0; 20];
    let read =
        fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut header));
    read.is_ok()
        && header.starts_with(b"\x7fELF\x02\x01")
        && header[18..20] == EM_X86_64.to_le_bytes()
}

fn read(place: &Place) -> Result<Dynamic, Error> {
    let bytes =
        fs::read(&place.host).map_err(|source| Error::Read { path: place.host.clone(), source })?;
    parse(place, &bytes)
}

/// Checks that the bytes are a Linux program for x86-64 and reads what it is linked with.
fn parse(place: &Place, bytes: &[u8]) -> Result<Dynamic, Error> {
    let file = File::parse(bytes)
        .map_err(|reason| Error::NotProgram { path: place.host.clone(), reason })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let search = file.runpath().or(file.rpath()).map(text).unwrap_or_default();
    let search = search.split(':').filter(|part| !part.is_empty()).map(|part| Place {
        host: expanded(part, &place.host),
        guest: without_detours(&expanded(part, &place.guest)),
    });
    Ok(Dynamic {
        entry: file.header().entry,
        interpreter: file.interpreter().map(|path| PathBuf::from(text(path))),
        needed: file.needed().map(text).collect(),
        search: search.collect(),
    })
}

/// A directory of the search path of `file`.
fn expanded(part: &str, file: &Path) -> PathBuf {
    let origin = file.parent().unwrap_or(Path::new("/")).to_string_lossy();
    part.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin).into()
}

/// The path without `..` and `.`. In the guest, no directory on the way is a link: there are only those
/// that hold what was put there.
pub(crate) fn without_detours(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_brings_its_loader_and_libc() {
        // Test programs of Rust are dynamic where glibc is.
        let program = std::env::current_exe().unwrap();
        let mut tree = Tree::default();
        let found = collect(&mut tree, &program, Path::new("/app/x"), Trust::Stranger).unwrap();
        if !found.is_empty() {
            assert!(found.iter().any(|path| path.ends_with("libc.so.6")), "{found:?}");
            assert!(found.iter().all(|path| tree.contains(path.as_os_str().as_bytes())));
        }
    }

    #[test]
    fn what_a_program_finds_beside_itself_moves_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let script = "mkdir lib && echo 'int g(void){return 1;}' >g.c && \
            echo 'int g(void); int f(void){return g();}' >f.c && \
            echo 'int f(void); int main(void){return f();}' >m.c && \
            gcc -shared -fPIC -o lib/libg.so g.c && \
            gcc -shared -fPIC -o lib/libf.so f.c -Llib -lg -Wl,-rpath,'$ORIGIN' && \
            gcc -o m m.c -Llib -lf -Wl,-rpath-link,lib -Wl,-rpath,'$ORIGIN/lib'";
        let mut shell = std::process::Command::new("sh");
        let made = shell.args(["-c", script]).current_dir(&directory).output().unwrap();
        if !made.status.success() {
            eprintln!("skipped: {}", String::from_utf8_lossy(&made.stderr));
            return;
        }
        let program = directory.path().join("m");
        let mut tree = Tree::default();
        let found = collect(&mut tree, &program, Path::new("/app/m"), Trust::Owner).unwrap();
        for path in ["/app/lib/libf.so", "/app/lib/libg.so"] {
            assert!(tree.contains(path.as_bytes()), "{path}: {found:?}");
        }
        let error = collect(&mut tree, &program, Path::new("/app/m"), Trust::Stranger).unwrap_err();
        assert!(matches!(error, Error::NoLibrary { .. }), "{error}");
    }

    #[test]
    fn detours_lead_where_they_lead() {
        for (path, plain) in [("/app/../lib", "/lib"), ("/app/../../a/./b", "/a/b"), ("/a", "/a")] {
            assert_eq!(without_detours(Path::new(path)), Path::new(plain));
        }
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let path = &Place::same("x".into());
        assert!(matches!(parse(path, b"#!/bin/sh\n"), Err(Error::NotProgram { .. })));
        assert!(matches!(parse(path, b"\x7fELF\x02\x01\x01"), Err(Error::NotProgram { .. })));
        let mut arm = vec![0; 64];
        arm[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (arm[6], arm[16], arm[18], arm[20]) = (1, 2, 183, 1);
        assert!(parse(path, &arm).unwrap_err().to_string().contains("aarch64"));
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(parse(path, &whole[..4096]).is_err());
    }

    #[test]
    fn a_library_is_no_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libx.so");
        let mut library = vec![0; 120];
        library[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (library[16], library[18], library[20]) = (3, 62, 1);
        (library[32], library[52], library[54], library[56]) = (64, 64, 56, 1);
        library[64] = 1;
        // It loads a page of zeroes.
        library[64 + 41] = 0x10;
        fs::write(&path, &library).unwrap();
        let error = collect(&mut Tree::default(), &path, &path, Trust::Owner).unwrap_err();
        assert!(matches!(error, Error::Library(_)), "{error}");
    }

    #[test]
    fn strangers_get_libraries_alone() {
        let check = |path: &str| Trust::Stranger.check(Path::new(path), Path::new("program"));
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("libx.so");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let copy = copy.to_str().unwrap();
        // No ELF, nothing at all, one that lies elsewhere, and that by a detour.
        let detour = format!("/usr/lib/../..{copy}");
        for bad in ["/etc/passwd", "/usr/lib/os-release", "/usr/lib/none.so", copy, &detour] {
            assert!(matches!(check(bad), Err(Error::NoLibrary { .. })), "{bad}");
        }
        Trust::Owner.check(Path::new(copy), Path::new("program")).unwrap();
        let loader = "/lib64/ld-linux-x86-64.so.2";
        if Path::new(loader).exists() {
            check(loader).unwrap();
        }
    }

    #[test]
    fn a_missing_library_is_named_with_the_place_to_look() {
        let error = Error::MissingLibrary {
            library: "libz.so.1".into(),
            needed_by: "/app".into(),
            searched: vec!["/lib".into()],
        };
        assert!(error.to_string().contains("libz.so.1"));
        assert!(error.advice().unwrap().contains("/lib"));
    }
}
