// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine's generation: a guest that was resumed from a snapshot must not
//! give out the random numbers that its twins give out, nor an old time.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use kcore::info;
use kcore::random::Random;
use kdevice::{InterruptHandler, Mmio, SystemMemory};
use kdrv_firmware::acpi::{GENERATION_SIZE, Tables};
use kmm::PhysAddr;

/// Watches the generation.
pub(crate) struct Generation {
    memory: Mmio,
    /// The one that was seen last, in two halves.
    seen: [AtomicU64; 2],
    random: Arc<Random>,
}

/// Watches the generation that the tables name, if they do. QEMU's tables compute
/// its address, which needs an interpreter, so only Firecracker's are searched.
pub(crate) fn watch(tables: Option<&Tables>, random: &Arc<Random>) -> Option<Arc<Generation>> {
    let tables = tables.filter(|_| khal::boot_info().is_firecracker())?;
    let (address, lines) = tables.generation(&SystemMemory)?;
    let memory = Mmio::map(PhysAddr::new(address), GENERATION_SIZE).ok()?;
    let seen = [0, 8].map(|offset| AtomicU64::new(memory.read(offset)));
    let generation = Arc::new(Generation { memory, seen, random: random.clone() });
    generation.stir();
    for line in lines {
        if line.connect(generation.clone()).is_err() {
            // The keeper of the entropy looks now and then.
            info!("no interrupt tells of a new generation");
        }
    }
    Some(generation)
}

impl Generation {
    /// Mixes the generation into the random numbers.
    fn stir(&self) {
        for half in &self.seen {
            self.random.mix(&half.load(Ordering::Relaxed).to_le_bytes());
        }
        self.random.mix(&khal::random::cycle_counter().to_le_bytes());
        if let Some(word) = khal::random::hardware_word() {
            self.random.mix(&word.to_le_bytes());
        }
    }

    /// Looks whether the machine was restored since the last look.
    pub(crate) fn check(&self) {
        let mut changed = false;
        for (offset, seen) in [0, 8].into_iter().zip(&self.seen) {
            let now: u64 = self.memory.read(offset);
            changed |= seen.swap(now, Ordering::Relaxed) != now;
        }
        if changed {
            self.stir();
            let dated = khal::clock::resume();
            kcore::vdso::follow_clock();
            info!("the machine was restored; date {}", if dated { "set" } else { "unknown" });
        }
    }
}

impl InterruptHandler for Generation {
    fn handle(&self) {
        self.check();
    }
}
