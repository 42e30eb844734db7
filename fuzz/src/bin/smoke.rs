// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `smoke [TARGET..] [--runs N] [--seed N] [--replay FILE]
//! [--write-seeds DIR]`: mutates the seeds of
//! each target, the same way every time. An input that makes a target panic, or
//! that takes too long, is left in `crashes/`.

use bhojpur_fuzz::mutate::{Random, mutate};
use bhojpur_fuzz::{Entry, TARGETS};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// No input of 64 KiB should take this long.
const SLOW: Duration = Duration::from_secs(2);
/// Damaged inputs that mutations start from, beside the seeds.
const EXTRA: usize = 48;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| {
        let at = arguments.iter().position(|a| a == flag)?;
        arguments.get(at + 1)
    };
    let number = |flag, default: u64| value(flag).and_then(|v| v.parse().ok()).unwrap_or(default);
    let (runs, seed) = (number("--runs", 20_000), number("--seed", 1));
    let named = |t: &&Entry| {
        let names: Vec<_> =
            TARGETS.iter().filter(|t| arguments.iter().any(|a| a == t.name)).collect();
        names.is_empty() || names.iter().any(|n| n.name == t.name)
    };
    if let Some(file) = value("--replay") {
        let Ok(data) = std::fs::read(file) else {
            eprintln!("{file} cannot be read");
            return ExitCode::from(2);
        };
        TARGETS.iter().filter(named).for_each(|t| (t.run)(&data));
        return ExitCode::SUCCESS;
    }
    if let Some(directory) = value("--write-seeds") {
        return match write_seeds(directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{directory}: {error}");
                ExitCode::from(2)
            }
        };
    }
    let mut good = true;
    for target in TARGETS.iter().filter(named) {
        good &= fuzz(target, runs, seed);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn fuzz(target: &Entry, runs: u64, seed: u64) -> bool {
    let started = Instant::now();
    let mut random = Random::new(seed);
    let mut corpus = (target.seeds)();
    let seeds = corpus.len();
    for run in 0..runs {
        // Mostly from seeds: damage upon damage ends in noise.
        let bases = if random.below(4) == 0 { corpus.len() } else { seeds };
        let mut input = corpus[random.below(bases)].clone();
        // The seeds as they are come first.
        match usize::try_from(run).ok().and_then(|r| corpus.get(r)).filter(|_| run < seeds as u64) {
            Some(seed) => input.clone_from(seed),
            None => {
                let other = corpus[random.below(corpus.len())].clone();
                mutate(&mut input, &other, &mut random);
            }
        }
        let begun = Instant::now();
        let result = std::panic::catch_unwind(|| (target.run)(&input));
        let slow = begun.elapsed() > SLOW;
        if result.is_err() || slow {
            let what = if slow { "took too long" } else { "panicked" };
            let path = keep(target.name, &input);
            println!("{}: {what} in run {run}; the input is {}", target.name, path.display());
            return false;
        }
        // Now and then a damaged input becomes the start of others.
        if run % 97 == 0 {
            if corpus.len() >= seeds + EXTRA {
                corpus.swap_remove(seeds + random.below(EXTRA));
            }
            corpus.push(input);
        }
    }
    println!("{:<8} {runs} runs in {:.1} s", target.name, started.elapsed().as_secs_f64());
    true
}

/// The seeds as files, from which libFuzzer starts.
fn write_seeds(directory: &str) -> std::io::Result<()> {
    for target in TARGETS {
        let place = PathBuf::from(directory).join(target.name);
        std::fs::create_dir_all(&place)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(place.join(format!("seed-{i}")), seed)?;
        }
    }
    Ok(())
}

fn keep(name: &str, input: &[u8]) -> PathBuf {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/crashes"));
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let path = directory.join(format!("{name}-{sum:016x}"));
    if let Err(error) =
        std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&path, input))
    {
        eprintln!("{}: {error}", path.display());
    }
    path
}
