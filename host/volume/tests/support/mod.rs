// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Other people's tools as judges of images.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;
use std::process::{Command, Output};

/// Runs a tool of e2fsprogs; `None`, said loudly, if it is not installed.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    for directory in ["/usr/sbin", "/sbin", "/opt/homebrew/opt/e2fsprogs/sbin", "/usr/bin"] {
        let path = Path::new(directory).join(name);
        if path.exists() {
            return Some(Command::new(path).args(arguments).output().unwrap());
        }
    }
    eprintln!("SKIPPED: {name} is not installed; apt install e2fsprogs");
    None
}

/// e2fsck finds nothing.
pub(crate) fn assert_clean(image: &Path) {
    let Some(output) = tool("e2fsck", &["-f", "-n", image.to_str().unwrap()]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "e2fsck {}: {text}{errors}", image.display());
    assert!(!text.contains("Fix?") && !text.contains("IGNORED"), "{text}");
}

/// What debugfs answers.
pub(crate) fn debugfs(image: &Path, request: &str) -> Option<String> {
    let output = tool("debugfs", &["-R", request, image.to_str().unwrap()])?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Bytes without a pattern, always the same.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// A tar archive that is put together by hand.
pub(crate) struct TestArchive(tar::Builder<Vec<u8>>);

impl TestArchive {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry with the name, kind, permissions, target and contents.
    pub(crate) fn entry(
        mut self,
        name: &str,
        kind: tar::EntryType,
        mode: u32,
        link: &str,
        contents: &[u8],
    ) -> Self {
        let mut header = tar::Header::new_gnu();
        // By hand: the library refuses names that a test wants.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(1000);
        header.set_gid(70_000);
        header.set_mtime(1_600_000_000);
        header.set_size(contents.len() as u64);
        header.set_cksum();
        self.0.append(&header, contents).unwrap();
        self
    }

    pub(crate) fn file(self, name: &str, contents: &[u8]) -> Self {
        self.entry(name, tar::EntryType::Regular, 0o640, "", contents)
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.entry(name, tar::EntryType::Directory, 0o750, "", b"")
    }

    pub(crate) fn link(self, name: &str, kind: tar::EntryType, target: &str) -> Self {
        self.entry(name, kind, 0o777, target, b"")
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}
