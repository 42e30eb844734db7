// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask soak`: a web server in the unikernel under 64 connections for
//! minutes. It must never stall, never fail a request and never grow.
//!
//! The load reaches it through a tap device, in a network namespace of its own: QEMU's user network
//! listens with room for one connection, and what a crowd loses there says nothing about the guest.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::Subjects;
use crate::bench::machine::{self, Board, Machine, Network};
use crate::bench::measure::{Answer, Load, READY};
use crate::lab::flags::Flags;

pub(crate) const HELP: &str = "\
cargo xtask soak [--seconds N] [--cpus 1,4] [--connections N] [--memory MiB]
                 [--tool PATH] [--linux]
  Loads the web server with wrk, keep-alive and close, for N seconds in all
  (default 480), and fails when no request finishes for 2 seconds, when one
  fails, or when memory is lost. --linux soaks the Linux guest instead, to see
  that the test itself is sound. Needs a Linux host with user namespaces.";

/// Set inside of the network namespace.
const INSIDE: &str = "BHOJPUR_SOAK_NETWORK";
const TAP: &str = "tap-soak";

/// The longest time without a finished request.
const STALL: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(500);
/// The longest that one request of a connection of ours may take.
const LATE: Duration = Duration::from_secs(5);
/// Connections of ours beside those of wrk, which does not notice one that hangs.
const PROBES: usize = 4;
/// Memory that may be gone at the end of a phase: caches that fill up once.
const GROWTH_KIB: u64 = 8 << 10;

/// What `/state` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    requests: u64,
    heap_kib: u64,
    total_kib: u64,
    available_kib: u64,
    goroutines: u64,
    descriptors: u64,
}

impl State {
    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| -> Result<u64> {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|n| n.trim().parse().ok())
                .with_context(|| format!("no {name} in {text:?}"))
        };
        Ok(Self {
            requests: field("requests")?,
            heap_kib: field("heap_kib")?,
            total_kib: field("total_kib")?,
            available_kib: field("available_kib")?,
            goroutines: field("goroutines")?,
            descriptors: field("descriptors")?,
        })
    }

    fn of(server: SocketAddr, path: &str) -> Result<Self> {
        Self::parse(&machine::fetch(server, path, STALL * 5)?)
    }

    /// The state when the machine has come to rest: connections that were
    /// closed are gone, garbage is collected.
    fn at_rest(server: SocketAddr) -> Result<Self> {
        let mut best = Self::of(server, "/state?collect")?;
        for _ in 0..20 {
            std::thread::sleep(POLL);
            let now = Self::of(server, "/state?collect")?;
            if now.available_kib > best.available_kib {
                best = now;
            }
        }
        Ok(best)
    }
}

struct Phase {
    cpus: u32,
    close: bool,
    connections: u32,
    length: Duration,
}

