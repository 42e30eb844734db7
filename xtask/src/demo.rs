// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask demo`: from a bare machine to a page served by a unikernel.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::lab::process::{Guarded, leashed};
use crate::lab::{root, target};

/// Programs that are needed, with the Debian packages that hold them.
const NEEDED: &[(&str, &str)] = &[("qemu-system-x86_64", "qemu-system-x86"), ("go", "golang-go")];
/// How long the server may take to answer.
const LIMIT: Duration = Duration::from_secs(60);
/// The port on which the example listens.
const GUEST_PORT: u16 = 8080;

/// Shows the product.
pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    install_missing()?;
    step("building the tools");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    succeed(cargo.current_dir(root()).args(["build", "--release", "--package", "bhojpur-cli"]))?;
    let kernel = target().join("release/kernel");
    let image = target().join("demo/web.elf");
    std::fs::create_dir_all(target().join("demo"))?;
    step("building the example web server as a unikernel");
    succeed(
        Command::new(&kernel).arg("build").arg("-o").arg(&image).arg(root().join("examples/web")),
    )?;
    let port = free_port()?;
    step(&format!("booting it: kernel run -p {port}:{GUEST_PORT} {}", image.display()));
    let (page, time) = boot_and_fetch(&kernel, &image, port)?;
    println!("{}", page.trim_end());
    println!("demo: from the start of `kernel run` to the page: {} ms", time.as_millis());
    Ok(())
}

fn step(text: &str) {
    println!("demo: {text}");
}

/// Installs what is not in `PATH`, where there is apt.
pub(crate) fn install_missing() -> Result<()> {
    install(NEEDED)
}

/// Installs packages whose program (or file, by its path) is missing.
pub(crate) fn install(needed: &[(&str, &'static str)]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if find("apt-get").is_none() {
        bail!(
            "these are missing: {packages}; install them with your package manager (macOS: brew install qemu go)"
        );
    }
    step(&format!("installing {packages}"));
    let root = rustix::process::geteuid().is_root();
    if !root && find("sudo").is_none() {
        bail!("these are missing: {packages}; only root can install them");
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        succeed(command.args(arguments))
    };
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} failed: {status}") }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn boot_and_fetch(kernel: &Path, image: &Path, port: u16) -> Result<(String, Duration)> {
    let start = Instant::now();
    let mut command = leashed(kernel);
    command.args(["run", "-p", &format!("{port}:{GUEST_PORT}")]).arg(image).stdin(Stdio::null());
    let mut guest = Guarded::spawn(&mut command)?;
    loop {
        if let Ok(page) = fetch(port, patience(start)) {
            return Ok((page, start.elapsed()));
        }
        if let Some(status) = guest.0.try_wait()? {
            bail!("the guest ended before it served a page: {status}");
        }
        if start.elapsed() > LIMIT {
            bail!("no page after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long a page may take that is asked for while the guest starts. QEMU accepts connections
/// before the guest does, and those hang for seconds: better a new one soon.
pub(crate) fn patience(start: Instant) -> Duration {
    (start.elapsed() / 2).clamp(Duration::from_millis(50), Duration::from_secs(5))
}

/// One request, without a library: what the server says after the headers.
pub(crate) fn fetch(port: u16, patience: Duration) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the server says {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}
