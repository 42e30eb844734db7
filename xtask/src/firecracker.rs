// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask firecracker`: unikernels in a real Firecracker: both of its ways
//! into a kernel, exit status, network, disk, metadata, several CPUs, snapshots.

mod checks;
mod clock;
mod guest;
mod seen;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::flags::Flags;
use crate::lab::process::succeed;
use crate::lab::toolchain::{self, Go};
use crate::lab::{root, target};
use crate::nested::{Job, Place};
use checks::CHECKS;
pub(crate) use guest::pvh_note;

const HELP: &str = "\
cargo xtask firecracker [FILTER..] [--tool PATH] [--required] [--verbose]
  Boots the program of tests/firecracker and examples/web in the Firecracker that
  $FIRECRACKER or PATH names. Without /dev/kvm it runs in a Linux guest of QEMU. FILTER is
  a part of the name of a check. Without Firecracker nothing is run; with --required that
  is an error.";

pub(crate) const MISSING: &str = "\
there is no Firecracker: take a release for x86_64 from
    https://github.com/firecracker-microvm/firecracker/releases
and put `firecracker` into PATH, or name it in FIRECRACKER";

const VOLUME_SIZE: u64 = 8 << 20;
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["tool"], &["help", "required", "verbose"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let Some(monitor) = monitor() else {
        ensure!(!flags.has("required"), MISSING);
        println!("SKIP  {MISSING}");
        println!("0 passed, 0 failed, {} skipped", CHECKS.len());
        return Ok(());
    };
    let version = succeed(Command::new(&monitor).arg("--version"), LIMIT)?.text();
    let place = Place::find()?;
    println!("{}, {}", version.lines().next().unwrap_or("Firecracker"), place.description());
    let chosen: Vec<_> = CHECKS
        .iter()
        .filter(|check| {
            flags.words.is_empty() || flags.words.iter().any(|w| check.name.contains(w.as_str()))
        })
        .collect();
    let mut script = String::from(checks::PRELUDE);
    let mut job = Job::new("");
    job.program("firecracker", &monitor)?;
    add_programs(&flags, &mut job)?;
    for check in &chosen {
        script.push_str(&(check.prepare)(check.name, &mut job));
    }
    script.push_str("exit 0\n");
    job.file("job.sh", script.as_bytes());
    let outcome = place.run(&job)?;
    if flags.has("verbose") || outcome.status != 0 {
        println!("{}\nthe script ended with {}", outcome.console, outcome.status);
    }
    let mut failed = Vec::new();
    for check in &chosen {
        match (check.judge)(check.name, &outcome) {
            Ok(said) => println!("PASS  {:<24} {said}", check.name),
            Err(error) => {
                println!("FAIL  {:<24} {error:#}", check.name);
                failed.push(check.name);
            }
        }
    }
    println!("{:.0} s in all", outcome.elapsed.as_secs_f64());
    println!("{} passed, {} failed, 0 skipped", chosen.len() - failed.len(), failed.len());
    ensure!(failed.is_empty(), "failed: {}\n{}", failed.join(" "), outcome.console);
    Ok(())
}

/// The one that the environment names, or the first in PATH.
pub(crate) fn monitor() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FIRECRACKER") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|d| d.join("firecracker")).find(|file| file.is_file())
}

/// An empty file system.
fn volume(file: &Path) -> Result<Vec<u8>> {
    std::fs::File::create(file)?.set_len(VOLUME_SIZE)?;
    let mut make = Command::new("mke2fs");
    make.args(["-t", "ext4", "-q", "-F"]).arg(file);
    succeed(&mut make, LIMIT).context("mke2fs: install e2fsprogs")?;
    Ok(std::fs::read(file)?)
}

/// Builds the images and the program that speaks to the monitor's socket.
fn add_programs(flags: &Flags, job: &mut Job) -> Result<()> {
    let tool = toolchain::kernel_tool(flags)?;
    let place = target().join("firecracker");
    std::fs::create_dir_all(&place)?;
    let sources = root().join("tests/firecracker");
    let image = |name: &str, source: &Path| -> Result<Vec<u8>> {
        let output = place.join(name);
        let mut build = Command::new(&tool);
        succeed(build.args(["build", "-q", "-o"]).arg(&output).arg(source), LIMIT)?;
        std::fs::read(&output).with_context(|| output.display().to_string())
    };
    let pvh = image("guest.elf", &sources.join("guest"))?;
    job.file("guest64.elf", &guest::without_pvh(&pvh)?);
    job.file("guest.elf", &pvh);
    job.file("web.elf", &image("web.elf", &root().join("examples/web"))?);
    job.file("volume", &volume(&place.join("volume"))?);
    let api = place.join("api");
    Go::at(Path::new("go"))?.build(&sources, "./api", &api)?;
    job.program("api", &api)?;
    Ok(())
}
