// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Records on the control channel (QEMU's debug console): one line of text
//! each, so that a human can read what a tool parses.
//!
//! ```text
//! @boot 1250000 kernel
//! @log 1312000 info virtio-net at 00:02.0
//! @fatal SIGSEGV at 0x10 (read)
//! @panic 0 index out of bounds
//! @frame ffffffff80201234
//! @panic-end
//! @exit 3
//! @exit 139 signal 11
//! ```
//!
//! Times are nanoseconds since the kernel was entered. Free text is last on
//! the line; control characters and backslashes in it are escaped.

use core::fmt::{self, Write};

/// Port of QEMU's debug console on the PC.
pub const PORT: u16 = 0xe9;

/// Importance of a log line, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Level {
    /// Something does not work.
    Error = 1,
    /// Something is odd.
    #[default]
    Warn = 2,
    /// What a user may want to know.
    Info = 3,
    /// What a developer wants to know.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    /// All levels, most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// From its word.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|l| l.name() == name)
    }

    /// From its number in the configuration record.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&l| l as u8 == number)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By exit(2) with this status.
    Status(u8),
    /// Killed by this signal.
    Signal(u8),
}

impl Exit {
    /// What a shell would give as `$?`.
    pub const fn code(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(number) => 128u8.wrapping_add(number),
        }
    }
}

/// Free text of a parsed record; `Display` takes the escapes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// As it stands on the line.
    pub const fn raw(self) -> &'a str {
        self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find('\\') {
            f.write_str(&rest[..at])?;
            let tail = &rest[at + 1..];
            let (shown, used) = match tail.as_bytes().first() {
                Some(b'n') => ('\n', 1),
                Some(b't') => ('\t', 1),
                Some(b'\\') => ('\\', 1),
                Some(b'x') => match tail.get(1..3).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(byte) if byte < 0x80 => (byte as char, 3),
                    _ => ('\\', 0),
                },
                _ => ('\\', 0),
            };
            f.write_char(shown)?;
            rest = &tail[used..];
        }
        f.write_str(rest)
    }
}

