// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The instructions that page tables need: loading a root and forgetting translations.

use super::percpu;
use core::sync::atomic::Ordering;

/// Forgets the translation of one page.
pub fn invlpg(address: u64) {
    let this = percpu::current();
    this.forget(this.root.load(Ordering::Relaxed), address..address + 1);
}

/// Forgets all translations.
pub fn flush_tlb() {
    percpu::current().forget_all();
}

/// Loads a root, which forgets all translations.
///
/// # Safety
/// None is needed here; the machine's asks that the root lives.
pub unsafe fn set_cr3(_root: u64) {
    flush_tlb();
}
