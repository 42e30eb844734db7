// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances.

use std::time::Duration;

use bhojpur_api::{
    Instance, LogChunk, RenameRequest, RunRequest, Snapshot, SnapshotRequest, Stats,
};

use crate::transport::{Call, Client, QUICK, SLOW};
use crate::{ByteStream, EventStream, Result, Upload};

/// Which part of a log is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The last so many lines; all when absent.
    pub tail: Option<u64>,
    /// What comes behind so many bytes of all that was ever printed; then `tail` says nothing.
    pub offset: Option<u64>,
}

impl LogOptions {
    fn apply(self, call: Call) -> Call {
        match self {
            Self { offset: Some(offset), .. } => call.with("offset", offset),
            Self { tail: Some(tail), .. } => call.with("tail", tail),
            _ => call,
        }
    }
}

impl Client {
    /// `GET /instances`: the running ones or all, with all of these labels (`K` or `K=V`).
    pub async fn instances(&self, all: bool, labels: &[String]) -> Result<Vec<Instance>> {
        let call = Call::get(&["instances"]).flag("all", all);
        let call = labels.iter().fold(call, |call, label| call.with("label", label));
        self.json(call).await
    }

    /// `GET /instances/{ref}`.
    pub async fn instance(&self, instance: &str) -> Result<Instance> {
        self.json(Call::get(&["instances", instance])).await
    }

    /// `POST /instances`.
    pub async fn run(&self, request: &RunRequest) -> Result<Instance> {
        self.json(Call::post(&["instances"]).json(request)?.within(SLOW)).await
    }

    /// `DELETE /instances/{ref}`; `volumes` takes along what is kept on its volumes, but for
    /// those that other instances have.
    pub async fn delete_instance(&self, instance: &str, force: bool, volumes: bool) -> Result<()> {
        let call = Call::delete(&["instances", instance]);
        self.done(call.flag("force", force).flag("volumes", volumes).within(SLOW)).await
    }

    async fn change(&self, instance: &str, verb: &str) -> Result<Instance> {
        self.json(Call::post(&["instances", instance, verb]).within(SLOW)).await
    }

    /// `POST /instances/{ref}/start`.
    pub async fn start(&self, instance: &str) -> Result<Instance> {
        self.change(instance, "start").await
    }

    /// `POST /instances/{ref}/restart`; it gets this many seconds before it is ended.
    pub async fn restart(&self, instance: &str, grace_s: Option<u64>) -> Result<Instance> {
        self.end(instance, "restart", grace_s).await
    }

    /// `POST /instances/{ref}/pause`.
    pub async fn pause(&self, instance: &str) -> Result<Instance> {
        self.change(instance, "pause").await
    }

    /// `POST /instances/{ref}/resume`.
    pub async fn resume(&self, instance: &str) -> Result<Instance> {
        self.change(instance, "resume").await
    }

    /// `POST /instances/{ref}/kill`.
    pub async fn kill(&self, instance: &str) -> Result<Instance> {
        self.change(instance, "kill").await
    }

    /// `POST /instances/{ref}/stop`; it gets this many seconds before it is ended.
    pub async fn stop(&self, instance: &str, grace_s: Option<u64>) -> Result<Instance> {
        self.end(instance, "stop", grace_s).await
    }

    async fn end(&self, instance: &str, verb: &str, grace_s: Option<u64>) -> Result<Instance> {
        let call = Call::post(&["instances", instance, verb]);
        let call = match grace_s {
            Some(grace) => {
                call.with("grace_s", grace).within(SLOW.saturating_add(Duration::from_secs(grace)))
            }
            None => call.within(SLOW),
        };
        self.json(call).await
    }

    /// `POST /instances/{ref}/rename`.
    pub async fn rename(&self, instance: &str, request: &RenameRequest) -> Result<Instance> {
        self.json(Call::post(&["instances", instance, "rename"]).json(request)?).await
    }

    /// `GET /instances/{ref}/wait`: the instance, as it is when it does not run any more or
    /// when the limit is over.
    pub async fn wait(&self, instance: &str, limit_s: Option<u64>) -> Result<Instance> {
        let call = Call::get(&["instances", instance, "wait"]);
        let call = match limit_s {
            Some(limit) => {
                call.with("limit_s", limit).within(QUICK.saturating_add(Duration::from_secs(limit)))
            }
            None => call.within(None),
        };
        self.json(call).await
    }

    /// `GET /instances/{ref}/logs`: what there is now.
    pub async fn logs(&self, instance: &str, options: LogOptions) -> Result<ByteStream> {
        self.bytes(options.apply(Call::get(&["instances", instance, "logs"]))).await
    }

    /// `GET /instances/{ref}/logs?follow=true`: what there is and what comes.
    pub async fn follow(
        &self,
        instance: &str,
        options: LogOptions,
    ) -> Result<EventStream<LogChunk>> {
        let call = Call::get(&["instances", instance, "logs"]).flag("follow", true);
        self.events_of(options.apply(call)).await
    }

    /// `POST /instances/{ref}/input`: types the bytes on the instance's console.
    pub async fn input(&self, instance: &str, bytes: Upload) -> Result<()> {
        let call = Call::post(&["instances", instance, "input"]);
        self.done(call.upload("application/octet-stream", bytes)).await
    }

    /// `GET /instances/{ref}/stats`.
    pub async fn stats(&self, instance: &str) -> Result<Stats> {
        self.json(Call::get(&["instances", instance, "stats"])).await
    }

    /// `GET /instances/{ref}/stats?stream=true`.
    pub async fn stats_stream(&self, instance: &str) -> Result<EventStream<Stats>> {
        self.events_of(Call::get(&["instances", instance, "stats"]).flag("stream", true)).await
    }

    /// `GET /instances/{ref}/snapshots`.
    pub async fn snapshots(&self, instance: &str) -> Result<Vec<Snapshot>> {
        self.json(Call::get(&["instances", instance, "snapshots"])).await
    }

    /// `POST /instances/{ref}/snapshots`.
    pub async fn create_snapshot(
        &self,
        instance: &str,
        request: &SnapshotRequest,
    ) -> Result<Snapshot> {
        let call = Call::post(&["instances", instance, "snapshots"]);
        self.json(call.json(request)?.within(SLOW)).await
    }

    /// `POST /instances/{ref}/snapshots/{name}/restore`.
    pub async fn restore_snapshot(&self, instance: &str, name: &str) -> Result<Instance> {
        let call = Call::post(&["instances", instance, "snapshots", name, "restore"]);
        self.json(call.within(SLOW)).await
    }

    /// `DELETE /instances/{ref}/snapshots/{name}`.
    pub async fn delete_snapshot(&self, instance: &str, name: &str) -> Result<()> {
        self.done(Call::delete(&["instances", instance, "snapshots", name]).within(SLOW)).await
    }
}
