// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What of a directory is not sent: `.kernelignore`, with patterns as in `.dockerignore`.

use std::fs;
use std::io;
use std::path::Path;

use crate::Failure;

/// The name of the file.
pub(crate) const FILE_NAME: &str = ".kernelignore";

/// Never of use to a build; a line `!.git` brings it back.
const ALWAYS: &[&str] = &[".git", ".hg", ".svn", ".bzr", ".jj", "**/.DS_Store", FILE_NAME];

/// What is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    segments: Vec<String>,
    negated: bool,
}

impl Ignored {
    /// Leaves out nothing.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// What a directory says, after what is left out of every directory.
    pub(crate) fn of(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Failure::io(format!("cannot read {}", path.display()), &error));
            }
        };
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let own = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = ALWAYS.iter().copied().chain(own).filter_map(rule).collect();
        Self { rules }
    }

    /// Whether a path, relative to the directory, is left out: by itself or with a directory
    /// above it. The last rule that fits decides.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        self.rules.iter().fold(false, |ignored, rule| {
            let fits =
                (1..=segments.len()).any(|count| matches(&rule.segments, &segments[..count]));
            if fits { !rule.negated } else { ignored }
        })
    }

    /// Whether something in a directory that is left out may be wanted all the same.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.negated)
    }
}

fn rule(line: &str) -> Option<Rule> {
    let (negated, pattern) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let segments: Vec<String> = pattern
        .split('/')
        .filter(|segment| !segment.is_empty() && *segment != ".")
        .map(str::to_owned)
        .collect();
    (!segments.is_empty()).then_some(Rule { segments, negated })
}

fn matches(pattern: &[String], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => {
            (0..=path.len()).any(|skipped| matches(rest, &path[skipped..]))
        }
        Some((first, rest)) => match path.split_first() {
            None => false,
            Some((name, below)) => {
                let (first, name): (Vec<char>, Vec<char>) =
                    (first.chars().collect(), name.chars().collect());
                matches_name(&first, &name) && matches(rest, below)
            }
        },
    }
}

/// `*`, `?`, `[a-z]`, `[^a-z]`, `\x`: filepath.Match of Go, which docker uses.
fn matches_name(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|skipped| matches_name(rest, &name[skipped..])),
        ['?', rest @ ..] => !name.is_empty() && matches_name(rest, &name[1..]),
        ['\\', c, rest @ ..] => name.first() == Some(c) && matches_name(rest, &name[1..]),
        ['[', rest @ ..] => match (class(rest), name.split_first()) {
            (Some((set, negated, after)), Some((c, below))) => {
                set.iter().any(|(low, high)| (low..=high).contains(&c)) != negated
                    && matches_name(after, below)
            }
            _ => false,
        },
        [c, rest @ ..] => name.first() == Some(c) && matches_name(rest, &name[1..]),
    }
}

type Class<'a> = (Vec<(char, char)>, bool, &'a [char]);

fn class(pattern: &[char]) -> Option<Class<'_>> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        _ => (false, pattern),
    };
    let mut set = Vec::new();
    loop {
        match rest {
            [']', after @ ..] if !set.is_empty() => return Some((set, negated, after)),
            [low, '-', high, after @ ..] if *high != ']' => {
                set.push((*low, *high));
                rest = after;
            }
            [c, after @ ..] => {
                set.push((*c, *c));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_docker() {
        let ignored = Ignored::parse(
            "# c\n\n*.log\n/out/\n**/node_modules\ndocs/**/*.md\n!docs/keep.md\na?[x-z]\n\\*star\n",
        );
        for path in [
            ".git",
            ".git/config",
            "a.log",
            "out",
            "out/x/y",
            "node_modules",
            "a/b/node_modules/c",
            "docs/x.md",
            "docs/a/b.md",
            "abx",
            "*star",
            ".kernelignore",
            "a/.DS_Store",
        ] {
            assert!(ignored.contains(path), "{path}");
        }
        for path in
            ["a/b.log", "outer", "docs/keep.md", "docs", "abc", "xstar", ".gitignore", "a/out"]
        {
            assert!(!ignored.contains(path), "{path}");
        }
        assert!(ignored.has_exceptions());
    }

    #[test]
    fn the_last_rule_decides() {
        let ignored = Ignored::parse("*\n!src\nsrc/tmp\n!.git\n");
        assert!(ignored.contains("x") && ignored.contains("src/tmp/y"));
        assert!(
            !ignored.contains("src")
                && !ignored.contains("src/a")
                && !ignored.contains(".git/config")
        );
    }

    #[test]
    fn broken_classes_fit_nothing() {
        let ignored = Ignored::parse("[a\n[]\n[^a-c]x");
        assert!(!ignored.contains("a") && !ignored.contains("]"));
        assert!(ignored.contains("dx") && !ignored.contains("bx"));
    }
}
