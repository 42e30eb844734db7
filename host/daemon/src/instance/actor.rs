// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The task of an instance: waits for commands, for its end, for its health, and acts.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhojpur_provider::{Ended, ErrorKind, Provider, State, Status};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant as Deadline, sleep, sleep_until};

use super::{Command, Handle, History, Reply, Request, usage};
use crate::engine::{Engine, Looked};
use crate::model::{Health, Instance, Phase, Situation, Subject};
use crate::{Error, Result};

/// Commands that may wait.
const QUEUE: usize = 64;
/// How long a provider may look at one end before it is asked again.
const WAIT_LIMIT: Duration = Duration::from_secs(3600);
/// Between two attempts at what failed for a reason outside of us.
const RETRY: Duration = Duration::from_secs(1);

/// What a task knows.
pub(super) struct Actor {
    pub(super) engine: Arc<Engine>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) instance: Instance,
    pub(super) requests: mpsc::Receiver<Request>,
    /// Commands that came while another one was carried out.
    pub(super) pending: VecDeque<Request>,
    state: watch::Sender<Arc<Instance>>,
    pub(super) history: Arc<Mutex<History>>,
    /// The outcome of something could not be written, on a full disk for example.
    unsaved: bool,
    /// Its row could not be removed, and is all that is left of it.
    pub(super) unremoved: bool,
    pub(super) restart_at: Option<Deadline>,
    /// There is nothing left of it.
    pub(super) gone: bool,
    log_looked: Looked,
    prober: Option<JoinHandle<()>>,
    health: Option<mpsc::Receiver<Health>>,
    address: watch::Sender<Option<std::net::IpAddr>>,
    pub(super) closing: watch::Receiver<bool>,
}

/// Starts the task of an instance that has a row.
pub(crate) fn spawn(
    engine: &Arc<Engine>,
    provider: Arc<dyn Provider>,
    instance: Instance,
) -> Arc<Handle> {
    let (sender, requests) = mpsc::channel(QUEUE);
    let (state, published) = watch::channel(Arc::new(instance.clone()));
    let history = Arc::new(Mutex::new(History::default()));
    let handle = Arc::new(Handle {
        id: instance.id.clone(),
        requests: sender,
        state: published,
        history: history.clone(),
    });
    engine.registry.add(handle.clone());
    let actor = Actor {
        closing: engine.closing(),
        engine: engine.clone(),
        provider,
        instance,
        requests,
        pending: VecDeque::new(),
        state,
        history,
        unsaved: false,
        unremoved: false,
        restart_at: None,
        gone: false,
        log_looked: 0,
        prober: None,
        health: None,
        address: watch::channel(None).0,
    };
    engine.tasks.spawn(actor.run());
    handle
}

/// What made the task act.
enum Cause {
    Request(Request),
    End(Result<Status, bhojpur_provider::Error>),
    Health(Health),
    Restart,
    Sample,
    Save,
    Close,
}

impl Actor {
    async fn run(mut self) {
        // It is told first whether to make it or to find it again: before that, what its row
        // says may not be so any more.
        tokio::select! {
            biased;
            () = closed(&mut self.closing) => return,
            request = self.requests.recv() => match request {
                Some(request) => self.serve(request).await,
                None => return,
            },
        }
        let mut sample_at = Deadline::now();
        while !self.gone {
            match self.next(sample_at).await {
                Cause::Request(request) => self.serve(request).await,
                Cause::End(found) => self.look(found).await,
                Cause::Health(health) => self.hear(health).await,
                Cause::Restart => self.restart_by_policy().await,
                Cause::Sample => {
                    sample_at = Deadline::now() + usage::INTERVAL;
                    self.sample().await;
                }
                Cause::Save => self.save_again().await,
                Cause::Close => break,
            }
        }
        self.rest();
    }

