// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damaged and unclean images: errors, never a panic, and never an endless walk.

mod support;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use bhojpur_volume::{Access, CreateOptions, ErrorKind, Volume, check};
use support::{TestArchive, assert_clean, debugfs, noise, tool};
use tar::EntryType;

const MIB: u64 = 1 << 20;

fn archive() -> Vec<u8> {
    let mut archive = TestArchive::new().directory("d").file("d/file", &noise(300_000, 2));
    for index in 0..200 {
        archive = archive.file(&format!("d/a-name-to-fill-directories-{index}"), b"contents");
    }
    archive.link("d/link", EntryType::Symlink, &"x/".repeat(45)).finish()
}

fn image(directory: &Path) -> Vec<u8> {
    let path = directory.join("whole.raw");
    let mut volume = Volume::create(&path, &CreateOptions::new(8 * MIB, [5; 16])).unwrap();
    volume.write_tar("/", archive().as_slice()).unwrap();
    volume.close().unwrap();
    fs::read(&path).unwrap()
}

/// Takes so much and no more: a damaged file may claim terabytes.
struct Bounded(usize);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Does all that there is with an image, whatever comes of it.
fn use_all(path: &Path) -> bool {
    let _ = check(path);
    let mut sound = true;
    if let Ok(mut volume) = Volume::open(path, Access::Read) {
        sound &= volume.read_tar("/", Bounded(64 << 20)).is_ok();
        let _ = volume.stat("/d/link");
        let _ = volume.list("/d");
    } else {
        sound = false;
    }
    if let Ok(mut volume) = Volume::open(path, Access::Write) {
        let second = TestArchive::new().file("d/file", &noise(100_000, 9)).file("new/x", b"y");
        sound &= volume.write_tar("/", second.finish().as_slice()).is_ok();
        sound &= volume.close().is_ok();
    }
    sound
}

/// Blocks that hold something.
fn used_blocks(image: &[u8]) -> Vec<usize> {
    let blocks = image.chunks(4096).enumerate();
    blocks.filter(|(_, block)| block.iter().any(|&b| b != 0)).map(|(index, _)| index).collect()
}

#[test]
fn flipped_bytes_give_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.raw");
    let image = image(directory.path());
    let blocks = used_blocks(&image);
    let choices = noise(4 * 4000, 77);
    let (mut errors, mut rounds) = (0, 0);
    let end = Instant::now() + Duration::from_secs(20);
    for choice in choices.chunks(4) {
        // Metadata is in the first blocks: those twice as often.
        let pick = usize::from(u16::from_le_bytes([choice[0], choice[1]]));
        let range = if pick.is_multiple_of(2) { blocks.len().min(45) } else { blocks.len() };
        let at = blocks[pick % range] * 4096 + usize::from(choice[2]) * 16 + pick / 7 % 16;
        let mut damaged = image.clone();
        damaged[at] ^= choice[3].max(1);
        fs::write(&path, damaged).unwrap();
        let started = Instant::now();
        errors += u32::from(!use_all(&path));
        assert!(started.elapsed() < Duration::from_secs(60), "byte {at} takes too long");
        rounds += 1;
        if Instant::now() > end {
            break;
        }
    }
    eprintln!("{errors} of {rounds} damaged images gave errors");
    assert!(rounds > 20 && errors > 0);
}

