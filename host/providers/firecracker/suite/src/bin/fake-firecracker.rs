// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fake as a program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    bhojpur_firecracker_suite::fake::main(std::env::args().skip(1))
}
