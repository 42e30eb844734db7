// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances in Firecracker on this machine.
//!
//! One Firecracker for each instance, told what to do over its API ([`api`]), connected by a
//! tap device of its own ([`network`]), with its ports carried by a small process of its own
//! ([`proxy`]). Everything about an instance is in its directory ([`files`]), so that another
//! daemon finds it again.
//!
//! The guest has one serial line: what the program prints and what the kernel has to say, framed
//! (`bhojpur_abi::stream`). Both stay in one file, which Firecracker writes itself, so that no
//! process of ours has to live for a log to be whole; readers leave the records out
//! ([`bhojpur_provider::LogReader`]), and the last record says how the program ended
//! ([`outcome`]).
#![forbid(unsafe_code)]

pub mod api;
mod check;
mod config;
pub mod files;
mod jail;
pub mod machine;
pub mod network;
pub mod outcome;
mod provider;
pub mod proxy;
mod readiness;
mod start;

pub use config::{Config, Host, Jailer, PORT_PROXY, ParseRangeError, Range};
pub use provider::Firecracker;
