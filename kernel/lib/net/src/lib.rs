// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network stack: IP, TCP, UDP, ICMP, DHCP, sockets.
//!
//! A [`Stack`] is a value that all CPUs share. The kernel gives it a clock,
//! timers and randomness ([`Environment`]), adds devices
//! ([`device::NetDevice`]) and makes sockets ([`Stack::socket`]), which are
//! files that never block. Drivers deliver packets through
//! [`device::Uplink`]; everything else happens inside the calls of sockets,
//! drivers and timers, so the stack has no thread of its own.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arp;
pub mod device;
mod dhcp;
mod hash;
mod icmp;
mod interface;
mod ip;
mod ndisc;
mod neighbour;
mod netlink;
mod options;
pub mod parse;
mod port;
mod raw;
mod report;
mod route;
mod socket;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
mod timer;
mod udp;

pub use dhcp::{Lease, LeaseObserver};
pub use report::{InterfaceReport, RouteReport, SocketReport};
pub use stack::{Environment, Random, Stack};
