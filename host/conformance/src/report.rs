// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the suite found.

use std::fmt;
use std::time::{Duration, Instant};

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was seen.
    Passed,
    /// Something was not as promised.
    Failed(String),
    /// It was not tried, and why.
    Skipped(String),
}

/// A case and what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The case's name.
    pub name: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// All cases of a run.
#[derive(Clone, Debug)]
pub struct Report {
    provider: String,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(provider: String) -> Self {
        Self { provider, rows: Vec::new() }
    }

    /// Adds a case, and says so at once: a run takes minutes on a slow machine.
    pub(crate) fn add(&mut self, name: &'static str, verdict: Verdict, start: Instant) {
        let row = Row { name, verdict, took: start.elapsed() };
        eprintln!("{}: {row}", self.provider);
        self.rows.push(row);
    }

    /// The cases in the order in which they ran.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether something ran and nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(|verdict| *verdict == Verdict::Passed) > 0
            && self.count(|verdict| matches!(verdict, Verdict::Failed(_))) == 0
    }

    fn count(&self, of: impl Fn(&Verdict) -> bool) -> usize {
        self.rows.iter().filter(|row| of(&row.verdict)).count()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, reason) = match &self.verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Failed(reason) => ("FAILED", reason.as_str()),
            Verdict::Skipped(reason) => ("skipped", reason.as_str()),
        };
        write!(f, "{word:<8}{:<28}{:7.1} s", self.name, self.took.as_secs_f64())?;
        for line in reason.lines() {
            write!(f, "\n        {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        write!(
            f,
            "{}: {} ok, {} failed, {} skipped",
            self.provider,
            self.count(|verdict| *verdict == Verdict::Passed),
            self.count(|verdict| matches!(verdict, Verdict::Failed(_))),
            self.count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_everything_is_not_passing() {
        let mut report = Report::new("fake".into());
        assert!(!report.passed());
        report.add("a", Verdict::Skipped("no reason".into()), Instant::now());
        assert!(!report.passed());
        report.add("b", Verdict::Passed, Instant::now());
        assert!(report.passed());
        report.add("c", Verdict::Failed("it broke".into()), Instant::now());
        assert!(!report.passed());
        let text = report.to_string();
        assert!(text.contains("FAILED") && text.contains("it broke"), "{text}");
        assert!(text.ends_with("1 ok, 1 failed, 1 skipped"), "{text}");
    }
}