/// One line of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A stage of booting was reached.
    Boot { time_ns: u64, stage: Text<'a> },
    /// A line of the kernel's log.
    Log { time_ns: u64, level: Level, text: Text<'a> },
    /// A line of the report of a program's fault.
    Fatal(Text<'a>),
    /// The kernel panicked on this CPU; frames and an end follow.
    Panic { cpu: u32, message: Text<'a> },
    /// A return address of the panic's backtrace, innermost first.
    Frame(u64),
    /// The panic's report is complete.
    PanicEnd,
    /// The program ended; the machine powers off next.
    Exit(Exit),
    /// A line that is no record, for example from firmware.
    Other(&'a str),
}

impl<'a> Record<'a> {
    /// Parses one line; a line end at its end does not matter.
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        Self::parse_known(line).unwrap_or(Self::Other(line))
    }

    fn parse_known(line: &'a str) -> Option<Self> {
        let (word, rest) = split(line.strip_prefix('@')?);
        Some(match word {
            "boot" => {
                let (time, stage) = split(rest);
                Self::Boot { time_ns: time.parse().ok()?, stage: Text(stage) }
            }
            "log" => {
                let (time, rest) = split(rest);
                let (level, text) = split(rest);
                Self::Log {
                    time_ns: time.parse().ok()?,
                    level: Level::from_name(level)?,
                    text: Text(text),
                }
            }
            "fatal" => Self::Fatal(Text(rest)),
            "panic" => {
                let (cpu, message) = split(rest);
                Self::Panic { cpu: cpu.parse().ok()?, message: Text(message) }
            }
            "frame" => Self::Frame(u64::from_str_radix(rest, 16).ok()?),
            "panic-end" => Self::PanicEnd,
            "exit" => Self::Exit(parse_exit(rest)?),
            _ => return None,
        })
    }
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn parse_exit(text: &str) -> Option<Exit> {
    let (code, rest) = split(text);
    let code: u8 = code.parse().ok()?;
    if rest.is_empty() {
        return Some(Exit::Status(code));
    }
    let exit = Exit::Signal(rest.strip_prefix("signal ")?.parse().ok()?);
    (exit.code() == code).then_some(exit)
}

/// Passes text on with what would end the line escaped.
struct Escape<'a>(&'a mut dyn Write);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let special = |c: char| c == '\\' || c.is_ascii_control();
        let mut rest = text;
        while let Some(at) = rest.find(special) {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'\n' => self.0.write_str("\\n")?,
                b'\t' => self.0.write_str("\\t")?,
                b'\\' => self.0.write_str("\\\\")?,
                byte => write!(self.0, "\\x{byte:02x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}

fn finish(out: &mut dyn Write, text: fmt::Arguments<'_>) -> fmt::Result {
    Escape(out).write_fmt(text)?;
    out.write_str("\n")
}

/// Writes a boot stage.
pub fn boot(out: &mut dyn Write, time_ns: u64, stage: &str) -> fmt::Result {
    write!(out, "@boot {time_ns} ")?;
    finish(out, format_args!("{stage}"))
}

/// Writes a line of the log.
pub fn log(
    out: &mut dyn Write,
    time_ns: u64,
    level: Level,
    text: fmt::Arguments<'_>,
) -> fmt::Result {
    write!(out, "@log {time_ns} {level} ")?;
    finish(out, text)
}

/// Writes a line of a fault report.
pub fn fatal(out: &mut dyn Write, text: fmt::Arguments<'_>) -> fmt::Result {
    out.write_str("@fatal ")?;
    finish(out, text)
}

/// Begins a panic report. The panic may have cut another record short, hence
/// the line end before.
pub fn panic(out: &mut dyn Write, cpu: u32, message: fmt::Arguments<'_>) -> fmt::Result {
    write!(out, "\n@panic {cpu} ")?;
    finish(out, message)
}

/// Writes a frame of a panic's backtrace.
pub fn frame(out: &mut dyn Write, address: u64) -> fmt::Result {
    writeln!(out, "@frame {address:x}")
}

/// Ends a panic report.
pub fn panic_end(out: &mut dyn Write) -> fmt::Result {
    out.write_str("@panic-end\n")
}

/// Writes how the program ended.
pub fn exit(out: &mut dyn Write, exit: Exit) -> fmt::Result {
    match exit {
        Exit::Status(status) => writeln!(out, "@exit {status}"),
        Exit::Signal(number) => writeln!(out, "@exit {} signal {number}", exit.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    fn line(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out).unwrap();
        out
    }

    #[test]
    fn text_survives_with_every_control_character() {
        let mut text = String::from("two\nlines, back\\slash \\x41 \\n ünïcode");
        text.extend((0..0x80u8).map(char::from));
        let out = line(|o| log(o, 7, Level::Info, format_args!("{text}")));
        assert_eq!(out.matches('\n').count(), 1);
        let Record::Log { time_ns: 7, level: Level::Info, text: got } = Record::parse(&out) else {
            panic!("{out}");
        };
        assert_eq!(got.to_string(), text);
    }

    #[test]
    fn exits() {
        for e in [Exit::Status(0), Exit::Status(255), Exit::Status(139), Exit::Signal(11)] {
            assert_eq!(Record::parse(&line(|o| exit(o, e))), Record::Exit(e));
        }
        assert_eq!(Exit::Signal(9).code(), 137);
        for bad in ["@exit", "@exit 256", "@exit -1", "@exit 3 signal 11", "@exit 139 signal"] {
            assert_eq!(Record::parse(bad), Record::Other(bad));
        }
    }

    #[test]
    fn panic_report() {
        let mut out = String::from("@log 5 info cut sho");
        panic(&mut out, 2, format_args!("oh\nno")).unwrap();
        frame(&mut out, 0xffff_ffff_8020_1234).unwrap();
        panic_end(&mut out).unwrap();
        let records: std::vec::Vec<_> = out.lines().skip(1).map(Record::parse).collect();
        let Record::Panic { cpu: 2, message } = records[0] else { panic!() };
        assert_eq!(message.to_string(), "oh\nno");
        assert_eq!(records[1..], [Record::Frame(0xffff_ffff_8020_1234), Record::PanicEnd]);
    }

    #[test]
    fn foreign_lines_are_kept() {
        for l in
            ["", "@", "@logs 1 info x", "@log x info y", "@log 1 loud y", "SeaBIOS", "@frame g"]
        {
            assert_eq!(Record::parse(l), Record::Other(l));
        }
        assert_eq!(
            Record::parse("@boot 12 user\r\n"),
            Record::Boot { time_ns: 12, stage: Text("user") }
        );
        assert_eq!(Text("a\\").to_string(), "a\\");
        assert_eq!(Text("\\x4").to_string(), "\\x4");
        assert_eq!(Text("\\xé").to_string(), "\\xé");
    }
}
