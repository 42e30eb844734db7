// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The languages whose programs can be built, and how one is recognised.
//!
//! To add a language, implement [`Language`] and put it into [`LANGUAGES`].

mod error;
mod finished;
mod go;
mod planned;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

pub use error::Error;
pub use go::{Go, Package};

use crate::system::Needs;
use crate::tools::Tools;

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The directory of the program, or one source file.
    pub path: &'a Path,
    /// More arguments for the language's own build command.
    pub flags: &'a [OsString],
    /// Where the finished program may be put.
    pub scratch: &'a Path,
    /// Whether debugging information stays in the program.
    pub debug: bool,
    /// How the language's tools are run.
    pub tools: &'a Tools,
}

/// A program for Linux on x86-64, and what it needs beside itself.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable on the host.
    pub executable: PathBuf,
    /// Its name: `argv[0]` and the file name in the guest.
    pub name: String,
    /// What built it, for the report to the user.
    pub toolchain: String,
    /// Which large files of the system it can use.
    pub needs: Needs,
}

/// A language: how to recognise it and how to build it.
pub trait Language: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Files at the root of a project that belong to this language.
    fn marker_files(&self) -> &'static [&'static str];

    /// The extension of its source files.
    fn extensions(&self) -> &'static [&'static str];

    /// Whether programs in it can be built today.
    fn is_ready(&self) -> bool {
        true
    }

    /// Builds the program with the toolchain of the host.
    fn build(&self, source: &Source<'_>) -> Result<Program, Error>;
}

/// All languages, in the order in which they are tried.
pub const LANGUAGES: &[&dyn Language] = &[
    &Go,
    &planned::RUST,
    &planned::NODE,
    &planned::PYTHON,
    &planned::JAVA,
    &planned::OCAML,
    &planned::CPP,
    &planned::C,
    &finished::Finished,
];

/// The language with this name.
pub fn by_name(name: &str) -> Result<&'static dyn Language, Error> {
    let names = |ready| {
        let those = LANGUAGES.iter().filter(|language| language.is_ready() == ready);
        those.map(|language| language.name()).collect::<Vec<_>>().join(", ")
    };
    let known = || format!("{}; known, but not ready yet: {}", names(true), names(false));
    LANGUAGES
        .iter()
        .copied()
        .find(|language| language.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| Error::UnknownLanguage { name: name.to_owned(), known: known() })
}

/// The language of the sources at `path`: first by the files that mark a project, then by the
/// extensions of the files that lie there.
pub fn detect(path: &Path) -> Result<&'static dyn Language, Error> {
    let metadata =
        fs::metadata(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    if metadata.is_file() {
        if finished::is_executable(path) {
            return Ok(&finished::Finished);
        }
        return LANGUAGES
            .iter()
            .copied()
            .find(|language| has_extension(path, *language))
            .ok_or_else(|| Error::UnknownFile(path.to_owned()));
    }
    let files: Vec<PathBuf> = fs::read_dir(path)
        .map_err(|source| Error::Unreadable { path: path.to_owned(), source })?
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.is_file())
        .collect();
    let marked = |language: &dyn Language| {
        language.marker_files().iter().any(|name| path.join(name).is_file())
    };
    let by_marker = LANGUAGES.iter().copied().find(|language| marked(*language));
    let by_extension = || {
        LANGUAGES
            .iter()
            .copied()
            .find(|language| files.iter().any(|file| has_extension(file, *language)))
    };
    by_marker
        .or_else(by_extension)
        .ok_or_else(|| Error::NoProgram { directory: path.to_owned(), deeper: Vec::new() })
}

fn has_extension(path: &Path, language: &dyn Language) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| language.extensions().contains(&extension))
}

/// A name that is safe as one part of a path, and that shells need not quote.
fn file_name(name: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String =
        name.to_string_lossy().chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if name.trim_matches('.').is_empty() { "program".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(files: &[&str]) -> Result<&'static str, Error> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(directory.path().join(file), "").unwrap();
        }
        detect(directory.path()).map(Language::name)
    }

    #[test]
    fn markers_come_before_extensions() {
        assert_eq!(detected(&["go.mod", "helper.py"]).unwrap(), "go");
        assert_eq!(detected(&["package.json", "native.c"]).unwrap(), "node");
        assert_eq!(detected(&["main.go"]).unwrap(), "go");
        assert_eq!(detected(&["main.cc"]).unwrap(), "cpp");
        assert_eq!(detected(&["Main.java"]).unwrap(), "java");
    }

    #[test]
    fn a_directory_without_a_program_is_named() {
        let error = detected(&["README.md"]).unwrap_err();
        assert!(matches!(error, Error::NoProgram { .. }));
        assert!(error.advice().unwrap().contains("go.mod"));
    }

    #[test]
    fn a_finished_program_is_taken_as_it_is() {
        let own = std::env::current_exe().unwrap();
        let language = detect(&own).unwrap();
        assert_eq!(language.name(), "binary");
        let source = Source {
            path: &own,
            flags: &[],
            scratch: Path::new("/"),
            debug: false,
            tools: &Tools::default(),
        };
        assert_eq!(language.build(&source).unwrap().executable, own);
    }

    #[test]
    fn names_are_plain() {
        assert_eq!(file_name(OsStr::new("a b/c")), "a_b_c");
        assert_eq!(file_name(OsStr::new("..")), "program");
    }

    #[test]
    fn names_are_unique_and_found() {
        for language in LANGUAGES {
            assert_eq!(by_name(language.name()).unwrap().name(), language.name());
        }
        assert!(by_name("cobol").is_err());
    }
}
