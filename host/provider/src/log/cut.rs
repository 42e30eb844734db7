// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cutting the beginning off a log while its monitor writes it.
//!
//! The monitor has the file open, so it can be neither replaced nor made shorter without losing
//! what is written meanwhile. Its beginning becomes a hole instead (fallocate(2)): that takes no
//! room on the disk, and no byte changes its place. Beside the log, `LOG.start` says where what is
//! left begins, and how much was printed before: offsets go on counting from the first byte that
//! the program ever printed. It is written before the hole is made, so that no reader takes zeros
//! for output.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::{CHUNK, LogSource};

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of the file before it.
    pub file: u64,
    /// Bytes that the program had printed by then.
    pub printed: u64,
}

impl LogSource {
    /// Where what is left begins; the beginning of a log that was never cut.
    pub fn start(&self) -> io::Result<Cut> {
        let Some(path) = self.path() else { return Ok(Cut::default()) };
        start(path, || match std::fs::metadata(path) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        })
    }

    /// Cuts off what comes before byte `at` of the file and the rest of its line. Where that is.
    pub fn cut(&self, at: u64) -> io::Result<Cut> {
        let Some(path) = self.path() else { return Ok(Cut::default()) };
        let mut file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let before = start(path, || Ok(length))?;
        let at = line_from(&mut file, at.min(length))?;
        if at <= before.file {
            return Ok(before);
        }
        let cut = Cut { file: at, printed: before.printed + self.printed(&mut file, before, at)? };
        let punch =
            || fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, at);
        match write(&marker(path), cut) {
            // The log may have filled the disk itself. Then the hole makes the room for the marker.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                punch()?;
                write(&marker(path), cut)?;
            }
            written => {
                written?;
                punch()?;
            }
        }
        Ok(cut)
    }

    /// How much the program printed from one place to another.
    fn printed(&self, file: &mut File, from: Cut, to: u64) -> io::Result<u64> {
        let Some(mut splitter) = self.splitter() else { return Ok(to - from.file) };
        file.seek(SeekFrom::Start(from.file))?;
        let mut rest = file.take(to - from.file);
        let (mut printed, mut piece) = (0, vec![0; CHUNK]);
        loop {
            let count = match rest.read(&mut piece) {
                Ok(0) => return Ok(printed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            splitter.receive(
                &piece[..count],
                &mut |text| printed += text.len() as u64,
                &mut |_| {},
            );
        }
    }
}

/// Where the next line begins, and with it neither a record nor a character is cut in two; `at`
/// when no line ends soon.
fn line_from(file: &mut File, at: u64) -> io::Result<u64> {
    let Some(before) = at.checked_sub(1) else { return Ok(0) };
    file.seek(SeekFrom::Start(before))?;
    let mut ahead = Vec::new();
    file.take(CHUNK as u64).read_to_end(&mut ahead)?;
    let end = ahead.iter().position(|byte| *byte == b'\n');
    Ok(end.map_or(at, |end| before + end as u64 + 1))
}

fn marker(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".start");
    name.into()
}

