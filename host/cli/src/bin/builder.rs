// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `builder` command.

use std::process::ExitCode;

use bhojpur_cli::commands::run;
use bhojpur_cli::project::{Builder, execute};
use clap::Parser;

fn main() -> ExitCode {
    run::become_machine_if_asked().unwrap_or_else(|| {
        execute(&Builder::parse()).unwrap_or_else(|failure| failure.report("builder"))
    })
}
