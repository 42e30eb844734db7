// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PCI: finding functions, their windows and their interrupts.
//!
//! After the PCI Local Bus Specification 3.0 (PCI 3.0 below), the PCI-to-PCI
//! Bridge Architecture Specification 1.2 and the PCI Express Base
//! Specification (PCIe). What configuration space says is checked: lists that
//! loop, tables outside of their window and bridges that lead back end the
//! walk, not the kernel.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "hosted"))]
extern crate std;

mod access;
mod assign;
mod bar;
mod enumerate;
mod function;
#[cfg(any(test, feature = "hosted"))]
pub mod hosted;
mod msi;
mod register;
#[cfg(test)]
mod tests;

pub use access::{Address, ConfigAccess, Ecam, EcamRegion, PortAccess};
pub use assign::{Windows, assign_bars};
pub use bar::Bar;
pub use enumerate::enumerate;
pub use function::{Capability, Function};
pub use msi::{Msi, Msix};

/// Why a function cannot be used as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such base address register, or it is not of that kind.
    NoBar,
    /// The firmware gave it no address, or one that is not a device's.
    NotAssigned,
    /// A table or structure lies outside of its window.
    Malformed,
}
