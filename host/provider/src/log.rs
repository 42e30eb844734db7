// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the output of an instance is, how it is read, and how it is kept from growing for ever.

mod cut;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bhojpur_abi::stream::Splitter;

pub use cut::Cut;

/// Where the output of an instance can be read, from its first byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A file that the monitor writes, and that only grows. What [`LogSource::cut`] took from its
    /// beginning is a hole. A monitor that begins it anew at a start loses what was there.
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

    /// What takes the records out.
    fn splitter(&self) -> Option<Splitter> {
        matches!(self, Self::FramedFile(_)).then(Splitter::default)
    }
}

/// Reads a log from where it begins, and goes on when it has grown.
#[derive(Debug)]
pub struct LogReader {
    source: LogSource,
    path: PathBuf,
    file: File,
    splitter: Option<Splitter>,
    position: Cut,
}

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

impl LogReader {
    /// Opens a log; nothing for one that is elsewhere.
    pub fn open(source: &LogSource) -> io::Result<Option<Self>> {
        let Some(path) = source.path() else { return Ok(None) };
        let file = File::open(path)?;
        let position = cut::start(path, || length(&file))?;
        let mut reader = Self {
            source: source.clone(),
            path: path.to_owned(),
            file,
            splitter: source.splitter(),
            position,
        };
        reader.file.seek(SeekFrom::Start(position.file))?;
        Ok(Some(reader))
    }

    /// How much was printed before what [`LogReader::read`] gives next, whatever was cut of it.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.printed
    }

    /// Leaves out what was printed before `offset` where that can be done without reading it.
    pub fn skip(&mut self, offset: u64) -> io::Result<()> {
        let offset = offset.min(length(&self.file)?);
        if self.splitter.is_none() && offset > self.position.file {
            self.go(Cut { file: offset, printed: offset })?;
        }
        Ok(())
    }

    /// Takes the next part of the file, and appends what the program printed in it. How many
    /// bytes of the file were taken; 0 at its end, where one may ask again later.
    ///
    /// What was cut off before it was read is left out: [`LogReader::offset`] tells. A file that
    /// was begun anew is read from its beginning, with offsets that begin anew as well.
    pub fn read(&mut self, printed: &mut Vec<u8>) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        loop {
            if length(&self.file)? < self.position.file {
                self.go(cut::start(&self.path, || length(&self.file))?)?;
            }
            let count = match self.file.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            // Asked after reading: where this is behind it, the bytes were no zeros of a hole.
            let start = cut::start(&self.path, || length(&self.file))?;
            if start.file > self.position.file {
                self.go(start)?;
                continue;
            }
            self.take(&chunk[..count], printed);
            return Ok(count);
        }
    }

    fn take(&mut self, chunk: &[u8], printed: &mut Vec<u8>) {
        let before = printed.len();
        match &mut self.splitter {
            Some(splitter) => {
                splitter.receive(chunk, &mut |text| printed.extend_from_slice(text), &mut |_| {});
            }
            None => printed.extend_from_slice(chunk),
        }
        self.position.file += chunk.len() as u64;
        self.position.printed += (printed.len() - before) as u64;
    }

    fn go(&mut self, to: Cut) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(to.file))?;
        self.splitter = self.source.splitter();
        self.position = to;
        Ok(())
    }
}

fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
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
        assert_eq!(reader.offset(), 8);
        // A start that begins the file anew, in the middle of nothing.
        File::create(&path).unwrap().write_all(b"three\x1b").unwrap();
        printed.clear();
        assert!(reader.read(&mut printed).unwrap() > 0);
        assert_eq!((printed.as_slice(), reader.offset()), (b"three".as_slice(), 5));
        let mut plain = LogReader::open(&LogSource::File(path)).unwrap().unwrap();
        printed.clear();
        plain.skip(2).unwrap();
        plain.read(&mut printed).unwrap();
        assert_eq!((printed.as_slice(), plain.offset()), (b"ree\x1b".as_slice(), 6));
        plain.skip(99).unwrap();
        assert_eq!((plain.read(&mut printed).unwrap(), plain.offset()), (0, 6));
        assert!(LogReader::open(&LogSource::Remote).unwrap().is_none());
    }
}
