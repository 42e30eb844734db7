// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the commands do.

pub mod build;
pub mod pack;
pub mod run;
mod symbols;
pub mod test;
pub mod version;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::Failure;
use crate::arguments::{Command, Kernel};

/// Carries a command out.
pub fn execute(kernel: Kernel) -> Result<ExitCode, Failure> {
    match kernel.command {
        Command::Build(arguments) => build::execute(&arguments).map(|_| ExitCode::SUCCESS),
        Command::Run(arguments) => run::execute(&arguments),
        Command::Pack(arguments) => pack::execute(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::execute(&arguments),
        Command::Version => version::execute().map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Kernel::command(),
                "kernel",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}
