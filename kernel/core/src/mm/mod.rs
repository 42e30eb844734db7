// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory of a program: what is mapped where, and bringing pages in.

mod area;
mod fault;
pub mod file_pages;
mod fork;
mod map;
mod space;
#[cfg(test)]
mod tests;

pub use area::{Area, Backing, Protection};
pub use fault::Fault;
pub use space::{AddressSpace, MapRequest, Placement};
