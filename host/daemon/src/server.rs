// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the daemon: opens its directory, makes everything agree, listens, ends cleanly.

mod linger;
mod listen;
mod notify;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bhojpur_api::Code;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::home::Home;
use crate::providers::{self, Providers};
use crate::{Config, Error, Result, http};
use listen::Connections;

/// Requests that go on may take this long when the daemon ends.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two attempts to take the directory over.
const LOOK: Duration = Duration::from_millis(50);

/// What clients need to know when the daemon answers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ready {
    /// The unix socket.
    pub socket: Option<PathBuf>,
    /// The TCP address, with the port that was chosen when 0 was asked for.
    pub tcp: Option<SocketAddr>,
    /// SHA-256 of the certificate, colon separated.
    pub fingerprint: Option<String>,
    /// The certificate, for clients that have to trust it.
    pub certificate: Option<PathBuf>,
}

/// Runs a daemon with the providers of this machine until `shutdown`, or until it is idle for
/// as long as the configuration says. `ready` is called once requests are answered.
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
    ready: impl FnOnce(Ready) + Send,
) -> Result<()> {
    let mut shutdown = std::pin::pin!(shutdown);
    let Some(home) = enter(&config, shutdown.as_mut()).await? else { return Ok(()) };
    let providers = providers::installed(&config, &home)?;
    serve(home, config, providers, shutdown, ready).await
}

/// Like [`run`], with other providers. Each keeps its instances below
/// `DIRECTORY/instances/KIND` of the configuration's directory.
pub async fn run_with(
    config: Config,
    providers: Providers,
    shutdown: impl Future<Output = ()> + Send,
    ready: impl FnOnce(Ready) + Send,
) -> Result<()> {
    let mut shutdown = std::pin::pin!(shutdown);
    let Some(home) = enter(&config, shutdown.as_mut()).await? else { return Ok(()) };
    serve(home, config, providers, shutdown, ready).await
}

/// Opens the directory, which another daemon may still be leaving; nothing when we are asked to
/// end before it has.
async fn enter(config: &Config, shutdown: impl Future<Output = ()> + Send) -> Result<Option<Home>> {
    let opened = async {
        let deadline = Instant::now() + config.start_patience;
        loop {
            match Home::open(&config.directory) {
                Err(error) if error.code() == Code::Conflict && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK).await;
                }
                opened => return opened.map(Some),
            }
        }
    };
    tokio::select! {
        biased;
        opened = opened => opened,
        () = shutdown => Ok(None),
    }
}

async fn serve(
    home: Home,
    config: Config,
    providers: Providers,
    shutdown: impl Future<Output = ()> + Send,
    ready: impl FnOnce(Ready) + Send,
) -> Result<()> {
    if config.socket.is_none() && config.tcp.is_none() {
        return Err(Error::invalid("the daemon would listen nowhere")
            .advise("set socket or tcp in [listen] of daemon.toml"));
    }
    raise_file_limit();
    let tls = config.tcp.as_ref().map(|tcp| tls::prepare(tcp, &home.tls())).transpose()?;
    let engine = Engine::open(home, config, providers)?;
    engine.reconcile().await?;
    if !bhojpur_build::sandbox::is_enforced() {
        tracing::warn!("the kernel has no Landlock: builds can read what the daemon can read");
    }
    let router = http::router(engine.clone());
    let connections = Arc::new(Connections::new(&engine, router));
    let mut listeners = JoinSet::new();
    let mut told = Ready { socket: None, tcp: None, fingerprint: None, certificate: None };
    if let Some(path) = engine.config.socket.clone() {
        let listener = listen::unix(&path)?;
        listeners.spawn(listen::serve_unix(listener, connections.clone()));
        told.socket = Some(path);
    }
    if let (Some(tcp), Some(tls)) = (&engine.config.tcp, tls) {
        let listener = listen::tcp(tcp.address).await?;
        told.tcp = listener.local_addr().ok();
        told.fingerprint = Some(tls.fingerprint);
        told.certificate = Some(tls.certificate);
        listeners.spawn(listen::serve_tcp(listener, tls.acceptor, connections.clone()));
    }
    notify::ready();
    let socket = told.socket.as_deref().map(|path| tracing::field::display(path.display()));
    let tcp = told.tcp.map(tracing::field::display);
    tracing::info!(socket, tcp, "ready");
    ready(told);
    let idle = idle(&engine, &connections);
    tokio::select! {
        () = shutdown => tracing::info!("asked to end"),
        () = idle => tracing::info!("nobody needs this daemon"),
    }
    notify::stopping();
    // Nobody new comes in; the socket goes before the lock does.
    listeners.shutdown().await;
    if let Some(path) = &engine.config.socket {
        let _ = std::fs::remove_file(path);
    }
    engine.close();
    let drained = async {
        connections.idle().await;
        engine.tasks.idle().await;
    };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("requests were cut off");
    }
    Ok(())
}

/// Waits until nobody is connected and nothing needs a daemon for as long as is configured.
async fn idle(engine: &Engine, connections: &Connections) {
    let Some(limit) = engine.config.exit_when_idle else { return std::future::pending().await };
    let interval = (limit / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut since = Instant::now();
    let mut seen = connections.accepted();
    loop {
        tokio::time::sleep(interval).await;
        let accepted = connections.accepted();
        if connections.count() > 0 || accepted != seen || engine.is_needed() {
            since = Instant::now();
            seen = accepted;
        } else if since.elapsed() >= limit {
            return;
        }
    }
}

/// Five hundred clients need more files than many a system gives at first.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays");
    }
}
