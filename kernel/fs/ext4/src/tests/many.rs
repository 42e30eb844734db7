// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many files, in directories that grow beside each other.

use super::{file, make, mount, write};
use alloc::sync::Arc;
use kio::FileKind;
use kvfs::{FileSystem as _, Inode};
use std::format;

/// Blocks of the two directories never lie side by side, so that each needs a tree of extents.
fn grow(arguments: &[&str], count: u32) {
    let bench = mount(make(256 << 20, arguments));
    let root = bench.root();
    let directory = |name: &str| -> Arc<dyn Inode> {
        root.create(name.as_bytes(), FileKind::Directory, 0o755, 0).unwrap()
    };
    let (long, short) = (directory("long"), directory("short"));
    for number in 0..count {
        let one = file(&long, &format!("file-with-a-long-name-{number:08}-{:08}", number * 7));
        write(&one, 0, &[1; 4096]).unwrap();
        let two = file(&short, &format!("x{number}"));
        write(&two, 0, &[1; 4096]).unwrap();
        two.sync(false).unwrap();
    }
    drop((long, short, root));
    // The end finds nothing to write, and a journal without room.
    bench.mounted.volume().sync().unwrap();
    bench.finish();
}

#[test]
fn directories_grow_beside_each_other() {
    grow(&["-b", "4096"], 2500);
    grow(&["-b", "1024"], 4000);
}

#[test]
fn directories_without_an_index_grow_as_well() {
    grow(&["-b", "4096", "-O", "^dir_index"], 3000);
}

/// A new name may split the block of the directory that has the old one.
#[test]
fn names_change_in_a_directory_that_splits() {
    let bench = mount(make(64 << 20, &[]));
    let root = bench.root();
    for round in 0..8 {
        let directory =
            root.create(format!("d{round}").as_bytes(), FileKind::Directory, 0o755, 0).unwrap();
        let name = |number: u32| format!("file-number-{number:06}");
        (0..300).for_each(|number| drop(file(&directory, &name(number))));
        for number in 0..300 {
            let (old, new) = (name(number), format!("{}-{round}-new", name(number)));
            let flags = kvfs::RenameFlags::empty();
            directory.rename(old.as_bytes(), &directory, new.as_bytes(), flags).unwrap();
            directory.lookup(new.as_bytes()).unwrap();
            assert!(directory.lookup(old.as_bytes()).is_err(), "{old} is still there");
        }
    }
    drop(root);
    bench.finish();
}

/// Blocks that were allocated and never written go with their file; `finish` asks e2fsck.
#[test]
fn what_was_never_written_is_freed() {
    const KEEP_SIZE: u32 = 1;
    let bench = mount(make(64 << 20, &[]));
    let root = bench.root();
    let free = bench.mounted.statfs().free_blocks;
    for number in 0..20u64 {
        let name = format!("f{number}");
        let one = file(&root, &name);
        one.allocate(0, 0, 1 << 20).unwrap();
        write(&one, number << 14, &[1; 5000]).unwrap();
        one.allocate(KEEP_SIZE, 2 << 20, 1 << 14).unwrap();
        if number % 2 == 0 {
            one.truncate(5).unwrap();
        }
        root.unlink(name.as_bytes()).unwrap();
    }
    drop(root);
    bench.mounted.volume().sync().unwrap();
    assert!(bench.mounted.statfs().free_blocks >= free, "blocks were lost");
    bench.finish();
}
