// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files in memory.
#![no_std]
