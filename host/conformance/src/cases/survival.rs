// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens to instances does not depend on the daemon, and what is left can be found.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{Ended, InstanceId, State};

use crate::Bench;
use crate::bench::random;

/// Another daemon finds what runs, what has ended and what was never started.
pub(super) async fn daemon_restart(bench: &mut Bench) -> Result<()> {
    let running = bench.plan(&["count=20", "wait"]);
    let ended = bench.plan(&["say=over", "exit=5"]);
    let created = bench.plan(&["wait"]);
    bench.launch(&running).await?;
    bench.launch(&ended).await?;
    bench.provider().create(&created).await.context("create")?;
    bench.exits(&ended.id, 5).await?;
    bench.says(&running.id, "count 1").await?;
    let before = bench.provider().status(&running.id).await?;

    bench.restart_daemon();
    let mut found = bench.provider().list().await?;
    let mut expected = vec![running.id.clone(), ended.id.clone(), created.id.clone()];
    found.sort();
    expected.sort();
    ensure!(found == expected, "{found:?} are found, {expected:?} are there");
    bench.expect_state(&created.id, State::Created).await?;
    bench.exits(&ended.id, 5).await?;
    let after = bench.provider().status(&running.id).await?;
    ensure!(before == after, "it was {before:?} and is {after:?}");
    let log = bench.log(&running.id).await?;
    let next = format!("count {}", log.lines().count() + 20);
    bench.says(&running.id, &next).await.context("it does not go on")?;

    bench.provider().kill(&running.id).await?;
    bench.provider().start(&running).await.context("start of what another daemon made")?;
    bench.expect_state(&running.id, State::Running).await?;
    for plan in [&running, &ended, &created] {
        bench.delete(&plan.id).await?;
    }
    Ok(())
}

/// What ends while no daemon is there is found with its status and its whole log.
pub(super) async fn end_while_away(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["sleep=700", "say=nobody listens", "exit=9"]);
    bench.launch(&plan).await?;
    bench.restart_daemon();
    bench.exits(&plan.id, 9).await?;
    bench.restart_daemon();
    bench.exits(&plan.id, 9).await?;
    let log = bench.log(&plan.id).await?;
    ensure!(log == "nobody listens\n", "the log is:\n{log}");
    bench.delete(&plan.id).await
}

/// A daemon may end in the middle of an operation; the next one repeats it or deletes.
pub(super) async fn interrupted_operations(bench: &mut Bench) -> Result<()> {
    for (round, after) in [0, 1, 3, 10, 30, 100].map(Duration::from_millis).into_iter().enumerate()
    {
        let plan = bench.plan(&["say=begun", "exit=6"]);
        // Each of them is dropped wherever it is by then.
        let _ = tokio::time::timeout(after, bench.provider().create(&plan)).await;
        bench.restart_daemon();
        bench.provider().create(&plan).await.context("create, repeated")?;
        let _ = tokio::time::timeout(after, bench.provider().start(&plan)).await;
        bench.restart_daemon();
        ensure!(bench.provider().list().await?.contains(&plan.id), "it is not found");
        let state = bench.state(&plan.id).await?;
        if round % 2 == 0 {
            if state != State::Stopped {
                bench.provider().start(&plan).await.context("start, repeated")?;
            }
            bench.exits(&plan.id, 6).await?;
            bench.says(&plan.id, "begun").await?;
        }
        let _ = tokio::time::timeout(after, bench.provider().delete(&plan.id)).await;
        bench.restart_daemon();
        bench.delete(&plan.id).await.context("delete, repeated")?;
    }
    Ok(())
}

/// A monitor that somebody ends is noticed, and the instance can be started again.
pub(super) async fn monitor_killed(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["say=alive", "wait"]);
    bench.launch(&plan).await?;
    bench.says(&plan.id, "alive").await?;
    let killed = bench.monitor(&plan.id)?.signal(rustix::process::Signal::KILL)?;
    ensure!(killed, "its monitor is not found");
    let status = bench.ended(&plan.id).await?;
    let fits = matches!(status.ended, Some(Ended::Killed | Ended::Lost { .. }));
    ensure!(fits, "its monitor was killed, and it is {status:?}");
    bench.provider().start(&plan).await.context("start again")?;
    let twice = |log: &str| log.lines().filter(|&line| line == "alive").count() == 2;
    bench.log_until(&plan.id, "a second run", twice).await?;
    bench.expect_state(&plan.id, State::Running).await?;
    bench.delete(&plan.id).await
}

/// What a `create` that was cut short may leave is listed and can be deleted, or created.
pub(super) async fn half_made(bench: &mut Bench) -> Result<()> {
    for leftovers in
        [&[][..], &[("plan.json", "")], &[("plan.json", "{\"id\": \"ab"), ("control", "")]]
    {
        let plan = bench.plan(&["say=made", "exit=0"]);
        let id: &InstanceId = &plan.id;
        let directory = bench.instance_directory(id).context("the harness gave no directory")?;
        let leave = || -> Result<()> {
            fs::create_dir_all(&directory)?;
            for (name, text) in leftovers {
                fs::write(directory.join(name), text)?;
            }
            Ok(())
        };
        leave()?;
        ensure!(bench.provider().list().await? == [id.clone()], "{leftovers:?} is not listed");
        if let Ok(status) = bench.provider().status(id).await {
            ensure!(status.state != State::Running, "{leftovers:?} is {status:?}");
        }
        bench.provider().kill(id).await.context("kill")?;
        bench.delete(id).await.with_context(|| format!("{leftovers:?}"))?;
        leave()?;
        bench.launch(&plan).await.with_context(|| format!("over {leftovers:?}"))?;
        bench.exits(id, 0).await?;
        bench.delete(id).await?;
    }
    let stray = InstanceId::from_bytes(&random());
    let parent = bench.instance_directory(&stray).and_then(|path| Some(path.parent()?.to_owned()));
    let parent = parent.context("the harness gave no directory")?;
    // What is no instance does not disturb.
    fs::create_dir_all(parent.join("not-an-instance"))?;
    fs::write(parent.join("a-file"), "")?;
    let found = bench.provider().list().await;
    fs::remove_dir(parent.join("not-an-instance"))?;
    fs::remove_file(parent.join("a-file"))?;
    ensure!(found?.is_empty(), "something is listed that is no instance");
    Ok(())
}
