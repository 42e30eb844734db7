// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances that are held.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{ErrorKind, State};

use crate::Bench;
use crate::bench::expect_error;

/// How long a held instance is watched.
const HELD: Duration = Duration::from_millis(700);
/// What may still be on its way into the log.
const SETTLE: Duration = Duration::from_millis(300);

/// A counter stands still, survives a restart of the daemon so, and goes on.
pub(super) async fn pause(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["count=10", "wait"]);
    let id = &plan.id;
    bench.provider().create(&plan).await.context("create")?;
    let early = bench.provider().pause(id).await;
    expect_error(early, ErrorKind::Conflict, "pause of what does not run")?;
    bench.provider().start(&plan).await.context("start")?;
    bench.says(id, "count 3").await?;
    bench.provider().pause(id).await.context("pause")?;
    bench.provider().pause(id).await.context("pause again")?;
    bench.expect_state(id, State::Paused).await?;
    let asked = bench.provider().request_stop(id).await;
    expect_error(asked, ErrorKind::Conflict, "request to stop what is paused")?;
    tokio::time::sleep(SETTLE).await;
    let before = bench.log(id).await?;
    bench.restart_daemon();
    tokio::time::sleep(HELD).await;
    ensure!(bench.log(id).await? == before, "it counts while it is held");
    bench.expect_state(id, State::Paused).await?;
    bench.provider().resume(id).await.context("resume")?;
    bench.provider().resume(id).await.context("resume again")?;
    bench.expect_state(id, State::Running).await?;
    let next = format!("count {}", before.lines().count() + 10);
    bench.says(id, &next).await.context("it does not go on")?;
    bench.provider().pause(id).await.context("pause once more")?;
    bench.provider().kill(id).await.context("kill while it is held")?;
    bench.expect_state(id, State::Stopped).await?;
    bench.delete(id).await
}
