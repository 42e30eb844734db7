// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where everything lies in the image, and writing it.

use super::pack::{Name, Packer, directory_blocks, directory_bytes};
use super::tree::{Content, ROOT};
use super::{Data, Error, Tree};
use bhojpur_abi::crc32c;
use bhojpur_abi::erofs::Kind;
use bhojpur_abi::erofs::layout::{
    BLOCK_BITS, BLOCK_SIZE, COMPACT_SIZE, COMPAT_MTIME, COMPAT_SB_CHKSUM, EXTENDED_SIZE,
    FLAT_INLINE, FLAT_PLAIN, FORMAT_EXTENDED, FORMAT_LAYOUT_SHIFT, SLOT_SIZE, SUPER_MAGIC,
    SUPER_OFFSET, SUPER_SIZE, inode as field, super_block,
};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Seconds since 1970 of all inodes that name no other time.
    pub time: u64,
    /// Name of the volume; the first 16 bytes count.
    pub volume_name: String,
    /// Identity; without it, one that follows from the contents.
    pub uuid: Option<[u8; 16]>,
}

/// An inode with its place.
#[derive(Clone, Copy, Debug, Default)]
struct Placed {
    node: usize,
    parent: usize,
    links: u32,
    at: usize,
    extended: bool,
    inline: bool,
    size: u64,
    block: u32,
}

/// The layout of a tree's image; what is left is to write it.
#[derive(Debug)]
pub struct Plan<'t> {
    tree: &'t Tree,
    options: Options,
    inodes: Vec<Placed>,
    /// From a node of the tree to its place in `inodes`.
    index: Vec<Option<usize>>,
    meta_end: usize,
    blocks: u32,
}

impl<'t> Plan<'t> {
    /// Lays out `tree`.
    pub fn new(tree: &'t Tree, options: &Options) -> Result<Self, Error> {
        let mut plan = Self {
            tree,
            options: options.clone(),
            inodes: Vec::new(),
            index: vec![None; tree.nodes.len()],
            meta_end: 0,
            blocks: 0,
        };
        plan.collect();
        plan.place()?;
        Ok(plan)
    }

    /// Bytes of the image, a multiple of the block size.
    pub fn size(&self) -> u64 {
        u64::from(self.blocks) << BLOCK_BITS
    }

    /// The tree that it lays out.
    pub fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Number of inodes.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    /// Numbers what can be reached from the root, directory by directory.
    fn collect(&mut self) {
        self.add(ROOT, 0);
        let mut next = 0;
        while let Some(placed) = self.inodes.get(next).copied() {
            let tree = self.tree;
            for &child in tree.entries(placed.node).into_iter().flat_map(|e| e.values()) {
                match self.index[child] {
                    Some(known) => self.inodes[known].links += 1,
                    None => self.add(child, next),
                }
                if tree.entries(child).is_some() {
                    self.inodes[next].links += 1;
                }
            }
            next += 1;
        }
    }

    fn add(&mut self, node: usize, parent: usize) {
        self.index[node] = Some(self.inodes.len());
        let links = if self.tree.entries(node).is_some() { 2 } else { 1 };
        self.inodes.push(Placed { node, parent, links, ..Placed::default() });
    }

