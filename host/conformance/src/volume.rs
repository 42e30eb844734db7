// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Empty volumes, made by the system's own mkfs.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::Artifact;

const SIZE: u64 = 16 << 20;

/// Makes an empty ext4 file system in a file.
pub(crate) fn make(path: &Path) -> Result<Artifact> {
    File::create(path)?.set_len(SIZE)?;
    // mke2fs lies where an ordinary user's PATH does not lead.
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4"])
        .arg(path)
        .env("PATH", search)
        .stdin(Stdio::null())
        .output()
        .context("cannot start mke2fs: install e2fsprogs")?;
    ensure!(run.status.success(), "mke2fs: {}", String::from_utf8_lossy(&run.stderr));
    Ok(Artifact { path: path.to_owned(), size: SIZE })
}
