// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask ratchet`: instruction counts of our kernel against those that
//! are committed in `bench/ratchet.toml`. They only ever get better.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::machine::Board;
use super::{Subjects, measure};
use crate::lab::flags::Flags;
use crate::lab::root;

pub(crate) const HELP: &str = "\
cargo xtask ratchet [--write] [--tool PATH]
  Counts instructions (QEMU -icount) of boot and of each micro-benchmark in our
  kernel and fails when one is more than 2 % above bench/ratchet.toml. --write
  commits to the new figures.";

/// Counting is repeatable to a tenth of a percent; this leaves room for layout.
const TOLERANCE: f64 = 0.02;
/// Few iterations: every instruction is counted, so none has to be averaged.
const SCALE: &str = "0.02";

fn file() -> PathBuf {
    root().join("bench/ratchet.toml")
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let flags = Flags::parse(arguments, &["tool"], &["write", "help"])?;
    if flags.has("help") {
        println!("{HELP}");
        return Ok(());
    }
    let subjects = Subjects::prepare(&flags, false)?;
    let mut figures = BTreeMap::new();
    let tsc = subjects.ours("tsc", &[])?;
    for board in [Board::MicroVm, Board::Pc] {
        let firmware = measure::tsc(&subjects.entry, board)?;
        let name = format!("boot_instructions_{}", board.name());
        figures.insert(name, measure::tsc(&tsc, board)? - firmware);
    }
    let micro = subjects.ours("microbench", &[SCALE])?;
    for (name, value) in measure::microbench(&micro, Board::MicroVm, true)? {
        figures.insert(key(&name), value);
    }
    if flags.has("write") {
        std::fs::write(file(), format(&figures))?;
        println!("{} figures written to bench/ratchet.toml", figures.len());
        return Ok(());
    }
    let text =
        std::fs::read_to_string(file()).context("bench/ratchet.toml; make it with --write")?;
    let committed: BTreeMap<String, f64> = toml::from_str(&text).context("bench/ratchet.toml")?;
    let worse = compare(&committed, &figures);
    if worse.is_empty() {
        Ok(())
    } else {
        bail!("worse than bench/ratchet.toml:\n{}", worse.join("\n"))
    }
}

/// A row's name as a bare TOML key.
fn key(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    letters.collect::<String>().trim_end_matches('_').to_owned()
}

fn format(figures: &BTreeMap<String, f64>) -> String {
    let mut text = "# SPDX-License-Identifier: Apache-2.0 OR MIT\n\
        # Instructions, counted by QEMU (-icount shift=0); cargo xtask ratchet compares.\n"
        .to_owned();
    for (name, value) in figures {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value:.1}");
    }
    text
}

fn compare(committed: &BTreeMap<String, f64>, now: &BTreeMap<String, f64>) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, &old) in committed {
        let Some(&new) = now.get(name) else {
            worse.push(format!("  {name}: not measured any more"));
            continue;
        };
        let change = (new / old - 1.0) * 100.0;
        println!("{name:<28} {old:>14.1} {new:>14.1} {change:>+7.2} %");
        if new > old * (1.0 + TOLERANCE) {
            worse.push(format!("  {name}: {old:.1} became {new:.1} ({change:+.2} %)"));
        }
    }
    for name in now.keys().filter(|n| !committed.contains_key(*n)) {
        println!("{name:<28} new; commit it with --write");
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::{compare, format, key};
    use std::collections::BTreeMap;

    fn figures(pairs: &[(&str, f64)]) -> BTreeMap<String, f64> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    }

    #[test]
    fn two_percent_is_the_limit() {
        let committed = figures(&[("a", 100.0), ("b", 100.0), ("gone", 1.0)]);
        let worse = compare(&committed, &figures(&[("a", 101.9), ("b", 102.1)]));
        assert_eq!(worse.len(), 2, "{worse:?}");
        assert!(worse[0].contains("b:") && worse[1].contains("gone"));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let all = figures(&[(&key("clock_gettime(vdso?)"), 88.5), (&key("open+close"), 1e9)]);
        let back: BTreeMap<String, f64> = toml::from_str(&format(&all)).unwrap();
        assert_eq!(back, all);
        assert!(back.contains_key("clock_gettime_vdso"));
    }
}
