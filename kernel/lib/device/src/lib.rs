// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DMA, MMIO and interrupt types that make drivers safe Rust.
#![no_std]
