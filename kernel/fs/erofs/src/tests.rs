// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images that mkfs.erofs made, read back and mapped.

use crate::Erofs;
use kio::{Errno, FileKind, SliceSink};
use kmm::{FRAME_SIZE, Frame};
use kvfs::{FileSystem, Inode};
use std::boxed::Box;
use std::format;
use std::process::Command;
use std::string::String;
use std::sync::Arc;
use std::vec::Vec;
use std::{fs, vec};

/// An image of a small tree, as the kernel has it in memory; `None` where
/// mkfs.erofs is not installed.
fn image(name: &str) -> Option<&'static [u8]> {
    let directory = std::env::temp_dir().join(format!("kfs-erofs-{}-{name}", std::process::id()));
    let tree = directory.join("tree");
    fs::create_dir_all(tree.join("many")).unwrap();
    fs::write(tree.join("small"), b"inline tail").unwrap();
    fs::write(tree.join("exact"), vec![7; 2 * FRAME_SIZE]).unwrap();
    fs::write(tree.join("large"), pattern(3 * FRAME_SIZE + 100)).unwrap();
    fs::write(tree.join("nearly"), pattern(2 * FRAME_SIZE + 4000)).unwrap();
    for n in 0..500 {
        fs::write(tree.join(format!("many/file-{n:03}")), format!("{n}")).unwrap();
    }
    std::os::unix::fs::symlink("small", tree.join("link")).unwrap();
    let file = directory.join("image");
    let made = Command::new("mkfs.erofs").arg(&file).arg(&tree).output();
    let bytes = made.is_ok_and(|m| m.status.success()).then(|| fs::read(&file).unwrap());
    fs::remove_dir_all(&directory).unwrap();
    let mut bytes = bytes?;
    bytes.resize(bytes.len().next_multiple_of(FRAME_SIZE), 0);
    Some(bytes.leak())
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 + 1).collect()
}

/// The file system over frames with the bytes of the image.
fn mounted(name: &str) -> Option<Arc<Erofs>> {
    kmm::hosted::start();
    let image = image(name)?;
    let frame_of_page = move |page: usize| {
        let frame = Frame::allocate().unwrap();
        frame.write(0, &image[page * FRAME_SIZE..(page + 1) * FRAME_SIZE]);
        frame
    };
    Some(Erofs::new(image, Box::new(frame_of_page)).unwrap())
}

fn contents(inode: &Arc<dyn Inode>, offset: u64) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let count = inode.read_at(offset, &mut SliceSink::new(&mut buffer)).unwrap();
    buffer.truncate(count);
    buffer
}

#[test]
fn reads_and_maps_what_mkfs_wrote() {
    let Some(fs) = mounted("files") else { return };
    let root = fs.root();
    for (name, length) in [("large", 3 * FRAME_SIZE + 100), ("nearly", 2 * FRAME_SIZE + 4000)] {
        let file = root.lookup(name.as_bytes()).unwrap();
        let want = pattern(length);
        assert_eq!(file.stat().unwrap().size, length as u64);
        assert_eq!(contents(&file, 0), want);
        assert_eq!(contents(&file, 5000), want[5000..]);
        assert!(contents(&file, length as u64).is_empty());
        assert!(contents(&file, u64::MAX).is_empty());
        let mut mapped = Vec::new();
        for page in 0..length.div_ceil(FRAME_SIZE) as u64 {
            file.map_page(page, false).unwrap().with_bytes(|b| mapped.extend_from_slice(b));
        }
        assert_eq!(mapped[..length], want);
        assert!(mapped[length..].iter().all(|&b| b == 0), "zeroes behind the end of {name}");
        let behind = length.div_ceil(FRAME_SIZE) as u64;
        assert_eq!(file.map_page(behind, false).unwrap_err(), Errno::EFAULT);
        assert_eq!(file.map_page(0, true).unwrap_err(), Errno::EROFS);
    }
    let small = root.lookup(b"small").unwrap();
    let (first, again) = (small.map_page(0, false).unwrap(), small.map_page(0, false).unwrap());
    assert_eq!(first.address(), again.address(), "the tail is copied once");
    assert_eq!(root.lookup(b"link").unwrap().read_link().unwrap(), b"small");
    assert_eq!(root.lookup(b"small").unwrap().read_link().unwrap_err(), Errno::EINVAL);
}

#[test]
fn lists_with_cursors_and_finds_every_name() {
    let Some(fs) = mounted("names") else { return };
    let many = fs.root().lookup(b"many").unwrap();
    let (mut names, mut cursor) = (Vec::new(), 0);
    loop {
        let before = names.len();
        many.read_dir(cursor, &mut |entry| {
            if names.len() == before + 7 {
                return false;
            }
            assert_eq!(entry.kind, FileKind::Regular);
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            cursor = entry.next;
            true
        })
        .unwrap();
        if names.len() == before {
            break;
        }
    }
    let want: Vec<_> = (0..500).map(|n| format!("file-{n:03}")).collect();
    assert_eq!(names, want);
    for (n, name) in names.iter().enumerate() {
        let file = many.lookup(name.as_bytes()).unwrap();
        assert_eq!(contents(&file, 0), format!("{n}").as_bytes());
    }
    assert!(matches!(many.lookup(b"file-500"), Err(Errno::ENOENT)));
    assert!(matches!(many.create(b"x", FileKind::Regular, 0, 0), Err(Errno::EROFS)));
}

#[test]
fn refuses_what_is_no_image() {
    assert!(Erofs::new(&[0; 8192], Box::new(|_| Frame::allocate().unwrap())).is_err());
    assert!(Erofs::new(&[], Box::new(|_| Frame::allocate().unwrap())).is_err());
}
