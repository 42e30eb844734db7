// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One request after the other over the unix socket.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhojpur_provider::{Error, ErrorKind, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Request;
use super::model::{Fault, InstanceInfo};

/// Longest path of a socket, without the zero at its end (unix(7)).
const SOCKET_PATH_MAX: usize = 107;
/// Longest answer that is read.
const ANSWER_MAX: usize = 1 << 20;
/// How long an answer may take. Snapshots of a large guest on a slow disk take a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// Speaks with one Firecracker.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the Firecracker that listens there.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Whether somebody answers there.
    pub async fn is_listening(&self) -> bool {
        self.connect().await.is_ok()
    }

    /// What it says about itself; within two seconds, because it may just be ending.
    pub async fn describe(&self) -> Result<InstanceInfo> {
        let request = Request::get("/");
        let answer = tokio::time::timeout(Duration::from_secs(2), self.send(&request)).await;
        let body = answer.map_err(|_| silent(&request))??;
        serde_json::from_slice(&body).map_err(|error| {
            Error::new(ErrorKind::Failed, format!("Firecracker's answer to GET /: {error}"))
        })
    }

    /// Sends one request; an answer other than 2xx is an error with Firecracker's own words.
    pub async fn send(&self, request: &Request) -> Result<Bytes> {
        tokio::time::timeout(ANSWER_LIMIT, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(silent(request)))
    }

    async fn exchange(&self, request: &Request) -> Result<Bytes> {
        let what = || format!("{} {} of Firecracker", request.method, request.path);
        let failed =
            |error: hyper::Error| Error::new(ErrorKind::Failed, format!("{}: {error}", what()));
        let stream = self.connect().await.map_err(|error| {
            Error::io(format!("cannot reach Firecracker at {}", self.socket.display()), error)
                .with_kind(ErrorKind::Failed)
        })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // It ends with the exchange, or with the runtime.
        tokio::spawn(connection);
        let message = hyper::Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("Host", "localhost")
            .header("Accept", "application/json")
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(request.body.clone())))
            .map_err(|error| Error::new(ErrorKind::Failed, format!("{}: {error}", what())))?;
        let answer = sender.send_request(message).await.map_err(failed)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let body = body
            .map_err(|error| Error::new(ErrorKind::Failed, format!("{}: {error}", what())))?
            .to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let said = serde_json::from_slice::<Fault>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).trim().to_owned(),
            |fault| fault.fault_message,
        );
        let kind = if status.as_u16() == 400 { ErrorKind::Invalid } else { ErrorKind::Failed };
        Err(Error::new(kind, format!("{} was refused: {said}", what())))
    }

    /// Paths may be longer than an address of a socket: then through the directory's handle.
    async fn connect(&self) -> io::Result<UnixStream> {
        if self.socket.as_os_str().len() <= SOCKET_PATH_MAX {
            return UnixStream::connect(&self.socket).await;
        }
        let (Some(parent), Some(name)) = (self.socket.parent(), self.socket.file_name()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let parent = std::fs::File::open(parent)?;
        let handle = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
        UnixStream::connect(handle.join(name)).await
    }
}

fn silent(request: &Request) -> Error {
    let message = format!("Firecracker does not answer {} {}", request.method, request.path);
    Error::new(ErrorKind::Failed, message)
}
