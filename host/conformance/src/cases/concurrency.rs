// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances beside each other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{Ended, Plan, Provider, State};
use tokio::task::JoinSet;

use crate::Bench;

/// The end of one does not touch the other.
pub(super) async fn isolation(bench: &mut Bench) -> Result<()> {
    let one = bench.plan(&["count=20", "wait"]);
    let two = bench.plan(&["say=the other", "wait"]);
    bench.launch(&one).await?;
    bench.launch(&two).await?;
    bench.says(&one.id, "count 2").await?;
    bench.says(&two.id, "the other").await?;
    bench.delete(&two.id).await?;
    bench.expect_state(&one.id, State::Running).await?;
    let log = bench.log(&one.id).await?;
    ensure!(log.lines().all(|line| line.starts_with("count ")), "logs are mixed:\n{log}");
    let next = format!("count {}", log.lines().count() + 10);
    bench.says(&one.id, &next).await.context("the first one does not go on")?;
    bench.delete(&one.id).await
}

/// Operations on different instances run at once.
pub(super) async fn eight_at_once(bench: &mut Bench) -> Result<()> {
    let mut tasks = JoinSet::new();
    for index in 0..8_u8 {
        let text = format!("say=number {index}");
        let end = if index.is_multiple_of(2) { format!("exit={index}") } else { "wait".to_owned() };
        let plan = bench.plan(&[&text, &end]);
        let (provider, patience) = (bench.shared_provider(), bench.harness.patience);
        tasks.spawn(async move { live(provider, plan, index, patience * 4).await });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let left = bench.provider().list().await?;
    ensure!(left.is_empty(), "{left:?} are left");
    Ok(())
}

/// The whole life of an instance.
async fn live(
    provider: Arc<dyn Provider>,
    plan: Plan,
    index: u8,
    patience: Duration,
) -> Result<()> {
    let id = &plan.id;
    let what = |operation: &str| format!("number {index}: {operation}");
    provider.create(&plan).await.with_context(|| what("create"))?;
    provider.start(&plan).await.with_context(|| what("start"))?;
    if index.is_multiple_of(2) {
        let status = provider.wait(id, patience).await.with_context(|| what("wait"))?;
        ensure!(status.ended == Some(Ended::Exited { code: index }), "number {index}: {status:?}");
    } else {
        let status = provider.wait(id, Duration::from_millis(200)).await?;
        ensure!(status.state == State::Running, "number {index}: {status:?}");
        provider.kill(id).await.with_context(|| what("kill"))?;
        let status = provider.status(id).await.with_context(|| what("status"))?;
        ensure!(status.state == State::Stopped, "number {index}: {status:?}");
    }
    provider.delete(id).await.with_context(|| what("delete"))
}
