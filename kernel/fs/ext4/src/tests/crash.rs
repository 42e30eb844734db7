// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Losses of power: at a random write, with any of the writes since the last
//! flush lost, torn or there. What was acknowledged has to be there, what was
//! not is there as a whole or not at all, and the file system is sound.

use super::fake::FakeDisk;
use super::{Random, check, make, mount_with, options, read, scratch, write};
use crate::volume::Options;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::FileKind;
use kvfs::{Inode, RenameFlags};
use std::collections::BTreeMap;
use std::{env, format, fs, println, vec};

const BLOCK: usize = 1500;

/// A block of a file that says what it is: who, where, which version.
fn block(file: u64, index: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let mut random = Random(file << 40 ^ index << 20 ^ version ^ 0x1234_5678_9abc_def1);
    bytes[..8].copy_from_slice(&file.to_le_bytes());
    bytes[8..16].copy_from_slice(&index.to_le_bytes());
    bytes[16..24].copy_from_slice(&version.to_le_bytes());
    for chunk in bytes[24..].chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// The version of a block, if it is what it says it is.
fn version(bytes: &[u8], file: u64, index: u64) -> Option<u64> {
    let version = u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?);
    (bytes == block(file, index, version)).then_some(version)
}

/// What has to be there.
#[derive(Clone, Default, Debug)]
struct Promise {
    /// Blocks that are in the log for certain.
    log_blocks: BTreeMap<u64, u64>,
    /// The least versions of the blocks of tables.
    tables: BTreeMap<u64, Vec<u64>>,
    /// The least version of each replaced file.
    replaced: BTreeMap<u64, u64>,
    /// Small files: there (with so many blocks), gone, or either.
    small: BTreeMap<u64, Option<Option<u64>>>,
}

struct Writer {
    root: Arc<dyn Inode>,
    promise: Promise,
    random: Random,
    /// Blocks in each log, versions in each table: acknowledged or not.
    logs: BTreeMap<u64, u64>,
    tables: BTreeMap<u64, Vec<u64>>,
    replaced: BTreeMap<u64, u64>,
    next_small: u64,
    small: Vec<u64>,
}

const TABLE_BLOCKS: u64 = 12;

impl Writer {
    fn open(&self, name: &str) -> Arc<dyn Inode> {
        match self.root.lookup(name.as_bytes()) {
            Ok(file) => file,
            Err(_) => {
                self.root.create(name.as_bytes(), FileKind::Regular, 0o644, 0).expect("a new file")
            }
        }
    }

