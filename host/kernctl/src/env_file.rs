// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Environment files, as docker reads them, and `-e NAME`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// The environment that files and variables come to; what comes later wins.
pub(crate) fn environment(
    files: &[PathBuf],
    variables: &[String],
) -> Result<BTreeMap<String, String>, Failure> {
    let outside = |name: &str| std::env::var(name).ok();
    let mut all = BTreeMap::new();
    for path in files {
        let text = fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Failure::not_found(format!("there is no file {}", path.display()))
            }
            _ => Failure::io(format!("cannot read {}", path.display()), &error),
        })?;
        parse(path, &text, &outside, &mut all)?;
    }
    for variable in variables {
        take(variable, &outside, &mut all);
    }
    Ok(all)
}

fn take(
    text: &str,
    outside: &impl Fn(&str) -> Option<String>,
    into: &mut BTreeMap<String, String>,
) {
    match text.split_once('=') {
        Some((name, value)) => {
            into.insert(name.to_owned(), value.to_owned());
        }
        // The value that it has here; nothing when it has none.
        None => into.extend(outside(text).map(|value| (text.to_owned(), value))),
    }
}

fn parse(
    path: &Path,
    bytes: &[u8],
    outside: &impl Fn(&str) -> Option<String>,
    into: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |what: &str| {
            Failure::usage(format!("{}:{}: {what}", path.display(), number + 1)).advise(
                "a line is NAME=VALUE, NAME for the value that it has here, or a comment after #",
            )
        };
        let line = std::str::from_utf8(line).map_err(|_| wrong("this is not UTF-8"))?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(wrong("the variable has no name"));
        }
        if name.contains(char::is_whitespace) {
            return Err(wrong(&format!("the name {name:?} contains a blank")));
        }
        if line.contains('\0') {
            return Err(wrong("a variable cannot contain NUL"));
        }
        take(line, outside, into);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<BTreeMap<String, String>, Failure> {
        let outside = |name: &str| (name == "HERE").then(|| "yes".to_owned());
        let mut all = BTreeMap::new();
        parse(Path::new("f"), text, &outside, &mut all).map(|()| all)
    }

    #[test]
    fn lines_are_those_of_docker() {
        let all =
            read(b"\xef\xbb\xbf# c\nA=1\r\n  B = x # y\n\nC=\"q\"\nHERE\nABSENT\nD=a=b\nE=\n");
        assert!(all.is_err(), "a blank in a name");
        let all = read(b"\xef\xbb\xbf# c\nA=1\r\n  B= x # y\n\nC=\"q\"\nHERE\nABSENT\nD=a=b\nE=\n")
            .unwrap();
        let pairs: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        // Quotes and comments after a value belong to it.
        let expected =
            [("A", "1"), ("B", " x # y"), ("C", "\"q\""), ("D", "a=b"), ("E", ""), ("HERE", "yes")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn errors_have_lines() {
        for text in [&b"A=1\n=2"[..], b"A=1\nB C=2", b"A=1\n\xff=2", b"A=1\nB=\0"] {
            let failure = format!("{:?}", read(text).unwrap_err());
            assert!(failure.contains("f:2: "), "{failure}");
        }
    }
}
