// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The writer against our reader and against erofs-utils.

use super::*;
use bhojpur_abi::erofs::{Image, Inode, Kind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

fn image(tree: &Tree) -> Vec<u8> {
    let plan = Plan::new(tree, &Options::default()).unwrap();
    let mut out = Cursor::new(Vec::new());
    plan.write(&mut out).unwrap();
    assert_eq!(out.position(), plan.size());
    out.into_inner()
}

fn content(inode: &Inode<'_>) -> Vec<u8> {
    let (head, tail) = inode.data();
    [head, tail].concat()
}

/// Every size that is an edge, every kind, a directory of several blocks.
fn sample() -> Tree {
    let mut tree = Tree::new();
    for size in [0, 1, 2047, 4031, 4032, 4063, 4064, 4065, 4095, 4096, 4097, 8192, 100_000] {
        let bytes = (0..size).map(|i| (i * 7 + size) as u8).collect();
        tree.add_bytes(format!("/sizes/{size}"), bytes, Attributes::FILE).unwrap();
    }
    for i in 0..1000 {
        tree.add_bytes(format!("/many/entry-{i:04}"), vec![i as u8], Attributes::FILE).unwrap();
    }
    tree.add_bytes("/many/!before-the-dots", vec![], Attributes::EXECUTABLE).unwrap();
    tree.add_bytes(format!("/long/{}", "n".repeat(255)), vec![1], Attributes::FILE).unwrap();
    tree.add_symlink("/lib", "usr/lib").unwrap();
    tree.add_symlink("/far", [b'x'; 4090]).unwrap();
    tree.add_directory("/usr/lib", Attributes::DIRECTORY).unwrap();
    tree.add_bytes("/lib/libc.so", vec![9; 5000], Attributes::EXECUTABLE).unwrap();
    tree.add_hard_link("/usr/lib/libc.so.6", "/usr/lib/libc.so").unwrap();
    let device = Attributes::with_permissions(0o666);
    tree.add_device("/dev/null", Kind::CharDevice, (1, 3), device).unwrap();
    tree.add_device("/dev/big", Kind::BlockDevice, (0xabc, 0xf_edcb), device).unwrap();
    tree.add_fifo("/run/pipe", Attributes::with_permissions(0o600)).unwrap();
    let owner = Attributes { uid: 70_000, gid: 5, mtime: Some(1 << 33), permissions: 0o4755 };
    tree.add_bytes("/owned", b"x".to_vec(), owner).unwrap();
    tree.add_directory("/empty", Attributes::with_permissions(0o700)).unwrap();
    tree
}

#[test]
fn reader_finds_everything() {
    let bytes = image(&sample());
    let image = Image::open(&bytes).unwrap();
    let at = |path: &str| image.walk(path.as_bytes()).unwrap().unwrap();
    for size in [0usize, 1, 2047, 4031, 4032, 4063, 4064, 4065, 4095, 4096, 4097, 8192, 100_000] {
        let inode = at(&format!("/sizes/{size}"));
        let expected: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        assert_eq!(content(&inode), expected);
        let start = inode.extents().next().map(|e| e.image.start);
        assert!(size < 4096 || start.unwrap() % 4096 == 0 && inode.contiguous().is_some());
    }
    for i in 0..1000 {
        assert_eq!(content(&at(&format!("many/entry-{i:04}"))), [i as u8]);
    }
    assert!(image.walk(b"many/entry-1000").unwrap().is_none());
    let many = at("many").entries(0).unwrap();
    let names: Vec<_> = many.map(|e| e.unwrap().name.to_vec()).collect();
    assert_eq!(names.len(), 1003);
    assert!(names.is_sorted() && names[0] == b"!before-the-dots");
    assert_eq!(at("lib").target().unwrap(), b"usr/lib");
    assert_eq!(at("far").target().unwrap(), [b'x'; 4090]);
    let (one, two) = (at("usr/lib/libc.so"), at("usr/lib/libc.so.6"));
    assert_eq!((one.nid(), one.links()), (two.nid(), 2));
    assert_eq!(at("dev/null").device(), (1, 3));
    assert_eq!(at("dev/big").device(), (0xabc, 0xf_edcb));
    assert_eq!(at("run/pipe").kind(), Kind::Fifo);
    let owned = at("owned");
    assert_eq!((owned.uid(), owned.gid(), owned.mtime()), (70_000, 5, (1 << 33, 0)));
    assert_eq!(owned.mode(), 0o104_755);
    assert_eq!((at("empty").links(), at("").links()), (2, 9));
}

#[test]
fn same_tree_same_bytes() {
    let first = image(&sample());
    assert_eq!(first, image(&sample()));
    let mut other = sample();
    other.add_bytes("/sizes/100000", vec![1; 100_000], Attributes::FILE).unwrap();
    let other = image(&other);
    let uuid = |b: &[u8]| Image::open(b).unwrap().uuid();
    assert_ne!(uuid(&first), uuid(&other));
    assert_eq!((uuid(&first)[6] >> 4, uuid(&first)[8] >> 6), (8, 2));
}

#[test]
fn an_image_can_begin_anywhere_in_its_file() {
    let tree = sample();
    let plan = Plan::new(&tree, &Options::default()).unwrap();
    let mut out = Cursor::new(vec![0xee; 8192]);
    out.set_position(8192);
    plan.write(&mut out).unwrap();
    assert_eq!(out.position(), 8192 + plan.size());
    assert_eq!(out.get_ref()[8192..], image(&tree));
    assert!(out.get_ref()[..8192].iter().all(|&b| b == 0xee));
}

#[test]
fn wrong_paths_are_refused() {
    let mut tree = sample();
    let mut add = |path: &str| tree.add_bytes(path, vec![], Attributes::FILE);
    assert!(matches!(add("/a/../b"), Err(Error::Path(_))));
    assert!(matches!(add("a\0b"), Err(Error::Path(_))));
    assert!(matches!(add(&"n".repeat(256)), Err(Error::Path(_))));
    assert!(matches!(add("/"), Err(Error::Exists(_))));
    assert!(matches!(add("/usr/"), Err(Error::Exists(_))));
    assert!(matches!(add("/sizes/1/x"), Err(Error::NotDirectory(_))));
    assert!(matches!(add("/sizes/1/x/y"), Err(Error::NotDirectory(_))));
    assert!(matches!(tree.add_hard_link("/h", "/usr"), Err(Error::NotFile(_))));
    tree.add_symlink("/loop", "loop").unwrap();
    assert!(tree.add_bytes("/loop/x", vec![], Attributes::FILE).is_err());
    assert!(!tree.contains("/loop/x") && tree.contains("/lib/libc.so.6"));
}

#[test]
fn files_are_found_through_links() {
    let mut tree = sample();
    tree.add_symlink("/usr/bin/app", "../../opt/./app").unwrap();
    tree.add_symlink("/opt/app", "/lib/libc.so").unwrap();
    tree.add_symlink("/opt/self", "self").unwrap();
    assert_eq!(tree.file("/usr/bin/app").map(Data::len), Some(5000));
    assert!(tree.file("/opt/self").is_none() && tree.file("/usr").is_none());
    assert!(tree.file("/nothing").is_none() && tree.file("").is_none());
}

#[test]
fn files_of_the_host() {
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("sub/file");
    fs::create_dir(host.path().join("sub")).unwrap();
    fs::write(&file, vec![3; 600_000]).unwrap();
    fs::hard_link(&file, host.path().join("again")).unwrap();
    std::os::unix::fs::symlink("sub/file", host.path().join("link")).unwrap();
    let mut tree = Tree::new();
    tree.add_host(host.path(), "/srv").unwrap();
    let bytes = image(&tree);
    let read = Image::open(&bytes).unwrap();
    let inode = read.walk(b"srv/sub/file").unwrap().unwrap();
    assert_eq!((content(&inode), inode.links()), (vec![3; 600_000], 2));
    let plan = Plan::new(&tree, &Options::default()).unwrap();
    for changed in [599_999, 600_001] {
        fs::write(&file, vec![3; changed]).unwrap();
        let written = plan.write(&mut Cursor::new(Vec::new()));
        assert!(matches!(written, Err(Error::Changed(_))), "{changed}");
    }
    fs::remove_dir_all(host.path().join("sub")).unwrap();
    fs::remove_file(host.path().join("again")).unwrap();
    assert!(matches!(plan.write(&mut Cursor::new(Vec::new())), Err(Error::Read { .. })));
    assert!(Data::host(host.path().join("none")).is_err() && Data::host(host.path()).is_err());
}

/// Runs a tool of erofs-utils; `None`, said aloud, where it is not installed.
fn tool(name: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(name).args(arguments).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let errors = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{name} {arguments:?}:\n{text}{errors}");
            Some(text + &errors)
        }
        Err(error) => {
            eprintln!("SKIPPED: {name} of erofs-utils cannot be run: {error}");
            None
        }
    }
}

