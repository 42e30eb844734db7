// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A fake of Firecracker that refuses what the real one refuses, and what the conformance suite
//! needs on either of them.
//!
//! The fake takes Firecracker's arguments, serves its API, and plays the program of the suite
//! ([`bhojpur_conformance::program`]) as the guest would run it: from the image's configuration
//! record, the kernel's command line and the metadata. It makes no virtual machine, so that it
//! runs everywhere. Its messages are those of Firecracker 1.17 (src/firecracker/src/api_server,
//! src/vmm/src/rpc_interface.rs, src/vmm/src/vmm_config of firecracker-microvm).
#![forbid(unsafe_code)]

pub mod fake;
