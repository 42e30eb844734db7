// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network stack: IP, TCP, UDP, ICMP, DHCP, sockets.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod device;
