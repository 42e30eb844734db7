// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask e2e [FILTER]`: what a user does with a Go program, with the built tools and
//! the real kernel: build, run, pack and boot under two firmwares, test, `builder`.

mod debugger;
mod images;
mod linux_entry;
mod projects;
mod runs;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::lab::flags::Flags;
use crate::lab::process::{self, Outcome};
use crate::lab::toolchain::{self, Go};
use crate::lab::{root, target};

pub(crate) const HELP: &str = "\
cargo xtask e2e [FILTER..] [--tool PATH] [--go PATH]
  Builds the program of tests/e2e and examples/web as unikernels and does with them what
  the documentation promises. FILTER is a part of the name of a check.";

const LIMIT: Duration = Duration::from_secs(120);

/// What a check came to when it did not fail.
pub(crate) enum Verdict {
    /// It passed.
    Passed,
    /// It needs what is not on this machine.
    Skipped(String),
}

type Check = (&'static str, fn(&Lab) -> Result<Verdict>);

const CHECKS: &[Check] = &[
    ("build/same-bytes", images::same_bytes),
    ("run/status", runs::status),
    ("run/arguments-and-environment", runs::arguments_and_environment),
    ("run/files", runs::files),
    ("run/other-programs", runs::other_programs),
    ("run/unknown-call", runs::unknown_call),
    ("run/processors", runs::processors),
    ("run/standard-input", runs::standard_input),
    ("run/interrupt", runs::interrupt),
    ("run/tcp-port", runs::tcp_port),
    ("run/udp-port", runs::udp_port),
    ("run/least-memory", runs::least_memory),
    ("run/gdb", runs::gdb),
    ("run/linux-entry", linux_entry::status),
    ("pack/bios", images::bios),
    ("pack/uefi", images::uefi),
    ("pack/grub", images::grub),
    ("pack/server", images::server),
    ("test/package", projects::test_package),
    ("test/standard-library", projects::test_standard_library),
    ("test/toolchain", projects::test_with_toolchain),
    ("builder/targets", projects::targets),
    ("builder/qemu-debug", projects::qemu_debug),
];

/// The tools, and a directory to work in.
#[derive(Debug)]
pub(crate) struct Lab {
    tool: PathBuf,
    place: PathBuf,
    go: Go,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["tool", "go"], &["help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let lab = Lab::new(&flags)?;
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for (name, check) in CHECKS {
        if !flags.words.is_empty() && !flags.words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let start = Instant::now();
        let verdict = check(&lab);
        let took = start.elapsed().as_secs_f64();
        match verdict {
            Ok(Verdict::Passed) => {
                passed += 1;
                println!("PASS  {name:<36} {took:6.2} s");
            }
            Ok(Verdict::Skipped(why)) => {
                skipped += 1;
                println!("SKIP  {name:<36} {why}");
            }
            Err(error) => {
                failed.push(*name);
                println!("FAIL  {name:<36} {took:6.2} s\n    {error:#}");
            }
        }
    }
    println!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    ensure!(failed.is_empty(), "failed: {}", failed.join(" "));
    Ok(())
}

impl Lab {
    /// Builds what every check starts from.
    fn new(flags: &Flags) -> Result<Self> {
        let tool = toolchain::kernel_tool(flags)?;
        let go = Go::at(Path::new(flags.value("go").unwrap_or("go")))?;
        let place = target().join("e2e").join(&go.version);
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        let lab = Self { tool, place, go };
        copy(&root().join("tests/e2e"), &lab.project())?;
        lab.build(&["--include", "testdata/said:/srv/said", "-o", "../e2e.elf"])?;
        let web = root().join("examples/web");
        lab.succeed(lab.kernel(&["build", "-q", "-o", "../web.elf"]).arg(web))?;
        Ok(lab)
    }

    /// A copy of the program's directory, where commands run.
    fn project(&self) -> PathBuf {
        self.place.join("project")
    }

    /// The built program of tests/e2e.
    fn image(&self) -> PathBuf {
        self.place.join("e2e.elf")
    }

    fn kernel(&self, arguments: &[&str]) -> Command {
        self.command(&self.tool, arguments)
    }

    fn builder(&self, arguments: &[&str]) -> Command {
        self.command(&self.tool.with_file_name("builder"), arguments)
    }

    fn command(&self, tool: &Path, arguments: &[&str]) -> Command {
        let mut command = process::leashed(tool);
        command.args(arguments).current_dir(self.project()).envs(self.go.environment());
        for variable in ["KERNEL_GO", "KERNEL_QEMU", "CGO_ENABLED", "GOFLAGS"] {
            command.env_remove(variable);
        }
        command
    }

    fn build(&self, arguments: &[&str]) -> Result<Outcome> {
        self.succeed(self.kernel(&["build", "-q"]).args(arguments))
    }

    /// `kernel run`, emulated, with the time bounded by the tool.
    fn run(&self, flags: &[&str], image: &Path, arguments: &[&str]) -> Command {
        let mut command = self.kernel(&["run", "--accel", "tcg", "--timeout", "100"]);
        command.args(flags).arg(image);
        if !arguments.is_empty() {
            command.arg("--").args(arguments);
        }
        command
    }

    fn succeed(&self, command: &mut Command) -> Result<Outcome> {
        process::succeed(command, LIMIT)
    }
}

/// Runs a command, which has to end with `status`.
fn ends(command: &mut Command, input: &[u8], status: i32) -> Result<Outcome> {
    let outcome = process::run(command, input, LIMIT)?;
    if outcome.status != status {
        bail!(
            "{command:?}\n    ended with {} instead of {status}\n{}{}",
            outcome.status,
            outcome.text(),
            outcome.errors()
        );
    }
    Ok(outcome)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