#[test]
fn damage_with_right_checksums_gives_errors() {
    let Some(_) = tool("debugfs", &["-V"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.raw");
    let image = image(directory.path());
    let requests = [
        "sif /d size 99999999999",
        "sif /d/file size 9999999999999",
        "sif /d/file mode 0020644",
        "sif /d block[2] 7",
        "sif /d/file block[0] 0",
        "sif /d/file block[1] 99",
        "sif /d/file block[5] 4000000000",
        "sif /d/link size 100000",
        "sif /d/link block[5] 999999",
        "clri /d",
        "clri <2>",
        "clri <8>",
        "sif /d links_count 0",
        "sif <8> size 4096",
        "sif <8> block[5] 1",
        "ssv inodes_count 1",
        "ssv blocks_count 10000000",
        "ssv blocks_per_group 0",
        "ssv inodes_per_group 0",
        "ssv inodes_per_group 4000000000",
        "ssv inode_size 0",
        "ssv inode_size 65535",
        "ssv desc_size 3",
        "ssv log_block_size 60000",
        "ssv log_groups_per_flex 200",
        "ssv journal_inum 2",
        "ssv journal_inum 999999",
        "ssv first_ino 0",
        "set_bg 0 block_bitmap 0",
        "set_bg 0 block_bitmap 99999999",
        "set_bg 0 inode_table 0",
        "set_bg 0 inode_table 99999999",
        "set_bg 0 inode_bitmap 2047",
        "set_bg 0 free_blocks_count 60000",
        "link /d /d/circle",
        "link <2> /d/up",
        "freei <12>",
        "freeb 1200 400",
    ];
    let mut errors = 0;
    for request in requests {
        fs::write(&path, &image).unwrap();
        eprintln!("{request}");
        let changed = tool("debugfs", &["-w", "-R", request, path.to_str().unwrap()]).unwrap();
        let text = String::from_utf8_lossy(&changed.stderr).into_owned();
        assert!(!text.contains("unknown") && !text.contains("Unknown"), "{request}: {text}");
        assert!(fs::read(&path).unwrap() != image, "{request} changed nothing: {text}");
        let started = Instant::now();
        errors += u32::from(!use_all(&path));
        assert!(started.elapsed() < Duration::from_secs(60), "{request} takes too long");
    }
    assert!(errors > 15, "{errors}");
}

#[test]
fn cut_images_give_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.raw");
    let image = image(directory.path());
    for len in [0, 1, 1024, 1100, 2047, 2048, 4096, 100_000, image.len() - 4096] {
        fs::write(&path, &image[..len]).unwrap();
        assert!(check(&path).is_err());
        assert!(Volume::open(&path, Access::Read).is_err());
        assert!(Volume::open(&path, Access::Write).is_err());
    }
    for seed in 1..20 {
        let mut junk = noise(image.len(), seed);
        junk[1024 + 0x38..][..2].copy_from_slice(&[0x53, 0xef]);
        fs::write(&path, junk).unwrap();
        assert!(Volume::open(&path, Access::Write).is_err());
    }
}

/// A volume whose user was killed: what was committed is there, once the journal is replayed.
#[test]
fn an_unclean_volume_is_read_without_a_change_and_recovered_by_a_writer() {
    let Some(_) = tool("debugfs", &["-V"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    let image = image(directory.path());
    // debugfs writes a transaction that is only in the journal: an inode table block in
    // which the file is empty.
    fs::write(&path, &image).unwrap();
    tool("debugfs", &["-w", "-R", "sif /d/file mode 0100600", path.to_str().unwrap()]).unwrap();
    let changed = fs::read(&path).unwrap();
    let block = used_blocks(&image)
        .into_iter()
        .find(|b| *b > 1 && image[b * 4096..][..4096] != changed[b * 4096..][..4096])
        .unwrap();
    let content = directory.path().join("block");
    fs::write(&content, &changed[block * 4096..][..4096]).unwrap();
    fs::write(&path, &image).unwrap();
    let script = directory.path().join("script");
    fs::write(&script, format!("jo\njw -b {block} {}\njc\n", content.display())).unwrap();
    let arguments = ["-w", "-f", script.to_str().unwrap(), path.to_str().unwrap()];
    let output = tool("debugfs", &arguments).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let before = fs::read(&path).unwrap();
    assert!(check(&path).unwrap().needs_recovery, "{said}");

    let mut volume = Volume::open(&path, Access::Read).unwrap();
    assert!(volume.summary().needs_recovery);
    assert_eq!(volume.stat("/d/file").unwrap().mode, 0o600);
    drop(volume);
    assert!(fs::read(&path).unwrap() == before, "a reader changes nothing");

    Volume::open(&path, Access::Write).unwrap().close().unwrap();
    assert!(!check(&path).unwrap().needs_recovery);
    assert_clean(&path);
    assert!(debugfs(&path, "stat /d/file").unwrap().contains("0600"));
}

#[test]
fn a_volume_that_was_marked_as_bad_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    fs::write(&path, image(directory.path())).unwrap();
    let Some(_) = tool("debugfs", &["-w", "-R", "ssv state 2", path.to_str().unwrap()]) else {
        return;
    };
    assert!(check(&path).unwrap().has_errors);
    let error = Volume::open(&path, Access::Write).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.advice().unwrap().contains("e2fsck"));
    let mut volume = Volume::open(&path, Access::Read).unwrap();
    assert_eq!(volume.stat("/d/file").unwrap().size, 300_000);
}