/// Names and contents of all files below a directory of the host.
fn listing(root: &Path, below: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let metadata = fs::symlink_metadata(root.join(&path)).unwrap();
        let bytes = if metadata.is_dir() {
            listing(root, &path, into);
            b"directory".to_vec()
        } else if metadata.is_symlink() {
            fs::read_link(root.join(&path)).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(root.join(&path)).unwrap()
        };
        into.insert(path.to_str().unwrap().into(), bytes);
    }
}

#[test]
fn erofs_utils_read_what_we_write() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image");
    let name = path.to_str().unwrap();
    fs::write(&path, image(&sample())).unwrap();
    let Some(_) = tool("fsck.erofs", &[name]) else { return };
    let list = tool("dump.erofs", &["--ls", "--path=/dev", name]).unwrap_or_default();
    assert!(list.contains("null") && list.contains("big"), "{list}");
    let text = tool("dump.erofs", &["-e", "--path=/sizes/100000", name]).unwrap_or_default();
    assert!(text.contains("100000"), "{text}");

    // What could only be extracted as root, or trips over a name, stays out.
    let mut tree = Tree::new();
    let mut expected = BTreeMap::new();
    for size in [0, 1, 2047, 4063, 4064, 4096, 4097, 8192, 100_000] {
        let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        tree.add_bytes(format!("d/{size}"), bytes.clone(), Attributes::FILE).unwrap();
        expected.insert(format!("d/{size}"), bytes);
    }
    for i in 0..500 {
        let path = format!("many/{}-{i}", "x".repeat(i / 3));
        tree.add_bytes(&path, vec![i as u8; i], Attributes::FILE).unwrap();
        expected.insert(path, vec![i as u8; i]);
    }
    tree.add_symlink("link", "d/8192").unwrap();
    expected.insert("link".into(), b"d/8192".to_vec());
    expected.insert("d".into(), b"directory".to_vec());
    expected.insert("many".into(), b"directory".to_vec());
    fs::write(&path, image(&tree)).unwrap();
    let out = place.path().join("out");
    let extract = format!("--extract={}", out.to_str().unwrap());
    if tool("fsck.erofs", &[&extract, name]).is_some() {
        let mut found = BTreeMap::new();
        listing(&out, Path::new(""), &mut found);
        assert!(found == expected, "extracted files differ");
    }
}

