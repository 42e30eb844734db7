// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The finished kernel, inside the tools: an installed tool needs nothing beside itself.
#![forbid(unsafe_code)]

/// The bare kernel as an ELF file, without a payload.
pub const KERNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.elf"));

/// The boot loader for BIOS machines.
pub const BIOS_LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bios.bin"));

/// The boot loader for UEFI machines.
pub const UEFI_LOADER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/uefi.efi"));
