// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client against a daemon of a few lines.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test ends with a panic, and nobody uses it"
)]

mod calls;
mod support;
mod tls;
