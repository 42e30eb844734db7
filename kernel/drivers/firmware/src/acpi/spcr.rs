// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Serial Port Console Redirection Table: the console of the firmware.

use super::Register;
use crate::bytes::u8_at;

/// What kind of port it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uart {
    /// 16550 or compatible.
    Ns16550,
    /// Another, by its number (DBG2 table).
    Other(u8),
}

/// The table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spcr {
    /// What kind of port.
    pub uart: Uart,
    /// Where.
    pub register: Register,
}

impl Spcr {
    /// Reads a table whose header was checked.
    pub fn parse(table: &[u8]) -> Option<Self> {
        let uart = match u8_at(table, 36)? {
            0 | 1 | 0x12 => Uart::Ns16550,
            other => Uart::Other(other),
        };
        Some(Self { uart, register: Register::parse(table, 40)? })
    }
}
