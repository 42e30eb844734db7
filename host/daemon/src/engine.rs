// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the daemon does, without a word of HTTP.

pub(crate) mod archive;
pub(crate) mod build;
pub(crate) mod create;
mod images;
mod logs;
mod lost;
pub(crate) mod names;
mod reconcile;
mod tokens;
mod transfer;
pub(crate) mod volumes;

use std::sync::Arc;

use bhojpur_provider::{ImageId, VolumeId};
use tokio::sync::{Semaphore, watch};

pub(crate) use logs::{LogReader, Looked, Piece};
pub(crate) use transfer::Upload;

use crate::clock::Timestamp;
use crate::home::Home;
use crate::instance::Registry;
use crate::locks::Locks;
use crate::metrics::Metrics;
use crate::model::Subject;
use crate::providers::Providers;
use crate::store::Store;
use crate::{Config, Result};

/// Everything that requests work with.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) home: Home,
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) providers: Providers,
    pub(crate) registry: Registry,
    pub(crate) metrics: Metrics,
    pub(crate) started: Timestamp,
    pub(crate) tasks: Tasks,
    pub(crate) image_locks: Locks<ImageId>,
    pub(crate) volume_locks: Locks<VolumeId>,
    builds: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Engine {
    /// Opens the state; nothing of it is acted upon yet.
    pub(crate) fn open(home: Home, config: Config, providers: Providers) -> Result<Arc<Self>> {
        let store = Store::open(&home.database(), config.limits.events)?;
        Ok(Arc::new(Self {
            home,
            store,
            builds: Arc::new(Semaphore::new(config.builds.at_once.max(1))),
            config,
            providers,
            registry: Registry::default(),
            metrics: Metrics::default(),
            started: Timestamp::now(),
            tasks: Tasks::default(),
            image_locks: Locks::default(),
            volume_locks: Locks::default(),
            closing: watch::channel(false).0,
        }))
    }

    /// Turns true when the daemon ends.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// No more work is begun; what is going on is finished as far as it is short.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Whether something asks for a daemon although nobody is connected.
    pub(crate) fn is_needed(&self) -> bool {
        self.registry.all().iter().any(|handle| !handle.now().now.phase.is_at_rest())
            || self.builds.available_permits() < self.config.builds.at_once
    }

    /// Tells that something has happened. That it cannot be written stops nobody.
    pub(crate) async fn event(
        &self,
        subject: Subject,
        id: String,
        name: String,
        action: &'static str,
        attributes: Vec<(&'static str, String)>,
    ) {
        let written = self
            .store
            .write(move |write| write.event(subject, &id, &name, action, &attributes))
            .await;
        if let Err(error) = written {
            tracing::warn!(action, %error, "an event is lost");
        }
    }
}

/// Does work that blocks on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| crate::Error::internal("the work was given up by a fault of the daemon"))?
}

/// Tasks that the daemon waits for when it ends.
#[derive(Debug)]
pub(crate) struct Tasks {
    count: watch::Sender<usize>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { count: watch::channel(0).0 }
    }
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.count.send_modify(|count| *count += 1);
        let done = Done(self.count.clone());
        tokio::spawn(async move {
            let _done = done;
            task.await;
        });
    }

    /// Waits until all have ended.
    pub(crate) async fn idle(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

struct Done(watch::Sender<usize>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
