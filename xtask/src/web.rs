// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask web`: the daemon's web page in headless Chromium, once with a daemon made for
//! it, once with the real one and a unikernel in QEMU.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::flags::Flags;
use crate::lab::process::{run as run_limited, succeed};
use crate::lab::{root, target};

const COMPILE_LIMIT: Duration = Duration::from_secs(1800);
/// Each test and each wait has a limit of its own, by which it fails and names itself. This one
/// is for what those do not see.
const LIMIT: Duration = Duration::from_secs(600);
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
    let scratch = tempfile::tempdir().context("no directory for temporary files")?;
    let mut node = Command::new("node");
    // All that the tests make lies there: the browser's profile, the daemon's directory.
    node.env("TMPDIR", scratch.path());
    node.current_dir(tests).args(["--test", "--test-reporter=tap", name]);
    node.env("CONTEXT", root().join("examples/web"));
    if let Some(kernctl) = kernctl {
        node.env("KERNCTL", kernctl);
    }
    if let Some(directory) = flags.value("screenshots") {
        node.env("SCREENSHOTS", std::path::absolute(directory)?);
    }
    let outcome = run_limited(&mut node, b"", LIMIT);
    let left = end_all_of(scratch.path());
    let outcome = outcome?;
    let text = outcome.text();
    for line in text.lines().filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")) {
        println!("  {line}");
    }
    let mut counts = Counts::of(&text);
    if outcome.status != 0 || outcome.timed_out || counts.passed == 0 {
        println!("{text}{}", outcome.errors());
        counts.failed = counts.failed.max(1);
    }
    if !left.is_empty() {
        println!("  {name} left processes behind: {}", left.join(", "));
        counts.failed = counts.failed.max(1);
    }
    Ok(counts)
}

/// Ends every process that names a file of this directory: a browser or a machine whose test was
/// ended before it could do that. Gives their names.
fn end_all_of(directory: &Path) -> Vec<String> {
    let place = directory.as_os_str().as_encoded_bytes();
    let mut ended = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if !line.windows(place.len()).any(|part| part == place) {
            continue;
        }
        // It may have ended by itself meanwhile.
        if kill_process(pid, Signal::KILL).is_ok() {
            let program = line.split(|byte| *byte == 0).next().unwrap_or_default();
            ended.push(format!("{} ({})", String::from_utf8_lossy(program), pid.as_raw_nonzero()));
        }
    }
    ended
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
    use std::os::unix::process::CommandExt as _;

    use super::{Counts, end_all_of};

    #[test]
    fn what_names_a_directory_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(end_all_of(directory.path()), Vec::<String>::new());
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 100; true"])
            .arg(directory.path().join("profile"))
            .process_group(0)
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mut ended = Vec::new();
        // Between fork and exec it has the name of this program.
        while ended.is_empty() && std::time::Instant::now() < deadline {
            ended = end_all_of(directory.path());
        }
        assert_eq!(ended, [format!("sh ({})", child.id())]);
        crate::lab::process::stop(&mut child);
    }

    #[test]
    fn counts_what_node_reports() {
        let report = "ok 1 - a\n# tests 4\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 0\n";
        assert_eq!(Counts::of(report), Counts { passed: 2, failed: 2 });
        assert_eq!(Counts::of("nothing"), Counts::default());
    }
}
