// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tars that are meant well, and tars that are not.

use std::os::unix::fs::PermissionsExt as _;

use tar::{Builder, Header};

use super::*;

const ROOM: Room = Room { bytes: 1 << 20, entries: 10 };

/// A tar with names exactly as they are given: `tar::Builder` refuses bad ones.
fn tar(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let data = if is_link { "" } else { *content };
        if is_link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(entries: &[(EntryType, &str, &str)]) -> (tempfile::TempDir, Result<()>) {
    let directory = tempfile::tempdir().unwrap();
    let into = directory.path().join("into");
    fs::create_dir(&into).unwrap();
    let done = unpack(&tar(entries)[..], &into, ROOM);
    (directory, done)
}

use EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn good_tars_come_out() {
    let (directory, done) = unpacked(&[
        (Directory, "./", ""),
        (Regular, "./cmd/main.go", "package main"),
        (Symlink, "cmd/up", "../go.mod"),
        (Symlink, "same", "cmd/./main.go"),
        (Regular, "go.mod", "old"),
        (Regular, "go.mod", "module x"),
        (Link, "again", "go.mod"),
    ]);
    done.unwrap();
    let into = directory.path().join("into");
    for (name, content) in [
        ("cmd/main.go", "package main"),
        ("cmd/up", "module x"),
        ("same", "package main"),
        ("again", "module x"),
    ] {
        assert_eq!(fs::read_to_string(into.join(name)).unwrap(), content, "{name}");
    }
    let mode = fs::metadata(into.join("go.mod")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, mode & 0o777, "set-user-ID is dropped");
}

#[test]
fn tars_that_climb_out_are_refused_and_touch_nothing() {
    for entries in [
        &[(Regular, "../out", "x")][..],
        &[(Regular, "/tmp/out-of-tar", "x")],
        &[(Regular, "a/../../out", "x")],
        &[(Symlink, "link", "..")],
        &[(Symlink, "link", "/etc")],
        &[(Symlink, "a/link", "../../out")],
        &[(Symlink, "link", "a/../../out")],
        &[(Directory, "a", ""), (Symlink, "a/l", ".."), (Symlink, "b", "a/l/../out")],
        &[(Symlink, "link", "."), (Regular, "link/file", "x")],
        &[(Symlink, "link", "."), (Directory, "link", "")],
        &[(Link, "passwd", "/etc/passwd")],
        &[(Link, "out", "../out")],
        &[(Symlink, "l", "."), (Link, "x", "l/l")],
        &[(EntryType::Char, "null", "")],
        &[(EntryType::Fifo, "fifo", "")],
        &[(Regular, "a", "x"), (Regular, "a/b", "x")],
        &[(Directory, "a", ""), (Regular, "a", "x")],
    ] {
        let (directory, done) = unpacked(entries);
        let error = done.expect_err(&format!("{entries:?}"));
        assert_eq!(error.code(), Code::Invalid, "{entries:?}: {error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{entries:?}");
    }
    assert!(!Path::new("/tmp/out-of-tar").exists());
}

#[test]
fn sizes_and_numbers_are_limited() {
    let large = "x".repeat(600 << 10);
    let (_directory, done) = unpacked(&[(Regular, "a", &large), (Regular, "b", &large)]);
    assert_eq!(done.unwrap_err().code(), Code::TooLarge);
    let names: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (Regular, name.as_str(), "")).collect();
    assert_eq!(unpacked(&many).1.unwrap_err().code(), Code::TooLarge);
    assert_eq!(unpacked(&[]).1.unwrap_err().code(), Code::Invalid);
}

#[test]
fn gzip_is_seen_by_its_first_bytes_and_rubbish_is_no_tar() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("upload");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar(&[(Regular, "a", "b")])).unwrap();
    fs::write(&path, gzip.finish().unwrap()).unwrap();
    let into = directory.path().join("into");
    fs::create_dir(&into).unwrap();
    unpack(open(&path).unwrap(), &into, ROOM).unwrap();
    assert_eq!(fs::read_to_string(into.join("a")).unwrap(), "b");
    for rubbish in [&b"hello"[..], b"\x1f\x8bnot gzip", &[0xff; 2048]] {
        fs::write(&path, rubbish).unwrap();
        assert!(unpack(open(&path).unwrap(), &into, ROOM).is_err());
    }
}
