// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask guest [FILTER]`: runs the programs of `tests/guest` on the host
//! and in the unikernel; output and exit status must match.

mod difference;
mod manifest;
mod volume;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::flags::Flags;
use crate::lab::process::{self, Outcome};
use crate::lab::toolchain::{self, Go};
use crate::lab::{root, target};
use manifest::{Case, Libc};

pub(crate) const HELP: &str = "\
cargo xtask guest [FILTER..] [--host-only] [--cpus 1,4] [--jobs N] [--repeat N]
                  [--go PATH].. [--only-named-go] [--tool PATH] [--with NEED]..
  Runs each program of tests/guest on Linux and in the unikernel and compares
  standard output and exit status. FILTER is a part of the name of a case.
  Outputs are kept in target/guest/out.";

const HOST_LIMIT: Duration = Duration::from_secs(120);

/// A case with the binary that it runs.
#[derive(Debug)]
struct Prepared {
    case: Case,
    label: String,
    binary: PathBuf,
    image: Option<PathBuf>,
    linux: OnceLock<Result<Outcome, String>>,
}

#[derive(Debug)]
enum Verdict {
    Pass(Duration),
    Fail(String),
    Skip(String),
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let valued = ["cpus", "jobs", "repeat", "go", "tool", "with"];
    let flags = Flags::parse(arguments, &valued, &["host-only", "only-named-go", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let place = target().join("guest");
    for directory in ["bin", "image", "out"] {
        std::fs::create_dir_all(place.join(directory))?;
    }
    let manifest = manifest::read(&root().join("tests/guest"))?;
    let mut abilities = manifest.abilities;
    abilities.extend(flags.all("with").map(str::to_owned));
    let wanted = |c: &Case| {
        flags.words.is_empty() || flags.words.iter().any(|w| c.name.contains(w.as_str()))
    };
    let cases: Vec<Case> = manifest.cases.into_iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case has {} in its name", flags.words.join(" or "));
    }
    let host_only = flags.has("host-only");
    let tool = if host_only { None } else { Some(toolchain::kernel_tool(&flags)?) };
    let prepared = prepare(&cases, &Go::all(&flags)?, tool.as_deref(), &place)?;
    let cpus = flags.numbers("cpus")?;
    let repeat: usize = flags.number("repeat", 1)?;
    let mut jobs = VecDeque::new();
    for _ in 0..repeat {
        for p in &prepared {
            let machines = cpus.as_ref().unwrap_or(&p.case.cpus);
            let machines = if host_only { &machines[..1] } else { machines };
            jobs.extend(machines.iter().map(|&n| (p, n)));
        }
    }
    let run_one = |p: &Prepared, n: u32| match &tool {
        None => check_host(p),
        Some(tool) => check_unikernel(p, n, tool, &abilities, &place.join("out")),
    };
    report(jobs, flags.number("jobs", 2)?, run_one)
}

/// Builds every program that `cases` name, once for each toolchain.
fn prepare(cases: &[Case], gos: &[Go], tool: Option<&Path>, place: &Path) -> Result<Vec<Prepared>> {
    let sources = root().join("tests/guest");
    let mut built: BTreeMap<PathBuf, Option<PathBuf>> = BTreeMap::new();
    let mut prepared = Vec::new();
    for case in cases {
        let (language, name) = case.language()?;
        let variants: Vec<(String, Option<&Go>)> = match (language, case.libc) {
            ("go", _) => gos.iter().map(|g| (g.version.clone(), Some(g))).collect(),
            (_, Libc::Glibc) => vec![("glibc".to_owned(), None)],
            (_, Libc::Musl) => vec![("musl".to_owned(), None)],
        };
        for (label, go) in variants {
            let binary = place.join("bin").join(format!("{language}-{name}-{label}"));
            if !built.contains_key(&binary) {
                match go {
                    Some(go) => go.build(&sources.join("go"), &format!("./{name}"), &binary)?,
                    None => {
                        let compiler = if label == "musl" { "musl-gcc" } else { "gcc" };
                        let source = sources.join("c").join(format!("{name}.c"));
                        toolchain::build_c(compiler, &source, &["-O1"], &binary)?;
                    }
                }
                let image = tool.map(|tool| make_image(tool, &binary, place)).transpose()?;
                built.insert(binary.clone(), image);
            }
            let image = built.get(&binary).cloned().flatten();
            prepared.push(Prepared {
                case: case.clone(),
                label,
                binary,
                image,
                linux: OnceLock::new(),
            });
        }
    }
    Ok(prepared)
}

fn make_image(tool: &Path, binary: &Path, place: &Path) -> Result<PathBuf> {
    let name = binary.file_name().context("the binary has no name")?;
    let image = place.join("image").join(name).with_extension("elf");
    if !toolchain::fresh(&image, [tool, binary]) {
        toolchain::image(tool, binary, &image)?;
    }
    Ok(image)
}

fn on_linux(p: &Prepared) -> Result<Outcome> {
    if let Some(name) = &p.case.volume {
        volume::prepare_linux(name)?;
    }
    let mut command = Command::new(&p.binary);
    command.args(&p.case.args).env_clear().envs(&p.case.env).current_dir("/");
    process::run(&mut command, &p.case.stdin(), HOST_LIMIT)
}

fn in_unikernel(p: &Prepared, cpus: u32, tool: &Path, disk: Option<&Path>) -> Result<Outcome> {
    let image = p.image.as_ref().context("the image was not built")?;
    let mut command = process::leashed(tool);
    command.args(["run", "--accel", "tcg", "-m", &p.case.memory, "-c", &cpus.to_string()]);
    for (key, value) in &p.case.env {
        command.arg("--env").arg(format!("{key}={value}"));
    }
    if let (Some(disk), Some(name)) = (disk, &p.case.volume) {
        volume::make(disk, name)?;
        command.arg("-v").arg(format!("{}:/tmp", disk.display()));
    }
    command.arg(image).arg("--").args(&p.case.args);
    process::run(&mut command, &p.case.stdin(), Duration::from_secs(p.case.timeout))
}

fn check_host(p: &Prepared) -> Result<Verdict> {
    if p.case.expect.is_some() {
        return Ok(Verdict::Skip("only for the unikernel".to_owned()));
    }
    let (first, second) = (on_linux(p)?, on_linux(p)?);
    if first.timed_out || first.status == 99 {
        return Ok(Verdict::Fail(format!(
            "status {}\n{}{}",
            first.status,
            first.text(),
            first.errors()
        )));
    }
    Ok(compare(&first, &second))
}

fn check_unikernel(
    p: &Prepared,
    cpus: u32,
    tool: &Path,
    abilities: &[String],
    out: &Path,
) -> Result<Verdict> {
    if let Some(need) = p.case.needs.iter().find(|n| !abilities.contains(n)) {
        return Ok(Verdict::Skip(format!("needs {need}")));
    }
    let file = p.case.name.replace('/', "-");
    let disk = out.join(format!("{file}-{}-{cpus}.img", p.label));
    let disk = p.case.volume.is_some().then_some(disk.as_path());
    let unikernel = in_unikernel(p, cpus, tool, disk)?;
    for (kind, bytes) in [("stdout", &unikernel.stdout), ("stderr", &unikernel.stderr)] {
        std::fs::write(out.join(format!("{file}-{}-{cpus}.{kind}", p.label)), bytes)?;
    }
    let mut verdict = match (p.case.expect, &p.case.output) {
        (Some(status), wanted) => expectation(&unikernel, status, wanted.as_deref()),
        (None, _) => {
            let linux = p.linux.get_or_init(|| on_linux(p).map_err(|e| format!("{e:#}")));
            let linux = linux.as_ref().map_err(|e| anyhow::anyhow!("on Linux: {e}"))?;
            std::fs::write(out.join(format!("{file}-{}.linux", p.label)), &linux.stdout)?;
            if linux.status == 99 || linux.timed_out {
                bail!("fails on Linux too:\n{}{}", linux.text(), linux.errors());
            }
            let mut verdict = compare(linux, &unikernel);
            if let (Some(disk), Some(name), Verdict::Pass(_)) = (disk, &p.case.volume, &verdict) {
                let why = volume::compare(disk, name)?;
                if why.is_empty() {
                    std::fs::remove_file(disk)?;
                } else {
                    verdict = Verdict::Fail(why);
                }
            }
            verdict
        }
    };
    if let Verdict::Fail(why) = &mut verdict {
        let errors = unikernel.errors();
        let last: Vec<&str> = errors.lines().rev().take(8).collect();
        for line in last.iter().rev() {
            why.push_str(&format!("    stderr: {line}\n"));
        }
    }
    Ok(verdict)
}

fn expectation(unikernel: &Outcome, status: i32, wanted: Option<&str>) -> Verdict {
    let text = unikernel.text();
    if unikernel.timed_out {
        Verdict::Fail("timed out\n".to_owned())
    } else if unikernel.status != status {
        Verdict::Fail(format!("    status {} instead of {status}\n", unikernel.status))
    } else if let Some(line) = wanted.filter(|w| !text.lines().any(|l| l == *w)) {
        Verdict::Fail(format!("    no line says {line:?}\n"))
    } else {
        Verdict::Pass(unikernel.elapsed)
    }
}

fn compare(linux: &Outcome, unikernel: &Outcome) -> Verdict {
    let mut why = String::new();
    if unikernel.timed_out {
        why.push_str(&format!("    timed out after {:.0} s\n", unikernel.elapsed.as_secs_f64()));
    } else if linux.status != unikernel.status {
        why.push_str(&format!(
            "    status: Linux {}, unikernel {}\n",
            linux.status, unikernel.status
        ));
    }
    // A console carries both streams; that of errors names addresses and times.
    let mixed = !linux.stderr.is_empty() && difference::contains(&unikernel.text(), &linux.text());
    if !mixed {
        why.push_str(&difference::describe(&linux.text(), &unikernel.text()));
    }
    if why.is_empty() { Verdict::Pass(unikernel.elapsed) } else { Verdict::Fail(why) }
}

/// Runs `jobs` on `workers` threads and prints a line for each as it ends.
fn report<F>(jobs: VecDeque<(&Prepared, u32)>, workers: usize, run_one: F) -> Result<()>
where
    F: Fn(&Prepared, u32) -> Result<Verdict> + Sync,
{
    let queue = Mutex::new(jobs);
    let failed = Mutex::new(Vec::new());
    let counts = Mutex::new((0_usize, 0_usize));
    let next = || queue.lock().ok()?.pop_front();
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                while let Some((p, cpus)) = next() {
                    let name = format!("{} ({}, {cpus} cpu)", p.case.name, p.label);
                    let verdict =
                        run_one(p, cpus).unwrap_or_else(|e| Verdict::Fail(format!("    {e:#}\n")));
                    let (Ok(mut counts), Ok(mut failed)) = (counts.lock(), failed.lock()) else {
                        return;
                    };
                    match verdict {
                        Verdict::Pass(took) => {
                            counts.0 += 1;
                            println!("PASS  {name:<50} {:6.2} s", took.as_secs_f64());
                        }
                        Verdict::Skip(why) => {
                            counts.1 += 1;
                            println!("SKIP  {name}: {why}");
                        }
                        Verdict::Fail(why) => {
                            print!("FAIL  {name}\n{why}");
                            failed.push(name);
                        }
                    }
                }
            });
        }
    });
    let (passed, skipped) = counts.into_inner().unwrap_or_default();
    let failed = failed.into_inner().unwrap_or_default();
    println!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failed:\n  {}", failed.join("\n  ")) }
}
