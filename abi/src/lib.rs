// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the Bhojpur guest kernel and the host tools agree on.
//!
//! Every reader here borrows from the bytes it is given, checks each bound,
//! and never panics: the input may be a damaged file or a hostile one.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod boot;
mod bytes;
pub mod cmdline;
pub mod config;
pub mod console;
pub mod control;
pub mod crc32c;
pub mod elf;
pub mod erofs;
pub mod payload;
pub mod stream;