    fn names(&self, index: usize) -> Vec<Name<'t>> {
        let placed = self.inodes[index];
        let directory = Kind::Directory.file_type();
        let mut names: Vec<Name<'t>> =
            vec![(b".", index, directory), (b"..", placed.parent, directory)];
        for (name, &node) in self.tree.entries(placed.node).into_iter().flatten() {
            let kind = self.tree.nodes[node].content.kind();
            names.push((name, self.index[node].unwrap_or(0), kind.file_type()));
        }
        names.sort_unstable();
        names
    }

    fn place(&mut self) -> Result<(), Error> {
        let mut packer = Packer::new(SUPER_OFFSET + SUPER_SIZE);
        for index in 0..self.inodes.len() {
            let size = self.data_size(index);
            let inline = self.inline_size(index, size);
            let extended = self.needs_extended(index, size);
            let len = if extended { EXTENDED_SIZE } else { COMPACT_SIZE };
            let fits = len + inline <= BLOCK_SIZE;
            let placed = &mut self.inodes[index];
            placed.size = size;
            placed.extended = extended;
            placed.inline = inline > 0 && fits;
            placed.at = packer.place(len + if fits { inline } else { 0 });
        }
        self.meta_end = packer.end();
        let mut block = (self.meta_end / BLOCK_SIZE) as u64;
        for placed in &mut self.inodes {
            let blocks = placed.block_count();
            if blocks > 0 {
                placed.block = block_number(block)?;
                block += blocks;
            }
        }
        self.blocks = block_number(block)?;
        Ok(())
    }

    fn data_size(&self, index: usize) -> u64 {
        match &self.tree.nodes[self.inodes[index].node].content {
            Content::Directory(_) => directory_blocks(&self.names(index)).1 as u64,
            Content::File(data) => data.len(),
            Content::Symlink(target) => target.len() as u64,
            Content::Device { .. } | Content::Special(_) => 0,
        }
    }

    /// Bytes that should follow the inode: small files and links as a whole,
    /// of directories the last block.
    fn inline_size(&self, index: usize, size: u64) -> usize {
        let block = BLOCK_SIZE as u64;
        let directory = self.tree.entries(self.inodes[index].node).is_some();
        if directory || size < block { (size % block) as usize } else { 0 }
    }

    fn needs_extended(&self, index: usize, size: u64) -> bool {
        let placed = self.inodes[index];
        let a = self.tree.nodes[placed.node].attributes;
        let wide = |value: u32| value > u16::MAX.into();
        wide(a.uid)
            || wide(a.gid)
            || wide(placed.links)
            || size > u32::MAX.into()
            || a.mtime.is_some_and(|t| t != self.options.time)
    }

    fn nid(&self, index: usize) -> u64 {
        self.inodes[index].at as u64 / SLOT_SIZE
    }

    /// Writes the image from the writer's position on, and leaves the position
    /// behind it.
    pub fn write<W: Write + Seek>(&self, out: &mut W) -> Result<(), Error> {
        let start = out.stream_position()?;
        let mut meta = vec![0; self.meta_end];
        let mut hash = Sha256::new();
        self.fill_metadata(&mut meta, &mut hash)?;
        out.write_all(&meta)?;
        for (index, placed) in self.inodes.iter().enumerate() {
            if placed.block_count() > 0 {
                self.write_data(index, out, &mut hash)?;
            }
        }
        hash.update(&meta);
        hash.update(&self.options.volume_name);
        self.fill_super_block(&mut meta, &hash.finalize())?;
        out.seek(SeekFrom::Start(start))?;
        out.write_all(&meta[..BLOCK_SIZE])?;
        out.seek(SeekFrom::Start(start + self.size()))?;
        Ok(())
    }

    fn fill_metadata(&self, meta: &mut [u8], hash: &mut Sha256) -> Result<(), Error> {
        for (index, placed) in self.inodes.iter().enumerate() {
            let raw = self.encode(index, placed);
            put(meta, placed.at, &raw);
            if !placed.inline {
                continue;
            }
            let at = placed.at + raw.len();
            match &self.tree.nodes[placed.node].content {
                Content::Directory(_) => {
                    let bytes = directory_bytes(&self.names(index), |i| self.nid(i));
                    put(meta, at, &bytes[placed.head_len() as usize..]);
                }
                Content::File(Data::Bytes(bytes)) => put(meta, at, bytes),
                Content::File(Data::Host { path, len }) => {
                    let room = &mut &mut meta[at..at + *len as usize];
                    copy_file(path, *len, room, hash)?;
                }
                Content::Symlink(target) => put(meta, at, target),
                Content::Device { .. } | Content::Special(_) => {}
            }
        }
        Ok(())
    }

    /// Writes what does not lie behind the inode, filled up to whole blocks.
    fn write_data(
        &self,
        index: usize,
        out: &mut impl Write,
        hash: &mut Sha256,
    ) -> Result<(), Error> {
        let placed = &self.inodes[index];
        let len = placed.head_len();
        match &self.tree.nodes[placed.node].content {
            Content::Directory(_) => {
                let bytes = directory_bytes(&self.names(index), |i| self.nid(i));
                write_hashed(&bytes[..len as usize], out, hash)?;
            }
            Content::File(Data::Bytes(bytes)) => write_hashed(bytes, out, hash)?,
            Content::File(Data::Host { path, len }) => copy_file(path, *len, out, hash)?,
            Content::Symlink(target) => write_hashed(target, out, hash)?,
            Content::Device { .. } | Content::Special(_) => {}
        }
        let padding = len.next_multiple_of(BLOCK_SIZE as u64) - len;
        out.write_all(&[0; BLOCK_SIZE][..padding as usize])?;
        Ok(())
    }

    fn encode(&self, index: usize, placed: &Placed) -> Vec<u8> {
        let node = &self.tree.nodes[placed.node];
        let a = node.attributes;
        let layout = if placed.inline { FLAT_INLINE } else { FLAT_PLAIN };
        let version = if placed.extended { FORMAT_EXTENDED } else { 0 };
        let union = match node.content {
            Content::Device { major, minor, .. } => {
                (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
            }
            _ => placed.block,
        };
        let mut raw = vec![0; if placed.extended { EXTENDED_SIZE } else { COMPACT_SIZE }];
        put(&mut raw, field::FORMAT, &(layout << FORMAT_LAYOUT_SHIFT | version).to_le_bytes());
        let mode = node.content.kind() as u16 | a.permissions & 0o7777;
        put(&mut raw, field::MODE, &mode.to_le_bytes());
        put(&mut raw, field::UNION, &union.to_le_bytes());
        put(&mut raw, field::INO, &(index as u32 + 1).to_le_bytes());
        if placed.extended {
            use field::extended as e;
            put(&mut raw, e::SIZE, &placed.size.to_le_bytes());
            put(&mut raw, e::UID, &a.uid.to_le_bytes());
            put(&mut raw, e::GID, &a.gid.to_le_bytes());
            put(&mut raw, e::MTIME, &a.mtime.unwrap_or(self.options.time).to_le_bytes());
            put(&mut raw, e::NLINK, &placed.links.to_le_bytes());
        } else {
            use field::compact as c;
            put(&mut raw, c::SIZE, &(placed.size as u32).to_le_bytes());
            put(&mut raw, c::NLINK, &(placed.links as u16).to_le_bytes());
            put(&mut raw, c::UID, &(a.uid as u16).to_le_bytes());
            put(&mut raw, c::GID, &(a.gid as u16).to_le_bytes());
        }
        raw
    }

    fn fill_super_block(&self, meta: &mut [u8], hash: &[u8]) -> Result<(), Error> {
        use super_block as sb;
        let root = u16::try_from(self.nid(0)).map_err(|_| Error::TooLarge("root inode"))?;
        let block = &mut meta[SUPER_OFFSET..BLOCK_SIZE];
        put(block, sb::MAGIC, &SUPER_MAGIC.to_le_bytes());
        put(block, sb::FEATURE_COMPAT, &(COMPAT_SB_CHKSUM | COMPAT_MTIME).to_le_bytes());
        put(block, sb::BLOCK_BITS, &[BLOCK_BITS]);
        put(block, sb::ROOT_NID, &root.to_le_bytes());
        put(block, sb::INODES, &(self.inodes.len() as u64).to_le_bytes());
        put(block, sb::EPOCH, &self.options.time.to_le_bytes());
        put(block, sb::BLOCKS, &self.blocks.to_le_bytes());
        let name = self.options.volume_name.as_bytes();
        put(block, sb::VOLUME_NAME, &name[..name.len().min(16)]);
        put(block, sb::UUID, &self.options.uuid.unwrap_or_else(|| content_uuid(hash)));
        let crc = crc32c::update(!0, block);
        put(block, sb::CHECKSUM, &crc.to_le_bytes());
        Ok(())
    }
}

