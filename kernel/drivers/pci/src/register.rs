// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Offsets and bits of configuration space (PCI 3.0, 6.1 and 6.2).

pub(crate) const VENDOR: u16 = 0x00;
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const STATUS: u16 = 0x06;
pub(crate) const CLASS: u16 = 0x08;
pub(crate) const HEADER_TYPE: u16 = 0x0e;
pub(crate) const BAR0: u16 = 0x10;
pub(crate) const SECONDARY_BUS: u16 = 0x19;
pub(crate) const SUBSYSTEM: u16 = 0x2c;
pub(crate) const CAPABILITIES: u16 = 0x34;
pub(crate) const INTERRUPT_LINE: u16 = 0x3c;
pub(crate) const INTERRUPT_PIN: u16 = 0x3d;

pub(crate) const COMMAND_IO: u16 = 1 << 0;
pub(crate) const COMMAND_MEMORY: u16 = 1 << 1;
pub(crate) const COMMAND_MASTER: u16 = 1 << 2;
pub(crate) const COMMAND_INTX_DISABLE: u16 = 1 << 10;
pub(crate) const STATUS_CAPABILITIES: u16 = 1 << 4;

pub(crate) const MULTI_FUNCTION: u8 = 1 << 7;
pub(crate) const HEADER_KIND: u8 = 0x7f;
pub(crate) const HEADER_DEVICE: u8 = 0;
pub(crate) const HEADER_BRIDGE: u8 = 1;

pub(crate) const CAPABILITY_MSI: u8 = 0x05;
pub(crate) const CAPABILITY_MSIX: u8 = 0x11;
