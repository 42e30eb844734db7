// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The built program with a daemon of its own and real machines in QEMU, and each line of the
//! README. Without Go or QEMU these tests say so and do nothing.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test ends with a panic, and nobody uses it"
)]

mod daemons;
mod home;
mod machines;
mod readme;
