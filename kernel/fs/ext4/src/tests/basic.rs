// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One operation after the other, looked at from inside and with e2fsprogs.

use super::{check, debugfs, errno, file, make, mount, mount_with, names, options, read, write};
use crate::volume::Options;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use kio::{Errno, FileKind};
use kvfs::{AttributeChange, FileSystem, Inode, RenameFlags, SetTime, XattrMode};
use std::{format, vec};

const MIB: u64 = 1 << 20;

#[test]
fn contents_are_where_others_find_them() {
    for arguments in [&[][..], &["-b", "1024"], &["-O", "^has_journal"], &["-O", "^metadata_csum"]]
    {
        let bench = mount(make(32 * MIB, arguments));
        let root = bench.root();
        let one = file(&root, "one");
        assert_eq!(write(&one, 0, b"hello").unwrap(), 5);
        assert_eq!(write(&one, 100_000, b"world").unwrap(), 5);
        assert_eq!(read(&one, 0, 7).unwrap(), b"hello\0\0");
        let big: vec::Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
        let two = file(&root, "two");
        assert_eq!(write(&two, 0, &big).unwrap(), big.len());
        let sub = root.create(b"sub", FileKind::Directory, 0o755, 0).unwrap();
        root.symlink(b"short", b"one").unwrap();
        let long = [b'x'; 500];
        root.symlink(b"long", &long).unwrap();
        root.link(b"sub-link", &one).unwrap();
        let inner: Arc<dyn Inode> = sub.clone();
        file(&inner, "leaf");
        drop((one, two, sub, inner, root));
        let image = bench.finish();
        assert_eq!(debugfs(&image, "cat /two"), big, "{arguments:?}");
        let one = debugfs(&image, "cat /sub-link");
        assert_eq!(
            (one.len(), &one[..5], &one[100_000..]),
            (100_005, &b"hello"[..], &b"world"[..])
        );
        let bench = mount(image);
        let root = bench.root();
        assert_eq!(root.lookup(b"short").unwrap().read_link().unwrap(), b"one");
        assert_eq!(root.lookup(b"long").unwrap().read_link().unwrap(), long);
        let two = root.lookup(b"two").unwrap();
        assert_eq!(read(&two, 0, big.len() + 10).unwrap(), big);
        assert_eq!(root.lookup(b"one").unwrap().stat().unwrap().links, 2);
        assert_eq!(errno(root.lookup(b"nothing")), Errno::ENOENT);
        drop((root, two));
        bench.finish();
    }
}

#[test]
fn times_keep_their_nanoseconds() {
    let bench = mount(make(16 * MIB, &[]));
    let root = bench.root();
    let one = file(&root, "one");
    let made = one.stat().unwrap();
    assert!(made.modified.subsec_nanos() > 0 && made.modified == made.changed);
    let at = |s, n| Some(SetTime::At(Duration::new(s, n)));
    let change = AttributeChange {
        accessed: at(5_000_000_000, 123_456_789),
        modified: at(77, 987_654_321),
        permissions: Some(0o4711),
        uid: Some(70_000),
        gid: Some(80_000),
    };
    one.set_attributes(&change).unwrap();
    let two = file(&root, "two");
    write(&two, 0, b"x").unwrap();
    let before = [one.stat().unwrap(), two.stat().unwrap(), root.stat().unwrap()];
    drop((one, two, root));
    // The node is gone and comes back, within the mount and after it.
    bench.mounted.volume().sync().unwrap();
    let look = |bench: &super::Bench| {
        let root = bench.root();
        let stats = [b"one", b"two"].map(|name| root.lookup(name).unwrap().stat().unwrap());
        for (now, then) in stats.iter().chain([&root.stat().unwrap()]).zip(&before) {
            assert_eq!(now.modified, then.modified);
            assert_eq!(now.changed, then.changed);
            assert_eq!(now.accessed, then.accessed);
            assert_eq!((now.permissions, now.uid, now.gid), (then.permissions, then.uid, then.gid));
        }
    };
    look(&bench);
    let image = bench.finish();
    let bench = mount(image);
    look(&bench);
    assert_eq!(bench.root().lookup(b"one").unwrap().stat().unwrap().permissions, 0o4711 & 0o711);
    bench.finish();
}

