// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLB shootdown: making other CPUs forget translations.
//!
//! Each CPU counts what it was asked for and what it has done, so requests of
//! several CPUs go on at a time and one flush answers all that came before it.
//! A CPU that waits, for this or for any lock, answers from the relax hook; a
//! CPU in user mode by interrupt. An idle CPU is not disturbed: it flushes
//! before it runs a thread again.

use super::{apic, cpu, memory, percpu};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ksync::SpinLock;

/// What one CPU was asked for.
#[derive(Debug)]
pub struct Shootdowns {
    wanted: AtomicU64,
    done: AtomicU64,
    /// An interrupt is on its way, and what is wanted is read after it.
    interrupted: AtomicBool,
}

impl Shootdowns {
    pub const fn new() -> Self {
        Self {
            wanted: AtomicU64::new(0),
            done: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
        }
    }
}

/// Held while [`DYING_ROOT`] is set.
static EVICTION: SpinLock<()> = SpinLock::new(());
/// A CPU that has this root loaded although its owner is being dropped moves
/// to the kernel's root.
static DYING_ROOT: AtomicU64 = AtomicU64::new(0);

/// More pages than this are flushed by reloading the root.
const MAX_SINGLE_PAGES: u64 = 32;

/// Flushes `[start, end)` on this CPU.
pub fn flush_local(start: u64, end: u64) {
    if (end - start) / 4096 > MAX_SINGLE_PAGES {
        cpu::flush_tlb();
    } else {
        (start..end).step_by(4096).for_each(cpu::invlpg);
    }
}

/// Whose translations go.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Of pages below this root: CPUs that have another one loaded have none,
    /// and idle ones flush before they use any.
    Pages(u64),
    /// Of tables, too, which the CPU walks by itself, whatever it runs.
    Tables,
    /// None in particular: the CPUs pass a barrier, idle ones later.
    Barrier,
}

/// Makes every CPU in the mask `cpus` but this one flush, and waits for it.
pub fn flush_others(cpus: u64, scope: Scope) {
    request(cpus, |target| {
        let idle = || target.lazy.load(Ordering::SeqCst);
        match scope {
            Scope::Pages(root) => idle() || target.root.load(Ordering::SeqCst) != root,
            Scope::Tables => false,
            Scope::Barrier => idle(),
        }
    });
}

/// Makes every CPU leave `root`, which is about to be freed.
pub fn evict(cpus: u64, root: u64) {
    let this = percpu::current();
    if this.root.load(Ordering::Relaxed) == root {
        load_kernel_root();
    }
    if cpus & !(1 << this.index()) == 0 {
        return;
    }
    let _one = EVICTION.lock();
    DYING_ROOT.store(root, Ordering::SeqCst);
    // A CPU notes its new root before it loads it: all of them are asked.
    flush_others(cpus, Scope::Tables);
    DYING_ROOT.store(0, Ordering::SeqCst);
}

/// Asks the CPUs in `cpus` but for this one, and waits for all that are not
/// `spared`. The question is put after the request was counted: a CPU that
/// stops being spared after it was asked sees the request.
fn request(cpus: u64, spared: impl Fn(&percpu::PerCpu) -> bool) {
    let this = percpu::current().index();
    let others = cpus & !(1 << this);
    if others == 0 {
        return;
    }
    let mut awaited = [0u64; percpu::MAX_CPUS];
    let each = || (0..percpu::count()).filter(|i| others & (1 << i) != 0);
    for index in each() {
        let target = percpu::of(index);
        let number = target.shootdowns.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        if spared(target) {
            continue;
        }
        awaited[index] = number;
        if !target.shootdowns.interrupted.swap(true, Ordering::SeqCst) {
            apic::send_interrupt(target.apic_id(), apic::VECTOR_SHOOTDOWN);
        }
    }
    for index in each() {
        while percpu::of(index).shootdowns.done.load(Ordering::Acquire) < awaited[index] {
            relax();
        }
    }
}

/// Does what other CPUs asked of this one, if anything.
#[inline]
pub fn answer() {
    let this = percpu::current();
    let requests = &this.shootdowns;
    let done = requests.done.load(Ordering::Relaxed);
    if requests.wanted.load(Ordering::SeqCst) == done
        && !requests.interrupted.load(Ordering::Relaxed)
    {
        return;
    }
    // From here on a new request interrupts again; older ones are in `wanted`.
    requests.interrupted.store(false, Ordering::SeqCst);
    let wanted = requests.wanted.load(Ordering::SeqCst);
    let dying = DYING_ROOT.load(Ordering::SeqCst);
    if dying != 0 && this.root.load(Ordering::Relaxed) == dying {
        load_kernel_root();
    } else {
        cpu::flush_tlb();
    }
    requests.done.store(wanted, Ordering::Release);
}

/// What a CPU does while it waits for another one.
pub fn relax() {
    core::hint::spin_loop();
    answer();
}

/// Sleeps until an interrupt, which is taken before this returns; no thread
/// runs on this CPU until [`leave_lazy`].
pub fn wait_for_interrupt() {
    percpu::current().lazy.store(true, Ordering::SeqCst);
    cpu::wait_for_interrupt();
}

/// Before a thread runs on a CPU that was idle.
#[cold]
pub fn leave_lazy() {
    percpu::current().lazy.store(false, Ordering::SeqCst);
    answer();
}

fn load_kernel_root() {
    let root = memory::root().as_u64();
    percpu::current().root.store(root, Ordering::SeqCst);
    // SAFETY: the kernel's root maps everything the kernel uses.
    unsafe { cpu::set_cr3(root) };
}
