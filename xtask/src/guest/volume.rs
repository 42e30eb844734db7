// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases on a volume: a fresh ext4 image is the unikernel's /tmp, and what the
//! program leaves in the directory "kept" is what it leaves on Linux.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::process;

const LIMIT: Duration = Duration::from_secs(60);
const SIZE: u64 = 128 << 20;
const KEPT: &str = "kept";
/// What debugfs keeps: set-ID bits go when it gives files to their owners.
const PERMISSIONS: u32 = 0o777;

/// The directory on Linux, new and empty.
pub(super) fn prepare_linux(name: &str) -> Result<()> {
    let place = on_linux(name);
    let _ = std::fs::remove_dir_all(&place);
    std::fs::create_dir(&place).with_context(|| place.display().to_string())?;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn on_linux(name: &str) -> PathBuf {
    Path::new("/tmp").join(name)
}

/// A new volume with the directory on it.
pub(super) fn make(image: &Path, name: &str) -> Result<()> {
    let _ = std::fs::remove_file(image);
    std::fs::File::create(image)?.set_len(SIZE)?;
    let mut command = Command::new("mke2fs");
    command.args(["-t", "ext4", "-q", "-F", "-b", "4096"]).arg(image);
    process::succeed(&mut command, LIMIT)?;
    let mut command = Command::new("debugfs");
    command.args(["-w", "-R", &format!("mkdir {name}")]).arg(image);
    process::succeed(&mut command, LIMIT).map(drop)
}

/// What differs between the volume and the directory on Linux, and what e2fsck
/// says; empty when all is well.
pub(super) fn compare(image: &Path, name: &str) -> Result<String> {
    let mut command = Command::new("e2fsck");
    command.args(["-f", "-n"]).arg(image);
    let check = process::run(&mut command, b"", LIMIT)?;
    let mut why = String::new();
    if check.status != 0 {
        why.push_str(&format!("    e2fsck: {}\n", check.text().replace('\n', "\n    ")));
    }
    let dump = image.with_extension("files");
    let _ = std::fs::remove_dir_all(&dump);
    std::fs::create_dir(&dump)?;
    let mut command = Command::new("debugfs");
    command.arg("-R").arg(format!("rdump /{name} {}", dump.display())).arg(image);
    process::succeed(&mut command, LIMIT)?;
    let linux_place = on_linux(name).join(KEPT);
    if !linux_place.exists() {
        return Ok(why);
    }
    let volume = tree(&dump.join(name).join(KEPT))?;
    let linux = tree(&linux_place)?;
    for path in volume.keys().chain(linux.keys()) {
        let (ours, theirs) = (volume.get(path), linux.get(path));
        if ours != theirs {
            let shown = |entry: Option<&Entry>| entry.map(|e| (e.mode, e.text.len()));
            let (ours, theirs) = (shown(ours), shown(theirs));
            why.push_str(&format!(
                "    {}: Linux has (mode, bytes) {theirs:?}, the volume {ours:?}\n",
                path.display()
            ));
        }
    }
    std::fs::remove_dir_all(&dump)?;
    Ok(why)
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    /// Contents, or where a link leads.
    text: Vec<u8>,
}

/// Everything below `top` that `debugfs rdump` makes: files, directories, links.
fn tree(top: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut all = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        let listing = std::fs::read_dir(&directory);
        for entry in listing.with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            let (kind, mode) = (metadata.file_type(), metadata.mode());
            let (mode, text) = if kind.is_symlink() {
                (0, std::fs::read_link(&path)?.into_os_string().into_encoded_bytes())
            } else if kind.is_dir() {
                pending.push(path.clone());
                (mode & PERMISSIONS, Vec::new())
            } else if kind.is_file() {
                (mode & PERMISSIONS, std::fs::read(&path)?)
            } else {
                continue;
            };
            all.insert(path.strip_prefix(top)?.to_owned(), Entry { mode, text });
        }
    }
    Ok(all)
}
