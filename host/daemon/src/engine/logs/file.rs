// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A log that is a file here, read from one place on.
//!
//! Places are counted from the first byte that the instance ever printed, whatever was cut off
//! since: who comes again with the place where it was goes on there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bhojpur_provider::{LogReader, LogSource};

use super::PIECE;

#[derive(Debug)]
pub(super) struct FileLog {
    pub(super) source: LogSource,
    /// Where the next piece begins.
    pub(super) offset: u64,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    reader: LogReader,
    /// What was read and put back; it ends where the reader is.
    ahead: Vec<u8>,
}

impl FileLog {
    pub(super) fn new(source: LogSource, offset: u64) -> Self {
        Self { source, offset, opened: None }
    }

    /// Goes back.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.offset = self.offset.saturating_sub(bytes.len() as u64);
        if let Some(opened) = &mut self.opened {
            opened.ahead = bytes.to_vec();
        }
    }

    /// What there is behind the offset, which goes on to where that begins: further on when what
    /// was there has been cut off, to 0 when the file was begun anew.
    pub(super) fn next(&mut self) -> io::Result<Vec<u8>> {
        let Some(mut opened) = self.open()? else { return Ok(Vec::new()) };
        loop {
            let mut bytes = std::mem::take(&mut opened.ahead);
            let (before, mut carried) = (opened.reader.offset(), bytes.len());
            let read = opened.reader.read(&mut bytes)?;
            let (end, fresh) = (opened.reader.offset(), bytes.len() - carried);
            if end != before + fresh as u64 {
                // It goes on elsewhere: what was put back has lost its other half.
                bytes.drain(..carried);
                carried = 0;
            }
            if end < self.offset && (read == 0 || end < before) {
                // It was begun anew, and is shorter than what somebody has read.
                self.offset = 0;
                return self.next();
            }
            let start = end - bytes.len() as u64;
            let known = usize::try_from(self.offset.saturating_sub(start)).unwrap_or(usize::MAX);
            bytes.drain(..known.min(bytes.len()));
            // What was put back alone is still not whole.
            if read == 0 || bytes.len() > carried {
                self.offset = end - bytes.len() as u64;
                self.opened = Some(opened);
                return Ok(bytes);
            }
            opened.ahead = bytes;
        }
    }

    /// The file, where it was left or from the offset on; nothing while there is none.
    fn open(&mut self) -> io::Result<Option<Opened>> {
        if let Some(opened) = self.opened.take() {
            return Ok(Some(opened));
        }
        let Some(mut reader) = open(&self.source)? else { return Ok(None) };
        reader.skip(self.offset)?;
        Ok(Some(Opened { reader, ahead: Vec::new() }))
    }
}

fn open(source: &LogSource) -> io::Result<Option<LogReader>> {
    match LogReader::open(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened,
    }
}

/// Finds where the last lines begin in what it hears.
pub(super) struct Lines {
    wanted: u64,
    /// Where lines begin, the last ones.
    starts: std::collections::VecDeque<u64>,
    position: u64,
    fresh: bool,
}

impl Lines {
    pub(super) fn new(wanted: u64, position: u64) -> Self {
        Self { wanted, starts: std::collections::VecDeque::new(), position, fresh: true }
    }

    pub(super) fn hear(&mut self, bytes: &[u8]) {
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

    pub(super) fn start(&self) -> u64 {
        self.starts.front().copied().unwrap_or(self.position)
    }
}

/// Where the last `lines` lines of a log begin.
pub(super) fn tail_offset(source: &LogSource, lines: u64) -> io::Result<u64> {
    if let LogSource::File(path) = source {
        return match File::open(path) {
            Ok(file) => last_lines(&file, source.start()?.file, lines),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        };
    }
    let Some(mut reader) = open(source)? else { return Ok(0) };
    let mut found = Lines::new(lines, reader.offset());
    let mut printed = Vec::new();
    while reader.read(&mut printed)? > 0 {
        found.hear(&printed);
        printed.clear();
    }
    Ok(found.start())
}

/// Where the last `lines` lines of a file begin, `first` at the earliest, read from its end.
fn last_lines(file: &File, first: u64, lines: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut end = length;
    let mut wanted = lines;
    let mut block = vec![0; PIECE];
    while end > first {
        let start = end.saturating_sub(PIECE as u64).max(first);
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
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let source = LogSource::File(path.clone());
        assert_eq!(tail_offset(&source, 1).unwrap(), 0);
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
            assert_eq!(tail_offset(&source, lines).unwrap(), start, "{lines} of {:.20}", text);
            let mut heard = Lines::new(lines, 0);
            text.as_bytes().chunks(3).for_each(|piece| heard.hear(piece));
            assert_eq!(heard.start(), start, "{lines} of {:.20}", text);
        }
        for source in [source, LogSource::FramedFile(path.clone())] {
            source.cut(3).unwrap();
            assert_eq!(tail_offset(&source, 99).unwrap(), 6);
        }
    }

    fn append(path: &std::path::Path, text: &str) {
        use std::io::Write as _;
        let file = File::options().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// However slow a follower is, and wherever it is when the log is cut, it sees every byte that
    /// is not gone, once, and knows which they are.
    #[test]
    fn a_follower_goes_on_when_the_log_is_cut() {
        for (framed, record) in [(false, ""), (true, "\x1b_bhojpur;@log 3 x\x1b\\")] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("console.log");
            let source = match framed {
                true => LogSource::FramedFile(path.clone()),
                false => LogSource::File(path.clone()),
            };
            let mut log = FileLog::new(source.clone(), 0);
            assert_eq!(log.next().unwrap(), b"");
            append(&path, &format!("{record}first\n{record}second\n"));
            assert_eq!(
                (log.next().unwrap().as_slice(), log.offset),
                (b"first\nsecond\n".as_slice(), 0)
            );
            log.offset += 13;
            // Behind what is cut nothing is missing, not even a character in two halves.
            append(&path, &format!("{record}th\u{20ac}rd\n"));
            let bytes = log.next().unwrap();
            assert_eq!((bytes.len(), log.offset), (8, 13));
            log.offset += 8;
            log.unread(&bytes[3..]);
            source.cut(1).unwrap();
            assert_eq!((log.next().unwrap().as_slice(), log.offset), (&bytes[3..], 16));
            log.offset += 5;
            append(&path, &format!("{record}fourth\n{record}fifth\n"));
            // Cut beyond where it is.
            source.cut(path.metadata().unwrap().len() - 3).unwrap();
            append(&path, "sixth\n");
            assert_eq!((log.next().unwrap().as_slice(), log.offset), (b"sixth\n".as_slice(), 34));
            log.offset += 6;
            assert_eq!((log.next().unwrap().as_slice(), log.offset), (b"".as_slice(), 40));
            // Others come with a place from before, from now, and from nowhere.
            for (offset, text, at) in [(0, "sixth\n", 34), (36, "xth\n", 36), (40, "", 40)] {
                let mut log = FileLog::new(source.clone(), offset);
                assert_eq!((log.next().unwrap().as_slice(), log.offset), (text.as_bytes(), at));
            }
            // A monitor that begins it anew.
            std::fs::write(&path, "new\n").unwrap();
            for mut log in [log, FileLog::new(source.clone(), 40)] {
                assert_eq!((log.next().unwrap().as_slice(), log.offset), (b"new\n".as_slice(), 0));
            }
        }
    }
}
