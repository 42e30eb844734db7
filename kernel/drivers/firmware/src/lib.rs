// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the firmware and the virtual machine monitor tell the kernel: ACPI
//! tables and QEMU's configuration device.
//!
//! Everything is read through [`kdevice::PhysicalMemory`] and
//! [`kdevice::PortIo`], so that malformed tables are tried on the host. A
//! table that is cut short, too long or wrongly summed counts as missing.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod acpi;
mod bytes;
mod fw_cfg;

pub use fw_cfg::{ConfigFile, FwCfg};
