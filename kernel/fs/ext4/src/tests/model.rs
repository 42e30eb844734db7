// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random operations on a tree, with a model in memory beside it.

use super::fake::FakeDisk;
use super::{Random, make, mount_with, names, options, read, write};
use crate::volume::Options;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::FileKind;
use kvfs::{Inode, RenameFlags};
use std::collections::BTreeMap;
use std::{format, vec};

/// Directories by number, files by number: names lead to either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Directory(usize),
    File(usize),
    Link,
}

struct Model {
    directories: BTreeMap<usize, BTreeMap<String, Thing>>,
    parents: BTreeMap<usize, usize>,
    files: BTreeMap<usize, Vec<u8>>,
    next: usize,
}

struct Both {
    model: Model,
    inodes: BTreeMap<usize, Arc<dyn Inode>>,
    random: Random,
}

const ROOT: usize = 0;

impl Both {
    fn pick(&mut self) -> usize {
        let keys: Vec<usize> = self.model.directories.keys().copied().collect();
        keys[self.random.below(keys.len() as u64) as usize]
    }

    fn name(&mut self) -> String {
        format!("name-of-an-entry-{}", self.random.below(40))
    }

    fn is_above(&self, above: usize, mut below: usize) -> bool {
        loop {
            if below == above {
                return true;
            }
            match self.model.parents.get(&below) {
                Some(parent) => below = *parent,
                None => return false,
            }
        }
    }

    fn forget(&mut self, directory: usize) {
        self.model.directories.remove(&directory);
        self.model.parents.remove(&directory);
        self.inodes.remove(&directory);
    }

    fn step(&mut self) {
        let at = self.pick();
        let name = self.name();
        let directory = self.inodes[&at].clone();
        let known = self.model.directories[&at].get(&name).copied();
        let bytes = name.as_bytes();
        match (self.random.below(12), known) {
            (0..2, None) if self.model.directories.len() < 30 => {
                let inode = directory.create(bytes, FileKind::Directory, 0o755, 0).unwrap();
                let number = self.fresh();
                self.enter(at, name, Thing::Directory(number));
                self.model.directories.insert(number, BTreeMap::new());
                self.model.parents.insert(number, at);
                self.inodes.insert(number, inode);
            }
            (2..6, None) => {
                directory.create(bytes, FileKind::Regular, 0o644, 0).unwrap();
                let number = self.fresh();
                self.model.files.insert(number, vec![]);
                self.enter(at, name, Thing::File(number));
            }
            (6, None) => {
                directory.symlink(bytes, b"somewhere").unwrap();
                self.enter(at, name, Thing::Link);
            }
            (_, None) => {
                assert!(directory.lookup(bytes).is_err());
                assert!(directory.unlink(bytes).is_err());
            }
            (0..3, Some(Thing::File(number))) => self.change(&directory, bytes, number),
            (3..5, Some(Thing::File(number))) => {
                let (to, to_name) = (self.pick(), self.name());
                if !self.model.directories[&to].contains_key(&to_name) {
                    let file = directory.lookup(bytes).unwrap();
                    self.inodes[&to].link(to_name.as_bytes(), &file).unwrap();
                    self.enter(to, to_name, Thing::File(number));
                }
            }
            (0..7, Some(thing)) => self.rename(at, &name, thing),
            (_, Some(Thing::Directory(number))) => {
                let empty = self.model.directories[&number].is_empty();
                assert_eq!(directory.rmdir(bytes).is_ok(), empty);
                if empty {
                    self.leave(at, &name);
                    self.forget(number);
                }
            }
            (_, Some(_)) => {
                directory.unlink(bytes).unwrap();
                self.leave(at, &name);
            }
        }
        self.compare(at);
    }

    fn fresh(&mut self) -> usize {
        self.model.next += 1;
        self.model.next
    }

    fn enter(&mut self, at: usize, name: String, thing: Thing) {
        self.model.directories.get_mut(&at).unwrap().insert(name, thing);
    }

    fn leave(&mut self, at: usize, name: &str) {
        self.model.directories.get_mut(&at).unwrap().remove(name);
    }

    fn change(&mut self, directory: &Arc<dyn Inode>, name: &[u8], number: usize) {
        let file = directory.lookup(name).unwrap();
        let contents = self.model.files.get_mut(&number).unwrap();
        assert_eq!(read(&file, 0, contents.len() + 1).unwrap(), *contents);
        let at = self.random.below(30_000) as usize;
        if self.random.below(3) == 0 {
            file.truncate(at as u64).unwrap();
            contents.resize(at, 0);
            return;
        }
        let bytes = vec![self.random.below(256) as u8; 1 + self.random.below(9000) as usize];
        assert_eq!(write(&file, at as u64, &bytes).unwrap(), bytes.len());
        contents.resize(contents.len().max(at + bytes.len()), 0);
        contents[at..at + bytes.len()].copy_from_slice(&bytes);
        if self.random.below(20) == 0 {
            file.sync(false).unwrap();
        }
    }

