// SPDX-License-Identifier: Apache-2.0 OR MIT
//! docs/kernctl.md and the command line are held against each other: each command and flag that
//! stands there exists, and each that exists stands there.

use std::collections::BTreeSet;

use super::{Description, description};

/// A piece of code in the text, split into words; brackets and alternatives are gone.
type Span = Vec<String>;

fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kernctl.md");
    std::fs::read_to_string(path).unwrap()
}

/// The code between backticks of lines that are no code of their own.
fn spans(text: &str) -> Vec<Span> {
    let mut block = false;
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut lines = String::new();
        for line in paragraph.lines() {
            if line.starts_with("```") {
                block = !block;
            } else if !block {
                lines.push_str(line);
                lines.push(' ');
            }
        }
        let split = |code: &str| -> Span {
            code.split(|c: char| c.is_whitespace() || "|[](),;\\".contains(c))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        all.extend(
            lines
                .split('`')
                .skip(1)
                .step_by(2)
                .flat_map(|code| code.split("$("))
                .map(split)
                .filter(|span| !span.is_empty()),
        );
    }
    all
}

/// The command that words begin with, and how many of them name it.
fn command<'a>(root: &'a Description, words: &[String]) -> (&'a Description, usize) {
    let (mut at, mut count) = (root, 0);
    for word in words {
        match at.find_subcommand(word) {
            Some(inner) => at = inner,
            // Alternatives: `attach|detach`, of which the flags are those of the last.
            None if count > 0 && root_of(root, words, count).find_subcommand(word).is_some() => {
                at = root_of(root, words, count).find_subcommand(word).unwrap();
            }
            None => break,
        }
        count += 1;
    }
    (at, count)
}

/// The command above the one that `count` words name.
fn root_of<'a>(root: &'a Description, words: &[String], count: usize) -> &'a Description {
    let mut at = root;
    for word in &words[..count - 1] {
        at = at.find_subcommand(word).unwrap_or(at);
    }
    at
}

/// `--name` and `-n` with all other names that they have.
fn flags(command: &Description) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = ["--help", "-h"].map(str::to_owned).into();
    for argument in command.get_arguments() {
        let long =
            argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default());
        all.extend(long.map(|name| format!("--{name}")));
        let short = argument
            .get_short()
            .into_iter()
            .chain(argument.get_all_short_aliases().unwrap_or_default());
        all.extend(short.map(|name| format!("-{name}")));
    }
    all
}

fn every_flag(command: &Description) -> BTreeSet<String> {
    let inner = command.get_subcommands().flat_map(every_flag);
    flags(command).into_iter().chain(inner).collect()
}

fn is_flag(word: &str) -> bool {
    word.strip_prefix('-')
        .is_some_and(|rest| rest.trim_start_matches('-').starts_with(char::is_alphabetic))
}

#[test]
fn what_the_document_names_exists() {
    let root = description();
    let global = flags(&root);
    let anywhere = every_flag(&root);
    let mut checked = 0;
    for mut span in spans(&text()) {
        span.retain(|word| word != "kernctl");
        let (found, count) = command(&root, &span);
        // Code of other programs.
        if count == 0 && !span.first().is_some_and(|word| is_flag(word)) {
            continue;
        }
        let own = if count > 0 { flags(found) } else { anywhere.clone() };
        // What stands behind `--` is for another program.
        let words = span.iter().skip(count).take_while(|word| *word != "--");
        for word in words.filter(|word| is_flag(word)) {
            let flag = word.split('=').next().unwrap();
            assert!(own.contains(flag) || global.contains(flag), "{flag} in {span:?}");
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} flags are looked at");
}

#[test]
fn what_exists_is_documented() {
    let root = description();
    let words: BTreeSet<String> = spans(&text()).into_iter().flatten().collect();
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        assert!(words.contains(command.get_name()), "the command {}", command.get_name());
    }
    let mut missing = Vec::new();
    for name in ["run", "create", "ps", "logs", "daemon", "target"] {
        let command = root.find_subcommand(name).unwrap();
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let Some(long) = argument.get_long() else { continue };
            let short = argument.get_short().map(|short| format!("-{short}"));
            let said = words.contains(&format!("--{long}"))
                || short.is_some_and(|short| words.contains(&short));
            if !said {
                missing.push(format!("{name} --{long}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/kernctl.md: {missing:?}");
}
