// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask gostd`: Go's own standard library tests, in the unikernel and on
//! the host, and the table of both.

mod document;
mod output;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::lab::flags::Flags;
use crate::lab::process::{self, succeed};
use crate::lab::toolchain::{self, Go};
use crate::lab::{root, target};
use output::{End, Results, Verdict};

pub(crate) const HELP: &str = "\
cargo xtask gostd [PKG..] [--write] [--fresh | --kept] [--jobs N] [--memory SIZE]
                  [--cpus N] [--timeout SECONDS] [--go PATH] [--tool PATH] [--host-only]
  Runs the tests of Go's standard library (or of PKG) in the unikernel and on
  this machine. Packages that were run with the same tool are not run again
  unless --fresh; --kept runs nothing and takes what earlier runs found;
  --write makes docs/go-std-tests.md. Reasons for failures are in
  tests/gostd/known.toml.";

/// Packages of which some tests run `go`.
const RUN_GO: &[&str] = &["net/http", "net/netip", "os", "runtime", "runtime/debug", "syscall"];

/// What the product promises to run.
const PACKAGES: &[&str] = &[
    "archive/...",
    "bufio",
    "bytes",
    "compress/...",
    "container/...",
    "context",
    "crypto/...",
    "encoding/...",
    "errors",
    "fmt",
    "hash/...",
    "io/...",
    "log",
    "math/...",
    "mime/...",
    "net",
    "net/http",
    "net/http/httptest",
    "net/mail",
    "net/netip",
    "net/rpc",
    "net/smtp",
    "net/textproto",
    "net/url",
    "os",
    "os/signal",
    "os/user",
    "path/...",
    "reflect",
    "regexp/...",
    "runtime",
    "runtime/debug",
    "sort",
    "strconv",
    "strings",
    "sync/...",
    "syscall",
    "text/...",
    "time",
    "unicode/...",
];
/// A program that dies is started again without the test that killed it, this often.
const DEATHS: usize = 40;
const BUILD_LIMIT: Duration = Duration::from_secs(900);

/// What became of one package.
#[derive(Debug, Serialize, Deserialize)]
struct PackageResult {
    package: String,
    guest: Results,
    host: Results,
    /// Why nothing could be run.
    error: Option<String>,
}

/// Which results of earlier runs are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    Never,
    /// Those younger than the tool.
    SameTool,
    /// All; nothing is run.
    Only,
}

