// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask crash`: ends a machine that writes to a volume at random moments
//! and looks whether everything is there that it said was on the disk.

mod promises;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::flags::Flags;
use crate::lab::process::{self, Guarded};
use crate::lab::{root, target, toolchain};
use promises::Promises;

pub(crate) const HELP: &str = "\
cargo xtask crash [--rounds N] [--seed N] [--cpus N] [--tool PATH]
  Boots a guest that writes to a volume and says what is on the disk for
  certain, kills its QEMU at a random moment, and checks the volume: the journal
  replays, e2fsck finds nothing, nothing that was promised is lost. The next
  round goes on with the same volume, ten times. 20 rounds in CI, 300 nightly.
  What a loss of power does beyond that, with writes that are lost or torn, is
  what `cargo test -p kfs-ext4` plays.";

const ROUNDS: u64 = 20;
/// Rounds that one volume lives.
const LIVES: u64 = 10;
const VOLUME_SIZE: u64 = 96 << 20;
const LIMIT: Duration = Duration::from_secs(120);
const STARTED: &str = "started writer";

/// Repeatable chance: splitmix64.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["rounds", "seed", "cpus", "tool"], &["help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let rounds: u64 = flags.number("rounds", ROUNDS)?;
    let seed: u64 = flags.number("seed", 1)?;
    let cpus: u32 = flags.number("cpus", 1)?;
    let place = target().join("crash");
    std::fs::create_dir_all(&place)?;
    let tool = toolchain::kernel_tool(&flags)?;
    let binary = place.join("writer");
    toolchain::build_c("gcc", &root().join("tests/crash/writer.c"), &["-O1"], &binary)?;
    let image = place.join("writer.elf");
    toolchain::image(&tool, &binary, &image)?;
    let lab = Lab { tool, image, volume: place.join("volume.img"), place, cpus };
    println!("{rounds} rounds, seed {seed}");
    let mut promises = Promises::default();
    let mut kept = 0;
    for round in 0..rounds {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(round));
        if round % LIVES == 0 {
            promises = Promises::default();
            lab.make_volume(&mut random)?;
        }
        let delay = Duration::from_millis(20 + random.draw() % 1500);
        let lines = lab.live(random.draw() % 1_000_000, 1 + round % LIVES, delay)?;
        let said = promises.hear(&lines)?;
        kept += said;
        lab.check(&promises).with_context(|| {
            format!(
                "round {round} of seed {seed}, killed {} ms after the start; the volume is {}",
                delay.as_millis(),
                lab.place.join("crashed.img").display()
            )
        })?;
        println!(
            "round {round:3}: killed after {:4} ms, {said:3} promises kept",
            delay.as_millis()
        );
    }
    println!("{rounds} rounds, {kept} promises: all kept, and e2fsck found nothing");
    Ok(())
}

struct Lab {
    tool: PathBuf,
    image: PathBuf,
    volume: PathBuf,
    place: PathBuf,
    cpus: u32,
}

impl Lab {
    /// A fresh volume: large or small blocks, a journal that wraps soon or late.
    fn make_volume(&self, random: &mut Random) -> Result<()> {
        let file = std::fs::File::create(&self.volume)?;
        file.set_len(VOLUME_SIZE)?;
        let block = if random.draw().is_multiple_of(4) { "1024" } else { "4096" };
        let journal = if random.draw().is_multiple_of(2) { "size=4" } else { "size=16" };
        let mut command = Command::new("mke2fs");
        command.args(["-t", "ext4", "-q", "-F", "-b", block, "-J", journal]).arg(&self.volume);
        process::succeed(&mut command, LIMIT).map(drop)
    }

    /// Runs the writer until its machine is killed, and gives what it said.
    fn live(&self, seed: u64, life: u64, delay: Duration) -> Result<String> {
        let mut command = process::leashed(&self.tool);
        command.args(["run", "--accel", "tcg", "-m", "256M", "-c", &self.cpus.to_string()]);
        command.arg("-v").arg(format!("{}:/data", self.volume.display())).arg(&self.image);
        command.args(["--", "/data", &seed.to_string(), &life.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guarded = Guarded::spawn(&mut command)?;
        let output = guarded.0.stdout.take().context("no pipe")?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = std::thread::spawn({
            let said = said.clone();
            move || listen(output, &said)
        });
        let text = || {
            let said = said.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&said).into_owned()
        };
        let begun = Instant::now();
        while !text().contains(STARTED) {
            if begun.elapsed() > LIMIT || guarded.0.try_wait()?.is_some() {
                let mut errors = String::new();
                if let Some(mut pipe) = guarded.0.stderr.take() {
                    process::stop(&mut guarded.0);
                    let _ = pipe.read_to_string(&mut errors);
                }
                bail!("the writer does not start:\n{}{errors}", text());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(delay);
        for monitor in children(guarded.0.id())? {
            kill_process(monitor, Signal::KILL)?;
        }
        let begun = Instant::now();
        while guarded.0.try_wait()?.is_none() {
            ensure!(begun.elapsed() < LIMIT, "the tool outlives its QEMU");
            std::thread::sleep(Duration::from_millis(1));
        }
        ensure!(listener.join().is_ok(), "the listener failed");
        Ok(text())
    }

    /// Looks at a copy of the volume as the machine left it.
    fn check(&self, promises: &Promises) -> Result<()> {
        let crashed = self.place.join("crashed.img");
        let copy = self.place.join("checked.img");
        for place in [&crashed, &copy] {
            std::fs::copy(&self.volume, place)?;
        }
        let check = |arguments: &[&str]| {
            let mut command = Command::new("e2fsck");
            command.args(arguments).arg(&copy);
            process::run(&mut command, b"", LIMIT)
        };
        check(&["-f", "-y", "-E", "journal_only"])?;
        // Files without a name that were open are freed by whoever mounts next;
        // that is the only thing that may be left to do.
        let orphans = check(&["-f", "-y"])?;
        let odd = |line: &&str| {
            let start = ["Pass ", "Clearing orphaned inode", "e2fsck "];
            !line.is_empty()
                && !start.iter().any(|s| line.starts_with(s))
                && !line.contains("non-contiguous")
                && !line.contains("FILE SYSTEM WAS MODIFIED")
        };
        let text = orphans.text();
        if let Some(line) = text.lines().find(odd) {
            bail!("e2fsck: {line}\n{text}");
        }
        let again = check(&["-f", "-n"])?;
        ensure!(again.status == 0, "e2fsck -f -n: {}", again.text());
        let dump = self.place.join("files");
        let _ = std::fs::remove_dir_all(&dump);
        std::fs::create_dir(&dump)?;
        let mut command = Command::new("debugfs");
        command.arg("-R").arg(format!("rdump / {}", dump.display())).arg(&copy);
        process::succeed(&mut command, LIMIT)?;
        promises.check(&dump)
    }
}

fn listen(mut from: impl std::io::Read, said: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
    }
}

/// The processes that a process started: the tool has one QEMU.
fn children(of: u32) -> Result<Vec<Pid>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{of}/task"))? {
        let text = std::fs::read_to_string(Path::new(&task?.path()).join("children"))?;
        let pids = text.split_whitespace().filter_map(|word| word.parse().ok());
        all.extend(pids.filter_map(Pid::from_raw));
    }
    ensure!(!all.is_empty(), "the tool has no QEMU");
    Ok(all)
}
