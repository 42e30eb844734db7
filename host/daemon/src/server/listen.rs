// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sockets and connections.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use bhojpur_api::Code;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use super::linger;
use crate::engine::Engine;
use crate::http::Origin;
use crate::{Error, Result};

/// What the head of a request may take.
const HEAD_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// After a failed accept, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(100);

/// All connections.
pub(super) struct Connections {
    router: Router,
    places: Arc<Semaphore>,
    head_time: Duration,
    count: watch::Sender<usize>,
    accepted: AtomicU64,
    closing: watch::Receiver<bool>,
}

impl Connections {
    pub(super) fn new(engine: &Engine, router: Router) -> Self {
        let limits = &engine.config.limits;
        Self {
            router,
            places: Arc::new(Semaphore::new(limits.connections.max(1))),
            head_time: limits.request_time,
            count: watch::channel(0).0,
            accepted: AtomicU64::new(0),
            closing: engine.closing(),
        }
    }

    pub(super) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// How many there have been.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until there is none.
    pub(super) async fn idle(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Serves one connection to its end.
    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        origin: Origin,
    ) {
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(origin);
            let (parts, body) = request.into_parts();
            let body = linger::to_the_end(body, &parts.headers);
            router.clone().call(Request::from_parts(parts, body))
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.head_time)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut closing = self.closing.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke off");
        }
    }

    /// A connection is counted as long as this lives; none when there are too many.
    fn admit(self: &Arc<Self>) -> Option<Place> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let place = self.places.clone().try_acquire_owned().ok()?;
        self.count.send_modify(|count| *count += 1);
        Some(Place { count: self.count.clone(), _place: place })
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

struct Place {
    count: watch::Sender<usize>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.send_modify(|count| *count -= 1);
    }
}

/// Makes the socket. Whatever has its name belonged to a daemon that is gone: the lock on the
/// directory is ours.
pub(super) fn unix(path: &Path) -> Result<UnixListener> {
    let failed =
        |error: &std::io::Error| Error::io(format!("cannot listen on {}", path.display()), error);
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path).map_err(|error| failed(&error))?;
        }
        Ok(_) => {
            let message = format!("{} is there and no socket", path.display());
            return Err(Error::conflict(message).advise("move it away, or name another socket"));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| {
        let error = failed(&error);
        if path.as_os_str().len() > 107 {
            // unix(7): sun_path.
            return error
                .advise("the path of a socket has 107 bytes at most; choose a shorter one");
        }
        error
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| failed(&error))?;
    Ok(listener)
}

pub(super) async fn tcp(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::AddrInUse => Code::Conflict,
            _ => Code::Invalid,
        };
        Error::new(code, format!("cannot listen on {address}: {error}"))
            .advise("choose another address or port: tcp in [listen] of daemon.toml")
    })
}

pub(super) async fn serve_unix(listener: UnixListener, connections: Arc<Connections>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_owner(&stream) => {
                let Some(place) = connections.admit() else { continue };
                let connections = connections.clone();
                tokio::spawn(async move {
                    connections.serve(stream, Origin::Owner).await;
                    drop(place);
                });
            }
            Ok(_) => tracing::warn!("another user was turned away"),
            Err(error) => pause(&error).await,
        }
    }
}

pub(super) async fn serve_tcp(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connections: Arc<Connections>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        let Some(place) = connections.admit() else { continue };
        let (acceptor, connections) = (acceptor.clone(), connections.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let accepted = tokio::time::timeout(connections.head_time, acceptor.accept(stream));
            match accepted.await {
                Ok(Ok(stream)) => connections.serve(stream, Origin::Network).await,
                Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
                Err(_) => tracing::debug!("a client did not finish its TLS handshake"),
            }
            drop(place);
        });
    }
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(PAUSE).await;
}

/// The mode of the socket keeps others out; this does where a mode means nothing.
fn is_owner(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
