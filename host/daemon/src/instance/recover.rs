// SPDX-License-Identifier: Apache-2.0 OR MIT
//! After the daemon was away: finish or undo what was in flight, and find again what runs.

use std::time::Duration;

use bhojpur_provider::{ErrorKind, State, Status};
use tokio::time::Instant as Deadline;

use super::Command;
use super::actor::{Actor, is_live};
use super::policy;
use super::stop::lost;
use crate::Result;
use crate::clock::Timestamp;
use crate::marks;
use crate::model::Phase;

impl Actor {
    /// Brings what the database says and what there is together. What takes long, such as a
    /// stop with its grace, goes on afterwards.
    pub(super) async fn recover(&mut self) -> Result<()> {
        let recovered = match self.instance.now.phase {
            // Nobody was told that it exists.
            Phase::Creating | Phase::Deleting => {
                self.mark_volumes();
                self.remove_all().await
            }
            Phase::Restarting if self.instance.now.again => {
                self.start_again().await;
                Ok(())
            }
            Phase::Restarting => {
                let now = &self.instance.now;
                let passed = now.ended.map_or(Duration::MAX, |ended| ended.passed());
                self.restart_at = Some(Deadline::now() + policy::remaining(now.streak, passed));
                Ok(())
            }
            _ => self.find().await,
        };
        if let Err(error) = &recovered {
            tracing::warn!(instance = %self.instance.id, %error, "cannot be recovered");
            self.fail(format!("it could not be recovered: {error}")).await;
        }
        // Behind it, for it asks the rows. What fails here stands in nobody's way.
        if !self.gone
            && let Err(error) = self.reconcile_snapshots().await
        {
            tracing::warn!(instance = %self.instance.id, %error, "cannot tidy its snapshots");
        }
        recovered
    }

    /// Whether it ran until nobody was there to see how it ended. One that is held writes nothing,
    /// and is let go only when its row says so.
    async fn may_have_written(&self) -> Result<bool> {
        Ok(match self.instance.now.phase {
            Phase::Starting | Phase::Running | Phase::Stopping => true,
            Phase::Paused => self.is_held_for_a_snapshot().await?,
            _ => false,
        })
    }

    /// What it wrote last may be on the disk without the time of that, when the machine lost its
    /// power: no snapshot goes on with such volumes.
    fn mark_volumes(&self) {
        for mount in self.instance.mounts.iter().filter(|mount| !mount.read_only) {
            if let Err(error) = marks::touch(&self.engine.home.volume(&mount.volume)) {
                tracing::warn!(volume = %mount.name, %error, "it is not marked as written");
            }
        }
    }

    /// Lets it go on when only saving it had held it.
    async fn release(&mut self, status: &mut Status) -> Result<()> {
        if status.state == State::Paused && self.is_held_for_a_snapshot().await? {
            match self.provider.resume(&self.instance.id).await {
                Ok(()) => status.state = State::Running,
                // It is shown as what it is, for a person to resume.
                Err(error) => {
                    tracing::warn!(instance = %self.instance.id, %error, "cannot be resumed");
                }
            }
        }
        Ok(())
    }

    async fn find(&mut self) -> Result<()> {
        let status = match self.provider.status(&self.instance.id).await {
            Ok(status) => Some(status),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let live = status.as_ref().is_some_and(|status| is_live(status.state));
        if !live && self.may_have_written().await? {
            self.mark_volumes();
        }
        match (self.instance.now.phase, live) {
            (Phase::Stopping, true) => {
                let paused = status.is_some_and(|status| status.state == State::Paused);
                self.ask_myself(Command::Finish { paused });
                Ok(())
            }
            (_, true) => {
                let mut status = status.unwrap_or_else(|| lost(&gone()));
                self.release(&mut status).await?;
                self.adopt(&status).await;
                Ok(())
            }
            (Phase::Starting, false) if self.instance.now.restoring => {
                self.undo_restore().await;
                Ok(())
            }
            (Phase::Starting, false) => {
                self.start_again().await;
                Ok(())
            }
            (Phase::Running | Phase::Paused | Phase::Stopping, false) => {
                let status = status.unwrap_or_else(|| lost(&gone()));
                self.ended(&status).await;
                if self.instance.now.again {
                    self.start_again().await;
                }
                Ok(())
            }
            // At rest, as it should be. What --rm left is removed.
            _ => {
                let finished = self.instance.now.phase == Phase::Stopped;
                if finished && self.instance.spec.remove && self.instance.now.started.is_some() {
                    self.remove_or_fail().await;
                }
                Ok(())
            }
        }
    }

    /// It runs, and has run all the time.
    async fn adopt(&mut self, status: &Status) {
        let before = self.instance.now.clone();
        let now = &mut self.instance.now;
        now.phase = if status.state == State::Paused { Phase::Paused } else { Phase::Running };
        now.restoring = false;
        let found = status.started_at.map(Timestamp::from);
        now.started = match before.phase {
            Phase::Starting => found.or_else(|| Some(Timestamp::now())),
            _ => now.started.or(found),
        };
        (now.ended, now.exit_code, now.error) = (None, None, None);
        self.reached_at(status.address);
        if self.instance.now.phase == Phase::Running {
            self.attend();
        }
        if self.instance.now == before {
            self.publish();
        } else {
            self.settle("start", Vec::new()).await;
        }
    }

    /// It was about to go on from a snapshot, and may have done so for a moment: a start instead
    /// is not what somebody wanted, and once more is not what they expect of a machine that lives.
    async fn undo_restore(&mut self) {
        let now = &mut self.instance.now;
        (now.phase, now.restoring) = (Phase::Stopped, false);
        let why = "the daemon ended while it was restored; it was not started";
        now.error = Some(why.to_owned());
        self.settle("error", vec![("error", why.to_owned())]).await;
    }

    /// It was about to be started. A failure is shown, as it would have been then. Whoever
    /// wanted it, a person or its policy, has counted already.
    async fn start_again(&mut self) {
        self.instance.now.phase = Phase::Stopped;
        if let Err(error) = self.start_or_fail().await {
            tracing::warn!(instance = %self.instance.id, %error, "cannot be started");
        }
    }
}

fn gone() -> bhojpur_provider::Error {
    bhojpur_provider::Error::new(ErrorKind::NotFound, "the provider has lost it")
}
