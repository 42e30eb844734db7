// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Shows where two outputs part.

use std::fmt::Write as _;

/// Lines shown of each side.
const SHOWN: usize = 12;

/// The first region in which `linux` and `unikernel` differ, as lines marked
/// `-` and `+`; empty when they are equal.
pub(super) fn describe(linux: &str, unikernel: &str) -> String {
    if linux == unikernel {
        return String::new();
    }
    let (old, new): (Vec<_>, Vec<_>) = (linux.lines().collect(), unikernel.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[start..]
        .iter()
        .rev()
        .zip(new[start..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let mut text = String::new();
    if start > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    line {start}: {}", old[start - 1]);
    }
    for (mark, lines) in [('-', &old), ('+', &new)] {
        let differing = &lines[start..lines.len() - tail];
        for line in differing.iter().take(SHOWN) {
            let cut: String = line.chars().take(300).collect();
            let _ = writeln!(text, "  {mark} {cut}");
        }
        if differing.len() > SHOWN {
            let _ = writeln!(text, "  {mark} ... {} more lines", differing.len() - SHOWN);
        }
    }
    if start == old.len() && start == new.len() {
        text.push_str("    only the end of the last line differs\n");
    }
    text
}

/// Whether all lines of `part` are in `whole`, in this order.
pub(super) fn contains(whole: &str, part: &str) -> bool {
    let mut lines = whole.lines();
    part.lines().all(|wanted| lines.any(|line| line == wanted))
}

#[cfg(test)]
mod tests {
    use super::{contains, describe};

    #[test]
    fn order_counts_when_lines_are_looked_for() {
        assert!(contains("a\nx\nb\n", "a\nb\n"));
        assert!(!contains("b\na\n", "a\nb\n"));
        assert!(!contains("a\n", "a\na\n"));
    }

    #[test]
    fn shows_only_what_differs() {
        assert_eq!(describe("a\nb\n", "a\nb\n"), "");
        assert_eq!(describe("a\nb\nc\n", "a\nx\ny\nc\n"), "    line 1: a\n  - b\n  + x\n  + y\n");
        assert_eq!(describe("a\n", ""), "  - a\n");
        assert!(describe("a\n", "a").contains("end of the last line"));
    }

    #[test]
    fn repeated_lines_do_not_overlap() {
        assert_eq!(describe("a\na\n", "a\n"), "    line 1: a\n  - a\n");
    }
}
