// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Many threads in one tree: no deadlock, and names and inodes agree after.

mod common;

use common::World;
use kio::{FileKind, SliceSink, SliceSource};
use kvfs::{OpenFlags, RenameFlags};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 8
}

/// Directories that move into each other from all sides.
#[test]
fn renames_across_directories_keep_a_tree() {
    let w = Arc::new(World::new());
    for name in ["a", "b", "c", "d", "e", "f"] {
        w.mkdir(name).unwrap();
    }
    let threads: Vec<_> = (1..=4u64)
        .map(|n| {
            let w = w.clone();
            thread::spawn(move || {
                let (mut seed, mut moved) = (n * 0x9e37_79b9, 0);
                let path = |seed: &mut u64| {
                    let depth = random(seed) % 3 + 1;
                    let names = (0..depth)
                        .map(|_| ["a", "b", "c", "d", "e", "f"][random(seed) as usize % 6]);
                    names.collect::<Vec<_>>().join("/")
                };
                for _ in 0..20_000 {
                    let (from, to) = (path(&mut seed), path(&mut seed));
                    let flags = if random(&mut seed).is_multiple_of(4) {
                        RenameFlags::EXCHANGE
                    } else {
                        RenameFlags::NOREPLACE
                    };
                    moved += usize::from(w.rename_with(&from, &to, flags).is_ok());
                    let _ = w.at(&to);
                    let _ = w.list(&to);
                }
                moved
            })
        })
        .collect();
    let moved: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!(moved > 1000, "{moved} renames went through");
    let (mut seen, mut pending) = (HashSet::new(), vec![String::new()]);
    while let Some(path) = pending.pop() {
        let at = w.at(&format!("{path}/")).unwrap();
        assert_eq!(w.path(&at), if path.is_empty() { "/" } else { &path });
        let names = w.list(&format!("{path}/")).unwrap();
        let stat = at.inode().stat().unwrap();
        assert_eq!(stat.links as usize, 2 + names.len(), "links of {path}");
        assert!(seen.insert(stat.inode), "{path} is there twice");
        pending.extend(names.iter().map(|n| format!("{path}/{n}")));
    }
    assert_eq!(seen.len(), 7, "all directories are still reached");
}

#[test]
fn appends_do_not_tear_and_creation_is_exclusive() {
    let w = Arc::new(World::new());
    w.write("log", "").unwrap();
    let threads: Vec<_> = (0..4u8)
        .map(|n| {
            let w = w.clone();
            thread::spawn(move || {
                let log = w.open("log", OpenFlags::WRONLY | OpenFlags::APPEND).unwrap();
                let mut won = 0;
                for round in 0..300 {
                    log.file.append(&mut SliceSource::new(&[b'a' + n; 100])).unwrap();
                    let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::WRONLY;
                    won += usize::from(w.open(&format!("lock-{round}"), flags).is_ok());
                }
                won
            })
        })
        .collect();
    let won: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(won, 300, "each name is made once");
    let mut bytes = vec![0; 200_000];
    let log = w.open("log", OpenFlags::RDONLY).unwrap();
    let count = log.file.read_at(0, &mut SliceSink::new(&mut bytes)).unwrap();
    assert_eq!(count, 4 * 300 * 100);
    assert!(bytes[..count].chunks(100).all(|c| c.iter().all(|b| b == &c[0])));
}

/// `cargo test --release -p kvfs --test concurrency -- --ignored --nocapture`
#[test]
#[ignore = "prints times, asserts nothing"]
fn times() {
    let w = World::new();
    w.mkdir("etc").unwrap();
    w.write("etc/hosts", &"x".repeat(8192)).unwrap();
    let time = |name: &str, f: &mut dyn FnMut()| {
        (0..1000).for_each(|_| f());
        let start = Instant::now();
        (0..200_000).for_each(|_| f());
        println!("{name:<20} {:>6} ns", start.elapsed().as_nanos() / 200_000);
    };
    let opened = w.open("etc/hosts", OpenFlags::RDWR).unwrap();
    assert_eq!(opened.location.kind(), FileKind::Regular);
    let mut page = vec![0; 4096];
    time("stat /etc/hosts", &mut || assert!(w.at("/etc/hosts").unwrap().inode().stat().is_ok()));
    time("open /etc/hosts", &mut || drop(w.open("/etc/hosts", OpenFlags::RDONLY).unwrap()));
    time("stat missing", &mut || assert!(w.at("/etc/missing").is_err()));
    time("pread 4 KiB", &mut || {
        opened.file.read_at(0, &mut SliceSink::new(&mut page)).unwrap();
    });
    let data = vec![1; 4096];
    time("pwrite 4 KiB", &mut || {
        opened.file.write_at(0, &mut SliceSource::new(&data)).unwrap();
    });
    time("create and unlink", &mut || {
        w.write("/etc/new", "x").unwrap();
        w.unlink("/etc/new").unwrap();
    });
}
