// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files go in and come out as they were, and others see them alike.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bhojpur_volume::{
    Access, CreateOptions, EntryKind, ErrorKind, Volume, size_for_directory, size_for_tar,
};
use support::{TestArchive, assert_clean, debugfs, noise};
use tar::EntryType;

const MIB: u64 = 1 << 20;

fn volume(directory: &Path, size: u64) -> (std::path::PathBuf, Volume) {
    let path = directory.join("disk.raw");
    let volume = Volume::create(&path, &CreateOptions::new(size, [9; 16])).unwrap();
    (path, volume)
}

/// Name, kind, mode, owner, group, time, target and contents of all that is in an archive.
type Listing = BTreeMap<String, (EntryType, u32, u64, u64, u64, String, Vec<u8>)>;

fn listing(archive: &[u8]) -> Listing {
    let mut all = Listing::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        let link = entry.link_name_bytes().unwrap_or_default();
        let link = String::from_utf8_lossy(&link).into_owned();
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let h = entry.header();
        let (uid, gid, time) = (h.uid().unwrap(), h.gid().unwrap(), h.mtime().unwrap());
        let value = (h.entry_type(), h.mode().unwrap(), uid, gid, time, link, contents);
        assert!(all.insert(name, value).is_none());
    }
    all
}

fn read_tar(volume: &mut Volume, at: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    volume.read_tar(at, &mut archive).unwrap();
    archive
}

#[test]
fn archives_come_out_as_they_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut volume) = volume(directory.path(), 64 * MIB);
    let long = "n".repeat(90);
    let mut sparse = noise(10_000, 3);
    sparse.resize(3_000_000, 0);
    sparse.extend(noise(5000, 4));
    sparse.resize(4_000_001, 0);
    let archive = TestArchive::new()
        .directory("./")
        .directory("dir/")
        .file("dir/empty", b"")
        .file("dir/hello", b"hello\n")
        .file(&format!("dir/{long}"), &noise(2_000_003, 2))
        .file("sparse", &sparse)
        .entry("setuid", EntryType::Regular, 0o4755, "", b"#!")
        .link("short", EntryType::Symlink, "dir/hello")
        .link("absolute", EntryType::Symlink, "/no/such//place/")
        .link("long-link", EntryType::Symlink, &"t/".repeat(45))
        .link("same", EntryType::Link, "dir/hello")
        .finish();
    let report = volume.write_tar("/", archive.as_slice()).unwrap();
    assert_eq!((report.files, report.directories, report.symlinks), (5, 2, 3));
    assert_eq!((report.hard_links, report.warnings.len()), (1, 0));
    let free = volume.usage().unwrap().free_bytes;
    volume.close().unwrap();
    assert_clean(&path);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 5 * MIB, "holes stay holes");

    let mut volume = Volume::open(&path, Access::Read).unwrap();
    assert_eq!(volume.usage().unwrap().free_bytes, free);
    let mut expected = listing(&archive);
    let mut found = listing(&read_tar(&mut volume, "/"));
    // Which of the two names comes first is not the archive's choice.
    for all in [&mut expected, &mut found] {
        let same = all.remove("same").unwrap();
        let hello = all.get_mut("dir/hello").unwrap();
        assert!(same.0 == EntryType::Link || hello.0 == EntryType::Link);
        if hello.0 == EntryType::Link {
            *hello = same;
        }
    }
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, value) in &expected {
        assert!(found[name] == *value, "{name}");
    }

    // A part of it, under its own name, and a file through a link.
    let part = listing(&read_tar(&mut volume, "/dir"));
    assert!(part.contains_key("dir/hello") && !part.contains_key("sparse"));
    let one = listing(&read_tar(&mut volume, "dir/hello"));
    assert_eq!(one["hello"].6, b"hello\n");
    assert_eq!(volume.stat("/short").unwrap().target.unwrap(), b"dir/hello");
    assert_eq!(volume.stat_followed("/short").unwrap().kind, EntryKind::File);
    assert_eq!(volume.stat("/dir/../sparse").unwrap().size, 4_000_001);
    assert_eq!(volume.stat("/none").unwrap_err().kind(), ErrorKind::NotFound);
    let names: Vec<_> = volume.list("/").unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names.len(), 8);
    assert_eq!(volume.stat("/").unwrap().kind, EntryKind::Directory);

    if let Some(text) = debugfs(&path, "stat /setuid") {
        assert!(text.contains("4755") && text.contains("User:  1000"), "{text}");
        assert!(text.contains("Group: 70000") && text.contains("2020"), "{text}");
        assert_eq!(debugfs(&path, "cat /dir/hello").unwrap(), "hello\n");
        assert!(debugfs(&path, "stat /long-link").unwrap().contains("symlink"));
    }
}

