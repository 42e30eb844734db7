// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cases: what each shows, and what a provider must be able to do for it.

mod concurrency;
mod console;
mod lifecycle;
mod network;
mod output;
mod pause;
mod refusal;
mod snapshot;
mod storage;
mod survival;

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use crate::Bench;

type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// One fact about a provider.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Why it cannot be shown with this provider.
    pub(crate) needs: fn(&Bench) -> Option<&'static str>,
    pub(crate) run: for<'a> fn(&'a mut Bench) -> Running<'a>,
}

macro_rules! case {
    ($name:literal, $needs:expr, $run:path) => {
        Case { name: $name, needs: $needs, run: |bench| Box::pin($run(bench)) }
    };
}

pub(crate) const ALL: &[Case] = &[
    case!("readiness", nothing, refusal::readiness),
    case!("stage-image", nothing, storage::stage_image),
    case!("first-run", nothing, lifecycle::first_run),
    case!("image-defaults", nothing, lifecycle::image_defaults),
    case!("exit-status-and-restart", nothing, lifecycle::exit_status_and_restart),
    case!("log-is-whole", nothing, output::log_is_whole),
    case!("ports", ports, network::ports),
    case!("ports-taken", ports, network::ports_taken),
    case!("stop-asks-first", nothing, lifecycle::stop_asks_first),
    case!("stop-at-once", nothing, lifecycle::stop_at_once),
    case!("delete-running", nothing, lifecycle::delete_running),
    case!("nothing-there", nothing, refusal::nothing_there),
    case!("daemon-restart", nothing, survival::daemon_restart),
    case!("end-while-away", nothing, survival::end_while_away),
    case!("interrupted-operations", nothing, survival::interrupted_operations),
    case!("monitor-killed", monitors, survival::monitor_killed),
    case!("half-made", monitors, survival::half_made),
    case!("volumes-keep", volumes, storage::volumes_keep),
    case!("volumes-read-only", volumes, storage::volumes_read_only),
    case!("kernel-says-why", volumes, storage::kernel_says_why),
    case!("pause", pause, pause::pause),
    case!("isolation", nothing, concurrency::isolation),
    case!("console", console, console::console),
    case!("console-visitors", console, console::visitors),
    case!("usage", nothing, output::usage),
    case!("bad-plans", nothing, refusal::bad_plans),
    case!("eight-at-once", nothing, concurrency::eight_at_once),
    case!("snapshot", snapshots, snapshot::snapshot),
];

fn nothing(_: &Bench) -> Option<&'static str> {
    None
}

fn ports(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.ports).then_some("the provider leads no ports of the host anywhere")
}

fn volumes(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.volumes).then_some("the provider has no volumes")
}

fn pause(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.pause).then_some("the provider does not pause")
}

fn console(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.console).then_some("the provider has no console")
}

fn snapshots(bench: &Bench) -> Option<&'static str> {
    (!bench.capabilities.snapshot).then_some("the provider has no snapshots")
}

fn monitors(bench: &Bench) -> Option<&'static str> {
    bench.harness.directory.is_none().then_some("the provider runs no monitors on this machine")
}
