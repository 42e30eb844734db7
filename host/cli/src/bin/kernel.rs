// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The `kernel` command.

use std::process::ExitCode;

use bhojpur_cli::arguments::Kernel;
use bhojpur_cli::commands;
use bhojpur_monitor::leash;
use clap::Parser;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == leash::WORD) {
        return commands::run::become_machine(words);
    }
    commands::execute(Kernel::parse()).unwrap_or_else(|failure| failure.report("kernel"))
}
