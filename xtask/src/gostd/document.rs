// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `docs/go-std-tests.md`, and the reasons in `tests/gostd/known.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::PackageResult;
use super::output::Verdict;

/// Package, then test (or `*` for all of them), then why it fails.
pub(super) type Known = BTreeMap<String, BTreeMap<String, String>>;

pub(super) fn known(path: &Path) -> Result<Known> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).with_context(|| path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Known::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Why `test` fails: a written reason, or that it fails on Linux as well.
pub(super) fn reason<'a>(known: &'a Known, result: &PackageResult, test: &str) -> Option<&'a str> {
    let written = known.get(&result.package).and_then(|p| p.get(test).or_else(|| p.get("*")));
    match written {
        Some(text) => Some(text),
        None if result.host.verdicts.get(test) == Some(&Verdict::Fail) => {
            Some("fails on this Linux host in the same way")
        }
        None => None,
    }
}

fn failures(result: &PackageResult) -> impl Iterator<Item = &str> {
    result
        .guest
        .verdicts
        .iter()
        .filter(|(_, v)| **v == Verdict::Fail)
        .map(|(name, _)| name.as_str())
}

/// Failures that nobody has explained.
pub(super) fn unexplained(known: &Known, results: &[PackageResult]) -> Vec<String> {
    let mut list = Vec::new();
    for result in results {
        if let Some(error) = &result.error {
            list.push(format!("{}: {error}", result.package));
        }
        for test in failures(result).filter(|test| reason(known, result, test).is_none()) {
            list.push(format!("{}.{test}", result.package));
        }
    }
    list
}

/// Reasons for tests that pass now.
pub(super) fn outdated(known: &Known, results: &[PackageResult]) -> Vec<String> {
    let passes = |r: &PackageResult, test: &str| r.guest.verdicts.get(test) == Some(&Verdict::Pass);
    let mut list = Vec::new();
    for result in results {
        for test in known.get(&result.package).into_iter().flat_map(BTreeMap::keys) {
            if passes(result, test) {
                list.push(format!("{}.{test}", result.package));
            }
        }
    }
    list
}

pub(super) fn markdown(
    known: &Known,
    results: &[PackageResult],
    version: &str,
    date: &str,
) -> String {
    let mut text = format!(
        "# Go's standard library tests in the unikernel\n\n\
         Made by `cargo xtask gostd --write` on {date} with {version}, `-short`. The numbers are top-level\n\
         tests; the last column counts the same binary on a Linux host.\n\n\
         | package | passed | failed | skipped | passed on Linux |\n|---|--:|--:|--:|--:|\n"
    );
    let mut sums = [0; 4];
    for r in results {
        let row = [
            r.guest.count(Verdict::Pass),
            r.guest.count(Verdict::Fail),
            r.guest.count(Verdict::Skip),
            r.host.count(Verdict::Pass),
        ];
        for (sum, n) in sums.iter_mut().zip(row) {
            *sum += n;
        }
        let note = if r.error.is_some() { " (not run)" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {}{note} | {} | {} | {} | {} |",
            r.package, row[0], row[1], row[2], row[3]
        );
    }
    let [passed, failed, skipped, host] = sums;
    let _ =
        writeln!(text, "| **all** | **{passed}** | **{failed}** | **{skipped}** | **{host}** |");
    let _ = writeln!(text, "\n## Failures and their reasons\n");
    let mut any = false;
    for r in results {
        if let Some(error) = &r.error {
            any = true;
            let _ =
                writeln!(text, "* `{}`: {}", r.package, error.lines().next().unwrap_or_default());
        }
        for test in failures(r) {
            any = true;
            let why = reason(known, r, test).unwrap_or("**not explained yet**");
            let _ = writeln!(text, "* `{}.{test}`: {why}", r.package);
        }
    }
    if !any {
        text.push_str("None.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Known, markdown, outdated, unexplained};
    use crate::gostd::PackageResult;
    use crate::gostd::output::Results;

    fn results(text: &str) -> Results {
        let mut results = Results::default();
        results.read(text);
        results
    }

    #[test]
    fn every_failure_needs_a_reason() {
        let guest = "--- PASS: TestA (0s)\n--- FAIL: TestB (0s)\n--- FAIL: TestC (0s)\n--- FAIL: TestD (0s)\nFAIL\n";
        let result = PackageResult {
            package: "os".to_owned(),
            guest: results(guest),
            host: results("--- PASS: TestB (0s)\n--- FAIL: TestC (0s)\nFAIL\n"),
            error: None,
        };
        let known: Known =
            toml::from_str("[os]\nTestB = \"needs fork\"\nTestA = \"old\"\n").unwrap();
        let all = [result];
        assert_eq!(unexplained(&known, &all), ["os.TestD"]);
        assert_eq!(outdated(&known, &all), ["os.TestA"]);
        let text = markdown(&known, &all, "go1.19.8", "today");
        assert!(
            text.contains("| os | 1 | 3 | 0 | 1 |") && text.contains("`os.TestB`: needs fork"),
            "{text}"
        );
    }
}
