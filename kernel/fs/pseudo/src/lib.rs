// SPDX-License-Identifier: Apache-2.0 OR MIT
//! proc, sys and dev.
#![no_std]
