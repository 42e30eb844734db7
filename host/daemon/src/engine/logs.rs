// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output of instances, read from where their monitors write it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bhojpur_abi::stream::Splitter;
use bhojpur_provider::{self as provider, InstanceId, LogSource, Provider};

use super::{Engine, blocking};
use crate::{Error, Result};

/// Bytes in one piece.
const PIECE: usize = 64 << 10;

/// Bytes of a log and where they lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a log from one place on.
#[derive(Debug)]
pub(crate) struct LogReader {
    provider: Arc<dyn Provider>,
    id: InstanceId,
    source: LogSource,
    offset: u64,
    framed: Option<Framed>,
}

/// A log in which something else stands between what was printed: it is read from its
/// beginning, and offsets count what was printed.
#[derive(Debug)]
struct Framed {
    reader: provider::LogReader,
    /// What was read and lies behind the offset.
    ahead: Vec<u8>,
    /// Where the first byte of it is.
    start: u64,
}

impl LogReader {
    /// From `offset` on.
    pub(crate) fn new(provider: Arc<dyn Provider>, id: InstanceId, offset: u64) -> Self {
        let source = provider.log(&id);
        Self { provider, id, source, offset, framed: None }
    }

    /// From the last `lines` lines on.
    pub(crate) async fn tail(&mut self, lines: u64) -> Result<()> {
        self.offset = match &self.source {
            LogSource::File(path) => {
                let path = path.clone();
                blocking(move || {
                    tail_offset(&path, lines).map_err(|error| {
                        Error::io(format!("cannot read {}", path.display()), &error)
                    })
                })
                .await?
            }
            LogSource::FramedFile(path) => {
                let (source, path) = (self.source.clone(), path.clone());
                let tail = move || framed_tail(&source, lines);
                blocking(move || {
                    tail().map_err(|error| {
                        Error::io(format!("cannot read {}", path.display()), &error)
                    })
                })
                .await?
            }
            LogSource::Remote => {
                let all = self.provider.fetch_log(&self.id, 0).await?;
                let mut lines = Lines::new(lines);
                lines.hear(&all);
                lines.start()
            }
        };
        Ok(())
    }

    /// Where the next piece begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes back: the last bytes of a piece are a character that is not whole yet.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_sub(bytes.len() as u64);
        if let Some(framed) = &mut self.framed {
            framed.ahead = bytes.to_vec();
            framed.start = self.offset;
        }
    }

    /// What there is; an empty piece when there is no more for now. A log that was cut is read
    /// from its beginning.
    pub(crate) async fn next(&mut self) -> Result<Piece> {
        // Short reads of what is in the page cache: a thread for each would cost more.
        let read = match &self.source {
            LogSource::File(path) => read_at(path, &mut self.offset),
            LogSource::FramedFile(_) => self.read_framed(),
            LogSource::Remote => Ok(self.provider.fetch_log(&self.id, self.offset).await?),
        };
        let bytes =
            read.map_err(|error| Error::io("cannot read the output of the instance", &error))?;
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Ok(Piece { offset, bytes })
    }

    fn read_framed(&mut self) -> io::Result<Vec<u8>> {
        if self.framed.is_none() {
            let reader = match provider::LogReader::open(&self.source) {
                Ok(Some(reader)) => reader,
                Ok(None) => return Ok(Vec::new()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            self.framed = Some(Framed { reader, ahead: Vec::new(), start: 0 });
        }
        let Some(framed) = &mut self.framed else { return Ok(Vec::new()) };
        loop {
            if framed.reader.is_cut()? {
                framed.ahead.clear();
                (framed.start, self.offset) = (0, 0);
            }
            let carried = framed.ahead.len();
            let read = framed.reader.read(&mut framed.ahead)?;
            let skip = usize::try_from(self.offset.saturating_sub(framed.start))
                .unwrap_or(usize::MAX)
                .min(framed.ahead.len());
            framed.ahead.drain(..skip);
            framed.start += skip as u64;
            // Less was printed than somebody has read: it was cut before this began to read.
            if read == 0 && framed.start < self.offset {
                self.offset = 0;
                self.framed = None;
                return self.read_framed();
            }
            // What was put back alone is still not whole.
            if read == 0 || framed.ahead.len() > carried {
                framed.start += framed.ahead.len() as u64;
                return Ok(std::mem::take(&mut framed.ahead));
            }
        }
    }
}

/// Finds where the last lines begin in what it hears.
struct Lines {
    wanted: u64,
    /// Where lines begin, the last ones.
    starts: std::collections::VecDeque<u64>,
    position: u64,
    fresh: bool,
}

impl Lines {
    fn new(wanted: u64) -> Self {
        Self { wanted, starts: std::collections::VecDeque::new(), position: 0, fresh: true }
    }

    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.fresh {
                self.starts.push_back(self.position);
                if self.starts.len() as u64 > self.wanted {
                    self.starts.pop_front();
                }
            }
            self.fresh = *byte == b'\n';
            self.position += 1;
        }
    }

    fn start(&self) -> u64 {
        self.starts.front().copied().unwrap_or(self.position)
    }
}

