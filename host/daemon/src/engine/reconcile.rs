// SPDX-License-Identifier: Apache-2.0 OR MIT
//! At the start: what the database says, what the disk has and what the providers have are made
//! to agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bhojpur_provider::StagedImage;

use super::Engine;
use super::lost::Kept;
use crate::instance::{Command, spawn};
use crate::model::{Phase, Volume, VolumePhase};
use crate::{Result, home, store};

/// What takes longer goes on while requests are served already.
const PATIENCE: Duration = Duration::from_secs(60);

impl Engine {
    /// Finishes or undoes everything that was in flight, and begins to look after what there is.
    pub(crate) async fn reconcile(self: &Arc<Self>) -> Result<()> {
        let instances = self.store.read(store::instances::all).await?;
        let known: BTreeSet<String> =
            instances.iter().map(|instance| instance.id.to_string()).collect();
        // Before volumes are looked at: one of these may write to one that nobody knows either.
        self.remove_strangers(&known).await;
        self.reconcile_images().await?;
        self.reconcile_volumes().await?;
        Kept::Snapshots.bring_back(&self.home, &known);
        Kept::Snapshots.put_aside(&self.home, &known);
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
        let images = self.store.read(store::images::all).await?;
        let mut known: BTreeSet<String> = images.iter().map(|image| image.id.to_string()).collect();
        Kept::Images.bring_back(&self.home, &known);
        for (id, kind, locator) in self.store.read(store::images::removals).await? {
            // Its directory goes before the last row that tells of it.
            if !known.contains(id.as_str())
                && let Err(error) = home::remove(&self.home.images().join(id.as_str()))
            {
                tracing::warn!(image = %id, %error, "cannot be removed");
                known.insert(id.to_string());
                continue;
            }
            let Ok(provider) = self.providers.of(kind) else { continue };
            match provider.remove_image(&StagedImage { id: id.clone(), locator }).await {
                Ok(()) => self.store.write(move |write| write.removed_stage(&id, kind)).await?,
                Err(error) => tracing::warn!(image = %id, %error, "cannot remove an image"),
            }
        }
        Kept::Images.put_aside(&self.home, &known);
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
        let ready = volumes.iter().filter(|volume| volume.phase == VolumePhase::Ready);
        Kept::Volumes.bring_back(&self.home, &ids(ready));
        Kept::Volumes.put_aside(&self.home, &ids(volumes.iter()));
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

fn ids<'a>(volumes: impl Iterator<Item = &'a Volume>) -> BTreeSet<String> {
    volumes.map(|volume| volume.id.to_string()).collect()
}
