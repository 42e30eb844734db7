// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask daemon-crash`: kills the daemon at random moments, and looks whether what it says
//! and what there is agree after the next start.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::lab::flags::Flags;
use crate::lab::root;

pub(crate) const HELP: &str = "\
cargo xtask daemon-crash [--rounds N] [--seed N]
  Clients make, start, stop and remove instances, images and volumes; the daemon
  gets SIGKILL at a random moment, sometimes on a full disk; monitors vanish, or
  all of them as in a reboot. After the next start, what was acknowledged is
  there, what was removed is gone, no process, directory or file is left over,
  states are true, and what ran was not touched. 40 rounds are part of
  `cargo test`, 300 are the default here. The full disk needs root, for a tmpfs.";

const ROUNDS: u64 = 300;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["rounds", "seed"], &["help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let rounds: u64 = flags.number("rounds", ROUNDS)?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root())
        .args(["test", "--quiet", "-p", "bhojpur-daemon", "--test", "daemon", "--", "crash"])
        .env("CRASH_ROUNDS", rounds.to_string());
    if arguments.iter().any(|argument| argument.starts_with("--seed")) {
        command.env("CRASH_SEED", flags.number("seed", 1_u64)?.to_string());
    }
    let status = command.status().context("cargo cannot be run")?;
    ensure!(status.success(), "state and reality do not agree; the seed above repeats it");
    Ok(())
}
