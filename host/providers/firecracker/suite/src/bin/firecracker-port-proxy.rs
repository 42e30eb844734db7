// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The port proxy of an instance, as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    bhojpur_provider_firecracker::proxy::main(std::env::args_os().skip(1))
}
