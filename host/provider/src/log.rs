// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the output of an instance is, and how it is read.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bhojpur_abi::stream::Splitter;

/// Where the output of an instance can be read, from its first byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A file that the monitor writes, and that only grows or is cut to nothing at a start.
    File(PathBuf),
    /// Such a file in which records of the control channel stand between what the program
    /// printed (`bhojpur_abi::stream`), because the machine has one serial line and nothing
    /// else. [`LogReader`] leaves them out.
    FramedFile(PathBuf),
    /// What a cloud answers when it is asked; [`crate::Provider::fetch_log`] gets it.
    Remote,
}

impl LogSource {
    /// The file, when it is one: to find out whether it has grown.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::FramedFile(path) => Some(path),
            Self::Remote => None,
        }
    }
}

/// Reads a log from its beginning, and goes on when it has grown.
#[derive(Debug)]
pub struct LogReader {
    file: File,
    splitter: Option<Splitter>,
    position: u64,
}

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

impl LogReader {
    /// Opens a log; nothing for one that is elsewhere.
    pub fn open(source: &LogSource) -> io::Result<Option<Self>> {
        let splitter = match source {
            LogSource::File(_) => None,
            LogSource::FramedFile(_) => Some(Splitter::default()),
            LogSource::Remote => return Ok(None),
        };
        let file = source.path().map(File::open).transpose()?;
        Ok(file.map(|file| Self { file, splitter, position: 0 }))
    }

    /// Whether the file has lost what was read last: it was cut, and [`LogReader::read`] begins
    /// anew.
    pub fn is_cut(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() < self.position)
    }

    /// Takes the next part of the file, and appends what the program printed in it. How many
    /// bytes of the file were taken; 0 at its end, where one may ask again later. A file that
    /// was cut is read from its beginning.
    pub fn read(&mut self, printed: &mut Vec<u8>) -> io::Result<usize> {
        if self.is_cut()? {
            self.position = self.file.seek(SeekFrom::Start(0))?;
            self.splitter = self.splitter.as_ref().map(|_| Splitter::default());
        }
        let mut chunk = vec![0; CHUNK];
        let count = self.file.read(&mut chunk)?;
        self.position += count as u64;
        let chunk = &chunk[..count];
        match &mut self.splitter {
            Some(splitter) => {
                splitter.receive(chunk, &mut |text| printed.extend_from_slice(text), &mut |_| {});
            }
            None => printed.extend_from_slice(chunk),
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn records_are_left_out_however_they_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let mut log = File::create(&path).unwrap();
        let mut reader = LogReader::open(&LogSource::FramedFile(path.clone())).unwrap().unwrap();
        let mut printed = Vec::new();
        for byte in b"one\n\x1b_bhojpur;@exit 3\x1b\\two\n" {
            log.write_all(&[*byte]).unwrap();
            assert_eq!(reader.read(&mut printed).unwrap(), 1);
            assert_eq!(reader.read(&mut printed).unwrap(), 0);
        }
        assert_eq!(printed, b"one\ntwo\n");
        // A start that begins the file anew, in the middle of nothing.
        File::create(&path).unwrap().write_all(b"three\x1b").unwrap();
        printed.clear();
        assert!(reader.is_cut().unwrap());
        assert!(reader.read(&mut printed).unwrap() > 0);
        assert!(!reader.is_cut().unwrap());
        assert_eq!(printed, b"three");
        let mut plain = LogReader::open(&LogSource::File(path)).unwrap().unwrap();
        printed.clear();
        plain.read(&mut printed).unwrap();
        assert_eq!(printed, b"three\x1b");
        assert!(LogReader::open(&LogSource::Remote).unwrap().is_none());
    }
}
