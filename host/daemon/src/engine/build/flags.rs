// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which flags of `go build` a request may give.
//!
//! Many of them, and more of those of the tools behind it, run programs or read and write files
//! that the caller names, so those are allowed of which it is known that they do not. What has a
//! list of flags in it is taken apart as the go command does (cmd/internal/quoted, and
//! cmd/go/internal/load.PerPackageFlag), and each of them is looked at.

use crate::{Error, Result};

/// What is allowed, for people.
const ALLOWED: &str = "-tags, -race, -v, -a, -mod, and -ldflags with -s, -w, -X, -B, -buildid";
/// Flags without a value, or with true or false.
const SWITCHES: &[&str] = &["-race", "-v", "-a"];
/// What -mod may be.
const MODES: &[&str] = &["readonly", "vendor", "mod"];

/// Refuses what is not known to be harmless.
pub(super) fn check(flags: &[String]) -> Result<()> {
    let mut words = flags.iter();
    while let Some(word) = words.next() {
        let (name, value) = parts(word);
        if SWITCHES.contains(&name) {
            value.map_or(Ok(()), |value| check_switch(name, value))?;
            continue;
        }
        let check: fn(&str) -> Result<()> = match name {
            "-tags" => |_| Ok(()),
            "-mod" => check_mode,
            "-ldflags" => check_linker,
            _ => return Err(refused(&format!("the flag {word:?}"))),
        };
        // The value stands behind '=', or is the word that follows.
        let value = value.or_else(|| words.next().map(String::as_str));
        check(value.ok_or_else(|| no_value(name))?)?;
    }
    Ok(())
}

/// The name of a flag, of which `--` means the same as `-`, and its value.
fn parts(word: &str) -> (&str, Option<&str>) {
    let single = if word.starts_with("--") { &word[1..] } else { word };
    match single.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (single, None),
    }
}

fn check_switch(name: &str, value: &str) -> Result<()> {
    if matches!(value, "true" | "false" | "1" | "0") {
        return Ok(());
    }
    Err(Error::invalid(format!("the flag {name} is true or false, not {value:?}")))
}

fn check_mode(mode: &str) -> Result<()> {
    if MODES.contains(&mode) {
        return Ok(());
    }
    Err(Error::invalid(format!("-mod is one of {}, not {mode:?}", MODES.join(", "))))
}

/// Flags of the linker, for the packages of a pattern when that comes first.
fn check_linker(value: &str) -> Result<()> {
    let mut list = value.trim();
    if !list.is_empty() && !list.starts_with('-') {
        list = list
            .split_once('=')
            .filter(|(pattern, _)| !pattern.is_empty() && !pattern.starts_with(['\'', '"']))
            .map(|(_, behind)| behind)
            .ok_or_else(|| refused(&format!("{value:?} of -ldflags")))?;
    }
    let words = split(list)?;
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let (name, value) = parts(word);
        let good: fn(&str) -> bool = match name {
            "-s" | "-w" => {
                value.map_or(Ok(()), |value| check_switch(name, value))?;
                continue;
            }
            "-X" => is_definition,
            "-B" => is_note,
            "-buildid" => is_build_id,
            _ => return Err(refused(&format!("the flag {word:?} of -ldflags"))),
        };
        let value = value.or_else(|| words.next()).ok_or_else(|| no_value(name))?;
        if !good(value) {
            return Err(refused(&format!("the value {value:?} of {name} of -ldflags")));
        }
    }
    Ok(())
}

/// `IMPORTPATH.NAME=VALUE`. The linker takes a word that begins with '@', wherever it stands, for
/// the name of a file with more flags; that of a definition begins with a package.
fn is_definition(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_alphanumeric() || c == '_') && name.contains('.')
    })
}

/// `0xNUMBER`, or what stands for one.
fn is_note(text: &str) -> bool {
    let digits = text.strip_prefix("0x");
    let number = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    number || matches!(text, "none" | "gobuildid")
}

/// Nothing, or words of base 64 with '/' between them, as the go command makes them.
fn is_build_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte);
    text.bytes().all(plain)
}

