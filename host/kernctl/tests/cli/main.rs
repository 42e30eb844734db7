// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The built program, against a daemon of a few lines that keeps what it was asked.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test ends with a panic, and nobody uses it"
)]

mod ancestor;
mod bad_input;
mod build;
mod console;
mod copy;
mod fake;
mod output;
mod remove;
mod values;
mod world;
