// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Interrupts as drivers see them: handlers, messages and lines.

use crate::{Refused, platform};
use alloc::sync::Arc;

/// What runs when a device interrupts.
pub trait InterruptHandler: Send + Sync {
    /// Called with interrupts disabled, as ordinary kernel code: may take
    /// locks, may not sleep.
    fn handle(&self);
}

/// What a device writes to raise an interrupt (PCI 3.0, 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where it writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
}

/// How a line says that it is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By a change.
    Edge,
    /// As long as it is active.
    Level,
}

/// Which voltage is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// High, as on the ISA bus.
    High,
    /// Low, as on the PCI bus.
    Low,
}

/// An input of the machine's interrupt controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptLine {
    /// The global system interrupt (ACPI 6.5, 5.2.13): an I/O APIC input.
    pub gsi: u32,
    /// How it says that it is active.
    pub trigger: Trigger,
    /// Which voltage is active.
    pub polarity: Polarity,
}

impl InterruptLine {
    /// The line of an ISA interrupt without an override, also what virtio-mmio
    /// devices without firmware tables use.
    pub const fn isa(irq: u32) -> Self {
        Self { gsi: irq, trigger: Trigger::Edge, polarity: Polarity::High }
    }

    /// Routes the line to `handler`.
    pub fn connect(self, handler: Arc<dyn InterruptHandler>) -> Result<(), Refused> {
        platform().connect_line(self, handler)
    }
}

/// Gives a vector of `cpu` to `handler` and returns the message that raises it.
pub fn allocate_msi(handler: Arc<dyn InterruptHandler>, cpu: usize) -> Result<MsiMessage, Refused> {
    platform().allocate_msi(handler, cpu)
}
