// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the first run to the removal of an instance.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{Ended, ErrorKind, State};

use crate::Bench;
use crate::bench::expect_error;

/// How long a program that ignores the request is watched.
const STUBBORN: Duration = Duration::from_millis(1500);
/// Clocks of this machine and of its files' times may differ by their granularity.
const SLACK: Duration = Duration::from_secs(2);

/// Created, running, said what it was given, killed, deleted: each step also repeated.
pub(super) async fn first_run(bench: &mut Bench) -> Result<()> {
    let mut plan =
        bench.plan(&["args", "env=COLOUR", "env=EMPTY", "machine", "say=a b\"c'", "wait"]);
    plan.env = vec![("COLOUR".into(), "röd = red".into()), ("EMPTY".into(), String::new())];
    plan.cpus = 2;
    plan.memory_mib = bench.harness.memory_mib + 64;
    let id = &plan.id;

    bench.provider().create(&plan).await.context("create")?;
    bench.provider().create(&plan).await.context("create again")?;
    let status = bench.provider().status(id).await?;
    ensure!(status.state == State::Created, "created, it is {status:?}");
    ensure!(status.started_at.is_none() && status.ended.is_none(), "created, it is {status:?}");
    ensure!(bench.provider().list().await? == [id.clone()], "it is not the one that is listed");
    if let Some(path) = bench.provider().log(id).path() {
        ensure!(path.exists(), "there is no log before the first start");
    }
    ensure!(bench.log(id).await?.is_empty(), "there is output before the first start");

    bench.provider().start(&plan).await.context("start")?;
    bench.expect_state(id, State::Running).await?;
    bench.provider().start(&plan).await.context("start of what runs")?;
    bench.says(id, "a b\"c'").await?;
    let log = bench.log(id).await?;
    let expected = "arg 1=args\narg 2=env=COLOUR\narg 3=env=EMPTY\narg 4=machine\n\
                    arg 5=say=a b\"c'\narg 6=wait\nenv COLOUR=röd = red\nenv EMPTY=\ncpus=2\nmemory=";
    ensure!(log.starts_with(expected), "the log does not begin as expected:\n{log}");
    check_memory(&log, plan.memory_mib)?;

    let status = bench.provider().status(id).await?;
    let started = status.started_at.context("it runs and has no time of its start")?;
    let age = SystemTime::now().duration_since(started).unwrap_or_default();
    ensure!(age < bench.harness.patience * 4, "it says that it was started {age:?} ago");
    bench.provider().kill(id).await.context("kill")?;
    bench.provider().kill(id).await.context("kill again")?;
    let status = bench.ended(id).await?;
    ensure!(status.ended == Some(Ended::Killed), "killed, it is {status:?}");
    bench.delete(id).await?;
    bench.provider().delete(id).await.context("delete again")
}

/// The kernel keeps some of the memory for itself, and less than a quarter.
fn check_memory(log: &str, asked: u64) -> Result<()> {
    let line = log.lines().find_map(|line| line.strip_prefix("memory="));
    let found: u64 = line.context("no line tells the memory")?.parse()?;
    ensure!(found <= asked && found >= asked / 4 * 3, "{found} MiB of {asked} MiB are there");
    Ok(())
}

/// Without arguments the image's are taken, and the environment comes on top of the image's.
pub(super) async fn image_defaults(bench: &mut Bench) -> Result<()> {
    let mut plan = bench.plan(&[]);
    plan.args = None;
    plan.env = vec![("GREETING".into(), "plan".into())];
    bench.launch(&plan).await?;
    bench.exits(&plan.id, 0).await?;
    let log = bench.log(&plan.id).await?;
    let expected = "from the image\nenv GREETING=plan\nenv FROM_IMAGE=yes\n";
    ensure!(log == expected, "the log is:\n{log}");
    bench.delete(&plan.id).await
}

