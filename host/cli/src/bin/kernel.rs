// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `kernel` command.

use std::process::ExitCode;

use bhojpur_cli::arguments::Kernel;
use bhojpur_cli::commands::{self, run};
use clap::Parser;

fn main() -> ExitCode {
    run::become_machine_if_asked().unwrap_or_else(|| {
        commands::execute(Kernel::parse()).unwrap_or_else(|failure| failure.report("kernel"))
    })
}
