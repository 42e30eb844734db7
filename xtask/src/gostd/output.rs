// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads what a Go test binary prints with `-test.v`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Pass,
    Fail,
    Skip,
}

/// Top-level tests with what became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) verdicts: BTreeMap<String, Verdict>,
    /// The first lines that a failed test printed.
    pub(super) messages: BTreeMap<String, String>,
}

/// How the output of a program ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With the verdict on the whole.
    Whole,
    /// In this test.
    Within(String),
    /// After the verdict on a test, as when a test panics.
    Short,
}

/// Lines kept of what a failed test said.
const MESSAGE_LINES: usize = 12;

impl Results {
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.values().filter(|v| **v == verdict).count()
    }

    pub(super) fn fail(&mut self, test: &str, message: &str) {
        self.verdicts.insert(test.to_owned(), Verdict::Fail);
        self.messages.insert(test.to_owned(), message.to_owned());
    }

    /// Adds what `text` tells.
    pub(super) fn read(&mut self, text: &str) -> End {
        let mut running: Vec<&str> = Vec::new();
        let mut said: Vec<&str> = Vec::new();
        let mut ended = false;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("=== RUN   ") {
                if !name.contains('/') {
                    running.push(name);
                }
                said.clear();
            } else if let Some((verdict, name)) = result_line(line) {
                running.retain(|r| *r != name);
                self.verdicts.insert(name.to_owned(), verdict);
                if verdict == Verdict::Fail {
                    let kept: Vec<&str> = said.iter().copied().take(MESSAGE_LINES).collect();
                    self.messages.insert(name.to_owned(), kept.join("\n"));
                }
                said.clear();
            } else if line == "PASS" || line == "FAIL" {
                ended = true;
            } else if line.starts_with("FAIL\t") {
                // What follows is of the tool that ran the program.
                break;
            } else if !line.starts_with("=== ") {
                said.push(line);
            }
        }
        // Messages of a failed test follow its verdict, indented.
        let mut last = None;
        for line in text.lines() {
            match result_line(line) {
                Some((Verdict::Fail, name)) => last = Some(name),
                Some(_) => last = None,
                None if line.starts_with("    ") => {
                    let Some(message) = last.and_then(|name| self.messages.get_mut(name)) else {
                        continue;
                    };
                    if message.lines().count() < MESSAGE_LINES {
                        message.push('\n');
                        message.push_str(line.trim());
                    }
                }
                None => last = None,
            }
        }
        match running.last() {
            _ if ended => End::Whole,
            Some(name) => End::Within((*name).to_owned()),
            None => End::Short,
        }
    }
}

/// `--- FAIL: TestName (0.01s)` of a top-level test.
fn result_line(line: &str) -> Option<(Verdict, &str)> {
    let (verdict, rest) = if let Some(rest) = line.strip_prefix("--- PASS: ") {
        (Verdict::Pass, rest)
    } else if let Some(rest) = line.strip_prefix("--- FAIL: ") {
        (Verdict::Fail, rest)
    } else {
        (Verdict::Skip, line.strip_prefix("--- SKIP: ")?)
    };
    let name = rest.split(' ').next()?;
    Some((verdict, name)).filter(|_| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::{End, Results, Verdict};

    #[test]
    fn reads_verdicts_and_messages() {
        let text = "=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n=== RUN   TestB/sub\n\
            \x20   b_test.go:7: wrong\n--- FAIL: TestB (0.10s)\n    --- FAIL: TestB/sub (0.10s)\n\
            \x20       b_test.go:9: more\n=== RUN   TestC\n--- SKIP: TestC (0.00s)\n    c_test.go:1: no root\nFAIL\n";
        let mut results = Results::default();
        assert_eq!(results.read(text), End::Whole);
        assert_eq!(results.count(Verdict::Pass), 1);
        assert_eq!(results.count(Verdict::Skip), 1);
        assert!(results.messages["TestB"].contains("wrong"), "{results:?}");
        assert!(results.messages["TestB"].contains("more"), "{results:?}");
        assert_eq!(results.verdicts.len(), 3);
    }

    #[test]
    fn names_the_test_that_ended_the_program() {
        let mut results = Results::default();
        let died =
            results.read("=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\npanic: x\n");
        assert_eq!(died, End::Within("TestB".to_owned()));
        assert_eq!(results.count(Verdict::Pass), 1);
        let read = |text: &str| Results::default().read(text);
        assert_eq!(read("=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n"), End::Whole);
        let panicked = "=== RUN   TestA\n--- FAIL: TestA (0.00s)\npanic: x [recovered]\n";
        assert_eq!(read(panicked), End::Short);
        let reported = format!("{panicked}exit status 2\nFAIL\tos\t0.3s\nFAIL\n");
        assert_eq!(read(&reported), End::Short);
    }
}
