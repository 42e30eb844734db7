// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon inside of the test's process, for tests that need no kill.

use std::future::Future;
use std::path::{Path, PathBuf};

use bhojpur_daemon::{Config, Ready};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::{image, process};

pub(crate) struct World {
    _directory: TempDir,
    pub(crate) home: PathBuf,
    pub(crate) client: Client,
    pub(crate) ready: Ready,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<bhojpur_daemon::Result<()>>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap().join("home");
        std::fs::create_dir(&home).unwrap();
        let mut config = process::config(&home);
        change(&mut config);
        let (stop, ready, running) = launch(config, &home).await;
        Self {
            _directory: directory,
            client: Client::new(&home),
            home,
            ready,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Ends the daemon and starts another one on the same directory.
    pub(crate) async fn restart(&mut self) {
        self.end().await;
        let (stop, ready, running) = launch(process::config(&self.home), &self.home).await;
        (self.stop, self.ready, self.running) = (Some(stop), ready, Some(running));
    }

    pub(crate) async fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(running) = self.running.take() {
            running.await.unwrap().unwrap();
        }
    }

    /// Waits for a daemon that ends by itself.
    pub(crate) async fn ended(&mut self) {
        self.running.take().unwrap().await.unwrap().unwrap();
    }

    pub(crate) async fn import(&self, number: usize, name: &str) -> Value {
        let path = format!("/v1/images/import?name={name}");
        let answer = self.client.send("POST", &path, image::elf(number).to_vec()).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// Runs `args` under a name, with more said.
    pub(crate) async fn run(&self, name: &str, args: &[&str], more: Value) -> Value {
        let mut request = json!({ "image": "web", "name": name, "args": args });
        for (key, value) in more.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        self.client.post("/v1/instances", request).await
    }

    /// The fake fails or waits.
    pub(crate) fn fault(&self, operation: &str, what: &str) {
        let directory = self.home.join("instances/faults");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(operation), what).unwrap();
    }

    pub(crate) fn no_violations(&self) {
        no_violations(&self.home);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Monitors outlive daemons, and shall not outlive tests.
        for entry in
            std::fs::read_dir(self.home.join("instances/qemu")).into_iter().flatten().flatten()
        {
            let monitor = bhojpur_provider::process::Monitor::of(entry.path());
            let _ = monitor.signal(rustix::process::Signal::KILL);
        }
    }
}

pub(crate) fn no_violations(home: &Path) {
    let text = std::fs::read_to_string(home.join("instances/violations")).unwrap_or_default();
    assert!(text.is_empty(), "{text}");
}

async fn launch(
    config: Config,
    home: &Path,
) -> (oneshot::Sender<()>, Ready, JoinHandle<bhojpur_daemon::Result<()>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (tell, told) = oneshot::channel();
    let providers = process::providers(home);
    let shutdown = async {
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let running = tokio::spawn(bhojpur_daemon::run_with(config, providers, shutdown, |ready| {
        let _ = tell.send(ready);
    }));
    match told.await {
        Ok(ready) => (stop, ready, running),
        Err(_) => panic!("the daemon did not start: {:?}", running.await),
    }
}

/// Runs a test on threads of its own.
pub(crate) fn block_on(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}
