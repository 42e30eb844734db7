// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ending an instance, and holding it.

use std::time::Duration;

use bhojpur_provider::{Ended, ErrorKind, State, Status};
use tokio::time::{Instant as Deadline, sleep_until};

use super::actor::{Actor, closed, is_live};
use super::{Command, GRACE, Reply, Request};
use crate::clock::Timestamp;
use crate::model::{Phase, Situation};
use crate::{Error, Result};

impl Actor {
    fn grace(&self, wanted: Option<Duration>) -> Duration {
        wanted.or(self.instance.spec.stop_grace).unwrap_or(GRACE)
    }

    /// Asks it to end, and ends it when it does not.
    pub(super) async fn stop(&mut self, grace: Option<Duration>) -> Result<()> {
        match self.instance.now.phase {
            Phase::Running | Phase::Paused | Phase::Stopping => {
                let grace = self.grace(grace);
                self.end(Ending { grace, by_user: true, again: false }).await
            }
            Phase::Restarting => {
                self.restart_at = None;
                let now = self.instance.now.clone();
                let stopped =
                    Situation { phase: Phase::Stopped, by_user: true, again: false, ..now };
                self.intend(stopped).await?;
                self.tell("stop", Vec::new()).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends it at once.
    pub(super) async fn kill(&mut self) -> Result<()> {
        match self.instance.now.phase {
            Phase::Running | Phase::Paused | Phase::Stopping => {
                self.end(Ending { grace: Duration::ZERO, by_user: true, again: false }).await
            }
            Phase::Restarting => self.stop(None).await,
            _ => Err(self.refuse("killed", "it does not run")),
        }
    }

    pub(super) async fn restart(&mut self, grace: Option<Duration>) -> Result<()> {
        if matches!(self.instance.now.phase, Phase::Running | Phase::Paused | Phase::Stopping) {
            let grace = self.grace(grace);
            self.end(Ending { grace, by_user: true, again: true }).await?;
            if !self.instance.now.again {
                let name = &self.instance.name;
                let message = format!("the instance {name:?} was stopped while it was restarted");
                return Err(
                    Error::conflict(message).advise(format!("start it: kernctl start {name}"))
                );
            }
        }
        self.start_by_user().await
    }

    /// An instance that became unhealthy is ended, and its policy applies.
    pub(super) async fn end_unhealthy(&mut self) -> Result<()> {
        let grace = self.grace(None);
        self.end(Ending { grace, by_user: false, again: false }).await
    }

    /// Goes on with an end that an earlier daemon began, whatever it was for. The time that was
    /// given to the program then counts.
    pub(super) async fn finish(&mut self, paused: bool) -> Result<()> {
        if self.instance.now.phase != Phase::Stopping {
            return Ok(());
        }
        let grace = match self.instance.now.stop_by {
            Some(deadline) => deadline.left(),
            None => self.grace(None),
        };
        self.see_end(grace, paused).await?;
        if self.instance.now.again { self.start_by_user().await } else { Ok(()) }
    }

    async fn end(&mut self, ending: Ending) -> Result<()> {
        let Ending { grace, by_user, again } = ending;
        let now = self.instance.now.clone();
        let was_paused = now.phase == Phase::Paused;
        let stop_by = Some(Timestamp::now().after(grace));
        self.intend(Situation { phase: Phase::Stopping, by_user, again, stop_by, ..now }).await?;
        if by_user {
            self.tell("stop", Vec::new()).await;
        }
        self.see_end(grace, was_paused).await
    }

    /// Asks, waits, ends. While it waits, commands to end it sooner are heard.
    async fn see_end(&mut self, grace: Duration, was_paused: bool) -> Result<()> {
        let mut replies = Vec::new();
        let ended = match self.end_within(grace, was_paused, &mut replies).await {
            Ok(Some(status)) => {
                self.ended(&status).await;
                Ok(())
            }
            // The daemon ends before the instance does: the next one goes on.
            Ok(None) => Err(Error::conflict("the daemon is ending; the instance is being stopped")),
            Err(error) => {
                self.not_ended(&error).await;
                Err(error)
            }
        };
        for reply in replies {
            let answer = match &ended {
                Ok(()) => Ok(Reply::Done(self.published())),
                Err(error) => Err(Error::new(error.code(), error)),
            };
            let _ = reply.send(answer);
        }
        ended
    }

    /// What could not be ended is still there, as a rule, and is looked after: what it does next
    /// is seen, and it can be ended again.
    async fn not_ended(&mut self, error: &Error) {
        let why = format!("it cannot be ended: {error}");
        let phase = match self.provider.status(&self.instance.id).await {
            Ok(Status { state: State::Running, .. }) => Phase::Running,
            Ok(Status { state: State::Paused, .. }) => Phase::Paused,
            Ok(status) => return self.ended(&status).await,
            Err(_) => return self.fail(why).await,
        };
        let now = &mut self.instance.now;
        (now.phase, now.again, now.stop_by, now.error) = (phase, false, None, Some(why.clone()));
        if phase == Phase::Running {
            self.attend();
        }
        self.settle("error", vec![("error", why)]).await;
    }

    /// A person wants that it ends, whatever it is being ended for: it stays so.
    async fn heed(&mut self) -> Result<()> {
        let now = self.instance.now.clone();
        if now.by_user && !now.again {
            return Ok(());
        }
        self.intend(Situation { by_user: true, again: false, ..now }).await?;
        self.tell("stop", Vec::new()).await;
        Ok(())
    }

    /// How it ended; nothing when the daemon ends first.
    async fn end_within(
        &mut self,
        grace: Duration,
        was_paused: bool,
        replies: &mut Vec<tokio::sync::oneshot::Sender<Result<Reply>>>,
    ) -> Result<Option<Status>> {
        let deadline = Deadline::now() + grace;
        // Who does not even hear the question in that time is ended as well.
        let asked = !grace.is_zero()
            && tokio::time::timeout_at(deadline, self.request_stop(was_paused))
                .await
                .unwrap_or(Ok(false))?;
        if asked {
            match self.wait_or_hear(deadline, replies).await {
                Waited::Ended(status) => return Ok(Some(status)),
                Waited::Closing => return Ok(None),
                Waited::Impatient => {}
            }
        }
        self.provider.kill(&self.instance.id).await?;
        Ok(Some(self.found_ended().await))
    }

    async fn request_stop(&mut self, was_paused: bool) -> Result<bool> {
        if was_paused && self.provider.resume(&self.instance.id).await.is_err() {
            return Ok(false);
        }
        match self.provider.request_stop(&self.instance.id).await {
            Ok(()) => Ok(true),
            // It cannot be asked, or has ended in the meantime: then ending it succeeds too.
            Err(error) if error.kind() != ErrorKind::NotReady => {
                tracing::debug!(instance = %self.instance.id, %error, "cannot ask it to stop");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_or_hear(
        &mut self,
        deadline: Deadline,
        replies: &mut Vec<tokio::sync::oneshot::Sender<Result<Reply>>>,
    ) -> Waited {
        loop {
            let left = deadline.saturating_duration_since(Deadline::now());
            let request = tokio::select! {
                biased;
                () = closed(&mut self.closing) => return Waited::Closing,
                request = self.requests.recv() => request,
                found = self.provider.wait(&self.instance.id, left) => match found {
                    Ok(status) if !is_live(status.state) => return Waited::Ended(status),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Waited::Ended(lost(&error));
                    }
                    _ => {
                        sleep_until(deadline.min(Deadline::now() + Duration::from_millis(50))).await;
                        None
                    }
                },
                () = sleep_until(deadline) => return Waited::Impatient,
            };
            match request {
                None if left.is_zero() => return Waited::Impatient,
                None => {}
                Some(Request {
                    command: command @ (Command::Stop { .. } | Command::Kill),
                    reply,
                }) => match self.heed().await {
                    Ok(()) => {
                        replies.push(reply);
                        if matches!(command, Command::Kill) {
                            return Waited::Impatient;
                        }
                    }
                    // What cannot be written is not promised.
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                },
                Some(request @ Request { command: Command::Delete { force: true }, .. }) => {
                    // It is not worth a start any more.
                    self.instance.now.again = false;
                    self.pending.push_back(request);
                    return Waited::Impatient;
                }
                // Everything else can wait until it has ended.
                Some(request) => self.pending.push_back(request),
            }
        }
    }

    /// What the provider says of an instance that does not run any more.
    async fn found_ended(&self) -> Status {
        match self.provider.status(&self.instance.id).await {
            Ok(status) if !is_live(status.state) => status,
            Ok(status) => Status { ended: Some(Ended::Killed), ..status },
            Err(error) => lost(&error),
        }
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        match self.instance.now.phase {
            Phase::Paused => return Ok(()),
            Phase::Running => {}
            _ => return Err(self.refuse("paused", "only what runs can be paused")),
        }
        self.provider.pause(&self.instance.id).await?;
        self.instance.now.phase = Phase::Paused;
        // What is held does not answer.
        self.rest();
        self.settle("pause", Vec::new()).await;
        Ok(())
    }

    pub(super) async fn resume(&mut self) -> Result<()> {
        match self.instance.now.phase {
            Phase::Running => return Ok(()),
            Phase::Paused => {}
            _ => return Err(self.refuse("resumed", "only what is paused can be resumed")),
        }
        // Before: from then on it may write to its volumes.
        let now = self.instance.now.clone();
        self.intend(Situation { phase: Phase::Running, ..now }).await?;
        let resumed = self.let_go_on().await;
        if let Err(error) = &resumed {
            self.instance.now.phase = Phase::Paused;
            self.settle("error", vec![("error", format!("it cannot be resumed: {error}"))]).await;
        }
        resumed
    }

    /// Some row says already that it runs.
    pub(super) async fn let_go_on(&mut self) -> Result<()> {
        self.provider.resume(&self.instance.id).await?;
        self.instance.now.phase = Phase::Running;
        self.attend();
        self.settle("resume", Vec::new()).await;
        Ok(())
    }
}

/// How an instance is ended, and for what.
struct Ending {
    /// Between asking and ending.
    grace: Duration,
    by_user: bool,
    /// For a restart.
    again: bool,
}

enum Waited {
    Ended(Status),
    /// The time is over, or somebody does not want to wait.
    Impatient,
    Closing,
}

pub(super) fn lost(error: &bhojpur_provider::Error) -> Status {
    Status {
        state: State::Stopped,
        address: None,
        ended: Some(Ended::Lost { message: error.to_string() }),
        reason: None,
        started_at: None,
        ended_at: None,
    }
}

/// Commands of the daemon itself have nobody who waits.
impl Actor {
    pub(super) fn ask_myself(&mut self, command: Command) {
        let (reply, _) = tokio::sync::oneshot::channel();
        self.pending.push_back(Request { command, reply });
    }
}
