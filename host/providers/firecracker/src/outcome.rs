// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How an instance ended, from the records in its serial line and what Firecracker wrote.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::path::Path;

use bhojpur_abi::stream::Splitter;
use bhojpur_monitor::{Event, Listener, Reason};
use bhojpur_provider::Ended;

/// How much of the end of a log is looked at: the records that tell come last, and nothing but
/// a few lines of a panic stands between them.
const TAIL: u64 = 1 << 20;

/// What the kernel said about the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// How it was.
    pub ended: Ended,
    /// Why, when that is more than a status.
    pub reason: Option<String>,
}

/// What the kernel said about the end in the part of the log from `start` on.
pub fn recorded(console: &Path, start: u64) -> Option<Recorded> {
    let mut file = File::open(console).ok()?;
    let length = file.metadata().ok()?.len();
    // A log that is shorter than it was has been cut.
    let start = if start > length { 0 } else { start };
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(TAIL)))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    ended(&bytes)
}

fn ended(stream: &[u8]) -> Option<Recorded> {
    let (mut splitter, mut control) = (Splitter::default(), Vec::new());
    let mut collect = |bytes: &[u8]| control.extend_from_slice(bytes);
    splitter.receive(stream, &mut |_| {}, &mut collect);
    splitter.finish(&mut |_| {}, &mut collect);
    let (mut listener, mut ended) = (Listener::default(), None);
    let mut said = Reason::default();
    let mut event = |event| match event {
        Event::Exit(exit) => {
            let reason = std::mem::take(&mut said).of(exit);
            ended = Some(Recorded { ended: Ended::Exited { code: exit.code() }, reason });
        }
        Event::Panic { message, .. } => {
            ended = Some(Recorded { ended: Ended::Panicked { message }, reason: None });
        }
        Event::Fatal(line) => said.hear(line),
        _ => {}
    };
    listener.receive(&control, &mut event);
    listener.finish(&mut event);
    ended
}

/// How much of the beginning of a run is searched for its address.
const HEAD: u64 = 1 << 18;

/// The address that a guest's network gave it, in the part of the log from `start` on: the kernel
/// says it before it starts the program.
pub fn address(console: &Path, start: u64) -> Option<IpAddr> {
    let mut file = File::open(console).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(HEAD).read_to_end(&mut bytes).ok()?;
    let (mut listener, mut found) = (Listener::default(), None);
    let mut event = |event| {
        if let Event::Log { text, .. } = event {
            // `address 10.0.0.7/24`
            let said = text.strip_prefix("address ").and_then(|rest| rest.split_once('/'));
            found = said.and_then(|(address, _)| address.parse().ok()).or(found);
        }
    };
    let mut records = |record: &[u8]| listener.receive(record, &mut event);
    Splitter::default().receive(&bytes, &mut |_| {}, &mut records);
    found
}

/// What to say about an end without a record: Firecracker's own reason, when it gives one. One
/// that was killed gives none.
pub fn unrecorded(log: &Path, start: u64, messages: &str) -> Ended {
    let said = tail(log, start);
    let exiting = said.contains("Firecracker exiting") || said.contains("Firecracker panicked");
    if messages.is_empty() && !exiting {
        return Ended::Killed;
    }
    // Tearing down, it counts up what it throws away: that is not why.
    let useful = |line: &&str| {
        let tells = ["rror", "anic", "fault", "KVM_EXIT"].iter().any(|word| line.contains(word));
        tells && !line.contains("during teardown")
    };
    let line = said.lines().rfind(useful).or_else(|| said.lines().next_back());
    let message = match (messages.lines().next_back(), line) {
        (Some(message), _) => message,
        (None, Some(line)) => line,
        (None, None) => "Firecracker said nothing",
    };
    Ended::Lost { message: message.trim().to_owned() }
}

/// The end of a log of Firecracker's own, from `start` on.
pub fn tail(log: &Path, start: u64) -> String {
    const LENGTH: u64 = 16 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        let start = if start > length { 0 } else { start };
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(LENGTH))))?;
        let mut bytes = Vec::new();
        file.take(LENGTH).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: u8) -> Option<Recorded> {
        Some(Recorded { ended: Ended::Exited { code }, reason: None })
    }

    #[test]
    fn the_last_record_counts_in_the_part_of_this_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let first = b"one\n\x1b_bhojpur;@exit 3\x1b\\";
        let rest = b"two\n\x1b_bhojpur;@exit 139 signal 11\x1b\\";
        std::fs::write(&path, first).unwrap();
        assert_eq!(recorded(&path, 0), exited(3));
        assert_eq!(recorded(&path, first.len() as u64), None);
        std::fs::write(&path, [&first[..], &rest[..]].concat()).unwrap();
        let second = recorded(&path, first.len() as u64);
        assert_eq!(second, exited(139));
        assert_eq!(recorded(&path, 1 << 40), second);
        assert_eq!(recorded(&directory.path().join("none"), 0), None);
        // A long log with the record at its end.
        let long = [&vec![b'x'; 3 << 20][..], &rest[..]].concat();
        std::fs::write(&path, long).unwrap();
        assert_eq!(recorded(&path, 0), second);
    }

    #[test]
    fn the_address_is_the_one_of_this_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let run = |address: &str| {
            format!("x\n\x1b_bhojpur;@log 5 info address {address}/24\x1b\\listening\n")
        };
        let (first, second) = (run("10.0.0.7"), run("10.0.0.8"));
        std::fs::write(&path, format!("{first}{second}address 10.0.0.9/24\n")).unwrap();
        assert_eq!(address(&path, first.len() as u64), Some("10.0.0.8".parse().unwrap()));
        assert_eq!(address(&path, 1 << 40), None);
        assert_eq!(address(&directory.path().join("none"), 0), None);
    }

    #[test]
    fn panics_are_told_even_when_cut_short() {
        let stream = b"\x1b_bhojpur;@panic 0 oh no\x1b\\\x1b_bhojpur;@frame 10";
        let panicked = Ended::Panicked { message: "oh no".into() };
        assert_eq!(ended(stream), Some(Recorded { ended: panicked, reason: None }));
    }

    #[test]
    fn the_kernel_says_why_there_is_no_program() {
        let stream = b"\x1b_bhojpur;@fatal no disk\x1b\\\x1b_bhojpur;@exit 127\x1b\\";
        assert_eq!(ended(stream).unwrap().reason.as_deref(), Some("no disk"));
    }

    #[test]
    fn an_end_without_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("firecracker.log");
        assert_eq!(unrecorded(&log, 0, ""), Ended::Killed);
        std::fs::write(&log, "x [main] Running Firecracker v1.17\n").unwrap();
        assert_eq!(unrecorded(&log, 0, ""), Ended::Killed);
        let text =
            "x [main] vCPU error: bad\nx [main] Firecracker exiting successfully. exit_code=0\n";
        std::fs::write(&log, text).unwrap();
        let lost = |text: &str| Ended::Lost { message: text.to_owned() };
        assert_eq!(unrecorded(&log, 0, ""), lost("x [main] vCPU error: bad"));
        assert_eq!(unrecorded(&log, 0, "Error: X"), lost("Error: X"));
        let teardown = "x [main] Discarding unexpected vCPU response during teardown: \
            VcpuResponse::Exited(GenericError)\n";
        std::fs::write(&log, format!("{text}{teardown}")).unwrap();
        assert_eq!(unrecorded(&log, 0, ""), lost("x [main] vCPU error: bad"));
    }
}
