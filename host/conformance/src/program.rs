// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program that the suite runs in instances, as a specification and as data.
//!
//! Its arguments are steps, done in order; after the last one it ends with status 0. It writes
//! whole lines to its standard output, each ending with a line feed, and nothing else. The
//! real one is `tests/conformance/main.go`; the fake of a hypervisor plays the same with
//! [`Step::parse`].
//!
//! The image's own arguments and environment are [`IMAGE_ARGS`] and [`IMAGE_ENV`].

/// The arguments in the image, which run when a plan has none.
pub const IMAGE_ARGS: &[&str] = &["say=from the image", "env=GREETING", "env=FROM_IMAGE"];

/// The environment in the image, beside `PATH` and `HOME`.
pub const IMAGE_ENV: &[(&str, &str)] = &[("GREETING", "image"), ("FROM_IMAGE", "yes")];

/// The name of the program in the image; its `argv[0]` is this below `/app`.
pub const NAME: &str = "conformance";

/// The status of the program when it does not know a step or a number.
pub const UNKNOWN_STEP: u8 = 99;

/// What the program does and says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `say=TEXT`: says `TEXT`.
    Say(String),
    /// `args`: says `arg N=TEXT` for each argument, from 1 on; all steps are arguments.
    Args,
    /// `env=NAME`: says `env NAME=VALUE`, or `env NAME unset`.
    Env(String),
    /// `machine`: says `cpus=N`, then `memory=M`, the MiB of memory that sysinfo(2) tells.
    Machine,
    /// `exit=N`: ends with status N.
    Exit(u8),
    /// `signal=N`: sends itself signal N, whose default is to kill.
    Signal(u8),
    /// `trap=N`: says `trapping`; on SIGTERM says `goodbye` and ends with status N.
    Trap(u8),
    /// `ignore`: ignores SIGTERM from now on; says `ignoring`.
    Ignore,
    /// `sleep=N`: sleeps N milliseconds.
    Sleep(u64),
    /// `tcp=PORT`: listens, says `listening tcp PORT`, goes on; answers each line of each
    /// connection with `echo ` and the line.
    Tcp(u16),
    /// `udp=PORT`: listens, says `listening udp PORT`, goes on; answers each datagram with
    /// `echo ` and the datagram.
    Udp(u16),
    /// `count=N`: goes on, and beside it says `count 1`, `count 2` and so on, with N
    /// milliseconds between.
    Count(u64),
    /// `flood=N`: says `line I of a flood that fills the log` for I from 1 to N.
    Flood(u64),
    /// `read`: reads a line of standard input, says `read ` and the line.
    Read,
    /// `write=PATH=TEXT`: writes TEXT to the file and waits until it is on the disk; says
    /// `wrote PATH`, or `cannot write PATH: ` and strerror(3) in lower case.
    Write(String, String),
    /// `cat=PATH`: says `PATH holds ` and the file, or `cannot read PATH: ` and strerror(3) in
    /// lower case.
    Cat(String),
    /// `wait`: does nothing, for ever.
    Wait,
}

impl Step {
    /// The step that an argument is; `None` ends the program with [`UNKNOWN_STEP`].
    #[must_use]
    pub fn parse(argument: &str) -> Option<Self> {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        Some(match name {
            "say" => Self::Say(value.to_owned()),
            "args" => Self::Args,
            "env" => Self::Env(value.to_owned()),
            "machine" => Self::Machine,
            "exit" => Self::Exit(value.parse().ok()?),
            "signal" => Self::Signal(value.parse().ok()?),
            "trap" => Self::Trap(value.parse().ok()?),
            "ignore" => Self::Ignore,
            "sleep" => Self::Sleep(value.parse().ok()?),
            "tcp" => Self::Tcp(value.parse().ok()?),
            "udp" => Self::Udp(value.parse().ok()?),
            "count" => Self::Count(value.parse().ok()?),
            "flood" => Self::Flood(value.parse().ok()?),
            "read" => Self::Read,
            "write" => {
                let (path, text) = value.split_once('=').unwrap_or((value, ""));
                Self::Write(path.to_owned(), text.to_owned())
            }
            "cat" => Self::Cat(value.to_owned()),
            "wait" => Self::Wait,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_parsed_as_the_program_does() {
        assert_eq!(Step::parse("say=a=b"), Some(Step::Say("a=b".into())));
        assert_eq!(
            Step::parse("write=/data/x=a=b"),
            Some(Step::Write("/data/x".into(), "a=b".into()))
        );
        assert_eq!(Step::parse("exit=7"), Some(Step::Exit(7)));
        assert_eq!((Step::parse("exit=x"), Step::parse("dance")), (None, None));
        for argument in IMAGE_ARGS {
            assert!(Step::parse(argument).is_some());
        }
    }
}
