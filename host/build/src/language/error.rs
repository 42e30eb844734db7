// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Why a program could not be built.

use std::io;
use std::path::PathBuf;

/// What Go says where no variable leads to a directory of the user's.
const NO_CACHE: &[&str] = &["GOCACHE is not defined", "neither GOMODCACHE nor GOPATH is set"];

/// Why a program could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing here looks like a program.
    #[error("no program found in {}", directory.display())]
    NoProgram {
        /// Where was looked.
        directory: PathBuf,
        /// Programs that lie deeper, as the user would name them.
        deeper: Vec<PathBuf>,
    },
    /// A file that is neither a program nor a source of one.
    #[error(
        "{} is neither a source file of a known language nor a program for Linux (ELF)",
        .0.display()
    )]
    UnknownFile(PathBuf),
    /// The path leads nowhere.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No language has this name.
    #[error("{name:?} is not a language; there are {known}")]
    UnknownLanguage {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The language is recognised, but cannot be built yet.
    #[error("{}{language} is not supported yet", recognised(language, found.as_deref()))]
    NotSupported {
        /// Its name for humans.
        language: &'static str,
        /// What it was recognised by, where it was.
        found: Option<String>,
    },
    /// The toolchain is not there.
    #[error("{language} is not installed: {program} is nowhere in PATH")]
    NoToolchain {
        /// The language.
        language: &'static str,
        /// Its command.
        program: String,
        /// How to install it.
        install: &'static str,
    },
    /// The program that a variable of the environment names is not the toolchain.
    #[error("{variable} names {program}, which is no {language} that can be run: {reason}")]
    WrongToolchain {
        /// The language.
        language: &'static str,
        /// The variable.
        variable: &'static str,
        /// What it names.
        program: String,
        /// What it does instead.
        reason: String,
    },
    /// The toolchain is too old.
    #[error("{found} is too old: at least {needed} is needed")]
    OldToolchain {
        /// What is there.
        found: String,
        /// What is needed.
        needed: &'static str,
        /// How to get one.
        install: &'static str,
    },
    /// The toolchain could not be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// The command.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// Somebody ended the toolchain.
    #[error("{program} was ended: {reason}")]
    Stopped {
        /// The command.
        program: String,
        /// Why.
        reason: io::Error,
    },
    /// The toolchain refused the program, and said why.
    #[error("{command} failed\n{}", output.trim_end())]
    Compile {
        /// The command.
        command: String,
        /// What it said.
        output: String,
    },
    /// The package is a library.
    #[error("{} is the package {package:?}, not a program", directory.display())]
    NotAProgram {
        /// Where it lies.
        directory: PathBuf,
        /// Its name.
        package: String,
        /// Programs that lie deeper, as the user would name them.
        deeper: Vec<PathBuf>,
    },
}

/// By what a language was recognised, to be gone on from.
fn recognised(language: &str, found: Option<&str>) -> String {
    let words = |found| format!("this is a {language} program (found {found}), and ");
    found.map(words).unwrap_or_default()
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::NoProgram { deeper, .. } | Self::NotAProgram { deeper, .. }
                if !deeper.is_empty() =>
            {
                let names: Vec<_> = deeper.iter().map(|path| path.display().to_string()).collect();
                format!("give the directory of one of its programs: {}", names.join(" or "))
            }
            Self::NoProgram { .. } | Self::UnknownFile(_) => {
                "give the directory of a program: for Go, one with a go.mod or .go files and \
                 `package main` (for example ./cmd/server)"
                    .to_owned()
            }
            Self::NotSupported { .. } => {
                "Go programs can be built today; use --language go if this directory holds one"
                    .to_owned()
            }
            Self::NoToolchain { install, .. } | Self::OldToolchain { install, .. } => {
                format!("install it: {install}")
            }
            Self::NotAProgram { .. } => {
                "give the directory that holds `package main`, for example ./cmd/server".to_owned()
            }
            Self::WrongToolchain { language, variable, .. } => {
                format!("correct {variable}, or unset it to use the {language} in PATH")
            }
            Self::Compile { output, .. } if NO_CACHE.iter().any(|said| output.contains(said)) => {
                "set HOME, or set GOCACHE and GOPATH to directories that Go may write to".to_owned()
            }
            Self::Compile { .. }
            | Self::Stopped { .. }
            | Self::Start { .. }
            | Self::UnknownLanguage { .. }
            | Self::Unreadable { .. } => {
                return None;
            }
        })
    }
}
