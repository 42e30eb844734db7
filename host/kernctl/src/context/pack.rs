// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A tar of a directory, made while it is sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bhojpur_client::Upload;
use bytes::Bytes;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use super::Ignored;
use crate::Failure;

/// What goes out at once.
const PIECE: usize = 256 << 10;

/// What is kept of files beside their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Whether they can be executed: the same sources make the same tar.
    Little,
    /// Owners, rights and times.
    Everything,
}

/// What will be sent.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The tar.
    pub(crate) upload: Upload,
    /// About how large it is.
    pub(crate) size: u64,
    /// How many files and directories are in it.
    pub(crate) entries: usize,
    /// A sentence for each thing that is not: what it means elsewhere, nobody knows.
    pub(crate) left_out: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    /// Where it is.
    path: PathBuf,
    /// Its name in the tar.
    name: PathBuf,
    metadata: Metadata,
}

/// Packs a directory, with `prefix` before all names.
pub(crate) fn pack(
    root: &Path,
    prefix: &Path,
    ignored: &Ignored,
    keep: Keep,
) -> Result<Packed, Failure> {
    let mut entries = Vec::new();
    // The directory itself has a name when it gets a new one.
    if !prefix.as_os_str().is_empty() {
        let metadata = read_metadata(root)?;
        entries.push(Entry { path: root.to_owned(), name: prefix.to_owned(), metadata });
    }
    collect(root, prefix, Path::new(""), ignored, &mut entries)?;
    Ok(start(entries, keep))
}

/// Packs one file under a name.
pub(crate) fn pack_file(path: &Path, name: &Path, keep: Keep) -> Result<Packed, Failure> {
    let metadata = read_metadata(path)?;
    Ok(start(vec![Entry { path: path.to_owned(), name: name.to_owned(), metadata }], keep))
}

fn start(entries: Vec<Entry>, keep: Keep) -> Packed {
    let (entries, left_out): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| special(&entry.metadata).is_none());
    let left_out = left_out.iter().filter_map(|entry| {
        let what = special(&entry.metadata)?;
        Some(format!("{} was left out: it is {what}", entry.path.display()))
    });
    let left_out = left_out.collect();
    let size = entries
        .iter()
        .map(|entry| 512 + content_size(&entry.metadata).next_multiple_of(512))
        .sum::<u64>()
        + 1024;
    let count = entries.len();
    let (sender, receiver) = mpsc::channel(8);
    // Reads files, which blocks; its end is the end of the channel.
    std::thread::spawn(move || {
        let mut pipe = Pipe { sender: sender.clone(), buffer: Vec::with_capacity(PIECE) };
        if let Err(error) = write(&entries, keep, &mut pipe) {
            // When nobody receives any more, nobody wants to know.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Packed { upload: Upload::channel(receiver), size, entries: count, left_out }
}

/// What is neither a file nor a directory nor a link.
pub(crate) fn special(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match kind {
        _ if kind.is_file() || kind.is_dir() || kind.is_symlink() => None,
        _ if kind.is_fifo() => Some("a named pipe"),
        _ if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

fn read_metadata(path: &Path) -> Result<Metadata, Failure> {
    fs::symlink_metadata(path)
        .map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))
}

fn collect(
    root: &Path,
    prefix: &Path,
    below: &Path,
    ignored: &Ignored,
    into: &mut Vec<Entry>,
) -> Result<(), Failure> {
    let directory = root.join(below);
    let unreadable =
        |error: io::Error| Failure::io(format!("cannot read {}", directory.display()), &error);
    let mut names: Vec<_> = fs::read_dir(&directory)
        .map_err(unreadable)?
        .map(|found| found.map(|found| found.file_name()))
        .collect::<io::Result<_>>()
        .map_err(unreadable)?;
    names.sort();
    for name in names {
        let name = below.join(name);
        let left_out = ignored.contains(&name.to_string_lossy());
        let path = root.join(&name);
        let metadata = read_metadata(&path)?;
        let is_directory = metadata.is_dir();
        if left_out && !(is_directory && ignored.has_exceptions()) {
            continue;
        }
        let at = into.len();
        into.push(Entry { path, name: prefix.join(&name), metadata });
        if is_directory {
            collect(root, prefix, &name, ignored, into)?;
            // Nothing in it was an exception.
            if left_out && into.len() == at + 1 {
                into.pop();
            }
        }
    }
    Ok(())
}

fn content_size(metadata: &Metadata) -> u64 {
    if metadata.is_file() { metadata.len() } else { 0 }
}

fn write(entries: &[Entry], keep: Keep, pipe: &mut Pipe) -> io::Result<()> {
    let mut builder = Builder::new(pipe);
    let mut names = HashMap::new();
    for Entry { path, name, metadata } in entries {
        let first = match keep {
            Keep::Everything => first_name(&mut names, metadata, name),
            Keep::Little => None,
        };
        if let Some(first) = first {
            let mut header = header(metadata, keep);
            header.set_entry_type(EntryType::Link);
            builder.append_link(&mut header, name, first)?;
            continue;
        }
        append(&mut builder, path, name, metadata, keep).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot send {}: {error}", path.display()))
        })?;
    }
    builder.into_inner()?.flush()
}

/// The name under which a file has been sent already.
fn first_name<'a>(
    names: &mut HashMap<(u64, u64), &'a Path>,
    metadata: &Metadata,
    name: &'a Path,
) -> Option<&'a Path> {
    if !metadata.is_file() || metadata.nlink() < 2 {
        return None;
    }
    match names.entry((metadata.dev(), metadata.ino())) {
        Slot::Occupied(first) => Some(first.get()),
        Slot::Vacant(slot) => {
            slot.insert(name);
            None
        }
    }
}

fn append(
    builder: &mut Builder<&mut Pipe>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    keep: Keep,
) -> io::Result<()> {
    let mut header = header(metadata, keep);
    let kind = metadata.file_type();
    if kind.is_dir() {
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, name, io::empty())
    } else if kind.is_symlink() {
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, name, fs::read_link(path)?)
    } else if kind.is_file() {
        header.set_entry_type(EntryType::Regular);
        header.set_size(metadata.len());
        let mut content =
            Counted { reader: File::open(path)?.take(metadata.len()), left: metadata.len() };
        builder.append_data(&mut header, name, &mut content)
    } else {
        // It was a file when it was found.
        Err(io::Error::other("it is neither a file nor a directory nor a link"))
    }
}

/// What a tar says of a file beside its name, its kind and its content.
fn header(metadata: &Metadata, keep: Keep) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(0);
    header.set_mode(metadata.permissions().mode() & 0o7777);
    match keep {
        Keep::Everything => {
            header.set_uid(metadata.uid().into());
            header.set_gid(metadata.gid().into());
            header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        }
        Keep::Little => {
            let executable = metadata.is_dir() || metadata.permissions().mode() & 0o111 != 0;
            header.set_mode(if executable { 0o755 } else { 0o644 });
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
        }
    }
    header
}

/// A file of the size that was announced; one that became shorter would shift all that follows.
struct Counted {
    reader: io::Take<File>,
    left: u64,
}

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0 && self.left != 0 && !buffer.is_empty() {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// Sends what is written.
struct Pipe {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE));
        self.sender
            .blocking_send(Ok(Bytes::from(piece)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