#[test]
fn names_come_and_go() {
    let bench = mount(make(32 * MIB, &[]));
    let root = bench.root();
    let a = file(&root, "a");
    write(&a, 0, b"a").unwrap();
    let b = file(&root, "b");
    write(&b, 0, b"b").unwrap();
    assert_eq!(errno(root.rename(b"a", &root, b"b", RenameFlags::NOREPLACE)), Errno::EEXIST);
    root.rename(b"a", &root, b"b", RenameFlags::empty()).unwrap();
    assert_eq!(errno(root.lookup(b"a")), Errno::ENOENT);
    assert_eq!((a.stat().unwrap().links, b.stat().unwrap().links), (1, 0));
    // Unlinked while open: it lives on.
    assert_eq!(read(&b, 0, 10).unwrap(), b"b");
    write(&b, 0, &vec![7; 50_000]).unwrap();
    assert_eq!(read(&b, 49_990, 20).unwrap(), [7; 10]);
    let sub = root.create(b"sub", FileKind::Directory, 0o755, 0).unwrap();
    assert_eq!(root.stat().unwrap().links, 4, "., .. and those of lost+found and sub");
    let leaf = file(&sub, "leaf");
    assert_eq!(errno(root.rmdir(b"sub")), Errno::ENOTEMPTY);
    sub.unlink(b"leaf").unwrap();
    assert_eq!(leaf.stat().unwrap().links, 0);
    root.rmdir(b"sub").unwrap();
    assert_eq!(root.stat().unwrap().links, 3);
    root.create(b"left", FileKind::Directory, 0o755, 0).unwrap();
    let left = root.lookup(b"left").unwrap();
    root.create(b"right", FileKind::Directory, 0o755, 0).unwrap();
    let right = root.lookup(b"right").unwrap();
    left.create(b"inner", FileKind::Directory, 0o755, 0).unwrap();
    left.rename(b"inner", &right, b"moved", RenameFlags::empty()).unwrap();
    assert_eq!((left.stat().unwrap().links, right.stat().unwrap().links), (2, 3));
    file(&left, "x");
    file(&right, "y");
    left.rename(b"x", &right, b"y", RenameFlags::EXCHANGE).unwrap();
    root.create(b"pipe", FileKind::Fifo, 0o600, 0).unwrap();
    root.create(b"null", FileKind::CharDevice, 0o600, 0x103).unwrap();
    assert_eq!(root.lookup(b"null").unwrap().stat().unwrap().device_node, 0x103);
    let unnamed = root.create_unnamed(0o600, true).unwrap();
    write(&unnamed, 0, b"secret").unwrap();
    assert_eq!(unnamed.stat().unwrap().links, 0);
    let free = bench.mounted.statfs().free_inodes;
    drop((a, b, leaf, sub, left, right, unnamed));
    bench.mounted.volume().sync().unwrap();
    assert!(bench.mounted.statfs().free_inodes > free, "what has no name and no user is freed");
    drop(root);
    bench.finish();
}

#[test]
fn unnamed_files_get_one_first_name() {
    let bench = mount(make(64 * MIB, &[]));
    let root = bench.root();
    let files: Vec<_> = (0..4).map(|_| root.create_unnamed(0o600, true).unwrap()).collect();
    for (number, unnamed) in files.iter().enumerate() {
        write(unnamed, 0, format!("number {number}").as_bytes()).unwrap();
    }
    // From the middle, the start and the end of the list of orphans.
    for number in [2, 3, 0] {
        root.link(format!("name{number}").as_bytes(), &files[number]).unwrap();
        assert_eq!(files[number].stat().unwrap().links, 1);
    }
    assert_eq!(root.link(b"name0", &files[1]), Err(Errno::EEXIST));
    root.link(b"later", &files[1]).unwrap();
    root.unlink(b"later").unwrap();
    assert_eq!(root.link(b"again", &files[1]), Err(Errno::ENOENT));
    let never = root.create_unnamed(0o600, false).unwrap();
    assert_eq!(root.link(b"never", &never), Err(Errno::ENOENT));
    let named = file(&root, "named");
    root.unlink(b"named").unwrap();
    assert_eq!(root.link(b"named", &named), Err(Errno::ENOENT));
    drop((files, never, named, root));
    let image = bench.finish();
    assert_eq!(debugfs(&image, "cat name2"), b"number 2");
}

