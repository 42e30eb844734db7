// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flags of `go test`, divided into those of the build and those of the test program.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// Flags of the test program that take a value (`go help testflag`).
const WITH_VALUE: &[&str] = &[
    "bench",
    "benchtime",
    "blockprofile",
    "blockprofilerate",
    "count",
    "cpu",
    "cpuprofile",
    "fuzz",
    "fuzztime",
    "fuzzminimizetime",
    "list",
    "memprofile",
    "memprofilerate",
    "mutexprofile",
    "mutexprofilefraction",
    "outputdir",
    "parallel",
    "run",
    "shuffle",
    "skip",
    "timeout",
    "trace",
];

/// Flags of the test program that are on or off.
const SWITCHES: &[&str] = &["benchmem", "failfast", "fullpath", "short", "v"];

/// Flags of the build that take a value (`go help build`).
const BUILD_WITH_VALUE: &[&str] = &[
    "asmflags",
    "buildmode",
    "compiler",
    "gccgoflags",
    "gcflags",
    "installsuffix",
    "ldflags",
    "mod",
    "modfile",
    "overlay",
    "p",
    "pgo",
    "pkgdir",
    "tags",
    "toolexec",
    "covermode",
    "coverpkg",
];

/// `go test` gives up on a test program after this time.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// What starting and ending the machine may take beside.
const MACHINE_TIME: Duration = Duration::from_secs(60);

/// The flags, divided.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// For the build.
    pub(super) build: Vec<OsString>,
    /// Whether all output is shown.
    pub(super) verbose: bool,
    test: Vec<OsString>,
    timeout: Option<Duration>,
}

impl Flags {
    /// Divides the flags; what follows `-args` is for the tests themselves.
    pub(super) fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let Some(flag) = text.strip_prefix('-') else {
                return Err(format!(
                    "{} is not a flag of `go test`; packages go before the --",
                    word.display()
                ));
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag == "args" {
                flags.test.extend(words.by_ref().cloned());
                break;
            }
            let (name, mut value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (flag, None),
            };
            let name = name.strip_prefix("test.").unwrap_or(name);
            let takes_value = WITH_VALUE.contains(&name) || BUILD_WITH_VALUE.contains(&name);
            if takes_value && value.is_none() {
                value =
                    Some(words.next().cloned().ok_or_else(|| format!("-{name} needs a value"))?);
            }
            if WITH_VALUE.contains(&name) || SWITCHES.contains(&name) {
                flags.test_flag(name, value.as_deref())?;
            } else {
                flags.build.push(joined("-", name, value.as_deref()));
            }
        }
        Ok(flags)
    }

    fn test_flag(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let text = value.and_then(OsStr::to_str);
        match name {
            "v" => self.verbose = text != Some("false"),
            "bench" => self.verbose = true,
            "timeout" => {
                let text = text.unwrap_or_default();
                let timeout = duration(text)
                    .ok_or_else(|| format!("-timeout: {text:?} is not a duration"))?;
                self.timeout = Some(timeout);
            }
            _ => {}
        }
        self.test.push(joined("-test.", name, value));
        Ok(())
    }

    /// The flags that the test program gets.
    pub(super) fn program(&self) -> Vec<OsString> {
        let mut flags = vec![OsString::from("-test.paniconexit0")];
        if self.timeout.is_none() {
            flags.push(format!("-test.timeout={}s", DEFAULT_TIMEOUT.as_secs()).into());
        }
        flags.extend(self.test.iter().cloned());
        flags
    }

    /// When the machine is stopped; the test program should have given up before.
    pub(super) fn host_timeout(&self) -> Duration {
        match self.timeout {
            // No limit, says `go help testflag`.
            Some(Duration::ZERO) => Duration::from_secs(365 * 24 * 3600),
            Some(timeout) => timeout + MACHINE_TIME,
            None => DEFAULT_TIMEOUT + MACHINE_TIME,
        }
    }
}

fn joined(prefix: &str, name: &str, value: Option<&OsStr>) -> OsString {
    let mut flag = OsString::from(format!("{prefix}{name}"));
    if let Some(value) = value {
        flag.push("=");
        flag.push(value);
    }
    flag
}

/// A duration as Go's `time.ParseDuration` takes it, such as `1h2m3.5s`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..length] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum += number * unit;
        rest = &rest[length..];
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(sum).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Flags {
        Flags::parse(&words.iter().map(OsString::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn flags_go_where_go_test_sends_them() {
        let flags = parse(&[
            "-run",
            "A|B",
            "-v",
            "-tags",
            "x",
            "--count=2",
            "-short",
            "-race",
            "-args",
            "-v=3",
        ]);
        assert_eq!(flags.build, ["-tags=x", "-race"]);
        let program = flags.program();
        assert_eq!(
            program[2..],
            ["-test.run=A|B", "-test.v", "-test.count=2", "-test.short", "-v=3"]
        );
        assert!(flags.verbose);
    }

    #[test]
    fn the_timeout_bounds_the_machine_too() {
        assert_eq!(
            parse(&["-timeout", "1m30s"]).host_timeout(),
            Duration::from_secs(90) + MACHINE_TIME
        );
        assert!(parse(&["-timeout=0"]).host_timeout() > Duration::from_secs(1 << 20));
        assert_eq!(parse(&[]).program()[1], "-test.timeout=600s");
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [&["-timeout", "soon"][..], &["-run"], &["./..."], &["-timeout", ""]] {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            assert!(Flags::parse(&words).is_err(), "{words:?}");
        }
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("5"), None);
    }
}
