// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask conformance qemu|firecracker`: the suite that every provider passes, for real.
//!
//! QEMU's runs on this machine. For Firecracker's, the provider, its port proxy and their tools
//! are in a Linux guest when this machine cannot virtualise.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::firecracker::{MISSING, monitor};
use crate::lab::flags::Flags;
use crate::lab::process::succeed;
use crate::lab::{root, target};
use crate::nested::{Job, Outcome, Place};

const HELP: &str = "\
cargo xtask conformance firecracker [FILTER] [--jailer PATH] [--required] [--verbose]
  Runs the cases of host/conformance whose names contain FILTER on the Firecracker that
  $FIRECRACKER or PATH names, for real: in a Linux guest of QEMU without /dev/kvm. With
  --jailer, through the jailer. Without Firecracker nothing is run; with --required that is
  an error.
cargo xtask conformance qemu [FILTER]
  The same on the QEMU that $KERNEL_QEMU or PATH names.";

const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// All cases one after the other, on an emulated CPU.
const LIMIT: Duration = Duration::from_secs(1500);
/// Eight instances at once, their volumes, and everything else.
const MEMORY_MIB: u32 = 4096;
const SUITE: &str = "bhojpur-firecracker-suite";
const PROGRAMS: [&str; 2] = ["firecracker-conformance", "firecracker-port-proxy"];
/// Tools that the provider and the suite start, with their usual places.
const TOOLS: [(&str, &str); 3] =
    [("ip", "/usr/sbin/ip"), ("mke2fs", "/usr/sbin/mke2fs"), ("debugfs", "/usr/sbin/debugfs")];

/// pivot_root(2), which the jailer calls, does not work on an initial RAM disk: the suite runs
/// below a root of its own.
const JAILED: &str = r#"export JAILER=$PWD/jailer
if [ "$PWD" = /job ]; then
    mkdir /inner && mount -t tmpfs inner /inner && mkdir /inner/proc /inner/sys /inner/dev
    for directory in /bin /sbin /lib /lib64 /usr /etc /job /tmp; do
        [ ! -d $directory ] || cp -a $directory /inner/
    done
    for directory in /proc /sys /dev; do mount --bind $directory /inner$directory; done
    printf '#!/bin/sh\ncd /job && exec "$@"\n' >/inner/job/inside
    chmod 755 /inner/job/inside
    inside="chroot /inner /job/inside"
fi
"#;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["jailer"], &["help", "required", "verbose"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    match flags.words.first().map(String::as_str) {
        Some("firecracker") => {}
        Some("qemu") => return qemu(flags.words.get(1).map_or("", String::as_str)),
        Some(other) => bail!("no suite for {other:?} is run here; see cargo test -p <its crate>"),
        None => bail!("which provider? there are: qemu, firecracker"),
    }
    let Some(firecracker) = monitor() else {
        ensure!(!flags.has("required"), MISSING);
        println!("SKIP  {MISSING}\n0 passed, 0 failed, 1 skipped");
        return Ok(());
    };
    let place = Place::find()?;
    println!("conformance of the provider firecracker, {}", place.description());
    let mut job = Job::new("");
    job.limit(LIMIT).memory_mib(MEMORY_MIB).program("firecracker", &firecracker)?;
    for (name, path) in programs()? {
        job.program(name, &path)?;
    }
    for (name, path) in TOOLS {
        job.program(name, path.as_ref()).with_context(|| format!("{name} is missing"))?;
    }
    job.file("conformance.elf", &image()?);
    let jailer = flags.value("jailer").map(PathBuf::from);
    if let Some(path) = &jailer {
        job.program("jailer", path)?;
    }
    let jailed = if jailer.is_some() { JAILED } else { "" };
    let filter = flags.words.get(1).map_or("", String::as_str);
    for (filter, nested_paging) in parts(filter, &place) {
        job.file("job.sh", script(jailed, filter).as_bytes()).nested_paging(nested_paging);
        report(&place.run(&job)?, flags.has("verbose"))?;
    }
    Ok(())
}

/// What is run at a time, and whether with nested paging: the case that prints much while others
/// look does not get through with it where that is emulated.
fn parts<'a>(filter: &'a str, place: &Place) -> Vec<(&'a str, bool)> {
    match (filter, place) {
        ("", Place::Nested(_)) => vec![("!console-visitors", true), ("console-visitors", false)],
        _ => vec![(filter, filter != "console-visitors")],
    }
}

fn script(jailed: &str, filter: &str) -> String {
    format!(
        "export PATH=$PWD:$PATH FIRECRACKER=$PWD/firecracker\n\
         export BHOJPUR_CONFORMANCE_IMAGE=/tmp/scratch/image.elf\n\
         mkdir -p /tmp/scratch\n\
         cp conformance.elf /tmp/scratch/image.elf\n\
         {jailed}\
         $inside ./firecracker-conformance /tmp/scratch/run '{filter}' >out/report\n"
    )
}

fn report(outcome: &Outcome, verbose: bool) -> Result<()> {
    let text = |name: &str| {
        outcome
            .files
            .get(name)
            .map_or_else(String::new, |file| String::from_utf8_lossy(file).into())
    };
    if verbose {
        println!("{}", outcome.console);
    }
    // What went to the console is the same line by line, so that a run which does not end tells how
    // far it came; or why there is no report.
    let report = if text("report").is_empty() { outcome.console.clone() } else { text("report") };
    println!("{report}");
    println!("{:.0} s in all", outcome.elapsed.as_secs_f64());
    ensure!(outcome.status == 0, "the suite did not pass: status {}", outcome.status);
    Ok(())
}

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

fn built(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// The example of the provider's crate: the report is its output, and its status the verdict.
fn qemu(filter: &str) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args(["run", "--quiet", "-p", "bhojpur-provider-qemu"]);
    let status = cargo.args(["--example", "conformance", "--", filter]).status()?;
    ensure!(status.success(), "QEMU does not do all that a provider has to");
    Ok(())
}

/// Builds what runs there.
fn programs() -> Result<Vec<(&'static str, PathBuf)>> {
    succeed(cargo().args(["build", "--bins", "-p", SUITE]), BUILD_LIMIT)?;
    let place = target().join("conformance");
    std::fs::create_dir_all(&place)?;
    // Without what is for debuggers: the guest's files are in its memory.
    let strip = |&name: &&'static str| -> Result<_> {
        let output = place.join(name);
        let mut strip = Command::new("strip");
        succeed(strip.arg("-o").arg(&output).arg(built(name)), BUILD_LIMIT)?;
        Ok((name, output))
    };
    PROGRAMS.iter().map(strip).collect()
}

/// The image, made here because there is no compiler there.
fn image() -> Result<Vec<u8>> {
    let place = target().join("conformance");
    let image = place.join("conformance.elf");
    let mut build = Command::new(built(PROGRAMS[0]));
    succeed(build.arg("--image").arg(&place), BUILD_LIMIT)?;
    std::fs::read(&image).with_context(|| image.display().to_string())
}
