// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Contents, limits and listings; names are tested through `kvfs`.

use crate::{Limits, Tmpfs};
use core::time::Duration;
use kio::{Clock, Errno, FileKind, Instant, SliceSink, SliceSource};
use kvfs::{FileSystem, Inode, OpenFlags, RenameFlags};
use std::format;
use std::string::String;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

struct Fixed;

impl Clock for Fixed {
    fn monotonic(&self) -> Instant {
        Instant::ZERO
    }
    fn realtime(&self) -> Duration {
        Duration::from_secs(1)
    }
}

fn tmpfs(pages: u64) -> Arc<Tmpfs> {
    kmm::hosted::start();
    Tmpfs::new(Arc::new(Fixed), Limits { bytes: pages * 4096, inodes: 1000 }, 0o755).unwrap()
}

fn over(lower: &Tmpfs) -> Arc<Tmpfs> {
    Tmpfs::over(lower, Arc::new(Fixed), Limits { bytes: 16 * 4096, inodes: 100 }).unwrap()
}

fn file(fs: &Tmpfs, name: &str) -> Arc<dyn Inode> {
    fs.root().create(name.as_bytes(), FileKind::Regular, 0o644, 0).unwrap()
}

fn write(file: &Arc<dyn Inode>, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(offset, &mut SliceSource::new(bytes))
}

fn read(file: &Arc<dyn Inode>, offset: u64, count: usize) -> Vec<u8> {
    let mut buffer = vec![0xee; count];
    let count = file.read_at(offset, &mut SliceSink::new(&mut buffer)).unwrap();
    buffer.truncate(count);
    buffer
}

fn names(directory: &Arc<dyn Inode>, cursor: u64, most: usize) -> (Vec<String>, u64) {
    let (mut names, mut next) = (Vec::new(), cursor);
    directory
        .read_dir(cursor, &mut |entry| {
            if names.len() == most {
                return false;
            }
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            next = entry.next;
            true
        })
        .unwrap();
    (names, next)
}

#[test]
fn limits_are_exact_and_given_back() {
    let fs = tmpfs(4);
    let f = file(&fs, "f");
    assert_eq!(write(&f, 0, &[1; 5 * 4096]), Ok(4 * 4096), "a short write, then");
    assert_eq!(write(&f, 4 * 4096, &[1]), Err(Errno::ENOSPC));
    assert_eq!(f.allocate(0, 0, 5 * 4096), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs().free_blocks, 0);
    f.truncate(4096).unwrap();
    assert_eq!(fs.statfs().free_blocks, 3);
    assert_eq!(f.allocate(1, 4096, 4 * 4096), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs().free_blocks, 3, "a failed fallocate leaves nothing");
    fs.root().unlink(b"f").unwrap();
    assert_eq!(read(&f, 0, 2), [1, 1], "an unlinked file lives while it is open");
    drop(f);
    assert_eq!(fs.statfs().free_blocks, 4);
    assert_eq!(fs.statfs().free_inodes, 999);
}

#[test]
fn holes_and_tails_are_zero() {
    let fs = tmpfs(100);
    let f = file(&fs, "f");
    write(&f, 10_000, b"end").unwrap();
    assert_eq!(f.stat().unwrap().blocks, 8);
    assert!(read(&f, 0, 10_000).iter().all(|&b| b == 0));
    write(&f, 0, &[9; 8192]).unwrap();
    f.truncate(100).unwrap();
    f.truncate(8192).unwrap();
    assert_eq!(read(&f, 99, 3), [9, 0, 0]);
    write(&f, 0, &[7; 5 * 4096]).unwrap();
    f.allocate(3, 1000, 3 * 4096).unwrap();
    let bytes = read(&f, 0, 5 * 4096);
    assert!(bytes.iter().enumerate().all(|(n, &b)| (b == 0) == (1000..1000 + 12288).contains(&n)));
    assert_eq!(f.seek_hole(0, true), Ok(4096));
    assert_eq!(f.seek_hole(4096, false), Ok(3 * 4096));
    f.allocate(3, 10, 20).unwrap();
    assert_eq!(read(&f, 9, 3), [7, 0, 0]);
    assert_eq!(f.allocate(3, 0, 0), Err(Errno::EINVAL));
    assert_eq!(f.allocate(0x10, 0, 1), Err(Errno::EOPNOTSUPP));
    assert_eq!(write(&f, i64::MAX as u64, b"x"), Err(Errno::EFBIG));
    assert_eq!(f.truncate(1 << 63), Err(Errno::EFBIG));
    assert_eq!(fs.root().truncate(0), Err(Errno::EISDIR));
}

