// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances in QEMU on this machine.
#![forbid(unsafe_code)]