struct Session {
    go: Go,
    goroot: PathBuf,
    tool: Option<PathBuf>,
    place: PathBuf,
    /// When it is not the usual one, which counts the image and the toolchain in.
    memory: Option<String>,
    cpus: String,
    limit: Duration,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let valued = ["jobs", "memory", "cpus", "timeout", "go", "tool"];
    let flags = Flags::parse(arguments, &valued, &["write", "fresh", "kept", "host-only", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let go = Go::at(Path::new(flags.value("go").unwrap_or("go")))?;
    let tool = if flags.has("host-only") { None } else { Some(toolchain::kernel_tool(&flags)?) };
    let place = target().join("gostd").join(&go.version);
    std::fs::create_dir_all(&place)?;
    let session = Session {
        goroot: go.goroot()?,
        go,
        tool,
        place,
        memory: flags.value("memory").map(str::to_owned),
        cpus: flags.value("cpus").unwrap_or("1").to_owned(),
        limit: Duration::from_secs(flags.number("timeout", 300)?),
    };
    let named: Vec<&str> = flags.words.iter().map(String::as_str).collect();
    let packages = session.packages(if named.is_empty() { PACKAGES } else { &named })?;
    let reuse = match (flags.has("fresh"), flags.has("kept")) {
        (true, true) => bail!("--fresh and --kept exclude each other"),
        (true, false) => Reuse::Never,
        (false, true) => Reuse::Only,
        (false, false) => Reuse::SameTool,
    };
    let results = session.run_all(packages, flags.number("jobs", 2)?, reuse);
    let known = document::known(&root().join("tests/gostd/known.toml"))?;
    for test in document::outdated(&known, &results) {
        println!("{test} passes now; take it out of known.toml");
    }
    if flags.has("write") {
        let date =
            succeed(Command::new("date").args(["-u", "+%Y-%m-%d"]), Duration::from_secs(10))?
                .text();
        let text = document::markdown(&known, &results, &session.go.version, date.trim());
        std::fs::write(root().join("docs/go-std-tests.md"), text)?;
    }
    let unexplained = document::unexplained(&known, &results);
    if unexplained.is_empty() {
        return Ok(());
    }
    bail!("{} failures without a reason:\n  {}", unexplained.len(), unexplained.join("\n  "))
}

impl Session {
    /// The packages that `patterns` name and that have tests.
    fn packages(&self, patterns: &[&str]) -> Result<Vec<String>> {
        let template = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}";
        let mut command = self.go.command();
        command.args(["list", "-f", template]).args(patterns).current_dir(self.goroot.join("src"));
        let listed = succeed(&mut command, BUILD_LIMIT)?.text();
        let packages: Vec<String> =
            listed.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
        anyhow::ensure!(!packages.is_empty(), "no package of {} has tests", patterns.join(" "));
        Ok(packages)
    }

    fn run_all(&self, packages: Vec<String>, jobs: usize, reuse: Reuse) -> Vec<PackageResult> {
        let order = packages.clone();
        let queue = Mutex::new(VecDeque::from(packages));
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.max(1) {
                scope.spawn(|| {
                    while let Some(package) = queue.lock().ok().and_then(|mut q| q.pop_front()) {
                        let result = self.package(&package, reuse);
                        show(&result);
                        if let Ok(mut done) = done.lock() {
                            done.push(result);
                        }
                    }
                });
            }
        });
        let mut results: Vec<PackageResult> = done.into_inner().unwrap_or_default();
        results.sort_by_key(|r| order.iter().position(|p| *p == r.package));
        results
    }

    /// The result of an earlier run if `reuse` lets it count, or of a new one.
    fn package(&self, package: &str, reuse: Reuse) -> PackageResult {
        let record = self.place.join(format!("{}.json", package.replace('/', "-")));
        let usable = match reuse {
            Reuse::Never => false,
            Reuse::SameTool => toolchain::fresh(&record, &self.tool),
            Reuse::Only => true,
        };
        if usable && let Some(result) = kept(&record) {
            return result;
        }
        let empty = || PackageResult {
            package: package.to_owned(),
            guest: Results::default(),
            host: Results::default(),
            error: None,
        };
        if reuse == Reuse::Only {
            return PackageResult { error: Some("not run".to_owned()), ..empty() };
        }
        let result = self
            .both(package)
            .map(|(guest, host)| PackageResult { guest, host, ..empty() })
            .unwrap_or_else(|error| PackageResult { error: Some(format!("{error:#}")), ..empty() });
        if let Ok(text) = serde_json::to_string_pretty(&result)
            && let Err(error) = std::fs::write(&record, text)
        {
            eprintln!("{}: {error}", record.display());
        }
        result
    }

    fn both(&self, package: &str) -> Result<(Results, Results)> {
        let directory = self.goroot.join("src").join(package);
        let binary = self.place.join(format!("{}.test", package.replace('/', "-")));
        let mut build = self.go.command();
        build.current_dir(&directory).args(["test", "-c", "-o"]).arg(&binary);
        build.args(self.tags()).arg(".");
        succeed(&mut build, BUILD_LIMIT)?;
        let mut list = Command::new(&binary);
        list.current_dir(&directory).args(["-test.list", "^(Test|Example|Fuzz)"]);
        list.env("GOROOT", &self.goroot);
        let names: Vec<String> =
            succeed(&mut list, BUILD_LIMIT)?.text().lines().map(str::to_owned).collect();
        let host = self.host(&names, &binary, &directory)?;
        let Some(tool) = &self.tool else { return Ok((host.clone(), host)) };
        let guest = survive(&names, |pattern| {
            let mut command = process::leashed(tool);
            command.args(["test", "--accel", "tcg", "-c", &self.cpus]);
            command.args(self.memory.iter().flat_map(|memory| ["-m", memory.as_str()]));
            // Tests of os look into a directory that every Unix has.
            let mut program = self.goroot.join("bin/gofmt").into_os_string();
            program.push(":/usr/bin/gofmt");
            command.arg("--include").arg(program);
            if RUN_GO.contains(&package) {
                command.arg("--toolchain");
            }
            command.args([package, "--"]);
            command.args(self.tags()).args(["-v", "-short", "-count=1", "-run", pattern]);
            let sources = self.goroot.join("src");
            command.current_dir(&sources).env("PWD", &sources).envs(self.go.environment());
            process::run(&mut command, b"", self.limit)
                .map(|o| (o.text() + &o.errors(), o.timed_out))
        })?;
        Ok((guest, host))
    }

    /// Debian's Go has no time zones of its own; tests that look for them there
    /// take those that can be linked in.
    fn tags(&self) -> Option<&'static str> {
        let own = self.goroot.join("lib/time/zoneinfo.zip");
        (!own.is_file()).then_some("-tags=timetzdata")
    }

    /// What `binary` does on this machine; kept until the binary changes.
    fn host(&self, names: &[String], binary: &Path, directory: &Path) -> Result<Results> {
        let record = binary.with_extension("host.json");
        if toolchain::fresh(&record, [binary])
            && let Some(results) = kept(&record)
        {
            return Ok(results);
        }
        let results = survive(names, |pattern| {
            let mut command = Command::new(binary);
            command.current_dir(directory).args(["-test.v", "-test.short", "-test.run", pattern]);
            command.env("GOROOT", &self.goroot);
            process::run(&mut command, b"", self.limit)
                .map(|o| (o.text() + &o.errors(), o.timed_out))
        })?;
        std::fs::write(&record, serde_json::to_string_pretty(&results)?)?;
        Ok(results)
    }
}

