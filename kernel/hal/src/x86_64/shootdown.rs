// SPDX-License-Identifier: Apache-2.0 OR MIT
//! TLB shootdown: making other CPUs forget translations.
//!
//! One request at a time, machine-wide. A CPU that waits, for this or for any
//! lock, answers from the relax hook; a CPU in user mode or idle by interrupt.

use super::{apic, cpu, memory, percpu};
use core::sync::atomic::{AtomicU64, Ordering};
use ksync::SpinLock;

static REQUEST: SpinLock<()> = SpinLock::new(());
/// Root whose translations go; a CPU that has it loaded although its owner is
/// being dropped moves to the kernel's root.
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

/// Makes every CPU in the mask `cpus` but this one flush, and waits for it.
pub fn flush_others(cpus: u64) {
    request(cpus, 0);
}

/// Makes every CPU leave `root`, which is about to be freed.
pub fn evict(cpus: u64, root: u64) {
    let this = percpu::current();
    if this.root.load(Ordering::Relaxed) == root {
        load_kernel_root();
    }
    request(cpus, root);
}

fn request(cpus: u64, dying: u64) {
    let this = percpu::current().index();
    let others = cpus & !(1 << this);
    if others == 0 {
        return;
    }
    let _one = REQUEST.lock();
    DYING_ROOT.store(dying, Ordering::Relaxed);
    let each = || (0..percpu::count()).filter(|i| others & (1 << i) != 0).map(percpu::of);
    for target in each() {
        target.flush_pending.store(true, Ordering::SeqCst);
        apic::send_interrupt(target.apic_id(), apic::VECTOR_SHOOTDOWN);
    }
    for target in each() {
        while target.flush_pending.load(Ordering::Acquire) {
            core::hint::spin_loop();
            answer();
        }
    }
}

/// Does what another CPU asked of this one, if anything.
pub fn answer() {
    let this = percpu::current();
    if this.flush_pending.load(Ordering::Acquire) {
        let dying = DYING_ROOT.load(Ordering::Relaxed);
        if dying != 0 && this.root.load(Ordering::Relaxed) == dying {
            load_kernel_root();
        } else {
            cpu::flush_tlb();
        }
        this.flush_pending.store(false, Ordering::Release);
    }
}

fn load_kernel_root() {
    let root = memory::root().as_u64();
    percpu::current().root.store(root, Ordering::Relaxed);
    // SAFETY: the kernel's root maps everything the kernel uses.
    unsafe { cpu::set_cr3(root) };
}
