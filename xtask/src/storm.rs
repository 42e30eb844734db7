// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask storm`: random system calls from several threads, which the kernel has to
//! survive whatever they do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::flags::Flags;
use crate::lab::{process, root, target, toolchain};

pub(crate) const HELP: &str = "\
cargo xtask storm [--rounds N] [--seed N] [--seconds N] [--tool PATH]
  Boots tests/storm with a new seed in each round, on 1 and on 4 CPUs, with little and with
  more memory: threads make random system calls with arguments that find faults. The program
  may be killed by what it does; the kernel must not panic, hang, or lose the machine.
  20 rounds of 2 seconds in CI, --rounds 1000 --seconds 5 nightly.";

const ROUNDS: u64 = 20;
const SECONDS: u64 = 2;
const THREADS: &str = "12";
/// What the machine may take beyond the time of the storm.
const GRACE: Duration = Duration::from_secs(60);

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["rounds", "seed", "seconds", "tool"], &["help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let rounds: u64 = flags.number("rounds", ROUNDS)?;
    let first: u64 = flags.number("seed", 1)?;
    let seconds: u64 = flags.number("seconds", SECONDS)?;
    let place = target().join("storm");
    std::fs::create_dir_all(&place)?;
    let tool = toolchain::kernel_tool(&flags)?;
    let image = build(&tool, &place)?;
    println!("{rounds} rounds of {seconds} s, the first with seed {first}");
    let mut calls = 0;
    for seed in first..first + rounds {
        let machine = Machine::of(seed);
        let said = machine.run(&tool, &image, seed, seconds)?;
        calls += said.calls;
        println!("seed {seed}: {machine}, status {}, {} calls", said.status, said.calls);
    }
    stormy(calls)?;
    println!("{rounds} rounds, {calls} calls: the kernel lives");
    Ok(())
}

/// A kernel that kills each program before it makes a call survives everything.
fn stormy(calls: u64) -> Result<()> {
    ensure!(calls > 0, "no round made a call: nothing was tried; boot target/storm/storm.elf");
    Ok(())
}

fn build(tool: &Path, place: &Path) -> Result<PathBuf> {
    let (binary, image) = (place.join("storm"), place.join("storm.elf"));
    let source = root().join("tests/storm/storm.c");
    toolchain::build_c("gcc", &source, &["-O1"], &binary)?;
    toolchain::image(tool, &binary, &image)?;
    Ok(image)
}

/// Where a seed runs; it decides, so that a seed says all.
struct Machine {
    cpus: u64,
    memory_mib: u64,
}

struct Said {
    status: i32,
    calls: u64,
}

impl Machine {
    fn of(seed: u64) -> Self {
        Self {
            cpus: if seed.is_multiple_of(2) { 1 } else { 4 },
            memory_mib: if seed.is_multiple_of(5) { 48 } else { 256 },
        }
    }

    fn run(&self, tool: &Path, image: &Path, seed: u64, seconds: u64) -> Result<Said> {
        let limit = Duration::from_secs(seconds) + GRACE;
        let mut command = process::leashed(tool);
        command.args(["run", "--accel", "tcg", "--timeout", &limit.as_secs().to_string()]);
        command.args(["-m", &format!("{}M", self.memory_mib), "-c", &self.cpus.to_string()]);
        command.arg(image).args(["--", &seed.to_string(), &seconds.to_string(), THREADS]);
        let outcome = process::run(&mut command, &[], limit * 2)?;
        let text = outcome.text();
        ensure!(
            survived(outcome.status),
            "seed {seed} on {self}: status {}, {}\n{}",
            outcome.status,
            meaning(outcome.status),
            outcome.errors()
        );
        // One that is killed at its first call may not come to tell of it.
        let calls = last_count(&text).unwrap_or(0);
        ensure!(outcome.status != 0 || calls > 0, "seed {seed}: no calls were counted");
        Ok(Said { status: outcome.status, calls })
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} CPU, {} MiB", self.cpus, self.memory_mib)
    }
}

/// Its end, or that of a program which was killed.
fn survived(status: i32) -> bool {
    status == 0 || (129..=192).contains(&status)
}

fn meaning(status: i32) -> &'static str {
    match status {
        124 => "it hangs",
        3 => "memory was changed that nobody wrote to",
        126 => "the machine was lost",
        127 => "the kernel panicked",
        _ => "which the program does not end with",
    }
}

/// The number of the last line that tells it; what random calls wrote around it may be anything.
fn last_count(text: &str) -> Option<u64> {
    let (before, _) = text.rsplit_once(" calls\n")?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_behind_anything() {
        assert_eq!(last_count("27 calls\n"), Some(27));
        assert_eq!(last_count("\u{fffd}27 calls\n"), Some(27));
        assert_eq!(last_count("x\n/tmp/d/f12 calls\n"), Some(12));
        assert_eq!(last_count("nothing\n"), None);
        assert_eq!(last_count(" calls\n"), None);
        assert_eq!(last_count("3 calls\nlate"), Some(3));
    }

    #[test]
    fn rounds_without_a_call_are_no_storm() {
        assert!(stormy(0).is_err() && stormy(1).is_ok());
    }

    #[test]
    fn a_killed_program_is_no_failure() {
        assert!([0, 137, 139].map(survived).iter().all(|&s| s));
        assert!([1, 2, 124, 125, 126, 127].map(survived).iter().all(|&s| !s));
    }
}
