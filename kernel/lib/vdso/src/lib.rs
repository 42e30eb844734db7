// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vDSO: its ELF image, built around given machine code, and the page from
//! which the code reads the time.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod hash;
mod image;
mod page;

pub use image::{Code, TooLarge, build};
pub use page::{CpuMode, TimePage, TimeScale};

/// The image is this long, and the time page lies this far before it.
pub const PAGE_SIZE: usize = 4096;
