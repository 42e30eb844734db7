// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The list of guest tests in `tests/guest/manifest.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) abilities: Vec<String>,
    #[serde(rename = "case")]
    pub(super) cases: Vec<Case>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    program: Option<String>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) stdin: String,
    /// How often the program gets it.
    #[serde(default = "once")]
    pub(super) stdin_times: usize,
    #[serde(default = "both")]
    pub(super) cpus: Vec<u32>,
    #[serde(default = "half_a_gibibyte")]
    pub(super) memory: String,
    #[serde(default = "a_minute")]
    pub(super) timeout: u64,
    #[serde(default)]
    pub(super) libc: Libc,
    #[serde(default)]
    pub(super) needs: Vec<String>,
    pub(super) expect: Option<i32>,
    pub(super) output: Option<String>,
    pub(super) volume: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Libc {
    #[default]
    Glibc,
    Musl,
}

fn both() -> Vec<u32> {
    vec![1, 4]
}

fn half_a_gibibyte() -> String {
    "512M".to_owned()
}

fn once() -> usize {
    1
}

fn a_minute() -> u64 {
    60
}

impl Case {
    /// All that the program gets on its standard input.
    pub(super) fn stdin(&self) -> Vec<u8> {
        self.stdin.as_bytes().repeat(self.stdin_times)
    }

    /// `go/NAME` or `c/NAME`.
    pub(super) fn program(&self) -> &str {
        self.program.as_deref().unwrap_or(&self.name)
    }

    pub(super) fn language(&self) -> Result<(&str, &str)> {
        match self.program().split_once('/') {
            Some((language @ ("go" | "c"), name)) if !name.is_empty() => Ok((language, name)),
            _ => bail!("{}: the program must be go/NAME or c/NAME", self.name),
        }
    }
}

/// Reads the manifest and checks that every program on disk has a case.
pub(super) fn read(directory: &Path) -> Result<Manifest> {
    let path = directory.join("manifest.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let mut names = std::collections::HashSet::new();
    for case in &manifest.cases {
        case.language()?;
        if !names.insert(&case.name) {
            bail!("{}: two cases are called {}", path.display(), case.name);
        }
    }
    for program in programs(directory)? {
        if !manifest.cases.iter().any(|c| c.program() == program) {
            bail!("{}: no case runs {program}", path.display());
        }
    }
    Ok(manifest)
}

fn programs(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.join("go"))? {
        let entry = entry?;
        if entry.path().join("main.go").is_file() {
            found.push(format!("go/{}", entry.file_name().display()));
        }
    }
    for entry in std::fs::read_dir(directory.join("c"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "c") {
            found.push(format!("c/{}", path.file_stem().unwrap_or_default().display()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Libc, read};

    #[test]
    fn the_manifest_of_the_tree_is_whole() {
        let manifest = read(&crate::lab::root().join("tests/guest")).unwrap();
        assert!(manifest.cases.len() > 40);
        let musl = manifest.cases.iter().filter(|c| c.libc == Libc::Musl);
        assert!(musl.count() > 0);
    }
}
