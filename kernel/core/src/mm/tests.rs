// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random calls of the memory family beside a model that knows of each page its rights and its
//! first word. The program's side of it goes through page tables and a TLB, as on a machine.

use super::{AddressSpace, Backing, MapRequest, Placement, Protection};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use khal::user_memory::{copy_from_user, copy_to_user};
use kio::Errno;
use kmm::Frame;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: u64 = 4096;
const BASE: u64 = 0x10_0000_0000;
/// Six megabytes: large pages fit in some places and not in others.
const PAGES: u64 = 1536;
const TOP: u64 = 0x7000_0000_0000;
const MREMAP_MAYMOVE: u32 = 1;
const MREMAP_FIXED: u32 = 2;
const MADV_DONTNEED: i32 = 4;

/// Tests that count frames, or take them all, cannot run beside others.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers that repeat with their seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// A range of pages: mostly short, sometimes long enough for a large page.
    fn range(&mut self) -> (u64, u64) {
        let longest = if self.below(4) == 0 { PAGES } else { 12 };
        let len = 1 + self.below(longest);
        (self.below(PAGES - len + 1), len)
    }

    fn protection(&mut self) -> Protection {
        let all = [
            Protection::READ | Protection::WRITE,
            Protection::READ | Protection::WRITE,
            Protection::READ,
            Protection::READ | Protection::EXECUTE,
            Protection::empty(),
        ];
        all[self.below(all.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    protection: Protection,
    word: u64,
}

struct World {
    space: AddressSpace,
    pages: BTreeMap<u64, Page>,
    random: Random,
}

fn address(page: u64) -> u64 {
    BASE + page * PAGE
}

fn anonymous(placement: Placement, len: u64, protection: Protection) -> MapRequest {
    MapRequest {
        placement,
        len,
        protection,
        shared: false,
        may_write: true,
        grows_down: false,
        backing: Backing::Anonymous,
        label: "",
    }
}

impl World {
    fn new(seed: u64) -> Self {
        kmm::hosted::start();
        let space = AddressSpace::new(TOP).unwrap();
        space.activation().activate();
        Self { space, pages: BTreeMap::new(), random: Random(seed) }
    }

    /// As a program reads: the page comes in when it is missing.
    fn load(&self, page: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        if copy_from_user(&mut bytes, address(page)) < 8 {
            self.space.fault(address(page), false, false).ok()?;
            assert_eq!(copy_from_user(&mut bytes, address(page)), 8);
        }
        Some(u64::from_le_bytes(bytes))
    }

    /// As a program writes; false when it may not.
    fn store(&self, page: u64, word: u64) -> bool {
        let bytes = word.to_le_bytes();
        if copy_to_user(address(page), &bytes) == 8 {
            return true;
        }
        let settled = self.space.fault(address(page), true, false).is_ok();
        assert!(!settled || copy_to_user(address(page), &bytes) == 8);
        settled
    }

    fn check(&self, page: u64) {
        let known = self.pages.get(&page);
        let readable = known.filter(|known| !known.protection.is_empty());
        assert_eq!(self.load(page), readable.map(|known| known.word), "page {page}");
    }

    fn write(&mut self, page: u64) {
        let word = 1 + self.random.below(u64::MAX - 1);
        let known = self.pages.get_mut(&page);
        let writable = known.filter(|known| known.protection.contains(Protection::WRITE));
        if let Some(known) = writable {
            known.word = word;
            assert!(self.store(page, word), "page {page}");
        } else {
            assert!(!self.store(page, word), "page {page}");
        }
    }

    fn map(&mut self, first: u64, len: u64) {
        let protection = self.random.protection();
        let request = anonymous(Placement::Fixed(address(first)), len * PAGE, protection);
        assert_eq!(self.space.map(request).unwrap(), address(first));
        self.pages.extend((first..first + len).map(|at| (at, Page { protection, word: 0 })));
    }

    fn unmap(&mut self, first: u64, len: u64) {
        self.space.unmap(address(first), len * PAGE).unwrap();
        self.pages.retain(|at, _| !(first..first + len).contains(at));
    }

    fn is_mapped(&self, first: u64, len: u64) -> bool {
        self.pages.range(first..first + len).count() as u64 == len
    }

    fn protect(&mut self, first: u64, len: u64) {
        let protection = self.random.protection();
        let outcome = self.space.protect(address(first), len * PAGE, protection);
        if self.is_mapped(first, len) {
            outcome.unwrap();
            self.pages.range_mut(first..first + len).for_each(|(_, at)| at.protection = protection);
        } else {
            assert_eq!(outcome.unwrap_err(), Errno::ENOMEM);
        }
    }

    fn discard(&mut self, first: u64, len: u64) {
        let outcome = self.space.advise(address(first), len * PAGE, MADV_DONTNEED);
        assert_eq!(outcome.is_ok(), self.is_mapped(first, len));
        self.pages.range_mut(first..first + len).for_each(|(_, at)| at.word = 0);
    }

    /// Moves pages to a place that is taken or not.
    fn relocate(&mut self, from: u64, len: u64) {
        let to = self.random.below(PAGES - len + 1);
        let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        let size = len * PAGE;
        let outcome = self.space.remap(address(from), size, size, flags, address(to));
        let alike = |(_, at): (&u64, &Page)| at.protection == self.pages[&from].protection;
        if !self.is_mapped(from, len) || !self.pages.range(from..from + len).all(alike) {
            assert_eq!(outcome.unwrap_err(), Errno::EFAULT);
        } else if from.abs_diff(to) < len {
            assert_eq!(outcome.unwrap_err(), Errno::EINVAL);
        } else {
            assert_eq!(outcome.unwrap(), address(to));
            let moved = (0..len).map(|by| self.pages.remove(&(from + by)).unwrap());
            let moved: alloc::vec::Vec<_> = moved.collect();
            self.pages.extend((to..).zip(moved));
        }
    }

    /// Makes a mapping shorter or, where there is room behind it, longer.
    fn resize(&mut self, first: u64, len: u64) {
        let wanted = 1 + self.random.below((PAGES - first).min(2 * len));
        let outcome = self.space.remap(address(first), len * PAGE, wanted * PAGE, 0, 0);
        let alike = |(_, at): (&u64, &Page)| at.protection == self.pages[&first].protection;
        if !self.is_mapped(first, len) || !self.pages.range(first..first + len).all(alike) {
            assert_eq!(outcome.unwrap_err(), Errno::EFAULT);
        } else if wanted <= len {
            assert_eq!(outcome.unwrap(), address(first));
            self.pages.retain(|at, _| !(first + wanted..first + len).contains(at));
        } else if self.pages.range(first + len..first + wanted).next().is_some() {
            assert_eq!(outcome.unwrap_err(), Errno::ENOMEM);
        } else {
            assert_eq!(outcome.unwrap(), address(first));
            let page = Page { protection: self.pages[&first].protection, word: 0 };
            self.pages.extend((first + len..first + wanted).map(|at| (at, page)));
        }
    }

    fn step(&mut self) {
        let (first, len) = self.random.range();
        match self.random.below(16) {
            0 | 1 => self.map(first, len),
            2 => self.unmap(first, len),
            3 | 4 => self.protect(first, len),
            5 => self.discard(first, len),
            6 => self.relocate(first, len),
            7 => self.resize(first, len),
            8..=12 => (first..first + len.min(6)).for_each(|at| self.write(at)),
            _ => (first..first + len.min(6)).for_each(|at| self.check(at)),
        }
    }
}

#[test]
fn random_calls_do_as_the_model() {
    let _turn = turn();
    for seed in 0..40 {
        let mut world = World::new(seed);
        for _ in 0..1000 {
            world.step();
        }
        (0..PAGES).for_each(|at| world.check(at));
        let (mapped, _) = world.space.usage();
        assert_eq!(mapped, world.pages.len() as u64 * PAGE);
    }
}

impl World {
    /// A child of fork(2), which runs from now on.
    fn fork(&self) -> Self {
        let space = self.space.fork().unwrap();
        let child = Self { space, pages: self.pages.clone(), random: Random(self.random.0 ^ 1) };
        child.run();
        child
    }

    /// As the scheduler switches to a thread of it.
    fn run(&self) {
        self.space.activation().activate();
    }
}

#[test]
fn children_and_parents_do_not_see_what_the_other_writes() {
    let _turn = turn();
    for seed in 100..110 {
        let mut parent = World::new(seed);
        (0..200).for_each(|_| parent.step());
        let mut child = parent.fork();
        let mut grandchild = child.fork();
        for _ in 0..30 {
            for world in [&mut parent, &mut child, &mut grandchild] {
                world.run();
                (0..10).for_each(|_| world.step());
            }
        }
        drop(child);
        for world in [&mut grandchild, &mut parent] {
            world.run();
            (0..100).for_each(|_| world.step());
            (0..PAGES).for_each(|at| world.check(at));
        }
    }
}

#[test]
fn all_frames_come_back() {
    let _turn = turn();
    kmm::hosted::start();
    // What is allocated once and kept: the kernel's own tables, the page of zeroes.
    drop(World::new(0));
    let mut world = World::new(1);
    world.map(0, PAGES);
    (0..PAGES).for_each(|at| {
        world.load(at);
    });
    let (_, resident) = world.space.usage();
    assert!(resident <= PAGES * PAGE);
    world.unmap(0, PAGES);
    assert_eq!(world.space.usage(), (0, 0));
}

#[test]
fn areas_that_become_alike_are_one() {
    let _turn = turn();
    let mut world = World::new(7);
    let kinds = [Protection::READ, Protection::READ | Protection::WRITE];
    for page in 0..7 {
        let protection = kinds[page as usize % 2];
        let at = Placement::Fixed(address(page));
        world.space.map(anonymous(at, PAGE, protection)).unwrap();
    }
    world.space.protect(address(0), 7 * PAGE, Protection::READ).unwrap();
    let mut areas = 0;
    world.space.for_each_area(|_| areas += 1);
    assert_eq!(areas, 1);
    // mremap(2) wants one area.
    let moved = world.space.remap(address(0), 7 * PAGE, 7 * PAGE, 3, address(100));
    assert_eq!(moved.unwrap(), address(100));
    world.pages.clear();
}

/// Takes the frames that programs may have, but for `left`.
fn scarcity(left: usize) -> Vec<Frame> {
    let mut taken = Vec::new();
    while let Ok(frame) = Frame::allocate_for_user() {
        taken.push(frame);
    }
    taken.truncate(taken.len().saturating_sub(left));
    taken
}

#[test]
fn what_has_no_memory_changes_nothing() {
    let _turn = turn();
    let everything = Protection::READ | Protection::WRITE;
    for (large, left) in [false, true].into_iter().flat_map(|large| (0..6).map(move |n| (large, n)))
    {
        let mut world = World::new(3);
        let before = if large { Vec::new() } else { scarcity(PAGES as usize + 32) };
        let request = anonymous(Placement::Fixed(address(0)), PAGES * PAGE, everything);
        world.space.map(request).unwrap();
        for page in 0..PAGES {
            world.pages.insert(page, Page { protection: everything, word: page + 1 });
            assert!(world.store(page, page + 1));
        }
        drop(before);
        let scarce = scarcity(left);
        // Tables for a place far away are needed, and small pages at the edges.
        let far = address(1 << 24);
        let size = (PAGES - 2) * PAGE;
        let flags = MREMAP_MAYMOVE | MREMAP_FIXED;
        let outcome = world.space.remap(address(1), size, size, flags, far);
        drop(scarce);
        match outcome {
            Ok(_) => {
                let back = world.space.remap(far, size, size, flags, address(1));
                assert_eq!(back.unwrap(), address(1));
            }
            Err(error) => assert_eq!(error, Errno::ENOMEM),
        }
        // What the TLB remembers must not hide what the tables lost.
        for protection in [Protection::READ, everything] {
            world.space.protect(address(0), PAGES * PAGE, protection).unwrap();
        }
        (0..PAGES).for_each(|at| world.check(at));
        world.pages.clear();
    }
}

#[test]
fn a_file_that_may_not_be_written_stays_apart() {
    let _turn = turn();
    let mut world = World::new(9);
    for (page, may_write) in [(0, true), (1, false)] {
        let at = Placement::Fixed(address(page));
        let request = anonymous(at, PAGE, Protection::READ);
        world.space.map(MapRequest { may_write, ..request }).unwrap();
    }
    let mut areas = 0;
    world.space.for_each_area(|_| areas += 1);
    assert_eq!(areas, 2);
    world.pages.clear();
}
