// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `kernel` command.

use std::process::ExitCode;

use bhojpur_cli::arguments::Kernel;
use bhojpur_cli::commands;
use clap::Parser;

fn main() -> ExitCode {
    commands::execute(Kernel::parse()).unwrap_or_else(|failure| failure.report("kernel"))
}
