// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saving an instance, and starting it from what was saved.
//!
//! A row says that an instance is being saved before it is held, and that a snapshot is being
//! removed before its files go. So whoever comes after a crash knows which files are whole, and
//! that what is held is to go on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::actor::Actor;
use crate::clock::Timestamp;
use crate::marks::{self, Mark};
use crate::model::{Phase, Situation, Snapshot, SnapshotPhase, Subject};
use crate::{Error, Result, home, store};

impl Actor {
    fn snapshot(&self, name: &str) -> PathBuf {
        self.engine.home.snapshots_of(&self.instance.id).join(name)
    }

    pub(super) async fn save_snapshot(&mut self, name: String) -> Result<Snapshot> {
        if !self.provider.capabilities().snapshot {
            let what = format!("{} cannot save instances", self.instance.provider.title());
            return Err(Error::new(bhojpur_api::Code::Unsupported, what));
        }
        let running = match self.instance.now.phase {
            Phase::Running => true,
            Phase::Paused => false,
            _ => return Err(self.refuse("saved", &self.first("start"))),
        };
        let mut snapshot = Snapshot { name, created: Timestamp::now(), size: 0 };
        let (id, row) = (self.instance.id.clone(), snapshot.clone());
        self.engine.store.write(move |write| write.begin_snapshot(&id, &row, running)).await?;
        let saved = self.save(&mut snapshot, running).await;
        if saved.is_err() {
            // What cannot be removed now is at the next start, or when the name is used again.
            if let Err(error) = self.discard_snapshot(&snapshot.name).await {
                tracing::warn!(instance = %self.instance.id, %error, "half a snapshot is left");
            }
        }
        saved.map(|()| snapshot)
    }

    /// Holds it as long as it is being saved.
    async fn save(&mut self, snapshot: &mut Snapshot, running: bool) -> Result<()> {
        let scratch = self.engine.home.scratch()?;
        if running {
            self.pause().await?;
        }
        let saved = self.save_held(scratch.path()).await;
        if running {
            self.let_go_on().await?;
        }
        let marks = saved?;
        let place = self.snapshot(&snapshot.name);
        home::make(&self.engine.home.snapshots_of(&self.instance.id))?;
        // Of one that came to nothing.
        home::remove(&place)?;
        snapshot.size = directory_size(scratch.path());
        home::settle(scratch.path(), &place)?;
        let (id, row, of) =
            (self.instance.id.clone(), snapshot.clone(), self.instance.name.clone());
        self.engine
            .store
            .write(move |write| {
                write.finish_snapshot(&id, &row, &marks)?;
                let attributes = [("snapshot", row.name.clone())];
                write.event(Subject::Instance, id.as_str(), &of, "snapshot", &attributes)
            })
            .await
    }

    /// Saves what is held, and gives the marks of its volumes at that moment.
    async fn save_held(&self, directory: &Path) -> Result<Vec<Mark>> {
        self.provider.save_snapshot(&self.instance.id, directory).await?;
        let marks = marks::take(&self.engine.home, &self.instance.mounts)?;
        marks::outlast(&marks, directory).await?;
        Ok(marks)
    }

    /// Its files, then its row.
    async fn discard_snapshot(&self, name: &str) -> Result<()> {
        home::remove(&self.snapshot(name))?;
        let (id, name) = (self.instance.id.clone(), name.to_owned());
        self.engine.store.write(move |write| write.remove_snapshot(&id, &name)).await
    }

    pub(super) async fn restore_snapshot(&mut self, name: String) -> Result<()> {
        if !self.instance.now.phase.is_at_rest() {
            return Err(self.refuse("restored", &self.first("stop")));
        }
        let (id, wanted) = (self.instance.id.clone(), name.clone());
        let saved = self
            .engine
            .store
            .read(move |db| store::snapshots::marks(db, id.as_str(), &wanted))
            .await?;
        let place = self.snapshot(&name);
        let plan = self.plan().await?;
        let keys = self.instance.mounts.iter().map(|mount| mount.volume.clone()).collect();
        let volumes = self.engine.volume_locks.lock_all(keys).await;
        marks::check(&self.engine.home, &self.instance, saved.as_deref())?;
        let now = self.instance.now.clone();
        self.intend(Situation {
            phase: Phase::Starting,
            by_user: false,
            restoring: true,
            error: None,
            ..now
        })
        .await?;
        let restored = self.provider.restore_snapshot(&plan, &place).await;
        drop(volumes);
        if let Err(error) = restored {
            self.fail(error.to_string()).await;
            return Err(error.into());
        }
        self.running(Timestamp::now()).await;
        Ok(())
    }

    pub(super) async fn forget_snapshot(&mut self, name: String) -> Result<()> {
        let (id, wanted) = (self.instance.id.clone(), name.clone());
        self.engine.store.write(move |write| write.retire_snapshot(&id, &wanted)).await?;
        self.discard_snapshot(&name).await
    }

    async fn known_snapshots(&self) -> Result<Vec<(String, SnapshotPhase)>> {
        let id = self.instance.id.clone();
        self.engine.store.read(move |db| store::snapshots::phases(db, id.as_str())).await
    }

    /// Whether an earlier daemon held it in order to save it, and did not get to the end.
    pub(super) async fn is_held_for_a_snapshot(&self) -> Result<bool> {
        let held = |(_, phase): &(String, SnapshotPhase)| {
            matches!(phase, SnapshotPhase::Saving { resume: true })
        };
        Ok(self.known_snapshots().await?.iter().any(held))
    }

    /// Makes the rows and the files of snapshots agree, after the daemon was away.
    pub(super) async fn reconcile_snapshots(&self) -> Result<()> {
        let directory = self.engine.home.snapshots_of(&self.instance.id);
        let mut whole = BTreeSet::new();
        for (name, phase) in self.known_snapshots().await? {
            let there = directory.join(&name).is_dir();
            if phase == SnapshotPhase::Ready && there {
                whole.insert(name);
                continue;
            }
            if phase == SnapshotPhase::Ready {
                tracing::error!(instance = %self.instance.id, snapshot = name, "its files are lost");
            }
            self.discard_snapshot(&name).await?;
        }
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !name.to_str().is_some_and(|name| whole.contains(name)) {
                tracing::info!(path = %entry.path().display(), "removing a leftover");
                home::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// What the files of a directory take on the disk.
fn directory_size(directory: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let found = entry.metadata().ok()?;
            Some(if found.is_dir() { directory_size(&entry.path()) } else { found.blocks() * 512 })
        })
        .sum()
}