#[test]
fn large_directories_are_listed_whole() {
    let bench = mount(make(64 * MIB, &["-N", "20000"]));
    let root = bench.root();
    let many = root.create(b"many", FileKind::Directory, 0o755, 0).unwrap();
    let name = |i| format!("a-file-with-a-name-of-some-length-{i}");
    for i in 0..3000 {
        file(&many, &name(i));
    }
    let mut all = names(&many);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3000);
    for i in (0..3000).step_by(3) {
        many.unlink(name(i).as_bytes()).unwrap();
    }
    assert_eq!(names(&many).len(), 2000);
    drop((many, root));
    let image = bench.finish();
    let bench = mount(image);
    let many = bench.root().lookup(b"many").unwrap();
    assert_eq!(names(&many).len(), 2000);
    many.lookup(name(2999).as_bytes()).unwrap();
    drop(many);
    bench.finish();
}

#[test]
fn sizes_and_holes() {
    let bench = mount(make(32 * MIB, &[]));
    let root = bench.root();
    let one = file(&root, "one");
    write(&one, 5000, &[1; 5000]).unwrap();
    one.truncate(6000).unwrap();
    one.truncate(20_000).unwrap();
    let bytes = read(&one, 0, 30_000).unwrap();
    assert_eq!(bytes.len(), 20_000);
    assert!(bytes[5000..6000].iter().all(|b| *b == 1) && bytes[6000..].iter().all(|b| *b == 0));
    one.sync(false).unwrap();
    one.truncate(5500).unwrap();
    one.truncate(9000).unwrap();
    assert!(read(&one, 5500, 9000).unwrap().iter().all(|b| *b == 0));
    let two = file(&root, "two");
    write(&two, 1 << 20, b"data").unwrap();
    assert_eq!(two.seek_hole(0, false).unwrap(), 1 << 20);
    assert_eq!(two.seek_hole(0, true).unwrap(), 0);
    assert_eq!(two.seek_hole(1 << 20, true).unwrap(), (1 << 20) + 4);
    assert!(two.stat().unwrap().blocks <= 16);
    two.allocate(0, 0, 1 << 20).unwrap();
    assert!(two.stat().unwrap().blocks >= 2048);
    assert_eq!(read(&two, 1 << 20, 10).unwrap(), b"data");
    assert!(read(&two, 0, 4096).unwrap().iter().all(|b| *b == 0));
    write(&two, 0, &[3; 40_000]).unwrap();
    const PUNCH: u32 = 3;
    two.allocate(PUNCH, 1000, 20_000).unwrap();
    let bytes = read(&two, 0, 40_000).unwrap();
    assert!(bytes[..1000].iter().all(|b| *b == 3) && bytes[1000..21_000].iter().all(|b| *b == 0));
    assert!(bytes[21_000..].iter().all(|b| *b == 3));
    let three = file(&root, "three");
    write(&three, 0, &[[1; 4096], [2; 4096], [3; 4096]].concat()).unwrap();
    const COLLAPSE: u32 = 8;
    const INSERT: u32 = 0x20;
    three.allocate(COLLAPSE, 4096, 4096).unwrap();
    assert_eq!(read(&three, 4090, 12).unwrap(), [1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3]);
    three.allocate(INSERT, 4096, 4096).unwrap();
    assert_eq!(three.stat().unwrap().size, 12_288);
    assert_eq!(read(&three, 4094, 4).unwrap(), [1, 1, 0, 0]);
    assert_eq!(errno(write(&three, 1 << 60, b"x")), Errno::EFBIG);
    drop((one, two, three, root));
    let image = bench.finish();
    assert_eq!(debugfs(&image, "cat /two")[..40_000], bytes[..]);
}

