// SPDX-License-Identifier: Apache-2.0 OR MIT
//! At the start: what the database says, what the disk has and what the providers have are made
//! to agree.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhojpur_provider::StagedImage;

use super::Engine;
use crate::instance::{Command, spawn};
use crate::model::{Phase, VolumePhase};
use crate::{Result, home, store};

/// What takes longer goes on while requests are served already.
const PATIENCE: Duration = Duration::from_secs(60);

impl Engine {
    /// Finishes or undoes everything that was in flight, and begins to look after what there is.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<()> {
        self.reconcile_images().await?;
        self.reconcile_volumes().await?;
        let instances = self.store.read(store::instances::all).await?;
        let known: BTreeSet<String> =
            instances.iter().map(|instance| instance.id.to_string()).collect();
        self.remove_strangers(&known).await;
        forget_others(&self.home.snapshots(), &known);
        let mut recoveries = Vec::new();
        for instance in instances {
            let Ok(provider) = self.providers.of(instance.provider) else {
                tracing::warn!(instance = %instance.id, provider = %instance.provider,
                    "its provider is not set up; it is left alone");
                continue;
            };
            let handle = spawn(self, provider.clone(), instance);
            recoveries.push(async move { handle.order(Command::Recover).await });
        }
        let all = futures_util::future::join_all(recoveries);
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("a provider takes its time; recovery goes on");
        }
        Ok(())
    }

    /// What providers have and nobody wants: left by an operation that was cut short.
    async fn remove_strangers(&self, known: &BTreeSet<String>) {
        for provider in self.providers.all() {
            let found = match provider.list().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(provider = %provider.kind(), %error, "cannot list instances");
                    continue;
                }
            };
            for id in found.iter().filter(|id| !known.contains(id.as_str())) {
                tracing::info!(provider = %provider.kind(), instance = %id, "removing a leftover");
                if let Err(error) = provider.delete(id).await {
                    tracing::warn!(instance = %id, %error, "cannot remove a leftover");
                }
            }
        }
    }

    async fn reconcile_images(&self) -> Result<()> {
        for (id, kind, locator) in self.store.read(store::images::removals).await? {
            let Ok(provider) = self.providers.of(kind) else { continue };
            match provider.remove_image(&StagedImage { id: id.clone(), locator }).await {
                Ok(()) => self.store.write(move |write| write.removed_stage(&id, kind)).await?,
                Err(error) => tracing::warn!(image = %id, %error, "cannot remove an image"),
            }
        }
        let images = self.store.read(store::images::all).await?;
        let known = images.iter().map(|image| image.id.to_string()).collect();
        forget_others(&self.home.images(), &known);
        for image in images {
            if self.home.image(&image.id).is_file() {
                continue;
            }
            tracing::error!(image = %image.id, "its file is lost");
            let id = image.id.clone();
            // An image that instances use stays, so that they can be looked at and removed.
            let _ = self.store.write(move |write| write.remove_image(&id)).await;
        }
        Ok(())
    }

    async fn reconcile_volumes(&self) -> Result<()> {
        let volumes = self.store.read(store::volumes::all).await?;
        let known = volumes.iter().map(|volume| volume.id.to_string()).collect();
        forget_others(&self.home.volumes(), &known);
        for volume in volumes {
            match volume.phase {
                VolumePhase::Ready if !self.home.volume(&volume.id).is_file() => {
                    tracing::error!(volume = %volume.name, "its file is lost");
                }
                VolumePhase::Ready => {}
                VolumePhase::Creating | VolumePhase::Deleting => {
                    if let Err(error) = self.discard_volume(&volume).await {
                        tracing::warn!(volume = %volume.name, %error, "cannot be removed");
                    }
                }
            }
        }
        Ok(())
    }

    /// How many instances are in each phase.
    pub(crate) fn phases(&self) -> Vec<(Phase, usize)> {
        let all = self.registry.all();
        let count = |phase| all.iter().filter(|handle| handle.now().now.phase == phase).count();
        Phase::ALL.into_iter().map(|phase| (phase, count(phase))).collect()
    }
}

/// Removes what has no row. The name of each entry is an id.
fn forget_others(directory: &Path, known: &BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| known.contains(name)) {
            continue;
        }
        tracing::info!(path = %entry.path().display(), "removing a leftover");
        if let Err(error) = home::remove(&entry.path()) {
            tracing::warn!(%error, "cannot remove a leftover");
        }
    }
}
