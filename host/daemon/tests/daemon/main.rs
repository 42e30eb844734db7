// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tests the whole daemon: over its sockets, with real processes, killed at random moments.
//!
//! The arguments of libtest that matter work: words choose tests by their names. `CRASH_ROUNDS`
//! says how often the daemon is killed (40), `CRASH_SEED` with which dice.

mod builds;
mod client;
mod crash;
mod fake;
mod full;
mod image;
mod images;
mod leave;
mod life;
mod load;
mod lost;
mod process;
mod rest;
mod revoked;
mod snapshots;
mod stop;
mod volumes;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

/// A test and its name.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(fake::MONITOR) => return fake::monitor(&arguments[1..]),
        Some(process::DAEMON) => return process::daemon(&arguments[1]),
        _ => {}
    }
    let tests: Vec<Test> = rest::TESTS
        .iter()
        .chain(builds::TESTS)
        .chain(images::TESTS)
        .chain(volumes::TESTS)
        .chain(lost::TESTS)
        .chain(leave::TESTS)
        .chain(life::TESTS)
        .chain(stop::TESTS)
        .chain(snapshots::TESTS)
        .chain(load::TESTS)
        .chain(revoked::TESTS)
        .chain(full::TESTS)
        .chain(crash::TESTS)
        .copied()
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, test) in tests {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let start = Instant::now();
        let good = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let result = if good { "ok" } else { "FAILED" };
        println!("test {name} ... {result} ({:.1} s)", start.elapsed().as_secs_f64());
        if good {
            passed += 1;
        } else {
            failed.push(name);
        }
    }
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\n{}\ntest result: {result}. {passed} passed; {} failed; 0 ignored",
        failed.join("\n"),
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
