// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask bench`: our kernel against a Linux guest that runs the same
//! static binary under the same QEMU command line, in the same run.

pub(crate) mod cpio;
pub(crate) mod linux;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod ratchet;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::lab::flags::Flags;
use crate::lab::process::succeed;
use crate::lab::toolchain::{self, Go};
use crate::lab::{root, target};
use linux::Linux;
use machine::{Board, Boot};
use measure::{Load, Transfer};
use table::Row;

pub(crate) const HELP: &str = "\
cargo xtask bench [ROW..] [--quick] [--linux-only] [--tool PATH] [--no-write]
  Measures boot time, instructions to the program, least memory, sizes, web
  requests per second and system calls on our kernel and on a Linux guest, and
  writes the table to docs/benchmarks.md (not with --quick, --linux-only or ROW,
  which is a part of the name of a row, and not when a measurement failed).";

/// The programs to measure, and the guests that run them.
#[derive(Debug)]
pub(crate) struct Subjects {
    place: PathBuf,
    tool: Option<PathBuf>,
    linux: Option<Linux>,
    /// The kernel that only says when it was entered.
    pub(crate) entry: Boot,
}

impl Subjects {
    /// Builds the workloads; with `compare` also fetches the Linux guest.
    pub(crate) fn prepare(flags: &Flags, compare: bool) -> Result<Self> {
        crate::demo::install_missing()?;
        crate::demo::install(&[("gcc", "gcc"), ("wrk", "wrk")])?;
        let place = target().join("bench");
        std::fs::create_dir_all(&place)?;
        let sources = root().join("bench");
        let go = Go::at(Path::new("go"))?;
        for name in ["hello", "httpd", "bulk", "soak"] {
            let file = format!("{name}.go");
            go.build(&sources, &file, &place.join(name))?;
        }
        for name in ["microbench", "init"] {
            let source = sources.join(format!("{name}.c"));
            toolchain::build_c("gcc", &source, &["-O2", "-w"], &place.join(name))?;
        }
        assemble(&sources.join("tsc.S"), &[], &place.join("tsc"))?;
        assemble(&sources.join("entry.S"), &["-Wl,-Ttext=0x100000"], &place.join("entry"))?;
        let tool = if flags.has("linux-only") || flags.has("linux") {
            None
        } else {
            Some(toolchain::kernel_tool(flags)?)
        };
        let linux = if compare { Some(Linux::locate(&place.join("linux"))?) } else { None };
        let entry = Boot::Image(place.join("entry"));
        Ok(Self { place, tool, linux, entry })
    }

    pub(crate) fn tool(&self) -> Result<&Path> {
        self.tool.as_deref().context("there is no kernel tool")
    }

    /// Our kernel with `program` and its arguments.
    pub(crate) fn ours(&self, program: &str, arguments: &[&str]) -> Result<Boot> {
        let image = self.place.join(format!("{program}{}.elf", arguments.join("-")));
        let mut command = Command::new(self.tool()?);
        command.arg("build").arg("-o").arg(&image);
        for argument in arguments {
            command.arg("--arg").arg(argument);
        }
        succeed(command.arg(self.place.join(program)), Duration::from_secs(120))?;
        Ok(Boot::Image(image))
    }

    /// Linux with `program` as its first process.
    pub(crate) fn linux(&self, program: &str, arguments: &[&str]) -> Result<Boot> {
        let linux = self.linux.as_ref().context("there is no Linux guest")?;
        let binary = self.place.join(program);
        let archive = match program {
            "httpd" | "bulk" | "soak" => {
                linux.initramfs_with_network(&self.place.join("init"), &binary)?
            }
            _ => linux.initramfs(&binary)?,
        };
        let initramfs = self.place.join(format!("{program}.cpio"));
        std::fs::write(&initramfs, archive)?;
        Ok(Boot::Linux { kernel: linux.kernel.clone(), initramfs, arguments: arguments.join(" ") })
    }
}

fn assemble(source: &Path, extra: &[&str], output: &Path) -> Result<()> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,noexecstack"]);
    succeed(gcc.args(extra).arg("-o").arg(output).arg(source), Duration::from_secs(60)).map(drop)
}

/// Collects rows; a measurement that fails is shown and leaves a gap, with which the table is not
/// kept.
struct Report<'a> {
    subjects: &'a Subjects,
    wanted: &'a [String],
    rows: Vec<Row>,
    /// What could not be measured.
    gaps: Vec<String>,
}

