// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fixed ACPI Description Table (5.2.9): power off and reset.

use super::SleepType;
use crate::bytes::{u8_at, u16_at, u32_at, u64_at};
use kdevice::{Mmio, PortIo};
use kmm::PhysAddr;

/// A register by its generic address structure (5.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// In memory.
    Memory(u64),
    /// An I/O port.
    Io(u16),
}

impl Register {
    /// The register that 12 bytes at `offset` name; `None` for none, or one in
    /// a space that we do not reach.
    pub(super) fn parse(table: &[u8], offset: usize) -> Option<Self> {
        let address = u64_at(table, offset + 4).filter(|address| *address != 0)?;
        match u8_at(table, offset)? {
            0 => Some(Self::Memory(address)),
            1 => u16::try_from(address).ok().map(Self::Io),
            _ => None,
        }
    }

    fn write8(self, ports: &dyn PortIo, value: u8) {
        match self {
            Self::Io(port) => ports.write8(port, value),
            Self::Memory(address) => {
                if let Ok(window) = Mmio::map(PhysAddr::new(address), 1) {
                    window.write(0, value);
                }
            }
        }
    }
}

/// What we use of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fadt {
    /// Physical address of the DSDT.
    pub dsdt: u64,
    /// Power management timer, if there is one.
    pub pm_timer: Option<u16>,
    /// The timer counts 32 bits, not 24.
    pub pm_timer_wide: bool,
    /// Power management 1a control register.
    pub pm1a_control: Option<u16>,
    /// Power management 1b control register.
    pub pm1b_control: Option<u16>,
    /// Port and value that hand the hardware over to the operating system.
    pub enable: Option<(u16, u8)>,
    /// Register and value that reset the machine.
    pub reset: Option<(Register, u8)>,
    /// Sleep control register of hardware-reduced machines.
    pub sleep_control: Option<Register>,
    /// There is none of the fixed hardware.
    pub hardware_reduced: bool,
    /// There is no 8042 keyboard controller, if the table says so.
    pub no_8042: bool,
}

const FLAG_TIMER_WIDE: u32 = 1 << 8;
const FLAG_RESET: u32 = 1 << 10;
const FLAG_HARDWARE_REDUCED: u32 = 1 << 20;
const BOOT_FLAG_8042: u16 = 1 << 1;

impl Fadt {
    /// Reads a table whose header was checked.
    pub fn parse(table: &[u8]) -> Option<Self> {
        let revision = u8_at(table, 8)?;
        let flags = u32_at(table, 112)?;
        let port = |offset| {
            let port = u32_at(table, offset).filter(|port| *port != 0)?;
            u16::try_from(port).ok()
        };
        let extended = |offset| match Register::parse(table, offset) {
            Some(Register::Io(port)) => Some(port),
            _ => None,
        };
        let reset = Register::parse(table, 116).zip(u8_at(table, 128));
        let enable = port(48).zip(u8_at(table, 52)).filter(|(_, value)| *value != 0);
        let wide_dsdt = u64_at(table, 140).filter(|address| *address != 0);
        Some(Self {
            dsdt: wide_dsdt.or(u32_at(table, 40).map(u64::from))?,
            pm_timer: extended(208).or(port(76)),
            pm_timer_wide: flags & FLAG_TIMER_WIDE != 0,
            pm1a_control: extended(172).or(port(64)),
            pm1b_control: extended(184).or(port(68)),
            enable,
            reset: reset.filter(|_| flags & FLAG_RESET != 0),
            sleep_control: Register::parse(table, 244),
            hardware_reduced: flags & FLAG_HARDWARE_REDUCED != 0,
            no_8042: revision >= 3 && u16_at(table, 109).is_some_and(|f| f & BOOT_FLAG_8042 == 0),
        })
    }
}

/// SLP_EN of the PM1 control registers (4.8.3.2.1).
const PM1_SLEEP_ENABLE: u16 = 1 << 13;
/// SLP_EN of the sleep control register (4.8.3.7).
const CONTROL_SLEEP_ENABLE: u8 = 1 << 5;

/// How to switch the machine off and reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerControl {
    pm1: [Option<(u16, u16)>; 2],
    sleep_control: Option<(Register, u8)>,
    reset: Option<(Register, u8)>,
}

impl PowerControl {
    /// With the type of the soft-off state, if the tables have it.
    pub fn new(fadt: &Fadt, soft_off: Option<SleepType>) -> Self {
        let pm1 = |port: Option<u16>, kind: fn(SleepType) -> u8| {
            let value = u16::from(kind(soft_off?) & 7) << 10 | PM1_SLEEP_ENABLE;
            port.filter(|_| !fadt.hardware_reduced).map(|port| (port, value))
        };
        let control = soft_off.map(|kind| (kind.a & 7) << 2 | CONTROL_SLEEP_ENABLE);
        Self {
            pm1: [pm1(fadt.pm1a_control, |s| s.a), pm1(fadt.pm1b_control, |s| s.b)],
            sleep_control: fadt.sleep_control.zip(control),
            reset: fadt.reset,
        }
    }

    /// True when [`power_off`](Self::power_off) can work.
    pub fn can_power_off(&self) -> bool {
        self.pm1[0].is_some() || self.sleep_control.is_some()
    }

    /// Switches the machine off. That may take a moment: the caller waits, and
    /// after a second or so may say that it failed.
    pub fn power_off(&self, ports: &dyn PortIo) {
        for (port, value) in self.pm1.into_iter().flatten() {
            ports.write16(port, value);
        }
        if let Some((register, value)) = self.sleep_control {
            register.write8(ports, value);
        }
    }

    /// Resets the machine, in the same manner.
    pub fn reset(&self, ports: &dyn PortIo) {
        if let Some((register, value)) = self.reset {
            register.write8(ports, value);
        }
    }
}
