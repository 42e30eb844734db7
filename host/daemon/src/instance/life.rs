// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From making an instance to its end.

use std::time::Duration;

use bhojpur_provider::{
    Attachment, Ended, ErrorKind, Plan, StagedImage, StagedVolume, Status, VolumeId,
};
use tokio::time::Instant as Deadline;

use super::actor::Actor;
use super::policy;
use crate::clock::Timestamp;
use crate::model::{Mount, Phase, Restart, Situation, Subject};
use crate::store;
use crate::{Error, Result};

/// What a shell shows for a program that SIGKILL ended.
const KILLED: u8 = 128 + 9;

impl Actor {
    /// Everything that makes it, as it is now.
    pub(super) async fn plan(&self) -> Result<Plan> {
        let (image, id) = (self.instance.image.clone(), self.instance.id.clone());
        let kind = self.instance.provider;
        let (locator, mounts) = self
            .engine
            .store
            .read(move |connection| {
                let image = store::images::by_id(connection, image.as_str())?
                    .ok_or_else(|| Error::not_found("image", image.short()))?;
                let staged = image.staged.into_iter().find(|(staged, _)| *staged == kind);
                let mut mounts = Vec::new();
                for mount in store::instances::mounts(connection, id.as_str())? {
                    let volume = store::volumes::by_id(connection, mount.volume.as_str())?
                        .ok_or_else(|| Error::not_found("volume", &mount.name))?;
                    mounts.push((mount, volume.locator));
                }
                Ok((staged.map(|(_, locator)| locator), mounts))
            })
            .await?;
        let locator = locator.ok_or_else(|| {
            let message =
                format!("the image {} is not staged for {kind}", self.instance.image.short());
            Error::conflict(message).advise("build or import it for that provider")
        })?;
        let attachment = |(mount, locator): (Mount, String)| Attachment {
            volume: StagedVolume { id: mount.volume, locator },
            mount_point: mount.mount_point,
            read_only: mount.read_only,
        };
        let instance = &self.instance;
        Ok(Plan {
            id: instance.id.clone(),
            name: instance.name.clone(),
            image: StagedImage { id: instance.image.clone(), locator },
            args: instance.spec.args.clone(),
            env: instance.env.expose().clone(),
            memory_mib: instance.spec.memory_mib,
            cpus: instance.spec.cpus,
            ports: instance.spec.ports.clone(),
            volumes: mounts.into_iter().map(attachment).collect(),
            network: instance.spec.network.clone(),
            debug_port: instance.spec.debug_port,
        })
    }

    /// Makes what its row says. A failure undoes everything, the row as well.
    ///
    /// Until all of it is acknowledged the row says [`Phase::Creating`], which whoever comes
    /// after a crash undoes: nobody was told that there is an instance.
    pub(super) async fn create(&mut self, start: bool) -> Result<()> {
        let made = self.make(start).await;
        if let Err(error) = made {
            self.rest();
            self.instance.now.phase = Phase::Deleting;
            if let Err(undo) = self.remove_or_retry().await {
                self.fail(format!("{error}; and it cannot be removed: {undo}")).await;
            }
            return Err(error);
        }
        Ok(())
    }

    async fn make(&mut self, start: bool) -> Result<()> {
        let plan = self.plan().await?;
        self.provider.create(&plan).await?;
        self.instance.now.phase = Phase::Created;
        if start {
            let keys = self.instance.mounts.iter().map(|mount| mount.volume.clone()).collect();
            let _volumes = self.engine.volume_locks.lock_all(keys).await;
            self.provider.start(&plan).await?;
            self.instance.now.phase = Phase::Running;
            self.instance.now.started = Some(Timestamp::now());
        }
        self.acknowledge(start).await?;
        if start {
            self.reached_at(None);
            self.attend();
        }
        self.publish();
        Ok(())
    }

    /// It is there from now on, whatever happens.
    async fn acknowledge(&self, started: bool) -> Result<()> {
        let (id, name) = (self.instance.id.clone(), self.instance.name.clone());
        let (now, provider) = (self.instance.now.clone(), self.instance.provider.to_string());
        self.engine
            .store
            .write(move |write| {
                write.update_instance(&id, &now)?;
                let (subject, id) = (Subject::Instance, id.as_str());
                write.event(subject, id, &name, "create", &[("provider", provider.clone())])?;
                if started { write.event(subject, id, &name, "start", &[]) } else { Ok(()) }
            })
            .await
    }

    /// Removes everything. When only the database cannot be written, on a full disk, the rest
    /// follows as soon as it can.
    async fn remove_or_retry(&mut self) -> Result<()> {
        let provider = self.provider.delete(&self.instance.id).await;
        provider?;
        let removed = self.remove_all().await;
        self.unremoved = removed.is_err();
        if let Err(error) = removed {
            tracing::warn!(instance = %self.instance.id, %error, "it is removed later");
            self.publish();
        }
        Ok(())
    }

