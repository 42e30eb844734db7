// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Flags of `go test`, divided into those of the build and those of the test program.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::profiles::{self, Files};
use super::table::{self, Home};

/// `go test` gives up on a test program after this time.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// What starting and ending the machine may take beside.
const MACHINE_TIME: Duration = Duration::from_secs(60);

/// How a flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Alone, or with `=false`.
    Switch,
    /// With a value, in the same word or the next.
    Value,
}

/// The flags, divided.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// For whatever looks at packages.
    pub(super) build: Vec<OsString>,
    /// For `go test -c`, beside those.
    pub(super) compile: Vec<OsString>,
    /// Whether all output is shown.
    pub(super) verbose: bool,
    /// Whether the output is JSON.
    pub(super) json: bool,
    /// Files that the tests shall write.
    pub(super) files: Files,
    test: Vec<OsString>,
    /// What only the tests themselves understand.
    own: Vec<OsString>,
    timeout: Option<Duration>,
}

impl Flags {
    /// Divides the flags; what follows `-args` is for the tests themselves. `cgo` tells whether
    /// the build may use it.
    pub(super) fn parse(words: &[OsString], cgo: bool) -> Result<Self, String> {
        let mut flags = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let Some(flag) = text.strip_prefix('-') else {
                // It may be the value of the tests' own flag before it, as `go test` has it.
                if !flags.own.is_empty() {
                    flags.own.push(word.clone());
                    continue;
                }
                return Err(format!(
                    "{} is not a flag of `go test`; packages go before the --",
                    word.display()
                ));
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag == "args" {
                flags.own.extend(words.by_ref().cloned());
                break;
            }
            let (name, mut value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (flag, None),
            };
            let name = name.strip_prefix("test.").unwrap_or(name);
            let Some((kind, home)) = table::find(name) else {
                flags.own.push(word.clone());
                continue;
            };
            if let Home::Refused(why) = home {
                return Err(format!("-{name} is not supported: {why}"));
            }
            if kind == Word::Value && value.is_none() {
                value =
                    Some(words.next().cloned().ok_or_else(|| format!("-{name} needs a value"))?);
            }
            flags.add(name, value.as_deref(), home, cgo)?;
        }
        Ok(flags)
    }

    fn add(
        &mut self,
        name: &str,
        value: Option<&OsStr>,
        home: Home,
        cgo: bool,
    ) -> Result<(), String> {
        let on = value.is_none_or(|value| value != "false");
        match home {
            Home::Instrument if on && !cgo => {
                return Err(format!("-{name} needs cgo: set CGO_ENABLED=1, and have a C compiler"));
            }
            Home::Build | Home::Instrument => self.build.push(joined("-", name, value)),
            Home::Compile => self.compile.push(joined("-", name, value)),
            Home::Profile => self.file(name, value, false),
            Home::CoverProfile => {
                self.file(name, value, true);
                self.compile.push("-cover".into());
            }
            Home::OutputDirectory => self.files.directory = value.map(PathBuf::from),
            Home::Json => self.json = on,
            Home::Program => self.test_flag(name, value)?,
            Home::Refused(why) => return Err(format!("-{name} is not supported: {why}")),
        }
        Ok(())
    }

    /// The test program gets the flag's name as that of the file, and the user the file.
    fn file(&mut self, name: &str, value: Option<&OsStr>, merged: bool) {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        self.test.push(format!("-test.{name}={name}").into());
        self.files.add(name, PathBuf::from(value), merged);
    }

