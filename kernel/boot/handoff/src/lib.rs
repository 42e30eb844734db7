// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the boot loaders share: reading the kernel's ELF file, the memory map and start
//! information of the PVH protocol, and the way from long mode to the kernel's entry.
//!
//! The loaders are built in release mode and turned into what firmware starts by
//! `bhojpur_formats::pe`:
//!
//! ```text
//! cargo build --release --manifest-path kernel/Cargo.toml -p bhojpur-boot-bios \
//!   --config kernel/boot/bios/freestanding.toml      # -> bhojpur-boot-bios, pe::bios_image
//! cargo build --release --manifest-path kernel/Cargo.toml -p bhojpur-boot-uefi \
//!   --config kernel/boot/uefi/freestanding.toml      # -> bhojpur-boot-uefi, pe::efi_application
//! ```
//!
//! The binaries lie in `x86_64-unknown-linux-gnu/release/` of the target directory.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod kernel;
#[cfg(not(test))]
pub mod memory;
pub mod memory_map;
pub mod parameters;
pub mod start_info;
pub mod trampoline;