    /// Starts what does not run. The plan has been made for this start.
    async fn start(&mut self, plan: &Plan) -> Result<()> {
        let keys = self.instance.mounts.iter().map(|mount| mount.volume.clone()).collect();
        let volumes = self.engine.volume_locks.lock_all(keys).await;
        let before = &self.instance.now;
        self.intend(Situation {
            phase: Phase::Starting,
            by_user: false,
            again: false,
            restoring: false,
            error: None,
            ..before.clone()
        })
        .await?;
        let started = match self.provider.start(plan).await {
            // Its directory was lost; all that it had is in our database.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.provider.create(plan).await?;
                self.provider.start(plan).await
            }
            started => started,
        };
        drop(volumes);
        started?;
        self.running(Timestamp::now()).await;
        Ok(())
    }

    /// It runs, since `started`.
    pub(super) async fn running(&mut self, started: Timestamp) {
        let now = &mut self.instance.now;
        now.phase = Phase::Running;
        now.restoring = false;
        now.started = Some(started);
        (now.ended, now.exit_code, now.error) = (None, None, None);
        self.restart_at = None;
        self.reached_at(None);
        self.attend();
        self.settle("start", Vec::new()).await;
    }

    pub(super) async fn start_by_user(&mut self) -> Result<()> {
        match self.instance.now.phase {
            Phase::Running => Ok(()),
            Phase::Created | Phase::Stopped | Phase::Error | Phase::Restarting => {
                // Before anything of it changes: that it cannot be started now is no fault of its.
                if self.instance.now.phase.is_at_rest() {
                    self.engine.check_ports(&self.instance)?;
                }
                self.instance.now.streak = 0;
                self.start_or_fail().await
            }
            _ => {
                let resume = format!("kernctl resume {}", self.instance.name);
                Err(self.refuse("started", &format!("resume it when it is paused: {resume}")))
            }
        }
    }

    pub(super) async fn start_or_fail(&mut self) -> Result<()> {
        let started = match self.plan().await {
            Ok(plan) => self.start(&plan).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &started {
            self.fail(error.to_string()).await;
        }
        started
    }

    /// It could not be made, started or ended.
    pub(super) async fn fail(&mut self, why: String) {
        self.rest();
        self.instance.now.phase = Phase::Error;
        (self.instance.now.again, self.instance.now.restoring) = (false, false);
        self.instance.now.error = Some(why.clone());
        self.settle("error", vec![("error", why)]).await;
    }

    /// It does not run any more. Its policy says what comes next.
    pub(super) async fn ended(&mut self, status: &Status) {
        self.rest();
        self.reached_at(None);
        let now = &mut self.instance.now;
        (now.exit_code, now.error) = match &status.ended {
            Some(Ended::Exited { code }) => (Some(*code), status.reason.clone()),
            Some(Ended::Panicked { message }) => {
                (None, Some(format!("the kernel panicked: {message}")))
            }
            Some(Ended::Killed) => (Some(KILLED), None),
            Some(Ended::Lost { message }) => (None, Some(message.clone())),
            None => (None, Some("it ended and did not say how".to_owned())),
        };
        let ended = status.ended_at.map_or_else(Timestamp::now, Timestamp::from);
        (now.ended, now.stop_by) = (Some(ended), None);
        let ran = now.started.map_or(Duration::ZERO, |started| {
            Duration::from_millis(u64::try_from(ended.0 - started.0).unwrap_or(0))
        });
        let failed = now.exit_code != Some(0);
        let policy = if now.by_user { Restart::No } else { self.instance.spec.restart };
        let delay = policy::decide(&mut now.streak, policy, failed, ran);
        // A restart is no end, not for --rm and not for whoever waits for one.
        let again = now.again || delay.is_some();
        now.phase = if again { Phase::Restarting } else { Phase::Stopped };
        self.restart_at = delay.map(|delay| Deadline::now() + delay);
        let code = now.exit_code.map(|code| ("exit_code", code.to_string()));
        let error = now.error.clone().map(|error| ("error", error));
        self.settle("die", code.into_iter().chain(error).collect()).await;
        if !again && self.instance.spec.remove {
            self.remove_or_fail().await;
        }
    }

    /// `--rm`.
    pub(super) async fn remove_or_fail(&mut self) {
        if let Err(error) = self.delete(true).await {
            tracing::warn!(instance = %self.instance.id, %error, "cannot remove");
        }
    }

    pub(super) async fn restart_by_policy(&mut self) {
        self.restart_at = None;
        self.instance.now.restarts = self.instance.now.restarts.saturating_add(1);
        self.engine.metrics.restarted();
        let started = match self.plan().await {
            Ok(plan) => self.start(&plan).await,
            Err(error) => Err(error),
        };
        let restarts = self.instance.now.restarts.to_string();
        match started {
            Ok(()) => self.tell("restart", vec![("restarts", restarts)]).await,
            // What is in the way may go away: the policy goes on.
            Err(error) => {
                let policy = self.instance.spec.restart;
                let streak = &mut self.instance.now.streak;
                match policy::decide(streak, policy, true, Duration::ZERO) {
                    Some(delay) => {
                        self.restart_at = Some(Deadline::now() + delay);
                        self.instance.now.phase = Phase::Restarting;
                        self.instance.now.error = Some(error.to_string());
                        self.settle("error", vec![("error", error.to_string())]).await;
                    }
                    None => self.fail(error.to_string()).await,
                }
            }
        }
    }

    pub(super) async fn delete(&mut self, force: bool) -> Result<()> {
        let phase = self.instance.now.phase;
        if !force && matches!(phase, Phase::Running | Phase::Paused | Phase::Stopping) {
            return Err(self.refuse("removed", &format!("{}; or add --force", self.first("stop"))));
        }
        self.intend(Situation { phase: Phase::Deleting, ..self.instance.now.clone() }).await?;
        // Removing it from the provider comes first: while that fails, it is still there.
        if let Err(error) = self.provider.delete(&self.instance.id).await {
            self.fail(format!("it cannot be removed: {error}")).await;
            return Err(error.into());
        }
        let removed = self.remove_all().await;
        self.unremoved = removed.is_err();
        self.publish();
        removed
    }

    /// Removes it from the provider, then from the disk, then from the database.
    pub(super) async fn remove_all(&mut self) -> Result<()> {
        self.rest();
        self.provider.delete(&self.instance.id).await?;
        crate::home::remove(&self.engine.home.snapshots_of(&self.instance.id))?;
        let (id, name) = (self.instance.id.clone(), self.instance.name.clone());
        self.engine
            .store
            .write(move |write| {
                write.remove_instance(&id)?;
                write.event(Subject::Instance, id.as_str(), &name, "delete", &[])
            })
            .await?;
        self.engine.registry.remove(&self.instance.id);
        self.instance.now.phase = Phase::Deleting;
        self.gone = true;
        self.publish();
        Ok(())
    }

    pub(super) async fn rename(&mut self, name: String) -> Result<()> {
        let (id, wanted, old) =
            (self.instance.id.clone(), name.clone(), self.instance.name.clone());
        self.engine
            .store
            .write(move |write| {
                write.rename_instance(&id, &wanted)?;
                write.event(
                    Subject::Instance,
                    id.as_str(),
                    &wanted,
                    "rename",
                    &[("from", old.clone())],
                )
            })
            .await?;
        self.instance.name = name;
        self.publish();
        Ok(())
    }

    pub(super) async fn attach(&mut self, mount: Mount) -> Result<()> {
        if !self.instance.now.phase.is_at_rest() {
            return Err(self.refuse("given a volume", &self.first("stop")));
        }
        let (id, volume) = (self.instance.id.clone(), mount.clone());
        let name = self.instance.name.clone();
        self.engine
            .store
            .write(move |write| {
                write.attach(&id, &volume)?;
                let place =
                    [("instance", name.clone()), ("mount_point", volume.mount_point.clone())];
                write.event(Subject::Volume, volume.volume.as_str(), &volume.name, "attach", &place)
            })
            .await?;
        self.instance.mounts.push(mount);
        self.publish();
        Ok(())
    }

    pub(super) async fn detach(&mut self, volume: VolumeId) -> Result<()> {
        if !self.instance.now.phase.is_at_rest() {
            return Err(self.refuse("freed of a volume", &self.first("stop")));
        }
        let Some(index) = self.instance.mounts.iter().position(|mount| mount.volume == volume)
        else {
            let message = format!("the volume is not attached to {:?}", self.instance.name);
            return Err(Error::conflict(message));
        };
        let (id, mount) = (self.instance.id.clone(), self.instance.mounts[index].clone());
        let name = self.instance.name.clone();
        self.engine
            .store
            .write(move |write| {
                write.detach(&id, &mount.volume)?;
                let place = [("instance", name.clone())];
                write.event(Subject::Volume, mount.volume.as_str(), &mount.name, "detach", &place)
            })
            .await?;
        self.instance.mounts.remove(index);
        self.publish();
        Ok(())
    }

    pub(super) async fn console(&self) -> Result<std::path::PathBuf> {
        if self.instance.now.phase != Phase::Running {
            return Err(self.refuse("typed to", &self.first("start")));
        }
        Ok(self.provider.console(&self.instance.id).await?)
    }
}
