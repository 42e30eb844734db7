// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel run`: status, arguments, input, signals, ports, memory.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::debugger::Debugger;
use super::{LIMIT, Lab, Verdict, ends, free_port};
use crate::demo::{fetch, patience};
use crate::lab::process::{self, Guarded};

pub(super) fn status(lab: &Lab) -> Result<Verdict> {
    for status in [0, 1, 7, 255] {
        ends(&mut lab.run(&[], &lab.image(), &["exit", &status.to_string()]), b"", status)?;
    }
    Ok(Verdict::Passed)
}

pub(super) fn arguments_and_environment(lab: &Lab) -> Result<Verdict> {
    let image = lab.place.join("configured.elf");
    let name = image.to_string_lossy();
    lab.build(&["-o", &name, "--env", "MODE=built", "--arg", "--deep", "--arg", "two words"])?;
    let built = ends(&mut lab.run(&[], &image, &[]), b"", 0)?;
    expect(&built.text(), "arguments [\"--deep\" \"two words\"]\nmode built cpus 1\n")?;
    let changed = ends(&mut lab.run(&["--env", "MODE=run"], &image, &["one", ""]), b"", 0)?;
    expect(&changed.text(), "arguments [\"one\" \"\"]\nmode run cpus 1\n")?;
    ensure!(changed.errors().lines().all(|line| line.contains("emulated")), changed.errors());
    Ok(Verdict::Passed)
}

pub(super) fn files(lab: &Lab) -> Result<Verdict> {
    let read = ends(&mut lab.run(&[], &lab.image(), &["read", "/srv/said"]), b"", 0)?;
    ensure!(read.text().ends_with("so\n <nil>\n"), read.text());
    Ok(Verdict::Passed)
}

/// A call that the kernel does not know is named, once.
pub(super) fn unknown_call(lab: &Lab) -> Result<Verdict> {
    let done = ends(&mut lab.run(&[], &lab.image(), &["call", "999"]), b"", 0)?;
    ensure!(done.text().ends_with("function not implemented\nfunction not implemented\n"));
    let named = done.errors().lines().filter(|line| line.contains("system call 999")).count();
    ensure!(named == 1, "{}", done.errors());
    Ok(Verdict::Passed)
}

/// A program with shared libraries that the image was given, started by the one that runs.
pub(super) fn other_programs(lab: &Lab) -> Result<Verdict> {
    let image = lab.place.join("programs.elf");
    let name = image.to_string_lossy();
    lab.build(&["-o", &name, "--include", "/usr/bin/sort:/usr/bin/sort", "--include", ".:/srv"])?;
    let words = ["execute", "sort", "-r", "/srv/go.mod"];
    let ran = ends(&mut lab.run(&[], &image, &words), b"", 0)?;
    let module = std::fs::read_to_string(lab.project().join("go.mod"))?;
    let mut lines: Vec<&str> = module.lines().collect();
    lines.sort_unstable();
    lines.reverse();
    let wanted = format!("{:?} <nil>", lines.join("\n") + "\n");
    ensure!(ran.text().contains(&wanted), "{wanted} is not in {}", ran.text());
    Ok(Verdict::Passed)
}

pub(super) fn processors(lab: &Lab) -> Result<Verdict> {
    let ran = ends(&mut lab.run(&["-c", "4"], &lab.image(), &[]), b"", 0)?;
    ensure!(ran.text().contains("cpus 4\n"), ran.text());
    Ok(Verdict::Passed)
}

pub(super) fn standard_input(lab: &Lab) -> Result<Verdict> {
    let ran = ends(&mut lab.run(&[], &lab.image(), &["input"]), b"first\nlast without end", 0)?;
    ensure!(ran.text().ends_with("line first\nline last without end\n"), ran.text());
    Ok(Verdict::Passed)
}

/// What Ctrl-C sends, sent to the tool alone.
pub(super) fn interrupt(lab: &Lab) -> Result<Verdict> {
    let mut command = lab.run(&[], &lab.image(), &["sleep"]);
    let mut guest = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    std::thread::sleep(Duration::from_secs(1));
    let pid = i32::try_from(guest.0.id()).ok().and_then(Pid::from_raw).context("no process")?;
    let start = Instant::now();
    kill_process(pid, Signal::INT)?;
    let status = loop {
        if let Some(status) = guest.0.try_wait()? {
            break status;
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "it did not stop");
        std::thread::sleep(Duration::from_millis(10));
    };
    ensure!(status.code() == Some(130), "ended with {status}");
    Ok(Verdict::Passed)
}