/// What was written to `record` before.
fn kept<T: serde::de::DeserializeOwned>(record: &Path) -> Option<T> {
    serde_json::from_str(&std::fs::read_to_string(record).ok()?).ok()
}

/// Runs tests by pattern until each has a verdict: when one ends the program,
/// it has failed, and the others run without it.
fn survive<F>(names: &[String], mut run: F) -> Result<Results>
where
    F: FnMut(&str) -> Result<(String, bool)>,
{
    let mut results = Results::default();
    for _ in 0..DEATHS {
        let left: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|n| !results.verdicts.contains_key(*n))
            .collect();
        if left.is_empty() {
            return Ok(results);
        }
        let (text, timed_out) = run(&format!("^({})$", left.join("|")))?;
        let before = results.verdicts.len();
        let how = if timed_out { "timed out" } else { "ended the program" };
        match results.read(&text) {
            End::Within(culprit) => results.fail(&culprit, &format!("{how}: {}", tail(&text))),
            End::Whole | End::Short if results.verdicts.is_empty() => {
                bail!("no test ran: {}", tail(&text))
            }
            End::Short if results.verdicts.len() > before => {}
            End::Whole | End::Short => return Ok(results),
        }
    }
    Ok(results)
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

fn show(result: &PackageResult) {
    let (guest, host) = (&result.guest, &result.host);
    let counts = [Verdict::Pass, Verdict::Fail, Verdict::Skip].map(|v| guest.count(v));
    let [passed, failed, skipped] = counts;
    let on_host = host.count(Verdict::Fail);
    println!(
        "{:<28} {passed:>4} passed {failed:>3} failed {skipped:>3} skipped   (Linux: {on_host} failed){}",
        result.package,
        result.error.as_ref().map(|e| format!("  {e}")).unwrap_or_default(),
    );
    for (test, _) in guest.verdicts.iter().filter(|(_, v)| **v == Verdict::Fail) {
        println!("    FAIL {test}");
    }
}

#[cfg(test)]
mod tests {
    use super::survive;
    use crate::gostd::output::Verdict;

    #[test]
    fn goes_on_without_the_test_that_kills() {
        let names = ["TestA", "TestB", "TestC"].map(str::to_owned);
        let mut patterns = Vec::new();
        let results = survive(&names, |pattern| {
            patterns.push(pattern.to_owned());
            let text = match patterns.len() {
                1 => "=== RUN   TestA\n--- PASS: TestA (0s)\n=== RUN   TestB\npanic: dead\n",
                _ => "=== RUN   TestC\n--- PASS: TestC (0s)\nPASS\n",
            };
            Ok((text.to_owned(), false))
        });
        let results = results.unwrap();
        assert_eq!(patterns, ["^(TestA|TestB|TestC)$", "^(TestC)$"]);
        assert_eq!((results.count(Verdict::Pass), results.count(Verdict::Fail)), (2, 1));
        assert!(results.messages["TestB"].contains("panic: dead"));
    }
}
