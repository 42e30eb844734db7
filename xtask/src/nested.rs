// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs a job that needs `/dev/kvm`: directly where the machine has it, else in
//! a Linux guest of QEMU whose emulated CPU has SVM. Real monitors then run real
//! guests, slowly but truly.
//!
//! A job is a shell script with its files. It runs as `./job.sh` in a directory
//! of its own, with the tools of busybox and the rights to make network devices,
//! and leaves its results in `./out`.

mod command;
mod results;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::linux::Linux;
use crate::lab::process::{self, succeed};
use crate::lab::target;

pub(crate) use command::run;

const INIT: &str = include_str!("nested/init.sh");
/// What a monitor needs of Linux: virtual CPUs of both makers, tap devices and
/// bridges.
const MODULES: [&str; 4] = ["kvm_amd", "kvm_intel", "tun", "bridge"];
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];
/// EPYC is a CPU with SVM and XSAVE, without which monitors refuse to start.
const CPU: &str = "EPYC,+svm";
/// What is said of a guest that is gone before it has told what it found.
const ENDED: &str = "ended without results";
/// What Linux says when it fails itself.
const PANIC: &str = "Kernel panic - not syncing";

/// A script with its files.
#[derive(Debug)]
pub(crate) struct Job {
    files: BTreeMap<String, (u32, Vec<u8>)>,
    libraries: BTreeMap<String, PathBuf>,
    cpus: u32,
    memory_mib: u32,
    nested_paging: bool,
    limit: Duration,
}

/// What a job left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit status of the script.
    pub(crate) status: i32,
    /// What the script and the machine around it printed.
    pub(crate) console: String,
    /// The files in `./out`, by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// How long it took, the machine around it included.
    pub(crate) elapsed: Duration,
}

/// Where a job runs.
#[derive(Debug)]
pub(crate) enum Place {
    /// On this machine.
    Direct,
    /// In a Linux guest.
    Nested(Linux),
}

impl Job {
    pub(crate) fn new(script: &str) -> Self {
        let files = BTreeMap::from([("job.sh".to_owned(), (0o755, script.as_bytes().to_vec()))]);
        let limit = Duration::from_secs(600);
        Self {
            files,
            libraries: BTreeMap::new(),
            cpus: 2,
            memory_mib: 1536,
            nested_paging: true,
            limit,
        }
    }

    /// Whether the emulated CPU does the second translation of addresses. Emulated, it changes
    /// memory of the Linux guest when a guest of that is interrupted by another CPU while it prints
    /// much: a "corrupted stack end", a reset or a lost guest follows (QEMU 7.2 and 10.0, in four of
    /// five such runs, and in none of nine without). Without it, ending a monitor by a signal takes
    /// minutes at times.
    pub(crate) fn nested_paging(&mut self, wanted: bool) -> &mut Self {
        self.nested_paging = wanted;
        self
    }

    /// Memory of the Linux guest.
    pub(crate) fn memory_mib(&mut self, memory: u32) -> &mut Self {
        self.memory_mib = memory;
        self
    }

    /// CPUs of the Linux guest.
    pub(crate) fn cpus(&mut self, cpus: u32) -> &mut Self {
        self.cpus = cpus;
        self
    }

    /// How long it may take.
    pub(crate) fn limit(&mut self, limit: Duration) -> &mut Self {
        self.limit = limit;
        self
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, name: &str, contents: &[u8]) -> &mut Self {
        self.files.insert(name.to_owned(), (0o644, contents.to_vec()));
        self
    }

    /// Adds a program, with the shared libraries that it loads.
    pub(crate) fn program(&mut self, name: &str, path: &Path) -> Result<&mut Self> {
        let contents = std::fs::read(path).with_context(|| path.display().to_string())?;
        self.files.insert(name.to_owned(), (0o755, contents));
        for library in shared_libraries(path)? {
            self.libraries.insert(library.to_string_lossy().into_owned(), library);
        }
        Ok(self)
    }
}

impl Place {
    /// This machine if it can, a Linux guest otherwise.
    pub(crate) fn find() -> Result<Self> {
        if has_kvm() {
            return Ok(Self::Direct);
        }
        Ok(Self::Nested(Linux::locate(&target().join("bench/linux"))?))
    }

    /// For the report.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Direct => "on this machine's /dev/kvm".to_owned(),
            Self::Nested(linux) => format!(
                "in Linux {} on an emulated CPU with SVM (this machine has no usable /dev/kvm)",
                linux.version
            ),
        }
    }

    /// Runs a job to its end.
    pub(crate) fn run(&self, job: &Job) -> Result<Outcome> {
        match self {
            Self::Direct => run_directly(job),
            Self::Nested(linux) => run_nested(job, linux).or_else(|error| {
                // No guest can do that to its host, so it is the emulation that fails.
                let told = error.to_string();
                let panic = told.lines().find(|line| line.contains(PANIC));
                let Some(what) = panic.or(told.lines().next().filter(|_| told.contains(ENDED)))
                else {
                    return Err(error);
                };
                println!("the Linux guest failed, once more: {what}");
                run_nested(job, linux)
            }),
        }
    }
}