#[test]
fn mappings_share_the_pages_of_the_file() {
    let fs = tmpfs(10);
    let f = file(&fs, "f");
    f.truncate(5000).unwrap();
    let page = f.map_page(1, false).unwrap();
    write(&f, 4096, b"seen").unwrap();
    page.with_bytes(|b| assert_eq!(&b[..5], b"seen\0"));
    f.map_page(0, true).unwrap().write(0, b"by map");
    assert_eq!(read(&f, 0, 6), b"by map");
    assert_eq!(f.map_page(2, true).unwrap_err(), Errno::EFAULT);
    // A hole under a mapping: still the same page, and zero.
    f.allocate(3, 4096, 4096).unwrap();
    page.with_bytes(|b| assert_eq!(&b[..4], b"\0\0\0\0"));
    write(&f, 4096, b"again").unwrap();
    page.with_bytes(|b| assert_eq!(&b[..5], b"again"));
}

#[test]
fn listings_survive_changes() {
    let fs = tmpfs(10);
    let root = fs.root();
    (0..10).for_each(|n| drop(file(&fs, &format!("{n}"))));
    let (first, cursor) = names(&root, 0, 4);
    assert_eq!(first, ["0", "1", "2", "3"]);
    for gone in [b"3", b"4", b"1"] {
        root.unlink(gone).unwrap();
    }
    file(&fs, "new");
    root.rename(b"9", &root, b"0", RenameFlags::empty()).unwrap();
    let (rest, _) = names(&root, cursor, 100);
    assert_eq!(rest, ["5", "6", "7", "8", "new", "0"]);
}

#[test]
fn overlay_shows_hides_and_takes_over() {
    let lower = tmpfs(100);
    let root = lower.root();
    let f = file(&lower, "f");
    write(&f, 0, &[1; 10_000]).unwrap();
    root.link(b"g", &f).unwrap();
    let d = root.create(b"d", FileKind::Directory, 0o755, 0).unwrap();
    d.create(b"x", FileKind::Regular, 0o644, 0).unwrap();
    let upper = over(&lower);
    let top = upper.root();
    let seen = top.lookup(b"f").unwrap();
    let same = |a: &kmm::Frame, b: &kmm::Frame| a.address() == b.address();
    let in_place = seen.map_page(0, false).unwrap();
    assert!(same(&in_place, &f.map_page(0, false).unwrap()), "mapped where it is");
    seen.open(OpenFlags::RDWR).unwrap();
    let shared = seen.map_page(0, false).unwrap();
    assert!(!same(&in_place, &shared), "after an open for writing it is ours");
    write(&seen, 4090, &[2; 10]).unwrap();
    shared.with_bytes(|b| assert_eq!(b[4089..], [1, 2, 2, 2, 2, 2, 2]));
    assert_eq!(read(&seen, 4088, 14), [1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1]);
    assert!(read(&f, 0, 10_000).iter().all(|&b| b == 1), "the lower file stays");
    seen.truncate(9000).unwrap();
    seen.truncate(10_000).unwrap();
    assert_eq!(read(&seen, 8999, 3), [1, 0, 0]);
    seen.allocate(3, 5000, 4500).unwrap();
    assert_eq!(read(&seen, 4999, 3), [1, 0, 0]);
    assert_eq!(read(&seen, 8999, 3), [0, 0, 0]);
    top.unlink(b"f").unwrap();
    drop(seen);
    assert_eq!(read(&top.lookup(b"g").unwrap(), 4090, 1), [2], "also when one name is gone");
    assert_eq!(top.lookup(b"g").unwrap().stat().unwrap().links, 1);
    assert_eq!(top.rmdir(b"d"), Err(Errno::ENOTEMPTY));
    top.rename(b"d", &top, b"e", RenameFlags::empty()).unwrap();
    top.create(b"d", FileKind::Directory, 0o755, 0).unwrap();
    assert_eq!(names(&top, 0, 9).0, ["g", "e", "d"]);
    let e = top.lookup(b"e").unwrap();
    assert_eq!(names(&e, 0, 9).0, ["x"]);
    e.unlink(b"x").unwrap();
    assert!(names(&e, 0, 9).0.is_empty());
    top.rmdir(b"e").unwrap();
    assert_eq!(root.stat().unwrap().links, 3, "nothing changed below");
}
