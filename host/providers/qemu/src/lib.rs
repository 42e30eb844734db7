// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances in QEMU on this machine.
//!
//! Each instance is a QEMU process of its own that outlives us. It writes the program's output
//! to `console.log` and what the kernel says to `control` itself, and serves its machine
//! protocol (QMP) on a socket; nothing passes through this process. What is true of an instance
//! is found by asking: the lock of [`bhojpur_provider::process::Monitor`] says whether QEMU
//! lives, QMP whether the guest is held, and the control channel how its program ended.
#![forbid(unsafe_code)]

mod files;
mod outcome;
mod plan;
mod provider;
mod qmp;
mod snapshot;
mod start;

pub use provider::QemuProvider;
