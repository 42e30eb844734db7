// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Control records inside the console's stream, for machines whose only way
//! out is a serial port (Firecracker, solo5, clouds' serial logs).
//!
//! The option [`OPTION`] on the kernel's command line switches it on. Each
//! record of [`control`](crate::control) then travels as one application
//! program command (ECMA-48, 8.3.2), which terminals do not show:
//!
//! ```text
//! ESC _ bhojpur; @exit 3 ESC \
//! ```
//!
//! without the spaces, and without the line end that the record has on the
//! debug console. A record has no control characters, so the first escape or
//! line end after its start ends it, whatever cut it short. A program can
//! print the same bytes: what this channel says about a guest is what the
//! guest says about itself.

use core::fmt::{self, Write};

/// Option on the command line that asks for records in the console's stream.
pub const OPTION: &str = "bhojpur.control";
/// The one value of [`OPTION`].
pub const SERIAL: &str = "serial";

/// Bytes before a record.
pub const START: &str = "\x1b_bhojpur;";
/// Bytes behind a record.
pub const END: &str = "\x1b\\";

const ESCAPE: u8 = 0x1b;

/// Wraps the lines that are written to it, one command for each. Empty lines
/// are left out.
#[derive(Debug)]
pub struct Framer<W> {
    out: W,
    inside: bool,
}

impl<W: Write> Framer<W> {
    /// A framer in front of the stream; `inside` when a record was cut short
    /// by the one that comes.
    pub const fn new(out: W, inside: bool) -> Self {
        Self { out, inside }
    }

    /// Whether a record was begun and not ended.
    pub const fn is_inside(&self) -> bool {
        self.inside
    }
}

impl<W: Write> Write for Framer<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            let line = part.strip_suffix('\n').unwrap_or(part);
            if !line.is_empty() {
                if !self.inside {
                    self.out.write_str(START)?;
                    self.inside = true;
                }
                self.out.write_str(line)?;
            }
            if part.ends_with('\n') && self.inside {
                self.inside = false;
                self.out.write_str(END)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Console,
    /// So many bytes of [`START`] were seen.
    Start(usize),
    Record,
    /// An escape inside a record.
    End,
}

/// Takes the records out of a stream again; it may be cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct Splitter {
    state: State,
}

impl Splitter {
    /// Takes the next bytes of the stream. `console` gets what the program
    /// printed; `control` gets the records, a line each, in the form that they
    /// have on the debug console.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        console: &mut dyn FnMut(&[u8]),
        control: &mut dyn FnMut(&[u8]),
    ) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            match self.state {
                State::Console | State::Record => {
                    let record = self.state == State::Record;
                    let special = |b: &u8| *b == ESCAPE || (record && *b == b'\n');
                    let plain = rest.iter().position(special).unwrap_or(rest.len());
                    if plain > 0 {
                        if record {
                            control(&rest[..plain]);
                        } else {
                            console(&rest[..plain]);
                        }
                        rest = &rest[plain..];
                        continue;
                    }
                    self.state = match byte {
                        ESCAPE if record => State::End,
                        ESCAPE => State::Start(1),
                        _ => {
                            control(b"\n");
                            State::Console
                        }
                    };
                    rest = &rest[1..];
                }
                State::Start(seen) => {
                    if START.as_bytes().get(seen) != Some(&byte) {
                        // The byte is looked at again: it may be an escape.
                        console(&START.as_bytes()[..seen]);
                        self.state = State::Console;
                        continue;
                    }
                    let done = seen + 1 == START.len();
                    self.state = if done { State::Record } else { State::Start(seen + 1) };
                    rest = &rest[1..];
                }
                State::End => {
                    control(b"\n");
                    if byte == b'\\' {
                        self.state = State::Console;
                        rest = &rest[1..];
                    } else {
                        self.state = State::Start(1);
                    }
                }
            }
        }
    }

    /// Hands out what an abrupt end left behind.
    pub fn finish(&mut self, console: &mut dyn FnMut(&[u8]), control: &mut dyn FnMut(&[u8])) {
        match core::mem::take(&mut self.state) {
            State::Console => {}
            State::Start(seen) => console(&START.as_bytes()[..seen]),
            State::Record | State::End => control(b"\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Framer, Splitter};
    use crate::control::{self, Exit, Level};
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// What a stream that arrives in pieces of `size` comes to.
    fn split(stream: &[u8], size: usize) -> (String, String) {
        let (mut splitter, mut console, mut control) =
            (Splitter::default(), Vec::new(), Vec::new());
        let mut shown = |b: &[u8]| console.extend_from_slice(b);
        let mut said = |b: &[u8]| control.extend_from_slice(b);
        stream.chunks(size).for_each(|piece| splitter.receive(piece, &mut shown, &mut said));
        splitter.finish(&mut shown, &mut said);
        (String::from_utf8(console).unwrap(), String::from_utf8(control).unwrap())
    }

    fn agrees(stream: &str, console: &str, control: &str) {
        for size in 1..=stream.len().max(1) {
            let (shown, said) = split(stream.as_bytes(), size);
            assert_eq!((shown.as_str(), said.as_str()), (console, control), "in pieces of {size}");
        }
    }

    #[test]
    fn records_come_out_and_the_console_stays() {
        let mut stream = String::from("before\x1b[1m ");
        let mut framer = Framer::new(&mut stream, false);
        control::log(&mut framer, 5, Level::Info, format_args!("one\nline \x1b\\")).unwrap();
        control::exit(&mut framer, Exit::Signal(9)).unwrap();
        assert!(!framer.is_inside());
        stream.push_str("after\r\n");
        let said = "@log 5 info one\\nline \\x1b\\\\\n@exit 137 signal 9\n";
        agrees(&stream, "before\x1b[1m after\r\n", said);
    }

    #[test]
    fn a_record_that_a_panic_cuts_short_is_ended() {
        let mut stream = String::new();
        let mut framer = Framer::new(&mut stream, false);
        core::fmt::Write::write_str(&mut framer, "@log 5 info cut sho").unwrap();
        let inside = framer.is_inside();
        let mut framer = Framer::new(&mut stream, inside);
        control::panic(&mut framer, 2, format_args!("oh no")).unwrap();
        control::panic_end(&mut framer).unwrap();
        agrees(&stream, "", "@log 5 info cut sho\n@panic 2 oh no\n@panic-end\n");
        let mut clean = String::new();
        control::panic(&mut Framer::new(&mut clean, false), 2, format_args!("x")).unwrap();
        assert_eq!(clean, "\x1b_bhojpur;@panic 2 x\x1b\\");
    }

    #[test]
    fn what_only_looks_like_a_record_is_the_programs() {
        for text in ["\x1b", "\x1b\x1b", "\x1b_bhojpu", "\x1b_other;x\x1b\\", "\x1b_bhojpur:"] {
            agrees(text, text, "");
        }
        // An escape of the program right before a record.
        agrees("\x1b\x1b_bhojpur;@exit 0\x1b\\\x1b", "\x1b\x1b", "@exit 0\n");
    }

    #[test]
    fn a_broken_record_costs_one_line() {
        agrees("\x1b_bhojpur;@exit 1\nmore", "more", "@exit 1\n");
        agrees("\x1b_bhojpur;@exit", "", "@exit\n");
        agrees("\x1b_bhojpur;@a\x1b_bhojpur;@b\x1b\\c", "c", "@a\n@b\n");
        agrees("\x1b_bhojpur;@a\x1b[0m", "\x1b[0m", "@a\n");
        assert_eq!(split(b"", 1), (String::new(), "".to_string()));
    }
}