/// The CPU can virtualise, and we may ask it to.
fn has_kvm() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let able = flags.lines().find(|line| line.starts_with("flags")).is_some_and(|line| {
        line.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm")
    });
    able && std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn busybox() -> Result<PathBuf> {
    let found = BUSYBOX.iter().map(PathBuf::from).find(|path| path.is_file());
    found.context("no busybox: install busybox-static")
}

/// What ldd(1) says; nothing for a static program.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = process::run(Command::new("ldd").arg(program), b"", Duration::from_secs(30))?;
    if said.status != 0 {
        return Ok(Vec::new());
    }
    let text = said.text();
    ensure!(!text.contains("not found"), "{} lacks libraries:\n{text}", program.display());
    let paths = text.lines().filter_map(|line| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.split_ascii_whitespace().next().filter(|word| word.starts_with('/'))
    });
    Ok(paths.map(PathBuf::from).collect())
}

/// A directory of this process alone, empty.
fn workspace() -> Result<PathBuf> {
    let place = target().join("nested").join(std::process::id().to_string());
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    Ok(place)
}

fn run_nested(job: &Job, linux: &Linux) -> Result<Outcome> {
    let place = workspace()?;
    let (initramfs, results) = (place.join("initramfs"), place.join("results"));
    std::fs::write(&initramfs, archive(job, linux)?)?;
    let qemu = std::env::var_os("KERNEL_QEMU").unwrap_or_else(|| "qemu-system-x86_64".into());
    let paging = if job.nested_paging { "" } else { ",-npt" };
    let mut qemu = process::leashed(qemu);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-M", "q35"])
        .args(["-accel", "tcg,thread=multi", "-cpu", &format!("{CPU}{paging}")])
        .args(["-m", &format!("{}M", job.memory_mib), "-smp", &job.cpus.to_string()])
        .args(["-serial", "stdio", "-serial"])
        .arg(format!("file:{}", results.display()))
        .arg("-kernel")
        .arg(&linux.kernel)
        .arg("-initrd")
        .arg(&initramfs)
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 rdinit=/init {}", clock())]);
    let ran = process::run(&mut qemu, b"", job.limit).context("QEMU: install qemu-system-x86")?;
    let sent = std::fs::read(&results).unwrap_or_default();
    std::fs::remove_dir_all(&place)?;
    let parsed = (!ran.timed_out).then(|| results::parse(&sent)).flatten();
    let Some((files, status)) = parsed else {
        bail!(
            "the Linux guest {} after {:.0} s:\n{}\n{}",
            if ran.timed_out { "did not end" } else { ENDED },
            ran.elapsed.as_secs_f64(),
            ran.text(),
            ran.errors()
        );
    };
    Ok(Outcome { status, console: ran.text(), files, elapsed: ran.elapsed })
}

/// The emulated counters all run with this machine's, which Linux cannot find out
/// by itself on a busy one: it measures a wrong frequency, mistrusts them, and
/// its virtual CPUs then have clocks that differ.
fn clock() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let megahertz = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    match megahertz.and_then(|(_, number)| number.trim().parse::<f64>().ok()) {
        Some(number) => format!("tsc=reliable tsc_early_khz={:.0}", number * 1000.0),
        None => String::new(),
    }
}

fn archive(job: &Job, linux: &Linux) -> Result<Vec<u8>> {
    let mut archive = linux.with_modules(&MODULES)?;
    for directory in ["bin", "job", "etc"] {
        archive.directory(directory, 0o755);
    }
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("bin/busybox", 0o755, &std::fs::read(busybox()?)?);
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    let mut made = Vec::new();
    for (name, path) in &job.libraries {
        let name = name.trim_start_matches('/');
        let mut parents: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents.iter().filter_map(|p| p.to_str()).filter(|p| !p.is_empty()) {
            if !made.contains(&parent.to_owned()) {
                archive.directory(parent, 0o755);
                made.push(parent.to_owned());
            }
        }
        archive.file(name, 0o755, &std::fs::read(path)?);
    }
    for (name, (permissions, contents)) in &job.files {
        archive.file(&format!("job/{name}"), *permissions, contents);
    }
    Ok(archive.finish())
}

/// In a network and user name space of its own, where the job may make devices.
fn run_directly(job: &Job) -> Result<Outcome> {
    use std::os::unix::fs::PermissionsExt as _;

    let place = workspace()?;
    let (bin, out) = (place.join("bin"), place.join("out"));
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(&out)?;
    succeed(Command::new(busybox()?).args(["--install", "-s"]).arg(&bin), Duration::from_secs(30))?;
    for (name, (permissions, contents)) in &job.files {
        let path = place.join(name);
        std::fs::write(&path, contents)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(*permissions))?;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--map-root-user", "sh", "./job.sh"])
        .current_dir(&place)
        .env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()));
    let ran = process::run(&mut command, b"", job.limit)?;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(&out)? {
        let entry = entry?;
        files
            .insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
    }
    std::fs::remove_dir_all(&place)?;
    ensure!(!ran.timed_out, "the job did not end:\n{}{}", ran.text(), ran.errors());
    let console = ran.text() + &ran.errors();
    Ok(Outcome { status: ran.status, console, files, elapsed: ran.elapsed })
}
