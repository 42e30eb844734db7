// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Making CPUs forget translations, at once.

use super::percpu;
use core::ops::Range;
use core::sync::atomic::Ordering;

/// Whose translations go.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Those of pages below this root.
    Pages(u64),
    /// Those of tables.
    Tables,
}

/// Flushes `[start, end)` on this CPU.
pub fn flush_local(start: u64, end: u64) {
    let this = percpu::current();
    this.forget(this.root.load(Ordering::Relaxed), Range { start, end });
}

/// Makes the others forget; all share one bit of `cpus`.
pub fn flush_others(_cpus: u64, scope: Scope) {
    percpu::for_each_other(|cpu| match scope {
        Scope::Pages(root) => cpu.forget_root(root),
        Scope::Tables => cpu.forget_all(),
    });
}

/// Takes a root from all CPUs that have it loaded.
pub fn evict(_cpus: u64, root: u64) {
    let leave = |cpu: &percpu::PerCpu| {
        let _ = cpu.root.compare_exchange(root, 0, Ordering::Relaxed, Ordering::Relaxed);
        cpu.forget_root(root);
    };
    leave(percpu::current());
    percpu::for_each_other(leave);
}

/// No CPU idles.
pub fn leave_lazy() {
    percpu::current().lazy.store(false, Ordering::Relaxed);
}
