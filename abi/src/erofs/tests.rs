// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests of the reader on a hand-made image; the writer's crate has more.

use super::*;
use std::vec;
use std::vec::Vec;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn seal(image: &mut [u8]) {
    put(image, SUPER_OFFSET + super_block::CHECKSUM, &[0; 4]);
    let crc = crc32c::update(!0, &image[SUPER_OFFSET..BLOCK_SIZE]);
    put(image, SUPER_OFFSET + super_block::CHECKSUM, &crc.to_le_bytes());
}

fn inode(image: &mut [u8], nid: usize, layout: u16, mode: u16, size: u32, union: u32) {
    let at = BLOCK_SIZE + nid * 32;
    put(image, at, &(layout << 1).to_le_bytes());
    put(image, at + 4, &mode.to_le_bytes());
    put(image, at + 6, &1u16.to_le_bytes());
    put(image, at + 8, &size.to_le_bytes());
    put(image, at + 16, &union.to_le_bytes());
}

/// Block 0 super block, 1 inodes, 2 root directory, 3.. a file of 5000 bytes.
fn sample() -> Vec<u8> {
    let mut image = vec![0; 5 * BLOCK_SIZE];
    let sb = SUPER_OFFSET;
    put(&mut image, sb, &SUPER_MAGIC.to_le_bytes());
    put(&mut image, sb + super_block::FEATURE_COMPAT, &1u32.to_le_bytes());
    put(&mut image, sb + super_block::BLOCK_BITS, &[12]);
    put(&mut image, sb + super_block::ROOT_NID, &0u16.to_le_bytes());
    put(&mut image, sb + super_block::INODES, &4u64.to_le_bytes());
    put(&mut image, sb + super_block::BLOCKS, &5u32.to_le_bytes());
    put(&mut image, sb + super_block::META_BLOCK, &1u32.to_le_bytes());
    seal(&mut image);
    let names: [(&[u8], u64, u8); 5] =
        [(b".", 0, 2), (b"..", 0, 2), (b"dev", 2, 3), (b"file", 1, 1), (b"link", 4, 7)];
    let mut at = names.len() * DIRENT;
    for (i, (name, nid, kind)) in names.into_iter().enumerate() {
        let entry = 2 * BLOCK_SIZE + i * DIRENT;
        put(&mut image, entry, &nid.to_le_bytes());
        put(&mut image, entry + 8, &(at as u16).to_le_bytes());
        put(&mut image, entry + 10, &[kind]);
        put(&mut image, 2 * BLOCK_SIZE + at, name);
        at += name.len();
    }
    inode(&mut image, 0, 0, 0o040_755, at as u32, 2);
    inode(&mut image, 1, 0, 0o100_644, 5000, 3);
    inode(&mut image, 2, 0, 0o020_666, 0, (1 << 8) | 3 | (1 << 20));
    inode(&mut image, 4, 2, 0o120_777, 4, 0);
    put(&mut image, BLOCK_SIZE + 5 * 32, b"file");
    put(&mut image, 3 * BLOCK_SIZE, &[7; 5000]);
    image
}

const DIRENT: usize = layout::DIRENT_SIZE;

#[test]
fn reads_what_is_there() {
    let bytes = sample();
    let image = Image::open(&bytes).unwrap();
    let names: Vec<_> =
        image.root().unwrap().entries(0).unwrap().map(|e| e.unwrap().name).collect();
    assert_eq!(names, [&b"."[..], b"..", b"dev", b"file", b"link"]);
    for name in names {
        assert!(image.walk(name).unwrap().is_some());
    }
    for absent in [&b"a"[..], b"fil", b"files", b"zzz", &[b'x'; 256]] {
        assert!(image.walk(absent).unwrap().is_none());
    }
    let file = image.walk(b"/./file").unwrap().unwrap();
    assert_eq!(file.contiguous(), Some(&[7; 5000][..]));
    let whole = Extent { file_offset: 0, image: 3 * BLOCK_SIZE..3 * BLOCK_SIZE + 5000 };
    assert_eq!(file.extents().collect::<Vec<_>>(), [whole]);
    assert_eq!((file.data_at(4999).len(), file.data_at(5000).len()), (1, 0));
    assert_eq!(file.data_at(u64::MAX).len(), 0);
    assert_eq!(image.walk(b"dev").unwrap().unwrap().device(), (1, 0x103));
    assert_eq!(image.walk(b"link").unwrap().unwrap().target(), Ok(&b"file"[..]));
    assert_eq!(image.walk(b"file/x").unwrap_err(), Error::NotDirectory);
    assert_eq!(file.target().unwrap_err(), Error::NotSymlink);
}

#[test]
fn positions_resume() {
    let bytes = sample();
    let root = Image::open(&bytes).unwrap().root().unwrap();
    let mut entries = root.entries(0).unwrap();
    for left in (0..5).rev() {
        entries.next().unwrap().unwrap();
        assert_eq!(root.entries(entries.position()).unwrap().count(), left);
    }
    assert_eq!(root.entries(u64::MAX).unwrap().count(), 0);
}

#[test]
fn refuses_other_images() {
    assert_eq!(Image::open(&[]).unwrap_err(), Error::Truncated);
    assert_eq!(Image::open(&[0; 8192]).unwrap_err(), Error::Magic);
    let good = sample();
    for len in (0..good.len()).step_by(61) {
        assert!(Image::open(&good[..len]).is_err());
    }
    for (at, value) in [(12, 9), (80, 4), (86, 1)] {
        let mut bytes = sample();
        bytes[SUPER_OFFSET + at] = value;
        assert!(matches!(Image::open(&bytes), Err(Error::Checksum | Error::Unsupported(_))));
        seal(&mut bytes);
        assert!(matches!(Image::open(&bytes), Err(Error::Unsupported(_))));
    }
    let mut bytes = sample();
    bytes[SUPER_OFFSET + super_block::UUID] ^= 1;
    assert_eq!(Image::open(&bytes).unwrap_err(), Error::Checksum);
}

#[test]
fn inline_data_may_not_cross_a_block() {
    let mut bytes = sample();
    inode(&mut bytes, 4, 2, 0o100_644, 4096, 0);
    let image = Image::open(&bytes).unwrap();
    assert!(matches!(image.inode(4), Err(Error::Corrupt(_))));
    assert!(image.inode(u64::MAX).is_err());
    assert!(image.inode(u64::MAX / 32).is_err());
}

/// Everything that can be asked of an image.
fn touch(bytes: &[u8]) {
    let Ok(image) = Image::open(bytes) else { return };
    for nid in 0..200 {
        let Ok(inode) = image.inode(nid) else { continue };
        let _ = (inode.target(), inode.device(), inode.extents().count(), inode.data_at(4097));
        if let Ok(entries) = inode.entries(0) {
            for entry in entries.flatten() {
                let _ = image.lookup(&inode, entry.name);
            }
        }
    }
}

#[test]
fn no_flip_of_a_byte_panics() {
    let good = sample();
    for at in
        (SUPER_OFFSET..SUPER_OFFSET + 128).chain(BLOCK_SIZE..BLOCK_SIZE + 200).chain(8192..8280)
    {
        for value in [0, 1, 0x7f, 0x80, 0xff, good[at] ^ 4] {
            let mut bad = good.clone();
            bad[at] = value;
            seal(&mut bad);
            touch(&bad);
        }
    }
}
