// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the Bhojpur guest kernel and the host tools agree on.
#![no_std]
#![forbid(unsafe_code)]
