// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, for a moment on stable Rust or
//! for long with cargo-fuzz.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::flags::Flags;
use crate::lab::process::succeed;
use crate::lab::root;

pub(crate) const HELP: &str = "\
cargo xtask fuzz --smoke [TARGET..] [--runs N] [--seed N]
cargo xtask fuzz TARGET [--seconds N]
  --smoke mutates good inputs of every target (or of TARGET) N times (20000), the
  same way each time, with the stable toolchain. Without it, cargo-fuzz and a
  nightly toolchain look for inputs for N seconds (60). What crashes a target is
  left in fuzz/crashes or fuzz/artifacts.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["runs", "seed", "seconds"], &["smoke", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root().join("fuzz"));
    if flags.has("smoke") {
        cargo.args(["run", "--quiet", "--release", "--bin", "smoke", "--"]).args(&flags.words);
        for name in ["runs", "seed"] {
            if let Some(value) = flags.value(name) {
                cargo.arg(format!("--{name}")).arg(value);
            }
        }
    } else {
        let [target] = flags.words.as_slice() else {
            bail!("name one target, or use --smoke\n{HELP}")
        };
        let mut seeds = Command::new("cargo");
        seeds.args([
            "run",
            "--quiet",
            "--release",
            "--bin",
            "smoke",
            "--",
            "--write-seeds",
            "corpus",
        ]);
        succeed(seeds.current_dir(root().join("fuzz")), Duration::from_secs(900))?;
        let seconds: u64 = flags.number("seconds", 60)?;
        cargo.args([
            "+nightly",
            "fuzz",
            "run",
            "--fuzz-dir",
            ".",
            "--features",
            "libfuzzer",
            target,
        ]);
        cargo.args(["--", &format!("-max_total_time={seconds}"), "-max_len=65536", "-timeout=10"]);
    }
    let status = cargo.status().context("cargo")?;
    if status.success() { Ok(()) } else { bail!("a target failed ({status})") }
}
