// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an instance says, and what it uses.

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::ErrorKind;

use crate::Bench;
use crate::bench::expect_error;

const LINES: usize = 4000;

/// A program that says much and ends at once loses nothing of it.
pub(super) async fn log_is_whole(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["flood=4000", "say=the last word", "exit=4"]);
    bench.launch(&plan).await?;
    bench.exits(&plan.id, 4).await?;
    let log = bench.log(&plan.id).await?;
    for (index, line) in log.lines().take(LINES).enumerate() {
        let expected = format!("line {} of a flood that fills the log", index + 1);
        ensure!(line == expected, "line {} of the log is {line:?}", index + 1);
    }
    ensure!(log.lines().count() == LINES + 1, "{} lines are there", log.lines().count());
    ensure!(log.ends_with("the last word\n"), "its last line is missing");
    bench.delete(&plan.id).await
}

/// What it uses can be measured while it runs.
pub(super) async fn usage(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["count=20", "wait"]);
    bench.launch(&plan).await?;
    bench.says(&plan.id, "count 3").await?;
    let usage = bench.provider().usage(&plan.id).await;
    if usage.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
        return bench.delete(&plan.id).await;
    }
    let first = usage.context("usage")?;
    ensure!(first.memory_bytes > 0, "a running instance uses memory");
    bench.says(&plan.id, "count 40").await?;
    let second = bench.provider().usage(&plan.id).await?;
    ensure!(second.cpu_time_ns >= first.cpu_time_ns, "processor time went back");
    bench.provider().kill(&plan.id).await?;
    let stopped = bench.provider().usage(&plan.id).await;
    expect_error(stopped, ErrorKind::Conflict, "usage of what does not run")?;
    bench.delete(&plan.id).await
}