pub(super) fn tcp_port(lab: &Lab) -> Result<Verdict> {
    serve(lab, &[], &lab.place.join("web.elf"), 20)
}

/// Boots an image of examples/web and fetches `pages` pages.
pub(super) fn serve(lab: &Lab, flags: &[&str], image: &Path, pages: u32) -> Result<Verdict> {
    let port = free_port()?;
    let forward = format!("{port}:8080");
    let mut command = lab.run(&[flags, &["-p", &forward]].concat(), image, &[]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut guest = Guarded::spawn(&mut command)?;
    let start = Instant::now();
    for page in 0..pages {
        loop {
            let patience = if page == 0 { patience(start) } else { Duration::from_secs(20) };
            match fetch(port, patience) {
                Ok(body) if body.starts_with("Hello from a unikernel.") => break,
                Ok(body) => bail!("page {page} says {body:?}"),
                // Until it listens, connections are refused or end.
                Err(_) if page == 0 && start.elapsed() < LIMIT => {}
                Err(error) => return Err(error.context(format!("page {page}"))),
            }
            if let Some(status) = guest.0.try_wait()? {
                bail!("the guest ended before it served page {page}: {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(Verdict::Passed)
}

pub(super) fn udp_port(lab: &Lab) -> Result<Verdict> {
    let port = free_port()?;
    let forward = format!("{port}:5353/udp");
    let mut command = lab.run(&["-p", &forward], &lab.image(), &["udp"]);
    let mut guest = Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let start = Instant::now();
    let mut buffer = [0; 64];
    loop {
        // Nobody says when the guest listens, and datagrams get lost.
        let _ = socket.send(b"ping");
        if let Ok(count) = socket.recv(&mut buffer) {
            ensure!(&buffer[..count] == b"re: ping", "{:?}", &buffer[..count]);
            break;
        }
        ensure!(start.elapsed() < LIMIT, "no answer");
        if let Some(status) = guest.0.try_wait()? {
            bail!("the guest ended without an answer: {status}");
        }
    }
    Ok(Verdict::Passed)
}

/// The error for too little memory tells what is needed; with that much, it runs.
pub(super) fn least_memory(lab: &Lab) -> Result<Verdict> {
    let needed = least(lab, &lab.image())?;
    ends(&mut lab.run(&["-m", &needed], &lab.image(), &[]), b"", 0)?;
    let web = lab.place.join("web.elf");
    let served = least(lab, &web)?;
    serve(lab, &["-m", &served], &web, 1)?;
    println!("    least memory: program {needed}, web server {served}");
    Ok(Verdict::Passed)
}

/// `10M`, from "it needs at least 10 MiB".
fn least(lab: &Lab, image: &Path) -> Result<String> {
    let refused = process::run(&mut lab.run(&["-m", "1M"], image, &[]), b"", LIMIT)?;
    ensure!(refused.status == 125, "1 MiB is taken: {}", refused.status);
    let said = refused.errors();
    let number = said.split_once("at least ").and_then(|(_, rest)| rest.split_once(" MiB"));
    Ok(format!("{}M", number.with_context(|| said.clone())?.0))
}

pub(super) fn gdb(lab: &Lab) -> Result<Verdict> {
    let port = free_port()?.to_string();
    let mut command = lab.run(&["--gdb", "--gdb-port", &port], &lab.image(), &["exit", "9"]);
    let mut guest =
        Guarded::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut debugger = Debugger::attach(port.parse()?)?;
    ensure!(guest.0.try_wait()?.is_none(), "it did not wait for the debugger");
    debugger.go_on()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = guest.0.try_wait()? {
            break status;
        }
        ensure!(start.elapsed() < LIMIT, "it did not go on");
        std::thread::sleep(Duration::from_millis(10));
    };
    ensure!(status.code() == Some(9), "ended with {status}");
    Ok(Verdict::Passed)
}

fn expect(text: &str, wanted: &str) -> Result<()> {
    ensure!(text == wanted, "the output is {text:?}, not {wanted:?}");
    Ok(())
}
