// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The measurements: each starts machines and gives back one figure.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::machine::{Board, Boot, Machine, Network, Running, fetch};
use crate::lab::process;

/// Patience with a guest that boots.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
pub(crate) const HELLO: &str = "HELLO-APP";
pub(crate) const READY: &str = "HTTPD-READY";

fn until(running: &Running, marker: &str, limit: Duration) -> Result<Duration> {
    running.wait_for(marker, limit).with_context(|| {
        let console = running.console();
        let tail: Vec<&str> = console.lines().rev().take(5).collect();
        format!("no {marker} within {limit:?}; the console ends: {}", tail.join(" / "))
    })
}

/// Median of seconds from the start of QEMU to the first output.
pub(crate) fn boot_seconds(boot: &Boot, board: Board, runs: usize) -> Result<f64> {
    let machine = Machine::new(board);
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let running = machine.start(boot)?;
        times.push(until(&running, HELLO, BOOT_LIMIT)?.as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The time-stamp counter that `boot` prints when every instruction is one tick.
pub(crate) fn tsc(boot: &Boot, board: Board) -> Result<f64> {
    let machine = Machine { icount: true, ..Machine::new(board) };
    let running = machine.start(boot)?;
    until(&running, "TSC ", BOOT_LIMIT * 2)?;
    let full = |text: &str| -> Option<f64> {
        let line = text.lines().find_map(|l| l.split_once("TSC ").map(|(_, n)| n))?;
        line.trim().parse().ok()
    };
    // The rest of the line follows at once.
    for _ in 0..100 {
        let console = running.console();
        let complete = console.split_once("TSC ").is_some_and(|(_, rest)| rest.contains('\n'));
        if let Some(value) = full(&console).filter(|_| complete) {
            return Ok(value);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("the line with the counter is not whole: {}", running.console())
}

fn serves(machine: &Machine, boot: &Boot, requests: u32, limit: Duration) -> Result<bool> {
    let network = Network::user()?;
    let running = Machine { network: Some(network), ..machine.clone() }.start(boot)?;
    if running.wait_for(READY, limit).is_none() {
        return Ok(false);
    }
    Ok((0..requests).all(|_| {
        fetch(network.server(), "/", Duration::from_secs(5)).is_ok_and(|body| body == "hello")
    }))
}

/// The least MiB of memory with which `works`, by bisection below 512.
fn least(mut works: impl FnMut(u32) -> Result<bool>) -> Result<f64> {
    let (mut bad, mut good) = (1, 512);
    ensure!(works(good)?, "does not work with {good} MiB");
    while good - bad > 1 {
        let middle = (bad + good) / 2;
        if works(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(f64::from(good))
}

pub(crate) fn least_memory_hello(boot: &Boot, board: Board, limit: Duration) -> Result<f64> {
    least(|memory_mib| {
        let running = Machine { memory_mib, ..Machine::new(board) }.start(boot)?;
        Ok(running.wait_for(HELLO, limit).is_some())
    })
}

pub(crate) fn least_memory_httpd(boot: &Boot, board: Board, limit: Duration) -> Result<f64> {
    least(|memory_mib| serves(&Machine { memory_mib, ..Machine::new(board) }, boot, 20, limit))
}

/// One load of `wrk`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) connections: u32,
    pub(crate) close: bool,
    pub(crate) seconds: u32,
}

/// What `wrk` said.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) per_second: f64,
    pub(crate) requests: u64,
    /// Failed connects, reads, writes and answers that are not 2xx.
    pub(crate) errors: u64,
    /// Answers that took longer than the time-out. wrk takes this from the wall
    /// clock, so a clock that is set back makes some: not a proof of anything.
    pub(crate) late: u64,
}

impl Load {
    /// QEMU's user network queues one connection at a time: connecting through it may take some
    /// retransmissions of SYN, which is not the guest's fault.
    pub(crate) fn apply(self, server: SocketAddr) -> Result<Answer> {
        let mut wrk = Command::new("wrk");
        wrk.args([
            "-t1",
            &format!("-c{}", self.connections),
            &format!("-d{}s", self.seconds),
            "--timeout",
            "5s",
        ]);
        if self.close {
            wrk.args(["-H", "Connection: close"]);
        }
        wrk.arg(format!("http://{server}/"));
        let limit = Duration::from_secs(u64::from(self.seconds) + 30);
        parse_wrk(&process::succeed(&mut wrk, limit)?.text())
    }
}

fn parse_wrk(text: &str) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut rated = false;
    for line in text.lines().map(str::trim) {
        if let Some(rate) = line.strip_prefix("Requests/sec:") {
            answer.per_second = rate.trim().parse()?;
            rated = true;
        } else if let Some(counts) = line.strip_prefix("Socket errors:") {
            for count in counts.split(',').map(str::trim) {
                let Some((kind, number)) = count.split_once(' ') else { continue };
                let number: u64 = number.parse()?;
                match kind {
                    "timeout" => answer.late += number,
                    _ => answer.errors += number,
                }
            }
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            answer.errors += count.trim().parse::<u64>()?;
        } else if let Some((count, _)) = line.split_once(" requests in ") {
            answer.requests = count.parse()?;
        }
    }
    ensure!(rated, "wrk gave no rate: {text}");
    Ok(answer)
}

pub(crate) fn requests_per_second(boot: &Boot, board: Board, load: Load) -> Result<f64> {
    let network = Network::user()?;
    let running = Machine { network: Some(network), ..Machine::new(board) }.start(boot)?;
    until(&running, READY, BOOT_LIMIT)?;
    // Both guests get a moment to settle and a first request that warms them.
    fetch(network.server(), "/", Duration::from_secs(10))?;
    Load { seconds: 1, ..load }.apply(network.server())?;
    let answer = load.apply(network.server())?;
    if answer.errors > 0 {
        eprintln!("  wrk saw {} errors in {} requests", answer.errors, answer.requests);
    }
    Ok(answer.per_second)
}

/// What one connection carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transfer {
    /// From the guest, out of memory.
    Memory,
    /// From the guest, out of a file, by sendfile(2).
    File,
    /// To the guest.
    Upload,
}

impl Transfer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "download",
            Self::File => "download of a file",
            Self::Upload => "upload",
        }
    }

    /// Moves the data; the time that took.
    fn perform(self, server: SocketAddr, mebibytes: u32) -> Result<Duration> {
        let limit = Some(Duration::from_secs(60));
        let mut stream = TcpStream::connect(server)?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        let start = Instant::now();
        let expected = u64::from(mebibytes) << 20;
        let path = match self {
            Self::Memory => "/down",
            Self::File => "/file",
            Self::Upload => {
                write!(stream, "POST /up HTTP/1.0\r\nContent-Length: {expected}\r\n\r\n")?;
                let piece = vec![0; 1 << 20];
                (0..mebibytes).try_for_each(|_| stream.write_all(&piece))?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                ensure!(answer.ends_with(&format!("\n{expected}")), "not all arrived: {answer}");
                return Ok(start.elapsed());
            }
        };
        write!(stream, "GET {path}?mib={mebibytes} HTTP/1.0\r\n\r\n")?;
        let received = std::io::copy(&mut stream, &mut std::io::sink())?;
        ensure!(received > expected, "{received} bytes came of {expected}");
        Ok(start.elapsed())
    }
}

