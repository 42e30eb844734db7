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
use tokio::task::JoinHandle;

pub(crate) use images::Removed;
pub(crate) use logs::{LogReader, Looked, Piece};
pub(crate) use transfer::Upload;

use crate::clock::Timestamp;
use crate::home::Home;
use crate::instance::Registry;
use crate::locks::Locks;
use crate::metrics::Metrics;
use crate::model::Subject;
use crate::providers::Providers;
use crate::reserve::Reserve;
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
    /// How many tokens were removed.
    removals: watch::Sender<u64>,
}

impl Engine {
    /// Opens the state; nothing of it is acted upon yet.
    pub(crate) fn open(home: Home, config: Config, providers: Providers) -> Result<Arc<Self>> {
        let store =
            Store::open(&home.database(), Reserve::new(home.reserve()), config.limits.events)?;
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
            removals: watch::channel(0).0,
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
    /// The task goes on when nobody waits for it any more.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.count.send_modify(|count| *count += 1);
        let done = Done(self.count.clone());
        tokio::spawn(async move {
            let _done = done;
            task.await
        })
    }

    /// Does work that is done to its end, whether or not whoever waits for it stays.
    pub(crate) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        self.spawn(work).await.map_err(|_| {
            crate::Error::internal("the request was given up by a fault of the daemon")
                .advise("the daemon's log says more")
        })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bhojpur_api::Code;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_is_finished_when_nobody_waits_for_it() {
        let tasks = Tasks::default();
        let (go_on, held) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let work = tasks.finish(async move {
            held.await.unwrap();
            tell.send(()).unwrap();
        });
        let left = tokio::time::timeout(Duration::from_millis(10), work).await;
        assert!(left.is_err(), "who waited has left");
        go_on.send(()).unwrap();
        told.await.expect("the work went on");
        tasks.idle().await;
        assert_eq!(tasks.finish(async { 7 }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_fault_in_the_work_is_an_error() {
        let tasks = Tasks::default();
        let failed = tasks.finish(async { panic!("a fault") }).await.map(|()| 0);
        assert_eq!(failed.unwrap_err().code(), Code::Internal);
        tasks.idle().await;
    }
}
