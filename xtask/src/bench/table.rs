// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of figures: on the terminal and in `docs/benchmarks.md`.

use std::fmt::Write as _;

/// One figure of both guests.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) linux: Option<f64>,
    pub(super) ours: Option<f64>,
    /// The ratio to Linux that is aimed at: for a rate the least one, else the greatest.
    pub(super) aim: Option<f64>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        Some(self.ours? / self.linux?).filter(|r| r.is_finite())
    }

    fn verdict(&self) -> &'static str {
        match (self.ratio(), self.aim) {
            // Of a rate more is better.
            (Some(ratio), Some(aim)) if self.unit.ends_with("/s") => yes_or_no(ratio >= aim),
            (Some(ratio), Some(aim)) => yes_or_no(ratio <= aim),
            _ => "",
        }
    }
}

fn yes_or_no(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

fn figure(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match unit {
        "s" => format!("{value:.3}"),
        "ns" if value < 100.0 => format!("{value:.1}"),
        _ => group(value),
    }
}

/// A whole number with its thousands apart.
fn group(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A Markdown table, padded so that it reads well on a terminal too.
pub(super) fn markdown(rows: &[Row]) -> String {
    let head = ["", "unit", "Linux", "Bhojpur", "ratio", "aim", ""].map(str::to_owned);
    let ratio = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), |r| format!("{r:.3}"));
    let body = rows.iter().map(|row| {
        [
            row.name.clone(),
            row.unit.to_owned(),
            figure(row.linux, row.unit),
            figure(row.ours, row.unit),
            ratio(row.ratio()),
            ratio(row.aim),
            row.verdict().to_owned(),
        ]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(body).collect();
    let width =
        |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column {
                0 | 1 | 6 => write!(text, "| {cell:<width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if at == 0 {
            for (column, width) in widths.iter().enumerate() {
                let right = if matches!(column, 0 | 1 | 6) { '-' } else { ':' };
                let _ = write!(text, "|-{}{right}", "-".repeat(*width));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Row, group, markdown};

    #[test]
    fn groups_thousands() {
        assert_eq!(group(7.0), "7");
        assert_eq!(group(1234567.4), "1 234 567");
        assert_eq!(group(123456.0), "123 456");
    }

    #[test]
    fn says_whether_an_aim_is_reached() {
        let row = |unit, linux, ours, aim| Row {
            name: "x".to_owned(),
            unit,
            linux: Some(linux),
            ours: Some(ours),
            aim: Some(aim),
        };
        assert_eq!(row("ns", 100.0, 50.0, 0.6).verdict(), "reached");
        assert_eq!(row("ns", 100.0, 70.0, 0.6).verdict(), "**missed**");
        assert_eq!(row("req/s", 100.0, 300.0, 2.9).verdict(), "reached");
        assert_eq!(row("req/s", 100.0, 200.0, 2.9).verdict(), "**missed**");
        let text = markdown(&[row("ns", 100.0, 50.0, 0.6)]);
        assert!(text.lines().all(|l| l.matches('|').count() == 8), "{text}");
    }
}