    async fn next(&mut self, sample_at: Deadline) -> Cause {
        if let Some(request) = self.pending.pop_front() {
            return Cause::Request(request);
        }
        let runs = matches!(self.instance.now.phase, Phase::Running | Phase::Paused);
        let restart_at = self.restart_at.filter(|_| self.instance.now.phase == Phase::Restarting);
        let unsaved = self.unsaved || self.unremoved;
        let (provider, id) = (&self.provider, &self.instance.id);
        let end = async {
            if !runs {
                return pending().await;
            }
            loop {
                match provider.wait(id, WAIT_LIMIT).await {
                    Ok(status) if is_live(status.state) => sleep(RETRY / 5).await,
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        tracing::warn!(instance = %id, %error, "cannot wait for the end");
                        sleep(RETRY).await;
                    }
                    found => return found,
                }
            }
        };
        let health = async {
            match &mut self.health {
                Some(health) => match health.recv().await {
                    Some(health) => health,
                    None => pending().await,
                },
                None => pending().await,
            }
        };
        let restart = async {
            match restart_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = closed(&mut self.closing) => Cause::Close,
            request = self.requests.recv() => request.map_or(Cause::Close, Cause::Request),
            found = end => Cause::End(found),
            health = health => Cause::Health(health),
            () = restart => Cause::Restart,
            () = sleep_until(sample_at), if runs => Cause::Sample,
            () = sleep(RETRY), if unsaved => Cause::Save,
        }
    }

    async fn serve(&mut self, request: Request) {
        let Request { command, reply } = request;
        let done = match command {
            Command::Create { start } => self.create(start).await,
            Command::Recover => self.recover().await,
            Command::Finish { paused } => self.finish(paused).await,
            Command::Start => self.start_by_user().await,
            Command::Stop { grace } => self.stop(grace).await,
            Command::Restart { grace } => self.restart(grace).await,
            Command::Kill => self.kill().await,
            Command::Pause => self.pause().await,
            Command::Resume => self.resume().await,
            Command::Delete { force } => self.delete(force).await,
            Command::Rename(name) => self.rename(name).await,
            Command::Attach(mount) => self.attach(mount).await,
            Command::Detach(volume) => self.detach(volume).await,
            Command::Console => {
                return answer(reply, self.console().await.map(Reply::Console));
            }
            Command::Save(name) => {
                return answer(reply, self.save_snapshot(name).await.map(Reply::Saved));
            }
            Command::Restore(name) => self.restore_snapshot(name).await,
            Command::Forget(name) => self.forget_snapshot(name).await,
        };
        answer(reply, done.map(|()| Reply::Done(self.published())));
    }

    /// What everybody sees.
    pub(super) fn published(&self) -> Arc<Instance> {
        Arc::new(self.instance.clone())
    }

    pub(super) fn publish(&self) {
        self.state.send_replace(self.published());
    }

    /// Says what is about to happen. When it cannot be written nothing happens.
    pub(super) async fn intend(&mut self, now: Situation) -> Result<()> {
        let (id, situation) = (self.instance.id.clone(), now.clone());
        self.engine.store.write(move |write| write.update_instance(&id, &situation)).await?;
        self.instance.now = now;
        self.unsaved = false;
        self.publish();
        Ok(())
    }

    /// Says what has happened. That it cannot be written does not make it undone: it is written
    /// as soon as that works again, and a start after a crash finds it out by looking.
    pub(super) async fn settle(
        &mut self,
        action: &'static str,
        attributes: Vec<(&'static str, String)>,
    ) {
        let (id, name) = (self.instance.id.clone(), self.instance.name.clone());
        let now = self.instance.now.clone();
        let written = self
            .engine
            .store
            .write(move |write| {
                write.update_instance(&id, &now)?;
                write.event(Subject::Instance, id.as_str(), &name, action, &attributes)
            })
            .await;
        self.unsaved = written.is_err();
        if let Err(error) = written {
            tracing::error!(instance = %self.instance.id, %error, "cannot write the state");
        }
        self.publish();
    }

    async fn save_again(&mut self) {
        if self.unremoved {
            self.unremoved = self.remove_all().await.is_err();
            return;
        }
        let (id, now) = (self.instance.id.clone(), self.instance.now.clone());
        let written = self.engine.store.write(move |write| write.update_instance(&id, &now)).await;
        self.unsaved = written.is_err();
    }

    /// Something else than its state, in the list of events.
    pub(super) async fn tell(&self, action: &'static str, attributes: Vec<(&'static str, String)>) {
        let (id, name) = (self.instance.id.clone(), self.instance.name.clone());
        self.engine
            .event(Subject::Instance, id.as_str().to_owned(), name, action, attributes)
            .await;
    }

    /// Looks after a run that begins now, or began while the daemon was away.
    pub(super) fn attend(&mut self) {
        self.rest();
        self.history.lock().unwrap_or_else(PoisonError::into_inner).restart();
        let Some(check) = self.instance.spec.health.clone() else { return };
        self.instance.health = Some(Health::Starting);
        let (changes, heard) = mpsc::channel(4);
        let ports = self.instance.spec.ports.clone();
        let probe = super::health::watch(check, ports, self.address.subscribe(), changes);
        self.prober = Some(tokio::spawn(probe));
        self.health = Some(heard);
    }

    /// Nobody is asked any more.
    pub(super) fn rest(&mut self) {
        if let Some(prober) = self.prober.take() {
            prober.abort();
        }
        self.health = None;
        self.instance.health = None;
    }

    async fn hear(&mut self, health: Health) {
        if self.instance.health.replace(health) != Some(health) {
            self.publish();
            self.tell("health", vec![("health", health.name().to_owned())]).await;
        }
        let restart = self.instance.spec.health.as_ref().is_some_and(|check| check.restart);
        if health == Health::Unhealthy && restart {
            let ended = self.end_unhealthy().await;
            if let Err(error) = ended {
                tracing::warn!(instance = %self.instance.id, %error, "cannot end what is unhealthy");
            }
        }
    }

    async fn sample(&mut self) {
        if let Ok(usage) = self.provider.usage(&self.instance.id).await {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.add(std::time::Instant::now(), usage);
        }
        if self.instance.address.is_none()
            && let Ok(Status { address: Some(address), .. }) =
                self.provider.status(&self.instance.id).await
        {
            self.reached_at(Some(address));
            self.publish();
        }
        self.engine.limit_log(&*self.provider, &self.instance.id, &mut self.log_looked).await;
    }

    /// Where it can be reached.
    pub(super) fn reached_at(&mut self, address: Option<std::net::IpAddr>) {
        self.instance.address = address;
        self.address.send_replace(address);
    }

    async fn look(&mut self, found: Result<Status, bhojpur_provider::Error>) {
        let status = found.unwrap_or_else(|error| Status {
            state: State::Stopped,
            address: None,
            ended: Some(Ended::Lost { message: error.to_string() }),
            reason: None,
            started_at: None,
            ended_at: None,
        });
        self.ended(&status).await;
    }
}

/// Waits until the daemon ends.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    // Without an engine there is nothing to wait for either.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Whether a monitor is there.
pub(super) fn is_live(state: State) -> bool {
    matches!(state, State::Running | State::Paused)
}

fn answer(reply: oneshot::Sender<Result<Reply>>, done: Result<Reply>) {
    if let Err(error) = &done {
        tracing::debug!(%error, "a command failed");
    }
    // Whoever asked may have left.
    let _ = reply.send(done);
}

impl Actor {
    /// Advice to do something else before.
    pub(super) fn first(&self, verb: &str) -> String {
        format!("{verb} it first: kernctl {verb} {}", self.instance.name)
    }

    /// Refuses what its state does not allow.
    pub(super) fn refuse(&self, what: &str, advice: &str) -> Error {
        let message = format!(
            "the instance {:?} is {} and cannot be {what}",
            self.instance.name,
            self.instance.now.phase.name()
        );
        Error::conflict(message).advise(advice)
    }
}