impl Report<'_> {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|w| name.contains(w.as_str()))
    }

    /// What was measured of one guest, if it was.
    fn side<T>(&mut self, row: &str, who: &str, measured: Result<T>) -> Option<T> {
        match measured {
            Ok(value) => Some(value),
            Err(error) => {
                eprintln!("  {who}: {error:#}");
                self.gaps.push(format!("{row} ({who})"));
                None
            }
        }
    }

    fn row<M>(
        &mut self,
        name: &str,
        unit: &'static str,
        aim: Option<f64>,
        program: &str,
        measure: M,
    ) where
        M: Fn(&Boot) -> Result<f64>,
    {
        if !self.wants(name) {
            return;
        }
        let arguments: &[&str] = if program == "hello" { &["poweroff"] } else { &[] };
        let linux = self.subjects.linux(program, arguments).and_then(|boot| measure(&boot));
        let linux = self.side(name, "Linux", linux);
        let ours = self
            .subjects
            .tool
            .is_some()
            .then(|| self.subjects.ours(program, &[]).and_then(|boot| measure(&boot)));
        let ours = ours.and_then(|ours| self.side(name, "Bhojpur", ours));
        self.push(Row { name: name.to_owned(), unit, linux, ours, aim });
    }

    fn push(&mut self, row: Row) {
        let show = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
        println!("{:<40} {:>16} {:>16} {}", row.name, show(row.linux), show(row.ours), row.unit);
        self.rows.push(row);
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["tool"], &["quick", "linux-only", "no-write", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let quick = flags.has("quick");
    let subjects = Subjects::prepare(&flags, true)?;
    let mut report =
        Report { subjects: &subjects, wanted: &flags.words, rows: Vec::new(), gaps: Vec::new() };
    println!("{:<40} {:>16} {:>16}", "", "Linux", "Bhojpur");
    boot_rows(&mut report, quick);
    size_rows(&mut report, quick);
    web_rows(&mut report, if quick { 3 } else { 10 });
    bulk_rows(&mut report, if quick { 32 } else { 192 });
    microbench_rows(&mut report, if quick { "0.1" } else { "1" });
    let text = document(&report.rows, &subjects)?;
    println!("\n{text}");
    let partial =
        quick || flags.has("linux-only") || flags.has("no-write") || !flags.words.is_empty();
    let place = (!partial).then(|| root().join("docs/benchmarks.md"));
    keep(&text, &report.gaps, place.as_deref())
}

/// Writes the table, where it is to be kept; one with gaps never.
fn keep(text: &str, gaps: &[String], place: Option<&Path>) -> Result<()> {
    ensure!(
        gaps.is_empty(),
        "not everything could be measured, and nothing is kept: {}",
        gaps.join(", ")
    );
    match place {
        Some(place) => {
            std::fs::write(place, text).with_context(|| format!("cannot write {}", place.display()))
        }
        None => Ok(()),
    }
}

fn boot_rows(report: &mut Report<'_>, quick: bool) {
    let runs = if quick { 3 } else { 9 };
    for (board, aim) in [(Board::MicroVm, 0.042), (Board::Pc, 0.042)] {
        let name = format!("boot to first output, hello ({})", board.name());
        report.row(&name, "s", Some(aim), "hello", |boot| measure::boot_seconds(boot, board, runs));
    }
    for board in [Board::MicroVm, Board::Pc] {
        let name = format!("instructions to the program ({})", board.name());
        let entry = report.subjects.entry.clone();
        report.row(&name, "instructions", Some(0.0032), "tsc", |boot| {
            Ok(measure::tsc(boot, board)? - measure::tsc(&entry, board)?)
        });
    }
}

fn size_rows(report: &mut Report<'_>, quick: bool) {
    let limit = Duration::from_secs(if quick { 6 } else { 15 });
    let hello = |boot: &Boot| measure::least_memory_hello(boot, Board::Pc, limit);
    report.row("least memory, hello", "MiB", Some(0.139), "hello", hello);
    let httpd = |boot: &Boot| measure::least_memory_httpd(boot, Board::Pc, limit);
    report.row("least memory, httpd", "MiB", Some(0.18), "httpd", httpd);
    report.row("kernel size", "bytes", Some(0.085), "hello", |boot| match boot {
        Boot::Linux { kernel, .. } => Ok(kernel.metadata()?.len() as f64),
        Boot::Image(image) => Ok(machine::kernel_size(image)? as f64),
    });
}

fn web_rows(report: &mut Report<'_>, seconds: u32) {
    for (connections, close, aim) in [(16, false, 2.93), (16, true, 4.29), (64, false, 3.64)] {
        let kind = if close { "close" } else { "keep-alive" };
        let load = Load { connections, close, seconds };
        let name = format!("httpd, {connections} connections, {kind}");
        report.row(&name, "req/s", Some(aim), "httpd", |boot| {
            measure::requests_per_second(boot, Board::Pc, load)
        });
    }
}

fn bulk_rows(report: &mut Report<'_>, mebibytes: u32) {
    for transfer in [Transfer::Memory, Transfer::File, Transfer::Upload] {
        let name = format!("one connection, {}", transfer.name());
        report.row(&name, "MiB/s", Some(1.0), "bulk", |boot| {
            measure::mebibytes_per_second(boot, Board::Pc, transfer, mebibytes)
        });
    }
}

/// Ratios to Linux that the project aims at.
const AIMS: [(&str, f64); 16] = [
    ("getppid", 0.545),
    ("clock_gettime(vdso?)", 1.0),
    ("write_devnull_1B", 0.506),
    ("pipe_1thread_wr+rd", 0.507),
    ("pipe_pingpong_rt", 0.437),
    ("futex_handoff_rt", 0.362),
    ("thread_create+join", 0.269),
    ("mmap+touch+munmap_4k", 0.371),
    ("touch_page_16M_bulk", 0.225),
    ("file_pwrite_4k", 0.363),
    ("file_pread_4k_cached", 0.446),
    ("open+close", 0.406),
    ("stat", 0.34),
    ("epoll_wait_ready", 0.545),
    ("user_loop", 1.05),
    ("read_devzero_4k", 1.0),
];

fn microbench_rows(report: &mut Report<'_>, scale: &str) {
    if !report.wants("microbench") {
        return;
    }
    let subjects = report.subjects;
    let measured =
        |boot: Result<Boot>| boot.and_then(|boot| measure::microbench(&boot, Board::Pc, false));
    let linux = measured(subjects.linux("microbench", &[scale, "poweroff"]));
    let linux = report.side("microbench", "Linux", linux).unwrap_or_default();
    let ours = subjects.tool.is_some().then(|| measured(subjects.ours("microbench", &[scale])));
    let ours = ours.and_then(|ours| report.side("microbench", "Bhojpur", ours)).unwrap_or_default();
    let names = if linux.is_empty() { &ours } else { &linux };
    let value =
        |rows: &[(String, f64)], name: &str| rows.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    for (name, _) in names {
        let aim = AIMS.iter().find(|(n, _)| n == name).map(|(_, a)| *a);
        let both = !linux.is_empty() && !ours.is_empty();
        let (linux, ours) = (value(&linux, name), value(&ours, name));
        if both && ours.is_none() {
            report.gaps.push(format!("{name} (Bhojpur)"));
        }
        report.push(Row { name: name.clone(), unit: "ns", linux, ours, aim });
    }
}

fn document(rows: &[Row], subjects: &Subjects) -> Result<String> {
    let first = |program: &str, arguments: &[&str]| -> String {
        let said = succeed(Command::new(program).args(arguments), Duration::from_secs(20));
        said.map(|o| o.text().lines().next().unwrap_or_default().to_owned()).unwrap_or_default()
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let linux = subjects.linux.as_ref().map_or("none", |l| l.version.as_str());
    Ok(format!(
        "# Benchmarks\n\n\
         Made by `cargo xtask bench` on {date}. Both guests run the same static binaries under the same\n\
         QEMU command line (software emulation, one processor, 512 MiB) in the same run; what counts is\n\
         the ratio. Less is better, except for requests per second. Instructions are counted by QEMU\n\
         (`-icount shift=0,sleep=off`) from the entry of the kernel to the first instruction of the\n\
         program. The aim is a ratio too.\n\n\
         * Machine: {model}, {cores} cores\n\
         * {qemu}\n\
         * Linux guest: Debian {linux} (cloud)\n\
         * Our revision: {revision}\n\
         * {go}; {gcc}; {rust}\n\n\
         {table}",
        date = first("date", &["-u", "+%Y-%m-%d"]),
        qemu = first("qemu-system-x86_64", &["--version"]),
        revision =
            first("git", &["-C", &root().display().to_string(), "describe", "--always", "--dirty"]),
        go = first("go", &["version"]),
        gcc = first("gcc", &["--version"]),
        rust = first("rustc", &["--version"]),
        table = table::markdown(rows),
    ))
}

#[cfg(test)]
mod tests {
    use super::keep;

    #[test]
    fn a_table_with_gaps_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("benchmarks.md");
        std::fs::write(&place, "before").unwrap();
        let gaps = ["least memory, httpd (Bhojpur)".to_owned()];
        let error = keep("| - |", &gaps, Some(&place)).unwrap_err();
        assert!(error.to_string().contains("least memory"), "{error}");
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "before");
        assert!(keep("| - |", &gaps, None).is_err(), "a part of the rows counts too");
        keep("| 1 |", &[], Some(&place)).unwrap();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "| 1 |");
    }
}