fn framed_tail(source: &LogSource, lines: u64) -> io::Result<u64> {
    let mut found = Lines::new(lines);
    let mut reader = match provider::LogReader::open(source) {
        Ok(Some(reader)) => reader,
        Ok(None) => return Ok(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut printed = Vec::new();
    while reader.read(&mut printed)? > 0 {
        found.hear(&printed);
        printed.clear();
    }
    Ok(found.start())
}

fn read_at(path: &Path, offset: &mut u64) -> io::Result<Vec<u8>> {
    let length = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if length < *offset {
        *offset = 0;
    }
    if length == *offset {
        return Ok(Vec::new());
    }
    let file = File::open(path)?;
    let wanted = usize::try_from(length - *offset).unwrap_or(PIECE).min(PIECE);
    let mut bytes = vec![0; wanted];
    let read = file.read_at(&mut bytes, *offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Where the last `lines` lines of a file begin, read from its end.
fn tail_offset(path: &Path, lines: u64) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut wanted = lines;
    let mut block = vec![0; PIECE];
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let size = usize::try_from(end - start).unwrap_or(PIECE);
        let block = &mut block[..size];
        file.read_exact_at(block, start)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let place = start + index as u64;
            // The newline at the very end ends the last line.
            if *byte == b'\n' && place + 1 != length {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(place + 1);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

impl Engine {
    /// Cuts a log that has become too large. The last part is kept beside it under `.1`; what
    /// the monitor writes between copying and cutting is lost, as it is with logrotate's
    /// `copytruncate`.
    pub(crate) async fn limit_log(&self, provider: &dyn Provider, id: &InstanceId) {
        let Some(max) = self.config.instance_log_max else { return };
        let (path, framed) = match provider.log(id) {
            LogSource::File(path) => (path, false),
            LogSource::FramedFile(path) => (path, true),
            LogSource::Remote => return,
        };
        if !std::fs::metadata(&path).is_ok_and(|found| found.len() > max) {
            return;
        }
        let shown = path.display().to_string();
        let cut = blocking(move || {
            // A program that never ends a record does not keep its log from being cut.
            let whole = framed && std::fs::metadata(&path).is_ok_and(|log| log.len() < 2 * max);
            copy_and_cut(&path, whole)
                .map_err(|error| Error::io(format!("cannot cut {}", path.display()), &error))
        });
        if let Err(error) = cut.await {
            tracing::warn!(log = shown, %error, "a log grows");
        }
    }
}

/// Keeps what a log has under another name, and begins it anew. With `whole` it is left alone
/// while its last record is being written: the rest of it would be taken for output.
fn copy_and_cut(path: &Path, whole: bool) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    let kept = PathBuf::from(name);
    let partial = kept.with_extension("part");
    let cut = || {
        let mut from = File::options().read(true).write(true).open(path)?;
        let mut to = File::create(&partial)?;
        let mut splitter = Splitter::default();
        copy(&mut from, &mut to, &mut splitter)?;
        if whole && !is_between_records(&splitter) {
            return std::fs::remove_file(&partial);
        }
        std::fs::rename(&partial, &kept)?;
        // What came meanwhile.
        copy(&mut from, &mut to, &mut splitter)?;
        if whole && !is_between_records(&splitter) {
            return Ok(());
        }
        from.set_len(0)
    };
    cut().inspect_err(|_| {
        // The disk may be full because of it.
        let _ = std::fs::remove_file(&partial);
    })
}

/// Copies up to the present end.
fn copy(from: &mut File, to: &mut File, splitter: &mut Splitter) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(&piece[..read])?;
                splitter.receive(&piece[..read], &mut |_| {}, &mut |_| {});
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether an end here would leave nothing behind.
fn is_between_records(splitter: &Splitter) -> bool {
    let between = std::cell::Cell::new(true);
    splitter.clone().finish(&mut |_| between.set(false), &mut |_| between.set(false));
    between.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let long = "x".repeat(PIECE + 10);
        for (text, lines, start) in [
            ("", 3, 0),
            ("a\nb\nc\n", 2, 2),
            ("a\nb\nc", 2, 2),
            ("a\nb\nc\n", 3, 0),
            ("a\nb\nc\n", 99, 0),
            ("a\n", 0, 2),
            (&format!("first\n{long}\nlast\n"), 2, 6),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(tail_offset(&path, lines).unwrap(), start, "{lines} of {:.20}", text);
            let mut heard = Lines::new(lines);
            text.as_bytes().chunks(3).for_each(|piece| heard.hear(piece));
            assert_eq!(heard.start(), start, "{lines} of {:.20}", text);
        }
        assert_eq!(tail_offset(&directory.path().join("none"), 1).unwrap(), 0);
    }

    #[test]
    fn a_log_that_is_cut_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        std::fs::write(&path, "hello").unwrap();
        let mut offset = 2;
        assert_eq!(read_at(&path, &mut offset).unwrap(), b"llo");
        copy_and_cut(&path, false).unwrap();
        assert_eq!(std::fs::read(directory.path().join("console.log.1")).unwrap(), b"hello");
        offset = 5;
        assert_eq!(read_at(&path, &mut offset).unwrap(), b"");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(read_at(&path, &mut offset).unwrap(), b"new");
    }

    #[test]
    fn a_log_is_not_cut_within_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let kept = directory.path().join("console.log.1");
        for open in ["one\n\x1b_bhojpur;@exi", "one\n\x1b_bho", "one\n\x1b_bhojpur;@exit 0\x1b"] {
            std::fs::write(&path, open).unwrap();
            copy_and_cut(&path, true).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), open.as_bytes());
            assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        }
        copy_and_cut(&path, false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        let closed = "one\n\x1b_bhojpur;@exit 0\x1b\\two\n";
        std::fs::write(&path, closed).unwrap();
        copy_and_cut(&path, true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(std::fs::read(&kept).unwrap(), closed.as_bytes());
    }
}