/// Where a log begins. A marker behind its end is from before it was begun anew; so that it is
/// not an end from before the marker, its length is asked for last.
pub(super) fn start(log: &Path, length: impl FnOnce() -> io::Result<u64>) -> io::Result<Cut> {
    let text = match std::fs::read_to_string(marker(log)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cut::default()),
        Err(error) => return Err(error),
    };
    let numbers = text.trim_end().split_once(' ');
    let cut = numbers.and_then(|(file, printed)| {
        Some(Cut { file: file.parse().ok()?, printed: printed.parse().ok()? })
    });
    let cut = cut.ok_or_else(|| {
        let message = format!("{} does not hold two numbers", marker(log).display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(if cut.file <= length()? { cut } else { Cut::default() })
}

/// On the disk before the hole is.
fn write(marker: &Path, cut: Cut) -> io::Result<()> {
    let parent = marker.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".start-").tempfile_in(parent)?;
    writeln!(file, "{} {}", cut.file, cut.printed)?;
    file.as_file().sync_all()?;
    file.persist(marker).map_err(|error| error.error)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::LogReader;
    use super::*;

    const LINE: &str = "a line of a program\n";

    fn everything(reader: &mut LogReader) -> String {
        let mut printed = Vec::new();
        while reader.read(&mut printed).unwrap() > 0 {}
        String::from_utf8(printed).unwrap()
    }

    /// A log of 10000 lines, what stands between them, and who writes it.
    fn log(directory: &Path, framed: bool) -> (LogSource, File, &'static str) {
        let path = directory.join("console.log");
        let between = if framed { "\x1b_bhojpur;@log 3 x\x1b\\" } else { "" };
        let mut file = File::options().create(true).append(true).open(&path).unwrap();
        file.write_all(format!("{between}{LINE}").repeat(10000).as_bytes()).unwrap();
        let source = if framed { LogSource::FramedFile(path) } else { LogSource::File(path) };
        (source, file, between)
    }

    #[test]
    fn who_was_not_yet_there_goes_on_where_the_rest_begins() {
        for framed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (source, mut file, between) = log(directory.path(), framed);
            let mut behind = LogReader::open(&source).unwrap().unwrap();
            let mut ahead = LogReader::open(&source).unwrap().unwrap();
            let all = (10000 * LINE.len()) as u64;
            assert_eq!((everything(&mut ahead).len() as u64, ahead.offset()), (all, all));
            let record = (between.len() + LINE.len()) as u64;
            let disk = file.metadata().unwrap().blocks();
            // In the middle of a record, or of a line: the next one is the first that stays.
            let cut = source.cut(6000 * record + 5).unwrap();
            assert_eq!(cut, Cut { file: 6001 * record, printed: 6001 * LINE.len() as u64 });
            assert_eq!(source.start().unwrap(), cut);
            assert!(file.metadata().unwrap().blocks() < disk / 2, "it takes as much room");
            // What comes later is at its place for who has read all, and for who has not.
            file.write_all(format!("after{between}wards\n").as_bytes()).unwrap();
            assert_eq!(everything(&mut ahead), "afterwards\n");
            let left = LINE.repeat(3999) + "afterwards\n";
            assert_eq!(everything(&mut behind), left);
            assert_eq!(behind.offset(), ahead.offset());
            let mut fresh = LogReader::open(&source).unwrap().unwrap();
            assert_eq!(fresh.offset(), cut.printed);
            assert_eq!(everything(&mut fresh), left);
            // Back is nothing.
            assert_eq!(source.cut(record).unwrap(), cut);
            let end = source.cut(u64::MAX).unwrap();
            assert_eq!((end.file, end.printed), (file.metadata().unwrap().len(), ahead.offset()));
            assert_eq!(everything(&mut LogReader::open(&source).unwrap().unwrap()), "");
        }
    }

    /// A reader may be anywhere when it happens, and what it gives is at the offset that it says.
    #[test]
    fn no_zeros_are_read_while_it_is_cut() {
        for framed in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (source, file, _) = log(directory.path(), framed);
            let length = file.metadata().unwrap().len();
            std::thread::scope(|threads| {
                let cuts = threads.spawn(|| {
                    for part in 1..=200 {
                        source.cut(length * part / 200).unwrap();
                    }
                });
                loop {
                    let done = cuts.is_finished();
                    let mut reader = LogReader::open(&source).unwrap().unwrap();
                    let mut printed = Vec::new();
                    while reader.read(&mut printed).unwrap() > 0 {
                        let start = reader.offset() as usize - printed.len();
                        for (index, byte) in printed.drain(..).enumerate() {
                            assert_eq!(byte, LINE.as_bytes()[(start + index) % LINE.len()]);
                        }
                    }
                    if done {
                        break;
                    }
                }
            });
        }
    }

    #[test]
    fn a_log_that_is_begun_anew_has_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let (source, file, _) = log(directory.path(), false);
        source.cut(5000).unwrap();
        let mut reader = LogReader::open(&source).unwrap().unwrap();
        everything(&mut reader);
        file.set_len(0).unwrap();
        (&file).write_all(b"new\n").unwrap();
        assert_eq!((everything(&mut reader).as_str(), reader.offset()), ("new\n", 4));
        std::fs::write(marker(source.path().unwrap()), "much").unwrap();
        let error = LogReader::open(&source).unwrap_err();
        assert!(error.to_string().contains("console.log.start"), "{error}");
    }

    #[test]
    fn a_log_that_filled_the_disk_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path();
        let mount = |words: &[&str]| {
            let ended = std::process::Command::new(words[0]).args(&words[1..]).arg(disk).output();
            ended.is_ok_and(|ended| ended.status.success())
        };
        if !mount(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
            eprintln!("SKIPPED: a small disk can only be mounted by root");
            return;
        }
        let path = disk.join("console.log");
        let mut file = File::create(&path).unwrap();
        while file.write_all(LINE.as_bytes()).is_ok() {}
        let source = LogSource::File(path);
        let cut = source.cut(128 << 10);
        let left = LogReader::open(&source).map(|reader| everything(&mut reader.unwrap()));
        drop(file);
        assert!(mount(&["umount"]));
        assert!(cut.unwrap().file >= 128 << 10);
        assert!(left.unwrap().starts_with(LINE));
    }

    #[test]
    fn a_line_without_an_end_is_cut_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let source = LogSource::File(directory.path().join("console.log"));
        assert_eq!(source.start().unwrap(), Cut::default());
        assert!(source.cut(1).is_err());
        std::fs::write(source.path().unwrap(), "x".repeat(3 * CHUNK)).unwrap();
        assert_eq!(source.cut(CHUNK as u64).unwrap().file, CHUNK as u64);
        assert_eq!(LogSource::Remote.cut(1).unwrap(), Cut::default());
    }
}
