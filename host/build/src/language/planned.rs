// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Languages that are recognised, so that the answer names them, but not built yet.

use std::fs;

use super::{Error, Language, Program, Source};

/// A language that is known by sight only.
#[derive(Debug)]
pub(super) struct Planned {
    name: &'static str,
    title: &'static str,
    marker_files: &'static [&'static str],
    extensions: &'static [&'static str],
}

pub(super) const PYTHON: Planned = Planned {
    name: "python",
    title: "Python",
    marker_files: &["pyproject.toml", "setup.py", "requirements.txt", "Pipfile"],
    extensions: &["py"],
};

pub(super) const NODE: Planned = Planned {
    name: "node",
    title: "Node.js",
    marker_files: &["package.json"],
    extensions: &["js", "mjs", "cjs", "ts"],
};

pub(super) const JAVA: Planned = Planned {
    name: "java",
    title: "Java",
    marker_files: &["pom.xml", "build.gradle", "build.gradle.kts"],
    extensions: &["java", "jar"],
};

pub(super) const RUST: Planned =
    Planned { name: "rust", title: "Rust", marker_files: &["Cargo.toml"], extensions: &["rs"] };

pub(super) const OCAML: Planned = Planned {
    name: "ocaml",
    title: "OCaml",
    marker_files: &["dune-project", "dune"],
    extensions: &["ml"],
};

pub(super) const CPP: Planned = Planned {
    name: "cpp",
    title: "C++",
    marker_files: &[],
    extensions: &["cc", "cpp", "cxx", "C"],
};

pub(super) const C: Planned = Planned {
    name: "c",
    title: "C",
    marker_files: &["CMakeLists.txt", "configure", "meson.build"],
    extensions: &["c"],
};

impl Planned {
    /// The file by which the language was recognised, unless the user named it.
    fn found(&self, source: &Source<'_>) -> Option<String> {
        let marker = self.marker_files.iter().find(|name| source.path.join(name).is_file());
        if let Some(marker) = marker {
            return Some((*marker).to_owned());
        }
        let file = |path: &std::path::Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned())
        };
        let first = fs::read_dir(source.path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .find(|path| super::has_extension(path, self));
        let own = Some(source.path).filter(|path| super::has_extension(path, self));
        first.as_deref().or(own).and_then(file)
    }
}

impl Language for Planned {
    fn name(&self) -> &'static str {
        self.name
    }

    fn marker_files(&self) -> &'static [&'static str] {
        self.marker_files
    }

    fn extensions(&self) -> &'static [&'static str] {
        self.extensions
    }

    fn is_ready(&self) -> bool {
        false
    }

    fn build(&self, source: &Source<'_>) -> Result<Program, Error> {
        Err(Error::NotSupported { language: self.title, found: self.found(source) })
    }
}
