// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Server-sent events.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bhojpur_api::Code;
use tokio::sync::mpsc;

use super::App;
use crate::{Error, Result};

/// A comment is sent this often, so that nobody in between takes the connection for dead, and
/// so that we notice when the client is.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Events that wait for a slow client.
const BACKLOG: usize = 16;

/// Tells events. An error means that nobody listens any more.
#[derive(Clone, Debug)]
pub(crate) struct Tell(mpsc::Sender<io::Result<Bytes>>);

/// Nobody listens.
#[derive(Debug)]
pub(crate) struct Gone;

impl Tell {
    /// An event; a client that was cut off can go on after `id`.
    pub(crate) async fn event<T: serde::Serialize>(
        &self,
        id: Option<u64>,
        value: &T,
    ) -> Result<(), Gone> {
        let json = serde_json::to_string(value).map_err(|_| Gone)?;
        let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
        self.raw(format!("{id}data: {json}\n\n").into()).await
    }

    pub(crate) async fn error(&self, error: &Error) -> Result<(), Gone> {
        let json = serde_json::to_string(&error.body()).map_err(|_| Gone)?;
        self.raw(format!("event: error\ndata: {json}\n\n").into()).await
    }

    /// Bytes as they are.
    pub(crate) async fn raw(&self, bytes: Bytes) -> Result<(), Gone> {
        self.0.send(Ok(bytes)).await.map_err(|_| Gone)
    }

    /// Breaks the answer off, so that nobody takes what came of it for the whole.
    pub(crate) async fn abort(&self, why: &Error) -> Result<(), Gone> {
        tracing::warn!(error = %why, "an answer breaks off");
        self.0.send(Err(io::Error::other(why.to_string()))).await.map_err(|_| Gone)
    }

    async fn keep_alive(&self) {
        loop {
            if self.raw(Bytes::from_static(b":\n\n")).await.is_err() {
                return;
            }
            tokio::time::sleep(KEEP_ALIVE).await;
        }
    }
}

/// An answer that goes on while `work` tells events and somebody listens.
pub(crate) fn stream<W: Future<Output = Result<(), Gone>> + Send + 'static>(
    app: &App,
    work: impl FnOnce(Tell) -> W + Send + 'static,
) -> Result<Response> {
    streaming(app, "text/event-stream", true, work)
}

/// Any answer that goes on. Whoever reads events knows from them where it was; bytes that come
/// without `comments` break off when the daemon ends before they do.
pub(crate) fn streaming<W: Future<Output = Result<(), Gone>> + Send + 'static>(
    app: &App,
    media: &'static str,
    comments: bool,
    work: impl FnOnce(Tell) -> W + Send + 'static,
) -> Result<Response> {
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        Error::new(Code::Busy, "the daemon has too many streams at once")
            .advise("try again in a moment")
    })?;
    let (sender, receiver) = mpsc::channel(BACKLOG);
    let tell = Tell(sender);
    let mut closing = app.engine.closing();
    tokio::spawn(async move {
        let _permit = permit;
        let listened = tell.0.clone();
        let keep_alive = async {
            match comments {
                true => tell.keep_alive().await,
                false => std::future::pending().await,
            }
        };
        let ending = async {
            let _ = closing.wait_for(|closing| *closing).await;
        };
        let is_cut = tokio::select! {
            biased;
            () = listened.closed() => false,
            () = ending => true,
            () = keep_alive => false,
            _ = work(tell.clone()) => false,
        };
        if is_cut && !comments {
            let _ = tell.abort(&Error::new(Code::Busy, "the daemon is ending")).await;
        }
    });
    let body = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|bytes| (bytes, receiver))
    });
    let headers = [(header::CONTENT_TYPE, media), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(body)).into_response())
}
