// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What cannot be done is said, and nothing is left behind.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use bhojpur_provider::{
    Attachment, Error, ErrorKind, ImageId, InstanceId, Plan, Protocol, Readiness, StagedImage,
    StagedVolume, VolumeId,
};

use crate::Bench;
use crate::bench::{expect_error, free_port, random};

pub(super) async fn readiness(bench: &mut Bench) -> Result<()> {
    match bench.provider().readiness().await {
        Readiness::Ready { found } => {
            ensure!(!found.trim().is_empty(), "it does not say what it found");
            Ok(())
        }
        Readiness::Missing { reason, advice } => bail!("it is not ready: {reason}; {advice}"),
    }
}

/// Ending and removing what is not there succeeds; all else says that it is not there.
pub(super) async fn nothing_there(bench: &mut Bench) -> Result<()> {
    let provider = bench.provider();
    let id = InstanceId::from_bytes(&random());
    let volume = StagedVolume {
        id: VolumeId::from_bytes(&random()),
        locator: bench.harness.scratch.join("no-such-volume").display().to_string(),
    };
    let image = StagedImage {
        id: ImageId::from_bytes(&[0xee; 32]),
        locator: bench.harness.scratch.join("no-such-image").display().to_string(),
    };
    provider.delete(&id).await.context("delete")?;
    provider.kill(&id).await.context("kill")?;
    provider.remove_volume(&volume).await.context("remove a volume")?;
    provider.remove_image(&image).await.context("remove an image")?;
    let plan = Plan { id: id.clone(), ..bench.plan(&["wait"]) };
    expect_error(provider.status(&id).await, ErrorKind::NotFound, "status")?;
    expect_error(provider.start(&plan).await, ErrorKind::NotFound, "start")?;
    expect_error(provider.request_stop(&id).await, ErrorKind::NotFound, "request to stop")?;
    if bench.capabilities.pause {
        expect_error(provider.pause(&id).await, ErrorKind::NotFound, "pause")?;
        expect_error(provider.resume(&id).await, ErrorKind::NotFound, "resume")?;
    }
    ensure!(provider.list().await?.is_empty(), "something was made");
    Ok(())
}

/// Each plan is refused by `create` already, with a message and nothing left.
pub(super) async fn bad_plans(bench: &mut Bench) -> Result<()> {
    refuse(bench, ErrorKind::Invalid, "no memory", |plan| plan.memory_mib = 0).await?;
    let error =
        refuse(bench, ErrorKind::Invalid, "3 MiB of memory", |plan| plan.memory_mib = 3).await?;
    let advised = error.advice().unwrap_or_default().to_owned();
    let tells = format!("{error} {advised}").chars().any(|c| c.is_ascii_digit() && c != '3');
    ensure!(tells && !advised.is_empty(), "it is not told how much is needed: {error}; {advised}");
    refuse(bench, ErrorKind::Invalid, "no processors", |plan| plan.cpus = 0).await?;
    refuse(bench, ErrorKind::Invalid, "100000 processors", |plan| plan.cpus = 100_000).await?;
    refuse(bench, ErrorKind::Invalid, "an empty image", |plan| plan.image.locator.clear()).await?;
    let gone = bench.harness.scratch.join("no-such-image").display().to_string();
    let unknown = |plan: &mut Plan| plan.image.locator.clone_from(&gone);
    refuse(bench, ErrorKind::NotFound, "an image that is not staged", unknown).await?;
    let nul = |plan: &mut Plan| plan.args = Some(vec!["a\0b".into()]);
    refuse(bench, ErrorKind::Invalid, "an argument with a NUL", nul).await?;
    let name = |plan: &mut Plan| plan.env = vec![("A=B".into(), "c".into())];
    refuse(bench, ErrorKind::Invalid, "a variable with = in its name", name).await?;
    no_image(bench).await?;
    if bench.capabilities.ports {
        let port = free_port(80, Protocol::Tcp)?;
        let twice = |plan: &mut Plan| plan.ports = vec![port, port];
        refuse(bench, ErrorKind::Invalid, "a port twice", twice).await?;
    }
    if bench.capabilities.volumes {
        let volume = StagedVolume {
            id: VolumeId::from_bytes(&random()),
            locator: bench.harness.scratch.join("no-such-volume").display().to_string(),
        };
        let missing = Attachment { volume, mount_point: "/data".into(), read_only: false };
        let attach = |plan: &mut Plan| plan.volumes = vec![missing.clone()];
        refuse(bench, ErrorKind::NotFound, "a volume that is not staged", attach).await?;
        let real = bench.volume("/data").await?;
        let twice = |plan: &mut Plan| plan.volumes = vec![real.clone(), real.clone()];
        refuse(bench, ErrorKind::Invalid, "a volume twice", twice).await?;
        let root = |plan: &mut Plan| {
            plan.volumes = vec![Attachment { mount_point: "/".into(), ..real.clone() }];
        };
        refuse(bench, ErrorKind::Invalid, "a volume instead of the root", root).await?;
        bench.provider().remove_volume(&real.volume).await?;
    }
    Ok(())
}

/// A file that is no image, for providers that find images by their path.
async fn no_image(bench: &Bench) -> Result<()> {
    if bench.image.locator != bench.harness.image.path.display().to_string() {
        return Ok(());
    }
    let path = bench.harness.scratch.join("no-image");
    fs::write(&path, "this is no ELF file")?;
    let locator = path.display().to_string();
    let text = |plan: &mut Plan| plan.image.locator.clone_from(&locator);
    refuse(bench, ErrorKind::Invalid, "a file that is no image", text).await?;
    fs::write(&path, &fs::read(&bench.harness.image.path)?[..100_000])?;
    refuse(bench, ErrorKind::Invalid, "an image that was cut", text).await?;
    fs::remove_file(&path)?;
    Ok(())
}

/// That a plan which is good but for one change is not accepted.
async fn refuse(
    bench: &Bench,
    kind: ErrorKind,
    what: &str,
    change: impl Fn(&mut Plan),
) -> Result<Error> {
    let mut plan = bench.plan(&["wait"]);
    change(&mut plan);
    let error = expect_error(bench.provider().create(&plan).await, kind, what)?;
    ensure!(bench.provider().list().await?.is_empty(), "{what}: something was left behind");
    Ok(error)
}