#[test]
fn a_directory_goes_in_and_linux_mounts_it() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("a/b/file"), noise(300_000, 7)).unwrap();
    fs::write(tree.join("exec"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("exec"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::hard_link(tree.join("exec"), tree.join("other")).unwrap();
    symlink("a/b/file", tree.join("link")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    let estimate = size_for_directory(&tree).unwrap();
    let path = directory.path().join("disk.raw");
    let options = estimate.options([3; 16]);
    let report = Volume::create_filled(&path, &options, |v| v.write_directory("/", &tree)).unwrap();
    drop(socket);
    assert_eq!((report.files, report.hard_links, report.symlinks), (2, 1, 1));
    assert_eq!(report.warnings, ["socket was left out: a socket"]);
    assert_clean(&path);
    fs::remove_file(tree.join("socket")).unwrap();

    let at = directory.path().join("mounted");
    fs::create_dir(&at).unwrap();
    let mount = Command::new("mount").args(["-o", "loop,ro"]).arg(&path).arg(&at).output();
    if !mount.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a loop mount is not possible here");
        return;
    }
    let same = Command::new("diff").arg("-r").args([&tree, &at]).output().unwrap();
    let exec = fs::metadata(at.join("exec")).unwrap();
    let (mode, links) = (exec.mode() & 0o777, exec.nlink());
    assert!(Command::new("umount").arg("-l").arg(&at).status().unwrap().success());
    let text = String::from_utf8_lossy(&same.stdout).into_owned();
    assert!(text.lines().all(|line| line.contains("lost+found")), "{text}");
    assert_eq!((mode, links), (0o755, 2));
}

#[test]
fn names_that_climb_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut volume) = volume(directory.path(), 8 * MIB);
    for name in ["../x", "/etc/passwd", "a/../../x", "a/.."] {
        let archive = TestArchive::new().file(name, b"x").finish();
        let error = volume.write_tar("/in", archive.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(size_for_tar(archive.as_slice()).unwrap_err().kind(), ErrorKind::Invalid);
    }
    volume.write_tar("/secret", TestArchive::new().file("f", b"x").finish().as_slice()).unwrap();
    for target in ["../secret", "/secret", "."] {
        let archive = TestArchive::new()
            .link("out", EntryType::Symlink, target)
            .file("out/f", b"changed")
            .finish();
        let error = volume.write_tar("/in", archive.as_slice()).unwrap_err();
        assert!(error.to_string().contains("out is not a directory"), "{error}");
    }
    let archive = TestArchive::new().link("x", EntryType::Link, "../secret/f").finish();
    assert_eq!(volume.write_tar("/in", archive.as_slice()).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(volume.stat("/secret/f").unwrap().size, 1);
    volume.close().unwrap();
    assert_clean(&path);
}

#[test]
fn what_is_there_is_replaced_or_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut volume) = volume(directory.path(), 16 * MIB);
    let before = volume.usage().unwrap().free_files;
    let first = TestArchive::new()
        .directory("d")
        .file("d/keep", b"kept")
        .file("d/big", &noise(2_000_000, 5))
        .link("d/link", EntryType::Symlink, "keep")
        .finish();
    volume.write_tar("/x", first.as_slice()).unwrap();
    volume.close().unwrap();
    let mut volume = Volume::open(&path, Access::Write).unwrap();
    let second = TestArchive::new()
        .directory("d")
        .file("d/big", b"small")
        .file("d/link", b"file now")
        .finish();
    for _ in 0..3 {
        volume.write_tar("/x", second.as_slice()).unwrap();
    }
    assert_eq!(volume.stat("/x/d/keep").unwrap().size, 4);
    assert_eq!(volume.stat("/x/d/big").unwrap().size, 5);
    assert_eq!(volume.stat("/x/d/link").unwrap().kind, EntryKind::File);
    assert_eq!(volume.usage().unwrap().free_files, before - 5);
    let third = TestArchive::new().file("d", b"no").finish();
    assert_eq!(volume.write_tar("/x", third.as_slice()).unwrap_err().kind(), ErrorKind::Exists);
    let special = TestArchive::new().link("dev", EntryType::Char, "").finish();
    let report = volume.write_tar("/x", special.as_slice()).unwrap();
    assert_eq!(report.warnings, ["dev was left out: a character device"]);
    volume.close().unwrap();
    assert_clean(&path);
    let mut volume = Volume::open(&path, Access::Read).unwrap();
    let error = volume.write_tar("/", second.as_slice()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_full_volume_says_so_and_stays_sound() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut volume) = volume(directory.path(), 8 * MIB);
    let archive = TestArchive::new().file("big", &noise(6 << 20, 5)).finish();
    let error = volume.write_tar("/", archive.as_slice()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.advice().unwrap().contains("larger"));
    let archive = TestArchive::new().file("big", b"fits").finish();
    volume.write_tar("/", archive.as_slice()).unwrap();
    volume.close().unwrap();
    assert_clean(&path);
}

