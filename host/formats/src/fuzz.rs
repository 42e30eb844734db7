// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What fuzz targets call: each function asks all that can be asked of the
//! bytes, and must return whatever they are.

use crate::image::{Assembly, Root};
use bhojpur_abi::config::{Config, OwnedConfig};
use bhojpur_abi::control::Record;
use bhojpur_abi::crc32c;
use bhojpur_abi::erofs::layout::{BLOCK_SIZE, SUPER_OFFSET, super_block};
use bhojpur_abi::erofs::{Image, Inode};
use bhojpur_abi::{elf, payload};
use std::borrow::Cow;
use std::io::Cursor;

/// Inodes that are looked at in one image.
const INODES_MAX: usize = 2000;

/// Walks the whole image from its root and reads every inode.
pub fn erofs(bytes: &[u8]) {
    let bytes = with_checksum(bytes);
    let Ok(image) = Image::open(&bytes) else { return };
    let _ = (image.volume_name(), image.uuid(), image.walk(b"/a/b/../c"));
    let mut queue = vec![image.root_nid()];
    let mut next = 0;
    while let Some(&nid) = queue.get(next) {
        next += 1;
        let Ok(inode) = image.inode(nid) else { continue };
        erofs_inode(&image, &inode);
        for entry in inode.entries(0).into_iter().flatten().flatten() {
            if queue.len() < INODES_MAX && !queue.contains(&entry.nid) {
                queue.push(entry.nid);
            }
        }
    }
}

fn erofs_inode(image: &Image<'_>, inode: &Inode<'_>) {
    let (head, tail) = inode.data();
    if inode.links() > 0 && !inode.extents().map(|e| e.image.len()).eq(lengths(head, tail)) {
        unreachable!("extents and data differ");
    }
    let _ = (inode.target(), inode.device(), inode.mtime(), inode.contiguous());
    let middle = inode.data_at(inode.size() / 2);
    assert!(middle.len() as u64 <= inode.size());
    let Ok(entries) = inode.entries(0) else { return };
    for entry in entries.flatten().take(64) {
        let _ = image.lookup(inode, entry.name);
    }
}

fn lengths(head: &[u8], tail: &[u8]) -> impl Iterator<Item = usize> {
    [head.len(), tail.len()].into_iter().filter(|&n| n > 0)
}

/// With the right checksum, so that damage elsewhere is reached.
fn with_checksum(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut bytes = Cow::Borrowed(bytes);
    if bytes.len() >= BLOCK_SIZE {
        let block = &mut bytes.to_mut()[SUPER_OFFSET..BLOCK_SIZE];
        let field = super_block::CHECKSUM..super_block::CHECKSUM + 4;
        block[field.clone()].fill(0);
        let crc = crc32c::update(!0, block);
        block[field].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// Reads an ELF file as a program and as a kernel.
pub fn elf(bytes: &[u8]) {
    for parsed in [elf::File::parse(bytes), elf::File::parse_kernel(bytes)] {
        let Ok(file) = parsed else { continue };
        let plan = file.plan();
        let _ = (plan.span(), plan.alignment(), plan.table_address(), plan.executable_stack());
        let _ = (file.interpreter(), file.runpath(), file.rpath(), file.soname());
        let _ = (file.needed().count(), file.sections().count(), file.section(".text").is_some());
        for load in plan.loads() {
            assert_eq!(file.segment_data(&load).len() as u64, load.file_size);
        }
    }
}

/// Reads a configuration record; what is accepted must survive encoding.
pub fn config(bytes: &[u8]) {
    let bytes = with_config_checksum(bytes);
    let Ok(config) = Config::parse(&bytes) else { return };
    let owned = OwnedConfig::from(&config);
    if let Ok(again) = owned.encode() {
        assert_eq!(OwnedConfig::from(&Config::parse(&again).expect("own record")), owned);
    }
}

fn with_config_checksum(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut bytes = Cow::Borrowed(bytes);
    if let Some(fields) =
        bhojpur_abi::config::record_len(&bytes).ok().and_then(|n| bytes.get(24..n))
    {
        let crc = crc32c::checksum(fields);
        bytes.to_mut()[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// Reads lines of the control channel and a payload descriptor.
pub fn control(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Record::Log { text, .. } | Record::Fatal(text) = Record::parse(line) {
            let _ = text.to_string();
        }
    }
    let _ = payload::Descriptor::parse(bytes);
}

/// Reads a kernel, and writes what is accepted with another configuration.
pub fn kernel(bytes: &[u8]) {
    let config = OwnedConfig::default();
    if let Ok(assembly) = Assembly::new(bytes, &config, Root::None) {
        let _ = assembly.write(&mut Cursor::new(Vec::new()));
    }
}