#[test]
fn we_read_what_erofs_utils_write() {
    let place = tempfile::tempdir().unwrap();
    let (source, path) = (place.path().join("source"), place.path().join("image"));
    fs::create_dir_all(source.join("a/b")).unwrap();
    for size in [0usize, 10, 4000, 4096, 5000, 70_000] {
        fs::write(source.join(format!("a/b/{size}")), vec![size as u8; size]).unwrap();
    }
    (0..300).for_each(|i| fs::write(source.join(format!("a/{i}")), "x").unwrap());
    let arguments = ["--quiet", path.to_str().unwrap(), source.to_str().unwrap()];
    if tool("mkfs.erofs", &arguments).is_none() {
        return;
    }
    let bytes = fs::read(&path).unwrap();
    let image = Image::open(&bytes).unwrap();
    for size in [0usize, 10, 4000, 4096, 5000, 70_000] {
        let inode = image.walk(format!("a/b/{size}").as_bytes()).unwrap().unwrap();
        assert_eq!(content(&inode), vec![size as u8; size]);
    }
    assert_eq!(image.walk(b"a").unwrap().unwrap().entries(0).unwrap().count(), 303);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(files in prop::collection::btree_map(
        "[a-e]{1,3}(/[!-.0-~]{1,40}){0,2}", prop::collection::vec(any::<u8>(), 0..9000), 0..60)) {
        let mut tree = Tree::new();
        let mut kept = BTreeMap::new();
        for (path, bytes) in files {
            // With a dot as a part of it, a path is a second name of a file.
            let one_name = path.split('/').all(|part| part != ".");
            if one_name && tree.add_bytes(&path, bytes.clone(), Attributes::FILE).is_ok() {
                kept.insert(path, bytes);
            }
        }
        let bytes = image(&tree);
        let read = Image::open(&bytes).unwrap();
        for (path, expected) in kept {
            let inode = read.walk(path.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(content(&inode), expected, "{}", path);
        }
    }

    #[test]
    fn damage_never_panics(flips in prop::collection::vec((0usize..40_000, any::<u8>()), 1..20)) {
        let mut bytes = image(&sample());
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        crate::fuzz::erofs(&bytes);
    }
}
