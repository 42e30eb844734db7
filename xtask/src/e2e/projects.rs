// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel test` and `builder`.

use std::process::Stdio;

use anyhow::{Result, ensure};

use super::debugger::Debugger;
use super::{Lab, Verdict, ends};
use crate::lab::process::Guarded;

pub(super) fn test_package(lab: &Lab) -> Result<Verdict> {
    let good = ends(&mut lab.kernel(&["test", "./...", "--", "-v"]), b"", 0)?;
    for line in ["--- PASS: TestPasses", "--- SKIP: TestSkips", "ok  \te2e\t"] {
        ensure!(good.text().contains(line), "{line:?} is not in {}", good.text());
    }
    let bad = ends(&mut lab.kernel(&["test", "--env", "MODE=fail"]), b"", 1)?;
    for line in ["--- FAIL: TestFailsWhenAsked", "as asked", "FAIL\te2e\t"] {
        ensure!(bad.text().contains(line), "{line:?} is not in {}", bad.text());
    }
    Ok(Verdict::Passed)
}

pub(super) fn test_standard_library(lab: &Lab) -> Result<Verdict> {
    let packages = ["container/list", "errors", "unicode/utf8"];
    let ran = ends(lab.kernel(&["test"]).args(packages), b"", 0)?;
    for package in packages {
        ensure!(ran.text().contains(&format!("ok  \t{package}\t")), ran.text());
    }
    Ok(Verdict::Passed)
}

pub(super) fn test_with_toolchain(lab: &Lab) -> Result<Verdict> {
    let words = ["test", "--toolchain", "--env", "MODE=toolchain", "--", "-v", "-run=Builds"];
    let ran = ends(&mut lab.kernel(&words), b"", 0)?;
    ensure!(ran.text().contains("--- PASS: TestBuilds"), ran.text());
    Ok(Verdict::Passed)
}

pub(super) fn targets(lab: &Lab) -> Result<Verdict> {
    let there = |name: &str| lab.project().join(name).is_file();
    let list = lab.succeed(&mut lab.builder(&["list"]))?;
    for target in
        ["kernel", "qemu", "qemu-debug", "iso", "test", "clean", "list", "greet", "say hello"]
    {
        ensure!(list.text().contains(target), "{target} is not in {}", list.text());
    }
    lab.succeed(&mut lab.builder(&["kernel"]))?;
    ensure!(there("e2e.elf"), "no image was made");
    let ran = ends(&mut lab.builder(&["qemu"]), b"", 5)?;
    ensure!(ran.text().contains("mode built cpus 1\n"), ran.text());
    lab.succeed(&mut lab.builder(&["iso"]))?;
    ends(&mut lab.run(&[], &lab.project().join("e2e.iso"), &[]), b"", 5)?;
    lab.succeed(&mut lab.builder(&["images"]))?;
    ensure!(there("e2e.raw"), "not all formats were made");
    lab.succeed(&mut lab.builder(&["greet"]))?;
    ensure!(there("greeting"), "the commands of the project were not run");
    let tested = lab.succeed(&mut lab.builder(&["test"]))?;
    ensure!(tested.text().contains("ok  \te2e\t"), tested.text());
    lab.succeed(&mut lab.builder(&["clean"]))?;
    let left = ["e2e.elf", "e2e.iso", "e2e.raw"].into_iter().any(there);
    ensure!(!left, "something was left behind");
    Ok(Verdict::Passed)
}

/// Waits for a debugger on gdb's usual port, so it is skipped when that is taken.
pub(super) fn qemu_debug(lab: &Lab) -> Result<Verdict> {
    const PORT: u16 = 1234;
    if std::net::TcpListener::bind(("127.0.0.1", PORT)).is_err() {
        return Ok(Verdict::Skipped(format!("port {PORT} is taken")));
    }
    let mut command = lab.builder(&["qemu-debug"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guest = Guarded::spawn(&mut command)?;
    let mut debugger = Debugger::attach(PORT)?;
    debugger.go_on()?;
    let status = guest.0.wait()?;
    ensure!(status.code() == Some(5), "ended with {status}");
    Ok(Verdict::Passed)
}
