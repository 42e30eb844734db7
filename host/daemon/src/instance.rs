// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances: each has one task, which alone changes its state.
//!
//! ```text
//!   Creating ──> Created ──> Starting ──> Running <──> Paused
//!      │            ^           │  ^         │            │
//!   (undone)        │           v  │         v            │
//!                   │         Error│     Stopping <───────┘
//!                   │              │         │
//!                   └── Restarting ┴──── Stopped ──> Deleting ──> (gone)
//! ```
//!
//! Everybody else sends a [`Command`] and looks at what the task last published. A state that is
//! an intent is in the database before the provider hears of it; the outcome is written after.

mod actor;
mod health;
mod life;
mod policy;
mod recover;
mod snapshot;
mod stop;
mod usage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhojpur_provider::{InstanceId, VolumeId};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use actor::spawn;
pub(crate) use usage::{History, INTERVAL as SAMPLE_INTERVAL, Sample};

use crate::model::{Instance, Mount, Snapshot};
use crate::{Error, Result};

/// Time between asking an instance to stop and ending it, when nobody says.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// What the task of an instance can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make what the row says; with `start`, run it. A failure leaves nothing behind.
    Create {
        start: bool,
    },
    /// Go on after the daemon was away.
    Recover,
    /// Go on with a stop that the daemon was away from; `paused`: it is held.
    Finish {
        paused: bool,
    },
    Start,
    Stop {
        grace: Option<Duration>,
    },
    Restart {
        grace: Option<Duration>,
    },
    Kill,
    Pause,
    Resume,
    Delete {
        force: bool,
    },
    Rename(String),
    Attach(Mount),
    Detach(VolumeId),
    Save(String),
    Restore(String),
    Forget(String),
    Console,
}

/// What its task answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Done; the instance as it is now.
    Done(Arc<Instance>),
    /// Where its console is.
    Console(PathBuf),
    /// What was saved.
    Saved(Snapshot),
}

/// A command and who waits for its outcome.
#[derive(Debug)]
struct Request {
    command: Command,
    reply: oneshot::Sender<Result<Reply>>,
}

/// The way to an instance's task.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) id: InstanceId,
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<Arc<Instance>>,
    pub(crate) history: Arc<Mutex<History>>,
}

impl Handle {
    /// The instance as it was last published.
    pub(crate) fn now(&self) -> Arc<Instance> {
        self.state.borrow().clone()
    }

    /// To see changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Instance>> {
        self.state.clone()
    }

    /// Waits for the task to do it. The task goes on when nobody waits any more.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply> {
        let (reply, answer) = oneshot::channel();
        let gone = || {
            let name = self.now().name.clone();
            Error::not_found("instance", &name)
        };
        self.requests.send(Request { command, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Like [`Handle::ask`], for commands that answer with the instance.
    pub(crate) async fn order(&self, command: Command) -> Result<Arc<Instance>> {
        match self.ask(command).await? {
            Reply::Done(instance) => Ok(instance),
            _ => Ok(self.now()),
        }
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).all().collect()
    }

    pub(crate) fn last_sample(&self) -> Option<Sample> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).last()
    }
}

/// All instances that there are.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    all: Mutex<BTreeMap<InstanceId, Arc<Handle>>>,
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<InstanceId, Arc<Handle>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, handle: Arc<Handle>) {
        self.lock().insert(handle.id.clone(), handle);
    }

    fn remove(&self, id: &InstanceId) {
        self.lock().remove(id);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Handle>> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn by_id(&self, id: &InstanceId) -> Option<Arc<Handle>> {
        self.lock().get(id).cloned()
    }

    /// The instance that a person means: by name, id, or a prefix of an id that only one has.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Handle>> {
        let all = self.lock();
        if let Some(handle) = all.values().find(|handle| handle.state.borrow().name == reference) {
            return Ok(handle.clone());
        }
        let mut matching = all
            .values()
            .filter(|handle| !reference.is_empty() && handle.id.as_str().starts_with(reference));
        match (matching.next(), matching.next()) {
            (Some(handle), None) => Ok(handle.clone()),
            (None, _) => Err(Error::not_found("instance", reference)),
            (Some(_), Some(_)) => Err(crate::store::ambiguous("instance", reference)),
        }
    }
}
