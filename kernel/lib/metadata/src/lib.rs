// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a hypervisor's metadata service tells about the program to run:
//! Firecracker's MMDS, version 2 (docs/mmds of firecracker-microvm), which is
//! made like the instance metadata service of EC2.
//!
//! A session has two requests, each on a connection of its own: one for a
//! token, one with the token for the document. This crate makes the requests,
//! reads the answers, and applies the [`document`]; it does no input or output.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod document;
pub mod http;
pub mod json;

use core::net::Ipv4Addr;

/// Where the service listens unless the machine says otherwise.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Its port.
pub const PORT: u16 = 80;
/// Where the document about the program stands in the service's store.
pub const PATH: &str = "/bhojpur";
