// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A CPU: the root that it has loaded, and its TLB.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64};
use ksync::SpinLock;
use std::thread_local;

use super::table::{self, ENTRIES, Flags};
use kmm::PhysAddr;

const PAGE: u64 = kmm::FRAME_SIZE as u64;

/// Where a page is, and whether it may be written.
#[derive(Clone, Copy, Debug)]
struct Translation {
    frame: PhysAddr,
    writable: bool,
}

/// What a thread of a test knows as its CPU.
#[derive(Debug)]
pub struct PerCpu {
    pub root: AtomicU64,
    pub lazy: AtomicBool,
    /// By root and page.
    tlb: SpinLock<BTreeMap<(u64, u64), Translation>>,
}

/// All CPUs, for those who make others forget.
static CPUS: SpinLock<alloc::vec::Vec<&'static PerCpu>> = SpinLock::new(alloc::vec::Vec::new());

thread_local! {
    static CPU: &'static PerCpu = {
        let cpu: &'static PerCpu = Box::leak(Box::new(PerCpu {
            root: AtomicU64::new(0),
            lazy: AtomicBool::new(false),
            tlb: SpinLock::new(BTreeMap::new()),
        }));
        CPUS.lock().push(cpu);
        cpu
    };
}

/// The CPU of this thread.
pub fn current() -> &'static PerCpu {
    CPU.with(|cpu| *cpu)
}

/// Calls `each` for every CPU but this thread's.
pub fn for_each_other(each: impl Fn(&PerCpu)) {
    let this = current();
    CPUS.lock().iter().filter(|cpu| !core::ptr::eq(**cpu, this)).for_each(|cpu| each(cpu));
}

impl PerCpu {
    /// Its number.
    pub fn index(&self) -> usize {
        0
    }

    /// Forgets the pages of a range of addresses.
    pub fn forget(&self, root: u64, addresses: Range<u64>) {
        let first = addresses.start & !(PAGE - 1);
        self.tlb
            .lock()
            .retain(|&(of, page), _| of != root || page < first || page >= addresses.end);
    }

    /// Forgets one root's translations.
    pub fn forget_root(&self, root: u64) {
        self.tlb.lock().retain(|&(of, _), _| of != root);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.tlb.lock().clear();
    }

    /// The physical address behind one of the program that runs here, as the CPU finds it: by
    /// what it remembers, wrong as that may be, else in the tables.
    pub fn translate(&self, root: u64, virt: u64, write: bool) -> Option<PhysAddr> {
        let key = (root, virt & !(PAGE - 1));
        let mut tlb = self.tlb.lock();
        let known = tlb.get(&key).copied().filter(|known| known.writable || !write);
        let found = known.or_else(|| walk(PhysAddr::new(root), virt, write))?;
        tlb.insert(key, found);
        Some(found.frame + virt % PAGE)
    }
}

/// Intel SDM vol. 3, 4.5, with accessed and dirty bits.
fn walk(root: PhysAddr, virt: u64, write: bool) -> Option<Translation> {
    let mut at = root;
    for level in (0..4).rev() {
        let (here, slot) = (table::of(at), table::slot(virt, level));
        debug_assert!(slot < ENTRIES);
        let entry = here.get(slot);
        let flags = entry.flags();
        let writable = flags.contains(Flags::WRITE);
        if !flags.contains(Flags::PRESENT | Flags::USER) || write && !writable {
            return None;
        }
        if level == 0 || entry.is_huge() {
            let used = if write { Flags::ACCESSED | Flags::DIRTY } else { Flags::ACCESSED };
            here.set(slot, table::Entry(entry.0 | used.bits()));
            let within = virt & ((PAGE << (9 * level)) - 1) & !(PAGE - 1);
            return Some(Translation { frame: entry.address() + within, writable });
        }
        at = entry.address();
    }
    None
}
