// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The only architecture crate: boot, traps, paging, CPUs, time.
#![no_std]
