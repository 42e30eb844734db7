// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line of `builder`.

use std::path::PathBuf;

use bhojpur_monitor::AcceleratorChoice;
use clap::Parser;

/// Builds, runs and packs the project in this directory.
#[derive(Debug, Parser)]
#[command(
    name = "builder",
    version,
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