#[test]
fn a_full_volume_is_full_and_sound() {
    let bench = mount(make(8 * MIB, &["-m", "0"]));
    let root = bench.root();
    let mut files = vec![];
    'fill: for number in 0.. {
        let file = match root.create(format!("f{number}").as_bytes(), FileKind::Regular, 0o644, 0) {
            Ok(file) => file,
            Err(error) => {
                assert_eq!(error, Errno::ENOSPC);
                break;
            }
        };
        for part in 0..20u64 {
            match write(&file, part * 10_000, &[number as u8; 10_000]) {
                Ok(10_000) => {}
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error, Errno::ENOSPC);
                    files.push(file);
                    break 'fill;
                }
            }
        }
        files.push(file);
    }
    // What is there can be written over.
    assert_eq!(write(&files[0], 0, &[200; 10_000]).unwrap(), 10_000);
    files[0].sync(false).unwrap();
    assert!(bench.mounted.statfs().free_blocks < 64);
    for (number, file) in files.iter().enumerate().skip(1) {
        let size = file.stat().unwrap().size as usize;
        assert!(read(file, 0, size).unwrap().iter().all(|b| *b == number as u8), "{number}");
    }
    files.clear();
    root.unlink(b"f1").unwrap();
    let again = file(&root, "again");
    assert_eq!(write(&again, 0, &[9; 50_000]).unwrap(), 50_000);
    drop((again, root));
    bench.finish();
}

#[test]
fn small_caches_serve_large_files() {
    let options = Options { cache_pages: 64, dirty_pages: 16, ..options() };
    let bench = mount_with(super::fake::FakeDisk::new(make(64 * MIB, &[])), options);
    let root = bench.root();
    let big = file(&root, "big");
    let part = |i: u64| -> vec::Vec<u8> { (0..10_007u64).map(|j| (i * 31 + j) as u8).collect() };
    for i in 0..1000 {
        write(&big, i * 10_007, &part(i)).unwrap();
    }
    for i in (0..1000).rev() {
        assert_eq!(read(&big, i * 10_007, 10_007).unwrap(), part(i), "{i}");
    }
    assert!(bench.mounted.volume().cached.load(Ordering::Relaxed) < 200);
    drop((big, root));
    bench.finish();
}

#[test]
fn attributes_with_names() {
    let bench = mount(make(16 * MIB, &[]));
    let root = bench.root();
    let one = file(&root, "one");
    assert_eq!(errno(one.xattr(b"user.a")), Errno::ENODATA);
    one.set_xattr(b"user.a", b"value", XattrMode::Set).unwrap();
    assert_eq!(errno(one.set_xattr(b"user.a", b"x", XattrMode::Create)), Errno::EEXIST);
    one.set_xattr(b"user.big", &[5; 900], XattrMode::Create).unwrap();
    assert_eq!(one.xattr(b"user.a").unwrap(), b"value");
    assert_eq!(one.list_xattrs().unwrap(), b"user.a\0user.big\0");
    one.remove_xattr(b"user.a").unwrap();
    assert_eq!(errno(one.remove_xattr(b"user.a")), Errno::ENODATA);
    drop((one, root));
    bench.finish();
}

#[test]
fn a_disk_that_fails_makes_the_volume_read_only() {
    let bench = mount(make(16 * MIB, &[]));
    let root = bench.root();
    let one = file(&root, "one");
    write(&one, 0, b"kept").unwrap();
    one.sync(false).unwrap();
    bench.disk.fail_writes.store(true, Ordering::Relaxed);
    write(&one, 0, b"lost").unwrap();
    assert_eq!(errno(one.sync(false)), Errno::EIO);
    assert_eq!(bench.environment.log.lock().len(), 1);
    assert_eq!(errno(write(&one, 0, b"more")), Errno::EROFS);
    assert_eq!(errno(root.unlink(b"one")), Errno::EROFS);
    let image = bench.disk.durable();
    assert_eq!(check(&image), None);
    let again = mount(image);
    assert_eq!(read(&again.root().lookup(b"one").unwrap(), 0, 10).unwrap(), b"kept");
    again.finish();
}

#[test]
fn mapped_pages_are_those_that_are_read() {
    let bench = mount(make(16 * MIB, &[]));
    let root = bench.root();
    let one = file(&root, "one");
    write(&one, 0, &[1; 8192]).unwrap();
    let frame = one.map_page(1, true).unwrap();
    frame.write(5, b"through memory");
    assert_eq!(read(&one, 4096 + 5, 7).unwrap(), b"through");
    one.sync(false).unwrap();
    // Without a word to anybody.
    frame.write(5, b"THROUGH");
    one.sync(false).unwrap();
    assert_eq!(errno(one.map_page(2, false)), Errno::EFAULT);
    drop((frame, one, root));
    let image = bench.finish();
    assert_eq!(&debugfs(&image, "cat /one")[4101..4115], b"THROUGH memory");
}