    fn rename(&mut self, at: usize, name: &str, thing: Thing) {
        let (to, to_name) = (self.pick(), self.name());
        if let Thing::Directory(number) = thing
            && self.is_above(number, to)
        {
            return;
        }
        let target = self.model.directories[&to].get(&to_name).copied();
        if target == Some(thing) {
            return;
        }
        let fits = match (thing, target) {
            (_, None) => true,
            (Thing::Directory(_), Some(Thing::Directory(number))) => {
                self.model.directories[&number].is_empty()
            }
            (Thing::Directory(_), Some(_)) | (_, Some(Thing::Directory(_))) => false,
            _ => true,
        };
        let flags = RenameFlags::empty();
        let (from, into) = (&self.inodes[&at], &self.inodes[&to]);
        let done = from.rename(name.as_bytes(), into, to_name.as_bytes(), flags);
        assert_eq!(done.is_ok(), fits, "{done:?}: {thing:?} onto {target:?}");
        if !fits {
            return;
        }
        if let Some(Thing::Directory(number)) = target {
            self.forget(number);
        }
        self.leave(at, name);
        self.enter(to, to_name, thing);
        if let Thing::Directory(number) = thing {
            self.model.parents.insert(number, to);
        }
        self.compare(to);
    }

    fn compare(&self, at: usize) {
        let Some(entries) = self.model.directories.get(&at) else { return };
        let mut listed = names(&self.inodes[&at]);
        listed.retain(|name| name != "lost+found");
        listed.sort();
        let wanted: Vec<String> = entries.keys().cloned().collect();
        assert_eq!(listed, wanted);
    }

    /// All names and contents below the root.
    fn compare_all(&self) {
        for (at, entries) in &self.model.directories {
            self.compare(*at);
            for (name, thing) in entries {
                let inode = self.inodes[at].lookup(name.as_bytes()).unwrap();
                if let Thing::File(number) = thing {
                    let wanted = &self.model.files[number];
                    assert_eq!(read(&inode, 0, wanted.len() + 1).unwrap(), *wanted);
                }
            }
            let inner = entries.values().filter(|t| matches!(t, Thing::Directory(_))).count();
            let extra = usize::from(*at == ROOT);
            assert_eq!(self.inodes[at].stat().unwrap().links as usize, 2 + inner + extra);
        }
    }

    /// Finds the directories again after a new mount.
    fn reopen(&mut self, root: Arc<dyn Inode>) {
        self.inodes = BTreeMap::from([(ROOT, root)]);
        let mut pending = vec![ROOT];
        while let Some(at) = pending.pop() {
            for (name, thing) in &self.model.directories[&at] {
                if let Thing::Directory(number) = thing {
                    let inode = self.inodes[&at].lookup(name.as_bytes()).unwrap();
                    self.inodes.insert(*number, inode);
                    pending.push(*number);
                }
            }
        }
    }
}

fn play(arguments: &[&str], options: &Options, seed: u64) {
    let mut image = make(64 << 20, arguments);
    let mut both = Both {
        model: Model {
            directories: BTreeMap::from([(ROOT, BTreeMap::new())]),
            parents: BTreeMap::new(),
            files: BTreeMap::new(),
            next: 0,
        },
        inodes: BTreeMap::new(),
        random: Random(seed),
    };
    for _ in 0..3 {
        let bench = mount_with(FakeDisk::new(image), options.clone());
        both.reopen(bench.root());
        both.compare_all();
        for step in 0..1500 {
            both.step();
            if step % 100 == 99 {
                bench.mounted.volume().write_back().unwrap();
            }
        }
        both.compare_all();
        both.inodes.clear();
        image = bench.finish();
    }
}

#[test]
fn a_tree_is_what_its_operations_made() {
    for seed in 1..6 {
        play(&["-b", "1024"], &options(), seed);
        play(&[], &options(), seed + 100);
    }
}

#[test]
fn so_is_a_tree_in_little_memory() {
    let options = Options { cache_pages: 16, dirty_pages: 4, ..options() };
    play(&["-b", "1024", "-J", "size=1"], &options, 7);
    play(&["-O", "^metadata_csum,^has_journal"], &options, 8);
}