pub(crate) fn mebibytes_per_second(
    boot: &Boot,
    board: Board,
    transfer: Transfer,
    mebibytes: u32,
) -> Result<f64> {
    let network = Network::user()?;
    let running = Machine { network: Some(network), ..Machine::new(board) }.start(boot)?;
    until(&running, READY, BOOT_LIMIT)?;
    transfer.perform(network.server(), mebibytes)?;
    let time = transfer.perform(network.server(), mebibytes)?;
    Ok(f64::from(mebibytes) / time.as_secs_f64())
}

/// The rows of the micro-benchmark: name and nanoseconds per operation.
pub(crate) fn microbench(boot: &Boot, board: Board, icount: bool) -> Result<Vec<(String, f64)>> {
    let running = Machine { icount, ..Machine::new(board) }.start(boot)?;
    until(&running, "BENCH-END", Duration::from_secs(600))?;
    let rows: Vec<_> = running.console().lines().filter_map(parse_row).collect();
    ensure!(!rows.is_empty(), "the micro-benchmark printed no rows");
    Ok(rows)
}

fn parse_row(line: &str) -> Option<(String, f64)> {
    let mut words = line.strip_prefix("BENCH ")?.split_whitespace();
    let name = words.next()?.to_owned();
    let (_, nanoseconds) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse().ok()?);
    Some((name, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::{least, parse_row, parse_wrk};

    #[test]
    fn bisects_to_the_edge() {
        assert_eq!(least(|m| Ok(m >= 73)).unwrap(), 73.0);
        assert_eq!(least(|m| Ok(m >= 2)).unwrap(), 2.0);
        assert!(least(|_| Ok(false)).is_err());
    }

    #[test]
    fn reads_what_wrk_says() {
        let text = "  15112 requests in 4.00s, 1.53MB read\n\
                    Socket errors: connect 1, read 2, write 0, timeout 4\n\
                    Non-2xx or 3xx responses: 3\n\
                    Requests/sec:   3776.49\n";
        let answer = parse_wrk(text).unwrap();
        assert_eq!((answer.requests, answer.errors, answer.late), (15112, 6, 4));
        assert_eq!(answer.per_second, 3776.49);
        assert!(parse_wrk("unable to connect").is_err());
    }

    #[test]
    fn reads_rows() {
        assert_eq!(
            parse_row("BENCH getppid   1000000   550.1"),
            Some(("getppid".to_owned(), 550.1))
        );
        assert_eq!(parse_row("BENCH pipe_1thread FAILED Bad file"), None);
        assert_eq!(parse_row("BENCH-START"), None);
    }
}
