// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes that contradict themselves: shown, not written.

use super::fake::FakeDisk;
use super::{TestEnvironment, debugfs, errno, file, make, mount, mount_with, options, read, write};
use crate::volume::{MountError, Options, Volume};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, FileKind};
use kvfs::{FileSystem, MountFlags};

/// An image with a file and a directory on it, and where debugfs says they are.
fn sample() -> Vec<u8> {
    let bench = mount(make(16 << 20, &["-b", "1024"]));
    let root = bench.root();
    write(&file(&root, "one"), 0, &[1; 5000]).unwrap();
    let sub = root.create(b"sub", FileKind::Directory, 0o755, 0).unwrap();
    file(&sub, "leaf");
    drop((sub, root));
    bench.finish()
}

fn block_of(image: &[u8], command: &str, behind: &str) -> usize {
    let text = String::from_utf8_lossy(&debugfs(image, command)).into_owned();
    let at = text.find(behind).unwrap_or_else(|| panic!("no {behind:?} in {text}"));
    let digits = text[at + behind.len()..].trim_start();
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

#[test]
fn a_wrong_bitmap_is_a_read_only_mount() {
    let mut image = sample();
    let bitmap = block_of(&image, "show_super_stats", "block bitmap at ");
    image[bitmap * 1024 + 700] ^= 0x55;
    let bench = mount_with(FakeDisk::new(image.clone()), options());
    assert_eq!(bench.environment.log.lock().len(), 1);
    assert!(bench.mounted.flags().contains(MountFlags::RDONLY));
    let root = bench.root();
    let one = root.lookup(b"one").unwrap();
    assert_eq!(read(&one, 0, 6000).unwrap(), [1; 5000]);
    assert_eq!(errno(write(&one, 0, b"x")), Errno::EROFS);
    assert_eq!(errno(root.create(b"new", FileKind::Regular, 0o644, 0)), Errno::EROFS);
    drop((one, root));
    bench.mounted.volume().shut_down();
    assert!(bench.disk.durable() == image, "nothing was written");
}

#[test]
fn a_wrong_directory_is_an_error_and_ends_the_writing() {
    let mut image = sample();
    let block = block_of(&image, "blocks /sub", "");
    image[block * 1024 + 30] ^= 0x55;
    let bench = mount_with(FakeDisk::new(image), options());
    let root = bench.root();
    file(&root, "still-writable");
    let sub = root.lookup(b"sub").unwrap();
    assert_eq!(errno(sub.lookup(b"leaf")), Errno::EIO);
    assert_eq!(errno(sub.read_dir(0, &mut |_| true)), Errno::EIO);
    assert_eq!(bench.environment.log.lock().len(), 1);
    assert_eq!(errno(root.create(b"new", FileKind::Regular, 0o644, 0)), Errno::EROFS);
    assert_eq!(read(&root.lookup(b"one").unwrap(), 0, 6000).unwrap(), [1; 5000]);
}

#[test]
fn without_its_root_directory_a_volume_is_refused() {
    let mut image = sample();
    let block = block_of(&image, "blocks /", "");
    // Neither names nor lengths of entries make sense.
    image[block * 1024..][..1024].fill(0xff);
    let device: Arc<dyn kdevice::BlockDevice> = FakeDisk::new(image);
    let refused = Volume::mount(&device, Arc::new(TestEnvironment::default()), options());
    assert!(matches!(refused, Err(MountError::Refused(_))));
}

#[test]
fn a_root_directory_with_a_wrong_checksum_is_shown() {
    let mut image = sample();
    let block = block_of(&image, "blocks /", "");
    image[block * 1024 + 1023] ^= 1;
    let bench = mount_with(FakeDisk::new(image), options());
    assert_eq!(bench.environment.log.lock().len(), 1);
    assert!(bench.mounted.flags().contains(MountFlags::RDONLY));
    let one = bench.root().lookup(b"one").unwrap();
    assert_eq!(read(&one, 0, 6000).unwrap(), [1; 5000]);
}

#[test]
fn what_is_no_ext4_is_refused() {
    kmm::hosted::start();
    for image in [alloc::vec![0; 1 << 20], alloc::vec![0xff; 512], alloc::vec![0; 4096]] {
        let device: Arc<dyn kdevice::BlockDevice> = FakeDisk::new(image);
        let environment = Arc::new(TestEnvironment::default());
        assert!(Volume::mount(&device, environment.clone(), options()).is_err());
        assert!(environment.log.lock().is_empty());
    }
}

#[test]
fn a_journal_that_has_to_be_replayed_needs_writing() {
    let disk = FakeDisk::new(sample());
    let bench = mount_with(disk.clone(), options());
    let crashed = disk.durable();
    let read_only = Options { read_only: true, ..options() };
    let device: Arc<dyn kdevice::BlockDevice> = FakeDisk::new(crashed.clone());
    let again = Volume::mount(&device, bench.environment.clone(), read_only.clone());
    assert!(matches!(again, Err(MountError::NeedsRecovery)));
    let clean = mount_with(FakeDisk::new(crashed), options()).finish();
    let shown = mount_with(FakeDisk::new(clean), read_only);
    assert_eq!(errno(shown.root().unlink(b"one")), Errno::EROFS);
    shown.root().lookup(b"one").unwrap();
}
