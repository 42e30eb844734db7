// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Multiple APIC Description Table (5.2.12): CPUs and interrupt controllers.

use super::HEADER;
use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use alloc::vec::Vec;
use kdevice::{InterruptLine, Polarity, Trigger};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// ID of its local APIC.
    pub apic_id: u32,
    /// It can be started now. Others may be plugged in later.
    pub enabled: bool,
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its ID.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// The global system interrupt of its first input.
    pub gsi_base: u32,
}

/// An ISA interrupt that is not at the input of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The ISA interrupt.
    pub irq: u8,
    /// Where it is.
    pub line: InterruptLine,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Madt {
    /// Physical address of each CPU's local APIC.
    pub local_apic: u64,
    /// There are two 8259 controllers, to be masked.
    pub has_8259: bool,
    /// The processors.
    pub cpus: Vec<Cpu>,
    /// The I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// The overrides.
    pub overrides: Vec<Override>,
}

/// No machine has more; a table cannot make us keep more.
const CPUS_MAX: usize = 4096;

impl Madt {
    /// Reads a table whose header was checked.
    pub fn parse(table: &[u8]) -> Option<Self> {
        let mut madt = Self {
            local_apic: u64::from(u32_at(table, HEADER)?),
            has_8259: u32_at(table, HEADER + 4)? & 1 != 0,
            ..Self::default()
        };
        let mut at = HEADER + 8;
        while let (Some(kind), Some(len)) = (u8_at(table, at), u8_at(table, at + 1)) {
            let len = usize::from(len);
            let Some(entry) = table.get(at..at + len).filter(|_| len >= 2) else { break };
            let _ = madt.add(kind, entry);
            at += len;
        }
        Some(madt)
    }

    fn add(&mut self, kind: u8, entry: &[u8]) -> Option<()> {
        match kind {
            0 => self.add_cpu(u32::from(u8_at(entry, 3)?), u32_at(entry, 4)?),
            1 => self.io_apics.push(IoApic {
                id: u8_at(entry, 2)?,
                address: u32_at(entry, 4)?,
                gsi_base: u32_at(entry, 8)?,
            }),
            2 => {
                let line = isa_line(u32_at(entry, 4)?, u16_at(entry, 8)?);
                self.overrides.push(Override { irq: u8_at(entry, 3)?, line });
            }
            5 => self.local_apic = u64_at(entry, 4)?,
            9 => self.add_cpu(u32_at(entry, 4)?, u32_at(entry, 8)?),
            _ => {}
        }
        Some(())
    }

    fn add_cpu(&mut self, apic_id: u32, flags: u32) {
        // Neither enabled nor to be plugged in: an unused slot. A CPU may have
        // an entry of each kind.
        let usable = flags & 0b11 != 0;
        let known = self.cpus.iter().any(|cpu| cpu.apic_id == apic_id);
        if usable && !known && self.cpus.len() < CPUS_MAX {
            self.cpus.push(Cpu { apic_id, enabled: flags & 1 != 0 });
        }
    }

    /// Where ISA interrupt `irq` comes in.
    pub fn isa_line(&self, irq: u8) -> InterruptLine {
        let moved = self.overrides.iter().find(|entry| entry.irq == irq);
        moved.map_or(InterruptLine::isa(u32::from(irq)), |entry| entry.line)
    }
}

/// A line with MPS flags (table 5.28); "conforms to the bus" means ISA here.
fn isa_line(gsi: u32, flags: u16) -> InterruptLine {
    let polarity = if flags & 0b11 == 0b11 { Polarity::Low } else { Polarity::High };
    let trigger = if flags & 0b1100 == 0b1100 { Trigger::Level } else { Trigger::Edge };
    InterruptLine { gsi, trigger, polarity }
}