impl Phase {
    fn name(&self) -> String {
        let kind = if self.close { "close" } else { "keep-alive" };
        format!("{} cpu, {} connections, {kind}", self.cpus, self.connections)
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let valued = ["seconds", "cpus", "connections", "memory", "tool"];
    let flags = Flags::parse(arguments, &valued, &["linux", "linux-only", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let linux = flags.has("linux");
    // All that needs the network of the machine happens before there is another one.
    let subjects = Subjects::prepare(&flags, linux)?;
    if std::env::var_os(INSIDE).is_none() {
        return in_a_network_of_its_own(arguments);
    }
    let boot = if linux { subjects.linux("soak", &[])? } else { subjects.ours("soak", &[])? };
    let board = if linux { Board::Pc } else { Board::MicroVm };
    let cpus = flags.numbers("cpus")?.unwrap_or_else(|| vec![1, 4]);
    let phases = u64::try_from(cpus.len() * 2)?;
    let length = Duration::from_secs((flags.number("seconds", 480_u64)? / phases.max(1)).max(5));
    let connections = flags.number("connections", 64)?;
    let memory_mib = flags.number("memory", 256)?;
    let network = Network::Tap { device: TAP };
    let mut failures = Vec::new();
    for &cpus in &cpus {
        let machine = Machine { cpus, memory_mib, network: Some(network), ..Machine::new(board) };
        let running = machine.start(&boot)?;
        running.wait_for(READY, Duration::from_secs(60)).context("the server did not start")?;
        for close in [false, true] {
            let phase = Phase { cpus, close, connections, length };
            if let Err(error) = soak(&phase, network.server()) {
                println!("FAIL  {}: {error:#}", phase.name());
                let console = running.console();
                for line in console.lines().rev().take(8).collect::<Vec<_>>().iter().rev() {
                    println!("    console: {line}");
                }
                failures.push(phase.name());
                // A machine that stalled says nothing about the next phase.
                break;
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { bail!("failed: {}", failures.join("; ")) }
}

/// This command once more, in a network namespace with the tap device.
fn in_a_network_of_its_own(arguments: &[String]) -> Result<()> {
    let script = format!(
        "ip link set lo up && ip tuntap add dev {TAP} mode tap && \
         ip address add {}/24 dev {TAP} && ip link set {TAP} up && exec \"$@\"",
        machine::TAP_ADDRESS
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--", "sh", "-c", &script, "sh"]);
    command.arg(std::env::current_exe()?).arg("soak").args(arguments);
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let status = command.env("PATH", search).env(INSIDE, "1").stdin(Stdio::null()).status();
    let status = status.context("cannot make a network namespace: install util-linux")?;
    ensure!(status.success(), "the soak in its network namespace ended with {status}");
    Ok(())
}

/// The longest time in which the count of requests stood still.
fn watch(server: SocketAddr, over: &AtomicBool) -> Duration {
    let (mut last, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let answer = machine::fetch(server, "/state", STALL);
        if over.load(Ordering::Relaxed) {
            break;
        }
        let count =
            answer.ok().and_then(|text| State::parse(&text).ok()).map_or(last, |s| s.requests);
        longest = longest.max(since.elapsed());
        if count != last {
            (last, since) = (count, Instant::now());
        }
        std::thread::sleep(POLL);
    }
    longest
}

/// Asks over one connection that is kept, as often as it can; the number of
/// answers. An answer that does not come is an error.
fn probe(server: SocketAddr, over: &AtomicBool) -> Result<u64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(LATE))?;
    let mut answers = 0;
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut part = [0; 1024];
        while !answer.ends_with(b"\r\n\r\nhello") {
            let count =
                stream.read(&mut part).with_context(|| format!("no answer within {LATE:?}"))?;
            ensure!(count > 0, "the connection was closed after {answers} answers");
            answer.extend_from_slice(&part[..count]);
        }
        answers += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(answers)
}

fn soak(phase: &Phase, server: SocketAddr) -> Result<()> {
    let load = |seconds: u64| -> Result<Answer> {
        let seconds = u32::try_from(seconds)?;
        Load { connections: phase.connections, close: phase.close, seconds }.apply(server)
    };
    // Pools and tables reach their size before memory is measured.
    load(2)?;
    let before = State::at_rest(server)?;
    let over = AtomicBool::new(false);
    let (answer, longest, probes) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(server, &over));
        let probes: Vec<_> = (0..PROBES).map(|_| scope.spawn(|| probe(server, &over))).collect();
        let answer = load(phase.length.as_secs());
        over.store(true, Ordering::Relaxed);
        let probes: Vec<_> = probes.into_iter().filter_map(|p| p.join().ok()).collect();
        (answer, watcher.join(), probes)
    });
    let (answer, longest) = (answer?, longest.unwrap_or(Duration::MAX));
    for answers in probes {
        answers.context("a connection that is kept open")?;
    }
    let after = State::at_rest(server)?;
    let lost = before.available_kib.saturating_sub(after.available_kib);
    println!(
        "{}: {} requests, {:.0}/s, {} errors, {} late, longest pause {:.2} s, memory {} -> {} KiB, heap {} -> {} KiB, \
         goroutines {} -> {}, descriptors {} -> {}",
        phase.name(),
        answer.requests,
        answer.per_second,
        answer.errors,
        answer.late,
        longest.as_secs_f64(),
        before.available_kib,
        after.available_kib,
        before.heap_kib,
        after.heap_kib,
        before.goroutines,
        after.goroutines,
        before.descriptors,
        after.descriptors,
    );
    ensure!(answer.requests > 0, "no request finished");
    // The poll itself may come half a second late on a busy machine.
    ensure!(longest < STALL + POLL, "no request finished for {:.1} s", longest.as_secs_f64());
    ensure!(answer.errors == 0, "{} requests failed", answer.errors);
    ensure!(after.goroutines <= before.goroutines + 4, "connections are left behind");
    ensure!(after.descriptors <= before.descriptors + 4, "descriptors are left behind");
    ensure!(lost <= GROWTH_KIB, "{lost} KiB of memory are gone");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn reads_the_state() {
        let text = "requests 7\nheap_kib 300\ntotal_kib 1000\navailable_kib 500\ngoroutines 3\ndescriptors 9\n";
        let state = State::parse(text).unwrap();
        assert_eq!((state.requests, state.available_kib, state.descriptors), (7, 500, 9));
        assert!(State::parse("requests 7\n").is_err());
    }
}
