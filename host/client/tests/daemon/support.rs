// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon of a few lines that answers as it is told and keeps what it was asked.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub line: String,
    pub token: Option<String>,
    pub length: Option<String>,
    pub body: Vec<u8>,
}

/// An answer: its status, and its body in pieces; `None` breaks the connection.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub pieces: Vec<Option<&'static [u8]>>,
}

impl Answer {
    pub fn ok(body: &'static str) -> Self {
        Self { status: 200, pieces: vec![Some(body.as_bytes())] }
    }
}

/// What was asked, in order.
pub type Log = Arc<Mutex<Vec<Asked>>>;

async fn answer(
    request: Request<Incoming>,
    log: Log,
    answer: Answer,
) -> Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>, Infallible> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let mut asked = Asked {
        line: format!("{} {}", request.method(), request.uri()),
        token: header("authorization"),
        length: header("content-length"),
        body: Vec::new(),
    };
    if let Ok(body) = request.into_body().collect().await {
        asked.body = body.to_bytes().to_vec();
    }
    log.lock().unwrap().push(asked);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for piece in answer.pieces {
            let frame = match piece {
                Some(bytes) => Ok(Frame::data(Bytes::from_static(bytes))),
                None => Err(std::io::Error::other("broken on purpose")),
            };
            if sender.send(frame).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    let body = StreamBody::new(stream).boxed_unsync();
    Ok(Response::builder().status(answer.status).body(body).unwrap())
}

/// Serves one connection.
pub async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, log: Log, say: Answer) {
    let service = service_fn(move |request| answer(request, log.clone(), say.clone()));
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// Serves on a unix socket as long as the test lives.
pub fn unix(say: Answer) -> (tempfile::TempDir, PathBuf, Log) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let log = Log::default();
    let kept = log.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, log.clone(), say.clone()));
        }
    });
    (directory, path, kept)
}