    /// One step; the promise is changed when the step is done.
    fn step(&mut self) {
        let kind = self.random.below(100);
        let which = self.random.below(3);
        match kind {
            0..30 => {
                let file = self.open(&format!("log{which}"));
                let count = self.logs.entry(which).or_default();
                for _ in 0..=self.random.below(4) {
                    let bytes = block(which, *count, 1);
                    write(&file, *count * BLOCK as u64, &bytes).unwrap();
                    *count += 1;
                }
                if self.random.below(2) == 0 {
                    file.sync(false).unwrap();
                    self.promise.log_blocks.insert(which, *count);
                }
            }
            30..55 => {
                let file = self.open(&format!("table{which}"));
                let fresh = || vec![0; TABLE_BLOCKS as usize];
                let versions = self.tables.entry(which).or_insert_with(fresh);
                for _ in 0..=self.random.below(5) {
                    let index = self.random.below(TABLE_BLOCKS);
                    let next = versions[index as usize] + 1;
                    write(&file, index * BLOCK as u64, &block(100 + which, index, next)).unwrap();
                    versions[index as usize] = next;
                }
                if self.random.below(2) == 0 {
                    file.sync(true).unwrap();
                    self.promise.tables.insert(which, versions.clone());
                }
            }
            55..70 => {
                let next = self.replaced.get(&which).copied().unwrap_or(0) + 1;
                let temporary = format!("new{which}");
                let file = self.open(&temporary);
                file.truncate(0).unwrap();
                for index in 0..1 + next % 5 {
                    write(&file, index * BLOCK as u64, &block(200 + which, index, next)).unwrap();
                }
                file.sync(false).unwrap();
                let name = format!("replaced{which}");
                let flags = RenameFlags::empty();
                self.root.rename(temporary.as_bytes(), &self.root, name.as_bytes(), flags).unwrap();
                self.replaced.insert(which, next);
                if self.random.below(2) == 0 {
                    self.root.sync(false).unwrap();
                    self.promise.replaced.insert(which, next);
                }
            }
            70..85 => {
                let number = self.next_small;
                self.next_small += 1;
                let file = self.open(&format!("small{number}"));
                let blocks = 1 + self.random.below(12);
                self.promise.small.insert(number, None);
                for index in 0..blocks {
                    write(&file, index * BLOCK as u64, &block(1000 + number, index, blocks))
                        .unwrap();
                }
                file.sync(false).unwrap();
                self.promise.small.insert(number, Some(Some(blocks)));
                self.small.push(number);
            }
            85..97 => {
                if self.small.is_empty() {
                    return;
                }
                let at = self.random.below(self.small.len() as u64) as usize;
                let number = self.small.swap_remove(at);
                // It may go, but if it stays it stays whole.
                self.promise.small.insert(number, None);
                self.root.unlink(format!("small{number}").as_bytes()).unwrap();
                if self.random.below(2) == 0 {
                    self.root.sync(false).unwrap();
                    self.promise.small.insert(number, Some(None));
                }
            }
            _ => {
                let name = format!("dir{which}");
                match self.root.lookup(name.as_bytes()) {
                    Ok(_) => self.root.rmdir(name.as_bytes()).unwrap(),
                    Err(_) => {
                        self.root
                            .create(name.as_bytes(), FileKind::Directory, 0o755, 0)
                            .expect("a new directory");
                    }
                }
            }
        }
    }
}