/// Statuses and signals arrive, a plan may change between runs, and the log goes on.
pub(super) async fn exit_status_and_restart(bench: &mut Bench) -> Result<()> {
    let runs: &[(&[&str], u8)] = &[
        (&["say=first"], 0),
        (&["say=second", "exit=7"], 7),
        (&["say=third", "signal=9"], 137),
        (&["say=fourth", "signal=15"], 143),
        (&["say=fifth", "exit=255"], 255),
    ];
    let first = bench.plan(runs[0].0);
    bench.provider().create(&first).await.context("create")?;
    let mut started = SystemTime::now() - SLACK;
    for (steps, code) in runs {
        let mut plan = first.clone();
        plan.args = bench.plan(steps).args;
        bench.provider().start(&plan).await.with_context(|| format!("start for {steps:?}"))?;
        let status = bench.exits(&first.id, *code).await.with_context(|| format!("{steps:?}"))?;
        let times = status.started_at.zip(status.ended_at);
        let (begin, end) = times.with_context(|| format!("times are missing: {status:?}"))?;
        ensure!(begin >= started && end + SLACK >= begin, "times are odd: {status:?}");
        started = begin;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = bench.log(&first.id).await?;
    ensure!(log == "first\nsecond\nthird\nfourth\nfifth\n", "the log is:\n{log}");
    bench.delete(&first.id).await
}

/// A program is asked with SIGTERM; one that does not listen is killed.
pub(super) async fn stop_asks_first(bench: &mut Bench) -> Result<()> {
    let polite = bench.plan(&["trap=3", "wait"]);
    let id = &polite.id;
    bench.launch(&polite).await?;
    bench.says(id, "trapping").await?;
    bench.provider().request_stop(id).await.context("request to stop")?;
    bench.exits(id, 3).await?;
    let log = bench.log(id).await?;
    ensure!(log.lines().any(|line| line == "goodbye"), "it could not say goodbye:\n{log}");
    // It has ended by then, which is all that was wanted.
    bench.provider().request_stop(id).await.context("request to stop what has stopped")?;

    let mut stubborn = polite.clone();
    stubborn.args = bench.plan(&["ignore", "wait"]).args;
    bench.provider().start(&stubborn).await.context("start")?;
    bench.says(id, "ignoring").await?;
    bench.provider().request_stop(id).await.context("request to stop")?;
    let status = bench.provider().wait(id, STUBBORN).await?;
    ensure!(status.state == State::Running, "it ignores the request, and is {status:?}");
    bench.provider().kill(id).await.context("kill")?;
    let status = bench.provider().status(id).await?;
    ensure!(status.state == State::Stopped, "kill returned, and it is {status:?}");
    ensure!(status.ended == Some(Ended::Killed), "killed, it is {status:?}");
    bench.delete(id).await
}

/// The wish to end is not lost when the guest is still booting.
pub(super) async fn stop_at_once(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["wait"]);
    bench.provider().create(&plan).await.context("create")?;
    for pause in [0, 20, 60, 150, 400] {
        bench.provider().start(&plan).await.context("start")?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        bench.provider().request_stop(&plan.id).await.context("request to stop")?;
        let status = bench.ended(&plan.id).await.with_context(|| format!("after {pause} ms"))?;
        // Go's runtime ends itself by the signal, or the kernel the program before.
        let by_signal = status.ended == Some(Ended::Exited { code: 143 });
        ensure!(by_signal, "asked {pause} ms after the start, it is {status:?}");
    }
    bench.delete(&plan.id).await
}

/// A running instance is deleted whole.
pub(super) async fn delete_running(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan(&["say=here", "ignore", "wait"]);
    bench.launch(&plan).await?;
    bench.says(&plan.id, "ignoring").await?;
    let monitor = bench.monitor(&plan.id).ok().and_then(|monitor| monitor.pid());
    bench.delete(&plan.id).await?;
    if let Some(pid) = monitor {
        let alive = std::path::Path::new(&format!("/proc/{pid}/exe")).exists();
        ensure!(!alive, "its monitor, process {pid}, still lives");
    }
    // And one that was never started.
    let plan = bench.plan(&["wait"]);
    bench.provider().create(&plan).await.context("create")?;
    bench.delete(&plan.id).await?;
    let started = bench.provider().start(&plan).await;
    expect_error(started, ErrorKind::NotFound, "start of what is deleted").map(drop)
}
