// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask web`: the daemon's web page in headless Chromium, once with a daemon made for
//! it, once with the real one and a unikernel in QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::lab::flags::Flags;
use crate::lab::process::{run as run_limited, succeed};
use crate::lab::{root, target};

const COMPILE_LIMIT: Duration = Duration::from_secs(1800);
const LIMIT: Duration = Duration::from_secs(900);
/// Programs, with the Debian packages that hold them.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/chromium", "chromium"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("go", "golang-go"),
];

/// Runs the tests of the page. `--kernctl FILE` takes a finished program, `--page` leaves the
/// real daemon out, `--screenshots DIRECTORY` keeps pictures.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["kernctl", "screenshots"], &["page"])?;
    let tests = root().join("host/daemon/web/test");
    if let Err(reason) = prepare(&tests) {
        println!("web: SKIPPED, the page was not tried: {reason:#}");
        println!("0 passed, 0 failed, 1 skipped");
        return Ok(());
    }
    let mut total = Counts::default();
    total.add(script(&tests, "page.mjs", &flags, None)?);
    if !flags.has("page") {
        let kernctl = kernctl(&flags)?;
        total.add(script(&tests, "real.mjs", &flags, Some(&kernctl))?);
    }
    println!("{} passed, {} failed, 0 skipped", total.passed, total.failed);
    anyhow::ensure!(total.failed == 0, "the page does not do what it should");
    Ok(())
}

/// A browser, and what drives it.
fn prepare(tests: &Path) -> Result<()> {
    let limit = Duration::from_secs(60);
    succeed(Command::new("node").arg("--version"), limit).context("Node.js is not installed")?;
    crate::demo::install(NEEDED)?;
    if tests.join("node_modules/playwright-core/package.json").is_file() {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(tests).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    succeed(&mut npm, Duration::from_secs(300)).context("playwright-core cannot be installed")?;
    Ok(())
}

fn kernctl(flags: &Flags) -> Result<PathBuf> {
    if let Some(path) = flags.value("kernctl") {
        return Ok(std::path::absolute(path)?);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The profile of the tests, so that nothing is built twice.
    cargo.current_dir(root()).args(["build", "--quiet", "-p", "bhojpur-kernctl"]);
    succeed(&mut cargo, COMPILE_LIMIT).context("kernctl does not build")?;
    Ok(target().join("debug/kernctl"))
}

/// Runs one script of tests and shows what it says.
fn script(tests: &Path, name: &str, flags: &Flags, kernctl: Option<&Path>) -> Result<Counts> {
    let mut node = Command::new("node");
    node.current_dir(tests).args(["--test", "--test-reporter=tap", name]);
    node.env("CONTEXT", root().join("examples/web"));
    if let Some(kernctl) = kernctl {
        node.env("KERNCTL", kernctl);
    }
    if let Some(directory) = flags.value("screenshots") {
        node.env("SCREENSHOTS", std::path::absolute(directory)?);
    }
    let outcome = run_limited(&mut node, b"", LIMIT)?;
    let text = outcome.text();
    for line in text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")) {
        println!("  {line}");
    }
    let mut counts = Counts::of(&text);
    if outcome.status != 0 || outcome.timed_out || counts.passed == 0 {
        println!("{text}{}", outcome.errors());
        counts.failed = counts.failed.max(1);
    }
    Ok(counts)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// From the last lines of a TAP report: `# pass 3`.
    fn of(report: &str) -> Self {
        let count = |word: &str| {
            let mut lines = report.lines().rev();
            lines.find_map(|line| line.strip_prefix(word)?.trim().parse().ok()).unwrap_or(0)
        };
        Self { passed: count("# pass "), failed: count("# fail ") + count("# cancelled ") }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn counts_what_node_reports() {
        let report = "ok 1 - a\n# tests 4\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 0\n";
        assert_eq!(Counts::of(report), Counts { passed: 2, failed: 2 });
        assert_eq!(Counts::of("nothing"), Counts::default());
    }
}
