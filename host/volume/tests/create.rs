// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Empty volumes of many sizes, as e2fsck, debugfs and the file system of the host see them.

mod support;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use bhojpur_volume::{Access, CreateOptions, ErrorKind, MINIMUM_SIZE, Volume, check};
use support::{TestArchive, assert_clean, debugfs, tool};

const MIB: u64 = 1 << 20;
const UUID: [u8; 16] =
    [0x8c, 0x2f, 0x5b, 0x1e, 0x11, 0x0d, 0x4c, 0x6a, 0x9e, 0x77, 1, 2, 3, 4, 5, 6];

#[test]
fn empty_volumes_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    // One group, the border of a group, several, with odd bytes, and one of a terabyte.
    let sizes = [8 * MIB, 9 * MIB + 777, 128 * MIB, 129 * MIB, 1024 * MIB, 10_000 * MIB, 1 << 40];
    for size in sizes {
        let path = directory.path().join(format!("{size}.raw"));
        let options = CreateOptions::new(size, UUID).label("data");
        let volume = Volume::create(&path, &options).unwrap();
        assert_eq!(volume.summary().uuid, UUID);
        assert_eq!(volume.summary().label, "data");
        assert!(!volume.summary().needs_recovery);
        volume.close().unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), size / 4096 * 4096);
        assert!(metadata.blocks() * 512 < MIB + size / 4096, "{size} is not sparse");
        let summary = check(&path).unwrap();
        assert!(!summary.needs_recovery && !summary.has_errors);
        if size < 100_000 * MIB {
            assert_clean(&path);
        }
    }
}

#[test]
fn others_read_the_label_and_the_features() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let options = CreateOptions::new(64 * MIB, UUID).label("a label of más letters");
    Volume::create(&path, &options).unwrap().close().unwrap();
    let Some(output) = tool("dumpe2fs", &["-h", path.to_str().unwrap()]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "a label of más",
        "8c2f5b1e-110d-4c6a-9e77-010203040506",
        "has_journal",
        "metadata_csum",
        "extent",
        "clean",
        "journal_64bit journal_checksum_v3",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(debugfs(&path, "ls -l /").unwrap().contains("lost+found"));
}

#[test]
fn sizes_and_places_that_cannot_be_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let error = Volume::create(&path, &CreateOptions::new(MINIMUM_SIZE - 1, UUID)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.advice(), Some("make it 8 MiB or larger"));
    let nowhere = directory.path().join("no/disk.raw");
    let error = Volume::create(&nowhere, &CreateOptions::new(MINIMUM_SIZE, UUID)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn what_fails_leaves_nothing_and_keeps_what_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    fs::write(&path, "before").unwrap();
    let options = CreateOptions::new(MINIMUM_SIZE, UUID);
    let outcome = Volume::create_filled(&path, &options, |volume| {
        volume.write_tar("/", &b"this is no archive, but it is longer than one record"[..])
    });
    assert!(outcome.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn the_same_makes_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mut images = Vec::new();
    for name in ["a", "b"] {
        let path = directory.path().join(name);
        let mut options = CreateOptions::new(16 * MIB, UUID);
        options.timestamp = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        Volume::create_filled(&path, &options, |volume| {
            let archive = TestArchive::new().file("x/file", b"hello").finish();
            volume.write_tar("/", archive.as_slice())
        })
        .unwrap();
        images.push(fs::read(&path).unwrap());
    }
    assert!(images[0] == images[1]);
}

#[test]
fn one_writer_or_many_readers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let writer = Volume::create(&path, &CreateOptions::new(MINIMUM_SIZE, UUID)).unwrap();
    for access in [Access::Read, Access::Write] {
        assert_eq!(Volume::open(&path, access).unwrap_err().kind(), ErrorKind::Busy);
    }
    writer.close().unwrap();
    let readers = [Access::Read; 2].map(|access| Volume::open(&path, access).unwrap());
    assert_eq!(Volume::open(&path, Access::Write).unwrap_err().kind(), ErrorKind::Busy);
    drop(readers);
    Volume::open(&path, Access::Write).unwrap();
}

/// A full disk under the image; needs the right to mount.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1M", "none"])
        .arg(directory.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    }
    let path = directory.path().join("disk.raw");
    let options = CreateOptions::new(64 * MIB, UUID);
    let outcome = Volume::create_filled(&path, &options, |volume| {
        let contents = support::noise(4 * MIB as usize, 1);
        let archive = TestArchive::new().file("file", &contents).finish();
        volume.write_tar("/", archive.as_slice())
    });
    let left = fs::read_dir(directory.path()).unwrap().count();
    // Lazily: a process that another test is starting may have the file open for a moment.
    let unmounted = std::process::Command::new("umount").arg("-l").arg(directory.path()).status();
    assert!(unmounted.unwrap().success());
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), left), (ErrorKind::NoSpace, 0), "{error}");
    assert!(error.advice().unwrap().contains("free some space"), "{error}");
}

#[test]
fn what_is_no_volume_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    assert_eq!(check(&path).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(check(directory.path()).unwrap_err().kind(), ErrorKind::Invalid);
    fs::write(&path, vec![0; 5000]).unwrap();
    assert_eq!(check(&path).unwrap_err().kind(), ErrorKind::Invalid);
    Volume::create(&path, &CreateOptions::new(16 * MIB, UUID)).unwrap().close().unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(10 * MIB).unwrap();
    let error = check(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("shorter than its file system"), "{error}");

    let Some(_) = tool("mke2fs", &["-q", "-F", "-O", "inline_data", path.to_str().unwrap(), "16M"])
    else {
        return;
    };
    let error = Volume::open(&path, Access::Read).unwrap_err();
    assert!(error.to_string().contains("inline_data"), "{error}");
}
