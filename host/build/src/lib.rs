// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the sources of a program to a bootable image: language, root tree, assembly.
//!
//! [`language`] turns sources into a Linux program, [`tree`] collects what the guest's file
//! system holds ([`system`] the files that every Linux has, [`shared`] the libraries of a
//! dynamic program), and [`assemble`] makes the one ELF of kernel, tree and configuration.
#![forbid(unsafe_code)]

// pub mod assemble;
pub mod language;
// pub mod output;
// pub mod shared;
// pub mod source;
// pub mod system;
// pub mod tree;