fn verify(root: &Arc<dyn Inode>, promise: &Promise) -> Result<(), String> {
    let contents = |name: &str| -> Option<Vec<u8>> {
        let file = root.lookup(name.as_bytes()).ok()?;
        let size = file.stat().ok()?.size;
        read(&file, 0, size as usize).ok()
    };
    for (log, count) in &promise.log_blocks {
        let bytes = contents(&format!("log{log}")).ok_or(format!("log{log} is gone"))?;
        for index in 0..*count {
            let at = index as usize * BLOCK;
            let found = bytes.get(at..at + BLOCK).and_then(|b| version(b, *log, index));
            found.ok_or(format!("log{log} lost block {index} of {count}"))?;
        }
    }
    for (table, versions) in &promise.tables {
        let bytes = contents(&format!("table{table}")).ok_or(format!("table{table} is gone"))?;
        for (index, least) in versions.iter().enumerate().filter(|(_, v)| **v > 0) {
            let at = index * BLOCK;
            let part = bytes.get(at..at + BLOCK).unwrap_or_default();
            // A block that is being written over may be torn: it crosses pages.
            let whole = version(part, 100 + table, index as u64);
            if whole.is_some_and(|v| v < *least) {
                return Err(format!("table{table} block {index}: {whole:?}, not {least}"));
            }
        }
    }
    for (which, least) in &promise.replaced {
        let name = format!("replaced{which}");
        let bytes = contents(&name).ok_or(format!("{name} is gone"))?;
        let found = version(bytes.get(..BLOCK).unwrap_or_default(), 200 + which, 0);
        let found = found.ok_or(format!("{name} has no version"))?;
        let whole = (0..1 + found % 5).all(|index| {
            let at = index as usize * BLOCK;
            bytes.get(at..at + BLOCK).and_then(|b| version(b, 200 + which, index)) == Some(found)
        });
        if found < *least || !whole || bytes.len() as u64 != (1 + found % 5) * BLOCK as u64 {
            return Err(format!("{name} is version {found}, {least} was promised"));
        }
    }
    for (number, state) in &promise.small {
        let name = format!("small{number}");
        let bytes = contents(&name);
        let whole = |bytes: &[u8], blocks: u64| {
            bytes.len() as u64 == blocks * BLOCK as u64
                && (0..blocks).all(|index| {
                    let at = index as usize * BLOCK;
                    version(&bytes[at..at + BLOCK], 1000 + number, index) == Some(blocks)
                })
        };
        match (state, bytes) {
            (Some(Some(blocks)), Some(bytes)) if whole(&bytes, *blocks) => {}
            (Some(Some(_)), Some(_)) => return Err(format!("{name} has other contents")),
            (Some(Some(_)), None) => return Err(format!("{name} is gone")),
            (Some(None), Some(_)) => return Err(format!("{name} is back")),
            (Some(None) | None, None) => {}
            (None, Some(bytes)) => {
                // Never fsynced, or unlinked: zeroes where nothing was written yet.
                for (index, part) in bytes.chunks(BLOCK).enumerate() {
                    let blank = part.iter().all(|b| *b == 0);
                    let own = part.get(..8) == Some(&(1000 + number).to_le_bytes()[..]);
                    let torn = part.len() < BLOCK || own || part.contains(&0);
                    if !blank && !torn {
                        return Err(format!("{name} block {index} is somebody else's"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// One life: writes until the power goes, then looks at what is there.
fn round(image: Vec<u8>, seed: u64, options: Options) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let disk = FakeDisk::new(image);
    let bench = mount_with(disk.clone(), options.clone());
    disk.lose_power(20 + random.below(600), seed);
    let mut writer = Writer {
        root: bench.root(),
        promise: Promise::default(),
        random,
        logs: BTreeMap::new(),
        tables: BTreeMap::new(),
        replaced: BTreeMap::new(),
        next_small: 0,
        small: vec![],
    };
    let mut promise = Promise::default();
    for step in 0.. {
        writer.step();
        if disk.has_lost_power() {
            break;
        }
        promise = writer.promise.clone();
        if step % 40 == 39 {
            bench.mounted.volume().write_back().unwrap();
        }
    }
    // What the last step said before it was cut off holds for what it touched.
    for (number, state) in &writer.promise.small {
        if state.is_none() || promise.small.get(number) != Some(state) {
            promise.small.insert(*number, None);
        }
    }
    let lost = disk.lost().expect("the power went");
    // This life goes on unseen, and ends.
    drop(writer);
    bench.mounted.volume().shut_down();
    drop(bench);
    let again = mount_with(FakeDisk::new(lost.clone()), options);
    let verdict = verify(&again.root(), &promise);
    let complaint = verdict.err().or_else(|| {
        let log = again.environment.log.lock().clone();
        (!log.is_empty()).then(|| format!("{log:?}"))
    });
    again.mounted.volume().shut_down();
    let after = again.disk.durable();
    let complaint = complaint.or_else(|| check(&after));
    let orphans = u32::from_le_bytes(lost[1024 + 0xe8..1024 + 0xec].try_into().unwrap());
    // Without orphans others find nothing either, once they replayed the journal.
    let complaint = complaint.or_else(|| if orphans == 0 { check(&lost) } else { None });
    if let Some(complaint) = complaint {
        let path = scratch("lost");
        fs::write(&path, &lost).unwrap();
        panic!("seed {seed}: {complaint}\nimage: {}", path.display());
    }
    after
}

fn rounds(default: u64) -> u64 {
    env::var("CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn first_seed() -> u64 {
    env::var("CRASH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[test]
fn nothing_that_was_synced_is_lost_with_the_power() {
    let image = make(16 << 20, &[]);
    for seed in first_seed()..first_seed() + rounds(60) {
        round(image.clone(), seed, options());
    }
}

#[test]
fn small_caches_and_blocks_lose_nothing_either() {
    let image = make(8 << 20, &["-b", "1024", "-J", "size=1", "-O", "^metadata_csum"]);
    let options = Options { cache_pages: 32, dirty_pages: 8, ..options() };
    for seed in first_seed() + 1000..first_seed() + 1000 + rounds(40) {
        round(image.clone(), seed, options.clone());
    }
    println!("sound");
}