#[test]
fn estimates_are_enough_for_many_small_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let mut archive = TestArchive::new();
    for index in 0..3000 {
        archive = archive.file(&format!("d{}/a-rather-long-name-{index}", index % 3), b"contents");
    }
    let archive = archive.finish();
    let estimate = size_for_tar(archive.as_slice()).unwrap();
    assert_eq!(estimate.files, 3004);
    let started = std::time::Instant::now();
    Volume::create_filled(&path, &estimate.options([1; 16]), |v| {
        v.write_tar("/", archive.as_slice())
    })
    .unwrap();
    eprintln!("3000 files in {:?}", started.elapsed());
    assert_clean(&path);
    let mut volume = Volume::open(&path, Access::Read).unwrap();
    assert_eq!(volume.list("/d1").unwrap().len(), 1000);
    assert_eq!(listing(&read_tar(&mut volume, "/")).len(), 3004);
}

/// Directories of thousands of names have an index, and come out whole.
#[test]
fn a_large_directory_goes_in_and_comes_out() {
    const COUNT: usize = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let mut archive = TestArchive::new().directory("many/");
    for number in 0..COUNT {
        archive = archive.file(&format!("many/a-file-with-the-number-{number:06}"), b"");
    }
    let archive = archive.finish();
    let size = size_for_tar(archive.as_slice()).unwrap();
    let options = CreateOptions::new(size.image_size(), [9; 16]).files(size.files);
    let mut volume = Volume::create(&path, &options).unwrap();
    let begun = std::time::Instant::now();
    let report = volume.write_tar("/", archive.as_slice()).unwrap();
    assert_eq!((report.files, report.warnings.len()), (COUNT as u64, 0));
    volume.close().unwrap();
    assert!(begun.elapsed().as_secs() < 120, "{:?}", begun.elapsed());
    assert_clean(&path);
    if let Some(text) = debugfs(&path, "stat /many") {
        assert!(text.contains("Flags: 0x81000"), "no index: {text}");
    }
    let mut volume = Volume::open(&path, Access::Read).unwrap();
    let out = listing(&read_tar(&mut volume, "/many"));
    assert_eq!(out.keys().filter(|name| name.contains("a-file-with")).count(), COUNT);
}

#[test]
fn the_contents_of_one_file_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let contents = noise(2_500_000, 5);
    let source = directory.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), &contents).unwrap();
    let (_, mut volume) = volume(directory.path(), 64 * MIB);
    volume.write_directory("/", &source).unwrap();
    let mut read = Vec::new();
    assert_eq!(volume.read_file("/file", &mut read).unwrap(), contents.len() as u64);
    assert_eq!(read, contents);
    assert_eq!(volume.read_file("/none", &mut read).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(volume.read_file("/", &mut read).unwrap_err().kind(), ErrorKind::Invalid);
}
