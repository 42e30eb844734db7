// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the commands do.

pub mod build;
pub mod pack;
pub mod run;
mod symbols;
pub mod test;
pub mod version;

use std::io::Write;
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
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Kernel::command(), "kernel", &mut script);
            print(&script).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Writes to standard output; a reader that has seen enough is no error.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    std::io::stdout().write_all(text).or_else(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(Failure::new(format!("cannot write: {error}"))),
    })
}
