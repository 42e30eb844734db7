// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask tidy`: the rules of ARCHITECTURE.md that a machine can check.

mod edges;
mod sources;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::lab::root;

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Checks the repository.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    let mut findings = Findings::default();
    let files = files(&root())?;
    sources::check(&root(), &files, &mut findings)?;
    edges::check(&root(), &mut findings)?;
    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    println!(
        "tidy: {} files, {} errors, {} warnings",
        files.len(),
        findings.errors.len(),
        findings.warnings.len()
    );
    if findings.errors.is_empty() { Ok(()) } else { bail!("the repository breaks its rules") }
}

/// All files of the repository, relative to it, without what builds make.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if !entry.file_type()?.is_dir() {
                found.push(path);
            } else if !matches!(
                entry.file_name().to_str(),
                // What others wrote keeps its own rules.
                Some("target" | ".git" | "out" | "corpus" | "third_party")
            ) {
                pending.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