/// Words between spaces; one that begins with a quote ends with the same one, and nothing in it
/// has a meaning.
fn split(mut text: &str) -> Result<Vec<&str>> {
    const SPACES: [char; 4] = [' ', '\t', '\n', '\r'];
    let mut words = Vec::new();
    loop {
        text = text.trim_start_matches(SPACES);
        let Some(first) = text.chars().next() else { return Ok(words) };
        let (word, rest) = if matches!(first, '\'' | '"') {
            text[1..].split_once(first).ok_or_else(|| {
                Error::invalid(format!("a quote of -ldflags is not closed: {text}"))
            })?
        } else {
            text.split_at(text.find(SPACES).unwrap_or(text.len()))
        };
        words.push(word);
        text = rest;
    }
}

fn no_value(name: &str) -> Error {
    Error::invalid(format!("the flag {name} has no value")).advise(format!("{name} takes one"))
}

fn refused(what: &str) -> Error {
    Error::invalid(format!("{what} is not allowed in builds of the daemon"))
        .advise(format!("allowed are {ALLOWED}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are written with '|' between them.
    fn checked(line: &str) -> Result<()> {
        check(&line.split('|').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_builds_use_is_allowed() {
        for good in [
            "-tags=a,b",
            "-tags|netgo,osusergo|-v",
            "--race|-a=false",
            "-mod|vendor",
            "-ldflags=-X main.v=1",
            "--ldflags|-s -w",
            "-ldflags|-w -X main.nextVersion=1",
            "-ldflags|-X 'main.text=a -extld=b @c' -X \"example.com/x-y/z.Name=\"",
            "-ldflags|all=-s=false -w=true --X=main.a=b=c",
            "-ldflags|-buildid= -B 0x0123456789abcdef -B none",
            "-ldflags|-buildid '' -s",
            "-ldflags=",
        ] {
            checked(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        check(&[]).unwrap();
    }

    #[test]
    fn what_runs_programs_or_names_files_is_refused() {
        for bad in [
            "-toolexec=/bin/sh",
            "--toolexec|x",
            "-o=/etc/passwd",
            "-o|x",
            "-overlay=x",
            "-modfile=x",
            "-pkgdir=x",
            "-gcflags=-cpuprofile=x",
            "-asmflags=-I /etc",
            "-gccgoflags=x",
            "-compiler=gccgo",
            "-C=/",
            "-exec=x",
            "-work",
            "-mod=/x",
            "-race=@x",
            "main.go",
            "--",
            "---v",
            "-",
            "",
            "-v|netgo",
            "-tags|a|main.go",
            "-tags|a|-o|x",
        ] {
            let error = checked(bad).unwrap_err();
            assert_eq!(error.code(), bhojpur_api::Code::Invalid, "{bad:?}");
        }
    }

    #[test]
    fn the_linker_gets_no_files_and_runs_nothing() {
        for bad in [
            "-o /x",
            "-o=/x",
            "--o=/x",
            "-s -o /x",
            "-s\t'-o'\n/x",
            "all=-o /x",
            "a=b=-o /x",
            "'-o=/x'",
            "'-s'-o=/x",
            "-s=/x",
            "-cpuprofile /x",
            "-memprofile=/x",
            "-benchmarkprofile=/x",
            "-tmpdir=/x",
            "-capturehostobjs=/x",
            "-linkmode external -extld=/bin/sh",
            "-extldflags=-Wl,-o,/x",
            "-extar=x",
            "-I /x",
            "-r /x",
            "-L /x",
            "-importcfg x",
            "@/x",
            "-X @/x",
            "-X @/x=1",
            "-X '@/x.y=1'",
            "-X -o=/x",
            "-X",
            "-X main.v",
            "-B @/x",
            "-B 0x1@",
            "-buildid @/x",
            "-buildid a|b",
            "-- /x",
            "-s x",
            "-w 'x",
            "=-s",
            "x",
            "\u{a0}-o=/x",
        ] {
            let both = [vec![format!("-ldflags={bad}")], vec!["-ldflags".into(), bad.to_owned()]];
            for flags in both {
                assert!(check(&flags).is_err(), "{bad:?}");
            }
        }
        assert!(checked("-ldflags").unwrap_err().to_string().contains("no value"));
    }

    #[test]
    fn words_are_split_as_the_go_command_splits_them() {
        assert_eq!(
            split(" a  'b \"c' \"d'\"\te=\"f g\n").unwrap(),
            ["a", "b \"c", "d'", "e=\"f", "g"]
        );
        assert_eq!(split("''x").unwrap(), ["", "x"]);
        assert!(split("").unwrap().is_empty());
        assert!(split("a 'b").is_err());
    }
}
