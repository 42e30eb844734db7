// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel says on the control channel, line by line.

use std::collections::VecDeque;

use bhojpur_abi::control::{Exit, Level, Record};

/// Lines kept for the report of a guest that was lost.
const TAIL: usize = 24;
/// Longest line; a guest that writes no line end must not fill our memory.
const LINE_MAX: usize = 64 * 1024;

/// Something the kernel said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A stage of booting was reached.
    Boot {
        /// Nanoseconds since the kernel's entry.
        time_ns: u64,
        /// Its name.
        stage: String,
    },
    /// A line of the kernel's log.
    Log {
        /// Nanoseconds since the kernel's entry.
        time_ns: u64,
        /// Its importance.
        level: Level,
        /// The line.
        text: String,
    },
    /// A line of the report about a fault of the program.
    Fatal(String),
    /// The kernel itself failed.
    Panic {
        /// On this CPU.
        cpu: u32,
        /// The panic message.
        message: String,
        /// Return addresses, innermost first.
        frames: Vec<u64>,
    },
    /// The program ended.
    Exit(Exit),
    /// A line that is no record.
    Other(String),
}

/// Why the program ended, as the kernel told it: the first line of the last report.
///
/// A report is a line for people, and for faults the registers and return addresses.
#[derive(Debug, Default)]
pub struct Reason(Option<String>);

impl Reason {
    /// Hears the line of an [`Event::Fatal`].
    pub fn hear(&mut self, line: String) {
        const DETAILS: [&str; 6] = ["rip ", "rax ", "rsi ", "r9 ", "r13 ", "#"];
        if !DETAILS.iter().any(|detail| line.starts_with(detail)) {
            self.0 = Some(line);
        }
    }

    /// The line, when the program did not succeed: who survived a report ended for other reasons.
    #[must_use]
    pub fn of(self, exit: Exit) -> Option<String> {
        self.0.filter(|_| exit.code() != 0)
    }
}

/// Decodes the bytes of the channel.
#[derive(Debug, Default)]
pub struct Listener {
    line: Vec<u8>,
    panic: Option<(u32, String, Vec<u64>)>,
    tail: VecDeque<String>,
}

impl Listener {
    /// Takes the next bytes and hands out the events that they complete.
    pub fn receive(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event)) {
        for &byte in bytes {
            if byte != b'\n' && self.line.len() < LINE_MAX {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            self.complete(&String::from_utf8_lossy(&line), events);
        }
    }

    /// Hands out what an abrupt end left behind.
    pub fn finish(&mut self, events: &mut dyn FnMut(Event)) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.complete(&String::from_utf8_lossy(&line), events);
        }
        self.end_panic(events);
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }

    fn complete(&mut self, line: &str, events: &mut dyn FnMut(Event)) {
        if line.trim().is_empty() {
            return;
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.trim_end().to_owned());
        match Record::parse(line) {
            Record::Boot { time_ns, stage } => {
                events(Event::Boot { time_ns, stage: stage.to_string() });
            }
            Record::Log { time_ns, level, text } => {
                events(Event::Log { time_ns, level, text: text.to_string() });
            }
            Record::Fatal(text) => events(Event::Fatal(text.to_string())),
            Record::Panic { cpu, message } => {
                self.end_panic(events);
                self.panic = Some((cpu, message.to_string(), Vec::new()));
            }
            Record::Frame(address) => {
                if let Some((.., frames)) = &mut self.panic {
                    frames.push(address);
                }
            }
            Record::PanicEnd => self.end_panic(events),
            Record::Exit(exit) => events(Event::Exit(exit)),
            Record::Other(text) => events(Event::Other(text.to_owned())),
        }
    }

    fn end_panic(&mut self, events: &mut dyn FnMut(Event)) {
        if let Some((cpu, message, frames)) = self.panic.take() {
            events(Event::Panic { cpu, message, frames });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(chunks: &[&[u8]]) -> Vec<Event> {
        let (mut listener, mut events) = (Listener::default(), Vec::new());
        for chunk in chunks {
            listener.receive(chunk, &mut |event| events.push(event));
        }
        listener.finish(&mut |event| events.push(event));
        events
    }

    #[test]
    fn records_may_be_cut_anywhere() {
        let events = decode(&[b"@bo", b"ot 12 ker", b"nel\n@exit 1", b"39 signal 11\n"]);
        assert_eq!(
            events,
            [Event::Boot { time_ns: 12, stage: "kernel".into() }, Event::Exit(Exit::Signal(11))]
        );
    }

    #[test]
    fn a_panic_without_its_end_is_still_reported() {
        let events = decode(&[b"\n@panic 2 oh no\n@frame ffffffff80200010\n@frame 20\n"]);
        assert_eq!(
            events,
            [Event::Panic {
                cpu: 2,
                message: "oh no".into(),
                frames: vec![0xffff_ffff_8020_0010, 0x20]
            }]
        );
    }

    #[test]
    fn the_reason_is_the_last_report_without_its_details() {
        let reason = |channel: &[u8]| {
            let (mut reason, mut exit) = (Reason::default(), Exit::Status(0));
            for event in decode(&[channel]) {
                match event {
                    Event::Fatal(line) => reason.hear(line),
                    Event::Exit(how) => exit = how,
                    _ => {}
                }
            }
            reason.of(exit)
        };
        let fault = b"@fatal SIGSEGV at 0x10\n@fatal rip 0 rsp 0\n@fatal r9  0\n@fatal #0 0x1\n";
        let ended = |how: &[u8]| [fault, how].concat();
        assert_eq!(reason(&ended(b"@exit 139 signal 11\n")).unwrap(), "SIGSEGV at 0x10");
        // A child's end, and not the program's.
        assert_eq!(reason(&ended(b"@exit 0\n")), None);
        assert_eq!(reason(&ended(b"@fatal out of memory\n@exit 1\n")).unwrap(), "out of memory");
        assert_eq!(reason(b"@exit 1\n"), None);
    }

    #[test]
    fn an_endless_line_does_not_grow() {
        let (mut listener, mut count) = (Listener::default(), 0);
        listener.receive(&vec![b'x'; 3 * LINE_MAX], &mut |_| count += 1);
        assert!(count >= 2 && listener.line.len() <= LINE_MAX);
    }
}
