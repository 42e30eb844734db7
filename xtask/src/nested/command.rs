// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask nested`: any script where there is `/dev/kvm`.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Job, Place};
use crate::lab::flags::Flags;

const HELP: &str = "\
cargo xtask nested SCRIPT [--program FILE].. [--file FILE].. [--out DIRECTORY]
                   [--cpus N] [--memory MIB] [--seconds N]
  Runs a shell script where there is a /dev/kvm: on this machine, or else in a Linux
  guest of QEMU whose emulated CPU has SVM. The script has the tools of busybox, the files
  that are named beside it (a program with its shared libraries), and may make network
  devices. What it leaves in ./out is copied to DIRECTORY. Its status is the command's.";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let valued = ["program", "file", "out", "cpus", "memory", "seconds"];
    let flags = Flags::parse(arguments, &valued, &["help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let [script] = flags.words.as_slice() else { bail!("name one script\n{HELP}") };
    let mut job = Job::new(&std::fs::read_to_string(script).with_context(|| script.clone())?);
    job.cpus(flags.number("cpus", 2)?).memory_mib(flags.number("memory", 1536)?);
    job.limit(std::time::Duration::from_secs(flags.number("seconds", 600)?));
    for path in flags.all("program") {
        job.program(&name(path)?, Path::new(path))?;
    }
    for path in flags.all("file") {
        job.file(&name(path)?, &std::fs::read(path).with_context(|| path.to_owned())?);
    }
    let place = Place::find()?;
    println!("{}", place.description());
    let outcome = place.run(&job)?;
    println!("{}\n{:.0} s", outcome.console.trim_end(), outcome.elapsed.as_secs_f64());
    if let Some(directory) = flags.value("out") {
        std::fs::create_dir_all(directory)?;
        for (name, contents) in &outcome.files {
            std::fs::write(Path::new(directory).join(name), contents)?;
        }
    }
    ensure!(outcome.status == 0, "the script ended with {}", outcome.status);
    Ok(())
}

/// The last part of a path.
fn name(path: &str) -> Result<String> {
    let name = Path::new(path).file_name().with_context(|| format!("{path} names no file"))?;
    Ok(name.to_string_lossy().into_owned())
}