    fn test_flag(&mut self, name: &str, value: Option<&OsStr>) -> Result<(), String> {
        let text = value.and_then(OsStr::to_str);
        match name {
            "v" => self.verbose = text != Some("false"),
            "bench" | "list" => self.verbose = true,
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

    /// The flags that the test program of a Go of this version gets.
    pub(super) fn program(&self, version: &str) -> Vec<OsString> {
        let mut flags = vec![OsString::from("-test.paniconexit0")];
        if self.timeout.is_none() {
            flags.push(format!("-test.timeout={}s", DEFAULT_TIMEOUT.as_secs()).into());
        }
        if self.json {
            // Where it knows of test2json it marks its own lines, since 1.20.
            let old = version.starts_with("go1.19");
            flags.push(if old { "-test.v=true" } else { "-test.v=test2json" }.into());
        }
        if !self.files.is_empty() {
            flags.push(format!("-test.outputdir={}", profiles::DIRECTORY).into());
        }
        flags.extend(self.test.iter().cloned());
        flags.extend(self.own.iter().cloned());
        flags
    }

    /// How coverage is counted: what `-covermode` says, or what `go test` takes.
    pub(super) fn cover_mode(&self) -> &str {
        let last = self.compile.iter().rev();
        let said = last.filter_map(|flag| flag.to_str()?.strip_prefix("-covermode=")).next();
        let race = self.build.iter().any(|flag| flag == "-race");
        said.unwrap_or(if race { "atomic" } else { "set" })
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

    fn try_parse(words: &[&str], cgo: bool) -> Result<Flags, String> {
        Flags::parse(&words.iter().map(OsString::from).collect::<Vec<_>>(), cgo)
    }

    fn parse(words: &[&str]) -> Flags {
        try_parse(words, false).unwrap()
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
            "-vet=off",
            "-cover",
            "-update",
            "golden",
            "-args",
            "-v=3",
        ]);
        assert_eq!(flags.build, ["-tags=x"]);
        assert_eq!(flags.compile, ["-vet=off", "-cover"]);
        let own = ["-update", "golden", "-v=3"];
        let program = flags.program("go1.19.8");
        assert_eq!(
            program[2..],
            [&["-test.run=A|B", "-test.v", "-test.count=2", "-test.short"][..], &own].concat()
        );
        assert!(flags.verbose && !flags.json);
    }

    #[test]
    fn json_asks_the_program_for_what_the_converter_reads() {
        let flags = parse(&["-json"]);
        assert!(flags.json && flags.build.is_empty() && flags.compile.is_empty());
        assert_eq!(flags.program("go1.19.8")[2..], ["-test.v=true"]);
        assert_eq!(flags.program("go1.20")[2..], ["-test.v=test2json"]);
        assert_eq!(flags.program("go1.26rc1")[2..], ["-test.v=test2json"]);
        assert!(!parse(&["-json=false"]).json);
    }

    #[test]
    fn files_of_the_tests_have_names_of_their_own_in_the_guest() {
        let words = ["-cpuprofile", "../cpu.out", "-outputdir=x", "-coverprofile=c", "-trace="];
        let flags = parse(&words);
        assert_eq!(flags.compile, ["-cover"]);
        let own = ["-test.cpuprofile=cpuprofile", "-test.coverprofile=coverprofile"];
        let directory = format!("-test.outputdir={}", profiles::DIRECTORY);
        assert_eq!(flags.program("go1.19.8")[2..], [&[&*directory][..], &own].concat());
        assert_eq!(flags.files.of_one_package(), Some("cpuprofile"));
        assert_eq!(parse(&["-coverprofile=c"]).files.of_one_package(), None);
    }

    #[test]
    fn instruments_need_cgo() {
        assert!(try_parse(&["-race"], false).unwrap_err().contains("-race needs cgo"));
        assert_eq!(try_parse(&["-race"], true).unwrap().build, ["-race"]);
    }

    #[test]
    fn what_is_not_supported_says_why() {
        for word in ["-c", "-o=x", "-exec", "-fuzz=F", "-n"] {
            let said = try_parse(&[word], true).unwrap_err();
            let name = word.split('=').next().unwrap();
            assert!(said.starts_with(&format!("{name} is not supported: ")), "{said}");
        }
    }

    #[test]
    fn the_timeout_bounds_the_machine_too() {
        assert_eq!(
            parse(&["-timeout", "1m30s"]).host_timeout(),
            Duration::from_secs(90) + MACHINE_TIME
        );
        assert!(parse(&["-timeout=0"]).host_timeout() > Duration::from_secs(1 << 20));
        assert_eq!(parse(&[]).program("go1.19.8")[1], "-test.timeout=600s");
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [&["-timeout", "soon"][..], &["-run"], &["./..."], &["-timeout", ""]] {
            assert!(try_parse(words, true).is_err(), "{words:?}");
        }
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("5"), None);
    }
}
