// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes on disks in memory, made and checked by e2fsprogs.

mod basic;
mod crash;
mod damage;
mod fake;
mod many;
mod model;

use crate::mounted::Mounted;
use crate::volume::{Environment, Options, Volume};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use fake::FakeDisk;
use kio::{Errno, FileKind, Result, SliceSource, VecSink};
use ksync::SpinLock;
use kvfs::{FileSystem, Inode};
use std::process::Command;
use std::string::ToString;
use std::{env, format, fs, println, process, vec};

/// A clock that moves with each look, and a log.
#[derive(Default)]
pub(crate) struct TestEnvironment {
    ticks: AtomicU64,
    pub(crate) log: SpinLock<Vec<String>>,
}

impl Environment for TestEnvironment {
    fn realtime(&self) -> Duration {
        let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
        Duration::new(1_700_000_000 + tick / 1000, (tick % 1000) as u32 * 1_000_001)
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        self.log.lock().push(text.to_string());
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A path of its own for each call.
fn scratch(name: &str) -> std::path::PathBuf {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("kfs-ext4-{}-{number}-{name}", process::id()))
}

/// A fresh file system of `size` bytes.
pub(crate) fn make(size: u64, arguments: &[&str]) -> Vec<u8> {
    let path = scratch("image");
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    let output = Command::new("mke2fs")
        .args(["-t", "ext4", "-q", "-F"])
        .args(arguments)
        .arg(&path)
        .output()
        .expect("mke2fs, of e2fsprogs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let image = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    image
}

/// What e2fsck says of an image, with its journal replayed first; `None` when it
/// finds nothing.
pub(crate) fn check(image: &[u8]) -> Option<String> {
    let path = scratch("check");
    fs::write(&path, image).unwrap();
    let run = |arguments: &[&str]| {
        Command::new("e2fsck").args(arguments).arg(&path).output().expect("e2fsck")
    };
    let _ = run(&["-f", "-y", "-E", "journal_only"]);
    let output = run(&["-f", "-n"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        fs::remove_file(&path).unwrap();
        return None;
    }
    println!("kept {}", path.display());
    Some(text)
}

/// A file as e2fsprogs read it.
pub(crate) fn debugfs(image: &[u8], command: &str) -> Vec<u8> {
    let path = scratch("debugfs");
    fs::write(&path, image).unwrap();
    let output = Command::new("debugfs").args(["-R", command]).arg(&path).output().unwrap();
    fs::remove_file(&path).unwrap();
    output.stdout
}

pub(crate) fn options() -> Options {
    Options {
        read_only: false,
        source: "/dev/vda".into(),
        device_number: 254 << 8,
        cache_pages: 4096,
        dirty_pages: 1024,
    }
}

pub(crate) struct Bench {
    pub(crate) disk: Arc<FakeDisk>,
    pub(crate) environment: Arc<TestEnvironment>,
    pub(crate) mounted: Arc<Mounted>,
}

pub(crate) fn mount_with(disk: Arc<FakeDisk>, options: Options) -> Bench {
    kmm::hosted::start();
    let environment = Arc::new(TestEnvironment::default());
    let device: Arc<dyn kdevice::BlockDevice> = disk.clone();
    let mounted = Volume::mount(&device, environment.clone(), options).expect("a mount");
    Bench { disk, environment, mounted }
}

pub(crate) fn mount(image: Vec<u8>) -> Bench {
    mount_with(FakeDisk::new(image), options())
}

impl Bench {
    pub(crate) fn root(&self) -> Arc<dyn Inode> {
        self.mounted.root()
    }

    /// Unmounts and gives what is on the disk; it has to be sound.
    pub(crate) fn finish(self) -> Vec<u8> {
        let Bench { disk, environment, mounted } = self;
        mounted.volume().shut_down();
        drop(mounted);
        assert_eq!(*environment.log.lock(), Vec::<String>::new());
        let image = disk.durable();
        if let Some(complaint) = check(&image) {
            panic!("{complaint}");
        }
        image
    }
}

pub(crate) fn file(directory: &Arc<dyn Inode>, name: &str) -> Arc<dyn Inode> {
    directory.create(name.as_bytes(), FileKind::Regular, 0o644, 0).expect("a new file")
}

pub(crate) fn write(file: &Arc<dyn Inode>, offset: u64, bytes: &[u8]) -> Result<usize> {
    file.write_at(offset, &mut SliceSource::new(bytes))
}

pub(crate) fn read(file: &Arc<dyn Inode>, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut sink = VecSink::new(len);
    let mut at = offset;
    loop {
        match file.read_at(at, &mut sink)? {
            0 => break,
            count => at += count as u64,
        }
    }
    Ok(sink.into_bytes())
}

pub(crate) fn names(directory: &Arc<dyn Inode>) -> Vec<String> {
    let mut all = vec![];
    let mut cursor = 0;
    loop {
        let before = all.len();
        directory
            .read_dir(cursor, &mut |entry| {
                if all.len() - before == 7 {
                    return false;
                }
                cursor = entry.next;
                all.push(String::from_utf8_lossy(entry.name).into_owned());
                true
            })
            .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

/// A small generator of numbers; the same seed gives the same ones.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }
}

pub(crate) fn errno<T>(result: Result<T>) -> Errno {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error,
    }
}
