// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes the archive that Linux unpacks as its first root (cpio "newc"; Linux
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fmt::Write as _;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let links = if mode & DIRECTORY == 0 { 1 } else { 2 };
        let mut header = "070701".to_owned();
        let fields =
            [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        for field in fields {
            // Writing to a String cannot fail.
            let _ = write!(header, "{field:08x}");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        let aligned = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(aligned, 0);
    }

    pub(crate) fn directory(&mut self, name: &str, permissions: u32) {
        self.entry(name, DIRECTORY | permissions, (0, 0), b"");
    }

    pub(crate) fn file(&mut self, name: &str, permissions: u32, data: &[u8]) {
        self.entry(name, REGULAR | permissions, (0, 0), data);
    }

    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHARACTER_DEVICE | 0o666, (major, minor), b"");
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use std::process::Command;

    #[test]
    fn cpio_reads_what_was_written() {
        let mut archive = Archive::default();
        archive.directory("dev", 0o755);
        archive.file("init", 0o755, b"#!/bin/sh\n");
        archive.file("odd", 0o600, b"12345");
        let directory = std::env::temp_dir().join(format!("bench-cpio-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("a.cpio");
        std::fs::write(&file, archive.finish()).unwrap();
        let input = std::fs::File::open(&file).unwrap();
        let Ok(listed) = Command::new("cpio").args(["-t", "--quiet"]).stdin(input).output() else {
            return; // no cpio on this machine
        };
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "dev\ninit\nodd\n");
    }
}
