// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Image formats: EROFS, the bootable ELF, ISO and disk images.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod disk;
pub mod fat;
pub mod gpt;
pub mod iso;
pub mod loader;
pub mod medium;
pub mod ova;
pub mod pack;
pub mod pe;
pub mod qcow2;
pub mod vdi;
pub mod vhd;
pub mod vmdk;
pub mod whole;

pub mod erofs;
pub mod fuzz;
pub mod image;
pub mod symbols;