impl Placed {
    /// Bytes that lie in blocks of their own.
    fn head_len(&self) -> u64 {
        let inline = if self.inline { self.size % BLOCK_SIZE as u64 } else { 0 };
        self.size - inline
    }

    fn block_count(&self) -> u64 {
        self.head_len().div_ceil(BLOCK_SIZE as u64)
    }
}

fn block_number(block: u64) -> Result<u32, Error> {
    u32::try_from(block)
        .ok()
        .filter(|&b| b < u32::MAX)
        .ok_or(Error::TooLarge("16 TiB are the most that can be addressed"))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A UUID of version 8 (RFC 9562 section 5.8) made of a hash.
fn content_uuid(hash: &[u8]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn write_hashed(bytes: &[u8], out: &mut impl Write, hash: &mut Sha256) -> Result<(), Error> {
    hash.update(bytes);
    Ok(out.write_all(bytes)?)
}

/// Copies a file of exactly `len` bytes, piece by piece.
fn copy_file(path: &Path, len: u64, out: &mut impl Write, hash: &mut Sha256) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    let mut left = len;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) if left == 0 => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        if count == 0 || count as u64 > left {
            return Err(Error::Changed(path.to_owned()));
        }
        left -= count as u64;
        write_hashed(&buffer[..count], out, hash)?;
    }
}
