// SPDX-License-Identifier: Apache-2.0 OR MIT
//! State that is saved, and continued.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{ErrorKind, State};

use crate::Bench;
use crate::bench::expect_error;

/// A counter goes on where it was when it was saved.
pub(super) async fn snapshot(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["count=20", "wait"]);
    let id = &plan.id;
    let place = bench.harness.scratch.join("snapshot");
    fs::create_dir_all(&place)?;
    bench.launch(&plan).await?;
    bench.says(id, "count 20").await?;
    let early = bench.provider().save_snapshot(id, &place).await;
    expect_error(early, ErrorKind::Conflict, "snapshot of what is not paused")?;
    bench.provider().pause(id).await.context("pause")?;
    bench.provider().save_snapshot(id, &place).await.context("save")?;
    bench.expect_state(id, State::Paused).await.context("after saving")?;
    let log = bench.log(id).await?;
    let seen = log.lines().filter(|line| line.starts_with("count ")).count();
    bench.provider().resume(id).await.context("resume after saving")?;
    bench.says(id, &format!("count {}", seen + 5)).await.context("it does not go on")?;
    bench.provider().kill(id).await.context("kill")?;

    bench.restart_daemon();
    let before = bench.log(id).await?.len();
    bench.provider().restore_snapshot(&plan, &place).await.context("restore")?;
    bench.expect_state(id, State::Running).await?;
    let next = format!("count {}", seen + 10);
    let goes_on = |log: &str| log.get(before..).is_some_and(|new| new.lines().any(|l| l == next));
    let log = bench.log_until(id, "the counter going on", goes_on).await?;
    let new = log.get(before..).unwrap_or_default();
    ensure!(!new.lines().any(|line| line == "count 1"), "it began anew:\n{new}");
    bench.delete(id).await?;
    fs::remove_dir_all(&place)?;
    Ok(())
}
