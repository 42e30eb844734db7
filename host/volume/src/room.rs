// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the files of a stream find room in a volume, found out before any of them is written.

use std::collections::HashMap;
use std::io::Read;

use crate::core::{Core, SLACK_BLOCKS};
use crate::layout::BLOCK;
use crate::stream::Item;
use crate::tree::kind;
use crate::unpack::{CHUNK, data_runs, fill, joined};
use crate::{EntryKind, Error, ErrorKind, Result};

/// Text of a symbolic link that fits into its inode.
const SHORT_LINK: usize = 59;
/// Extents of one block of a file's tree. Each run of blocks is an extent; how many there will be is
/// not known, so that each block counts as one.
const EXTENTS: u64 = 340;
/// Unit of an inode's count of blocks.
const SECTOR: u64 = 512;

/// Adds up, entry by entry, what is taken and what is given back: a file gives its room to the one
/// that takes its place, and at no moment may there be too little.
pub(crate) struct Room<'a> {
    core: &'a mut Core,
    /// Parts of the directory that all is put into.
    at: Vec<Vec<u8>>,
    /// With those that are given back on the way.
    free_blocks: u64,
    free_files: u64,
    /// Blocks and inodes that are taken.
    blocks: u64,
    files: u64,
    /// Bytes of contents.
    bytes: u64,
    /// Bytes of new names in directories.
    names: u64,
    /// What was put where: its blocks, `None` for directories.
    known: HashMap<Vec<u8>, Option<u64>>,
}

impl<'a> Room<'a> {
    pub(crate) fn new(core: &'a mut Core, at: &str) -> Result<Self> {
        let stat = core.run("cannot read the superblock", |engine| Ok(engine.statfs()))?;
        Ok(Self {
            core,
            at: crate::tree::parts(at.as_bytes()).collect(),
            free_blocks: (stat.free_blocks * stat.block_size) / BLOCK,
            free_files: stat.free_inodes.into(),
            blocks: 0,
            files: 0,
            bytes: 0,
            names: 0,
            known: HashMap::new(),
        })
    }

    /// Bytes of contents that are written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Another entry of the stream.
    pub(crate) fn add(&mut self, path: &[Vec<u8>], item: Item<'_>) -> Result<()> {
        let full: Vec<Vec<u8>> = self.at.iter().chain(path).cloned().collect();
        match item {
            Item::Other(_) => return Ok(()),
            Item::Directory => self.directories(&full)?,
            Item::File(contents) => {
                let data = data_blocks(contents, path)?;
                self.bytes = self.bytes.saturating_add(data * BLOCK);
                let tree = if data > 4 { data.div_ceil(EXTENTS) } else { 0 };
                self.file(&full, data + tree, 1)?;
            }
            Item::Symlink(target) => {
                self.file(&full, u64::from(target.len() > SHORT_LINK), 1)?;
            }
            Item::HardLink(_) => self.file(&full, 0, 0)?,
        }
        let names = (self.names * 2).div_ceil(BLOCK);
        let wanted = self.blocks.saturating_add(names).saturating_add(SLACK_BLOCKS);
        if wanted <= self.free_blocks && self.files < self.free_files {
            return Ok(());
        }
        let message = format!("there is no room for {} in the volume", joined(path));
        Err(Error::new(ErrorKind::NoSpace, message)
            .advise("nothing was written; make a larger volume, or put less into it"))
    }

    /// Something that is no directory, in place of what is there.
    fn file(&mut self, path: &[Vec<u8>], blocks: u64, files: u64) -> Result<()> {
        let Some((name, parents)) = path.split_last() else { return Ok(()) };
        self.directories(parents)?;
        let before = match self.known.insert(path.join(&b'/'), Some(blocks)) {
            Some(known) => known,
            None => self.given_back(path)?,
        };
        match before {
            Some(before) => self.free_blocks = self.free_blocks.saturating_add(before),
            None => {
                self.names += entry(name);
                self.files += files;
            }
        }
        self.blocks += blocks;
        Ok(())
    }

    /// The directories at a path and above it.
    fn directories(&mut self, path: &[Vec<u8>]) -> Result<()> {
        for end in 1..=path.len() {
            let (here, name) = (&path[..end], &path[end - 1]);
            let key = here.join(&b'/');
            if self.known.contains_key(&key) {
                continue;
            }
            let is_there = self.look(here)?.is_some();
            self.known.insert(key, None);
            if !is_there {
                self.names += entry(name);
                self.files += 1;
                self.blocks += 1;
            }
        }
        Ok(())
    }

    /// Blocks of a file that is there, which its removal frees; `None` when there is none.
    fn given_back(&mut self, path: &[Vec<u8>]) -> Result<Option<u64>> {
        Ok(self.look(path)?.map(|info| {
            let alone = kind(&info) != EntryKind::Directory && info.links <= 1;
            if alone { info.blocks * SECTOR / BLOCK } else { 0 }
        }))
    }

    fn look(&mut self, path: &[Vec<u8>]) -> Result<Option<rsext4::InodeInfo>> {
        let mut text = Vec::from(b"/");
        text.extend(path.join(&b'/'));
        // Names that are no text are looked for one by one, without links on the way.
        match String::from_utf8(text) {
            Ok(text) => match self.core.find(&text, false) {
                Ok(found) => Ok(found.map(|found| found.info)),
                // What is in the way is no directory: writing says so.
                Err(error) if error.kind() == ErrorKind::Invalid => Ok(None),
                Err(error) => Err(error),
            },
            Err(_) => Ok(None),
        }
    }
}

/// Bytes of a name in its directory.
fn entry(name: &[u8]) -> u64 {
    (8 + name.len() as u64).next_multiple_of(4)
}

/// Blocks of contents that are not only zeroes.
fn data_blocks(contents: &mut dyn Read, path: &[Vec<u8>]) -> Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut blocks = 0;
    loop {
        let count = fill(contents, &mut buffer)
            .map_err(|error| Error::io(format_args!("cannot read {}", joined(path)), error))?;
        let runs = data_runs(&buffer[..count]);
        blocks += runs.iter().map(|run| (run.len() as u64).div_ceil(BLOCK)).sum::<u64>();
        if count < buffer.len() {
            return Ok(blocks);
        }
    }
}
