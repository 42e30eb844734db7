// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the sources of a program to a bootable image: language, root tree, assembly.
//!
//! [`language`] turns sources into a Linux program, [`system`] and [`shared`] fill the guest's file
//! tree with what every Linux has and with the libraries of a dynamic program, and [`assemble`] makes
//! the one ELF of kernel, tree and configuration. [`sandbox`] is around the tools when the sources are
//! somebody else's.
#![forbid(unsafe_code)]

pub mod assemble;
pub mod language;
pub mod sandbox;
pub mod shared;
pub mod system;
pub mod tools;
