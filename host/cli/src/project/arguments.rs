// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `builder`.

use std::path::PathBuf;

use bhojpur_monitor::AcceleratorChoice;
use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand};

use super::targets::BUILT_IN;

/// Builds, runs and packs the project in this directory.
#[derive(Debug, Parser)]
#[command(
    name = "builder",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "\
Built-in targets:
  kernel      build the image
  qemu        build it and run it
  qemu-debug  build it with debugging information, run it, and wait for gdb
  iso         pack it as an ISO
  images      pack it in every format of the project file
  test        run the project's tests inside the unikernel
  clean       remove what the other targets made
  list        list all targets

Examples:
  builder qemu
  builder -C services/api iso
  builder completions bash > /etc/bash_completion.d/builder

A project file, builderfile.toml:
  language = \"go\"                    # when it cannot be told from the files
  path = \"./cmd/server\"              # the directory of the program
  arguments = [\"--verbose\"]
  flags = [\"-tags\", \"netgo\"]         # for go build
  mounts = [\"./static:/srv/static\"]
  memory = \"256M\"
  ports = [\"8080:80\"]
  formats = [\"iso\", \"qcow2\"]

  [environment]
  MODE = \"production\"

  [targets.generate]
  commands = [\"go generate ./...\"]

  [targets.release]
  dependencies = [\"generate\", \"images\"]"
)]
pub struct Builder {
    /// What is no target.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Work in this directory
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// What executes the guest: auto, kvm or tcg
    #[arg(long, value_name = "ACCELERATOR", default_value = "auto")]
    pub accel: AcceleratorChoice,
    /// Show commands and the kernel's log
    #[arg(short, long)]
    pub verbose: bool,
    /// What to make: a built-in target or one of the project file
    #[arg(default_value = "kernel")]
    pub target: String,
}

/// What `builder` does beside making targets.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The name of what is no target, which none can have.
pub(super) const COMPLETIONS: &str = "completions";

/// The completions for a shell, with the targets that every project has.
pub(super) fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let names = PossibleValuesParser::new(BUILT_IN.iter().map(|(name, ..)| *name));
    let mut described = Builder::command().mut_arg("target", |target| target.value_parser(names));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut described, "builder", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_is_consistent() {
        Builder::command().debug_assert();
    }

    #[test]
    fn whatever_is_not_our_own_command_is_a_target() {
        let builder = Builder::parse_from(["builder", "--accel", "tcg", "help"]);
        assert!(builder.command.is_none());
        assert_eq!(builder.target, "help");
        assert_eq!(Builder::parse_from(["builder"]).target, "kernel");
    }
}
