// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images and volumes.

use anyhow::{Context as _, Result, ensure};
use bhojpur_provider::{Attachment, ErrorKind, ImageId, Silent};

use crate::Bench;
use crate::bench::expect_error;

/// Staged twice it is the same, and removing it leaves the store's own file alone.
pub(super) async fn stage_image(bench: &mut Bench) -> Result<()> {
    let id = ImageId::from_bytes(&[0x2b; 32]);
    let artifact = bench.harness.image.clone();
    let provider = bench.provider();
    let first = provider.stage_image(&id, &artifact, &Silent).await?;
    let again = provider.stage_image(&id, &artifact, &Silent).await?;
    ensure!(first == again && first.id == id, "staged twice: {first:?}, {again:?}");
    provider.remove_image(&first).await.context("remove")?;
    provider.remove_image(&first).await.context("remove again")?;
    ensure!(artifact.path.exists(), "the file of the store is gone");
    let mut missing = artifact.clone();
    missing.path.set_extension("missing");
    let staged = provider.stage_image(&id, &missing, &Silent).await;
    expect_error(staged, ErrorKind::NotFound, "an image whose file is missing")?;
    Ok(())
}

/// What is written on one run is there on the next; detached it is not there.
pub(super) async fn volumes_keep(bench: &mut Bench) -> Result<()> {
    let volumes = [bench.volume("/data").await?, bench.volume("/srv/more").await?];
    let mut plan = bench.plan(&["write=/data/a=alpha", "write=/srv/more/b=beta"]);
    plan.volumes = volumes.to_vec();
    bench.launch(&plan).await?;
    bench.exits(&plan.id, 0).await?;
    bench.says(&plan.id, "wrote /data/a").await?;
    bench.says(&plan.id, "wrote /srv/more/b").await?;

    // In another order, at another place.
    plan.args = bench.plan(&["cat=/other/b", "cat=/data/a", "cat=/srv/more/b"]).args;
    plan.volumes =
        vec![Attachment { mount_point: "/other".into(), ..volumes[1].clone() }, volumes[0].clone()];
    bench.provider().start(&plan).await.context("start with volumes in another order")?;
    bench.exits(&plan.id, 0).await?;
    bench.says(&plan.id, "/other/b holds beta").await?;
    bench.says(&plan.id, "/data/a holds alpha").await?;
    bench.says(&plan.id, "cannot read /srv/more/b: no such file or directory").await?;

    // Detached from this one, attached to another.
    plan.args = bench.plan(&["cat=/data/a", "say=done"]).args;
    plan.volumes.clear();
    bench.provider().start(&plan).await.context("start without volumes")?;
    bench.exits(&plan.id, 0).await?;
    bench.says(&plan.id, "cannot read /data/a: no such file or directory").await?;
    let mut other = bench.plan(&["cat=/data/a"]);
    other.volumes = vec![volumes[0].clone()];
    bench.launch(&other).await?;
    bench.exits(&other.id, 0).await?;
    bench.says(&other.id, "/data/a holds alpha").await?;
    bench.delete(&other.id).await?;
    bench.delete(&plan.id).await?;
    for volume in &volumes {
        bench.provider().remove_volume(&volume.volume).await.context("remove a volume")?;
        bench.provider().remove_volume(&volume.volume).await.context("remove it again")?;
    }
    Ok(())
}

/// A volume that is given for reading cannot be written to.
pub(super) async fn volumes_read_only(bench: &mut Bench) -> Result<()> {
    let volume = bench.volume("/data").await?;
    let mut plan = bench.plan(&["write=/data/a=alpha"]);
    plan.volumes = vec![volume.clone()];
    bench.launch(&plan).await?;
    bench.exits(&plan.id, 0).await?;
    plan.volumes[0].read_only = true;
    plan.args = bench.plan(&["cat=/data/a", "write=/data/a=beta", "cat=/data/a"]).args;
    bench.provider().start(&plan).await.context("start with a read-only volume")?;
    bench.exits(&plan.id, 0).await?;
    bench.says(&plan.id, "cannot write /data/a: read-only file system").await?;
    let log = bench.log(&plan.id).await?;
    let holds = log.lines().filter(|&line| line == "/data/a holds alpha").count();
    ensure!(holds == 2, "the file changed or could not be read:\n{log}");
    bench.delete(&plan.id).await?;
    bench.provider().remove_volume(&volume.volume).await?;
    Ok(())
}

/// A kernel that cannot start its program says why; a program that fails says that itself.
pub(super) async fn kernel_says_why(bench: &mut Bench) -> Result<()> {
    let volume = bench.volume("/etc/passwd/data").await?;
    let mut plan = bench.plan(&["say=unheard"]);
    plan.volumes = vec![volume.clone()];
    bench.launch(&plan).await?;
    bench.exits(&plan.id, 127).await?;
    let status = bench.provider().status(&plan.id).await?;
    let told = status.reason.as_deref().is_some_and(|reason| reason.contains("/etc/passwd/data"));
    ensure!(told, "nothing tells why the program is not run: {status:?}");
    let log = bench.log(&plan.id).await?;
    ensure!(!log.contains("unheard"), "the program ran:\n{log}");

    plan.volumes.clear();
    plan.args = bench.plan(&["exit=127"]).args;
    bench.provider().start(&plan).await.context("start without the volume")?;
    bench.exits(&plan.id, 127).await?;
    let status = bench.provider().status(&plan.id).await?;
    ensure!(status.reason.is_none(), "a reason that is not of this run: {status:?}");
    bench.delete(&plan.id).await?;
    bench.provider().remove_volume(&volume.volume).await?;
    Ok(())
}
