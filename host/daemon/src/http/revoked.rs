// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What goes on under a token ends when the token is removed: streams, and requests that would end
//! with their client as well.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use tokio::sync::watch;

use super::wrong_token;
use crate::Secret;
use crate::engine::Engine;

/// The end of a token.
type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Watches over the token of a request.
#[derive(Debug)]
pub(super) struct Held {
    engine: Arc<Engine>,
    secret: Secret<String>,
    removals: watch::Receiver<u64>,
}

impl Held {
    /// To be made before the token is looked up, so that no removal falls in between.
    pub(super) fn new(engine: &Arc<Engine>, secret: &str) -> Self {
        Self {
            engine: engine.clone(),
            secret: Secret::new(secret.to_owned()),
            removals: engine.removals(),
        }
    }

    /// Waits until the token is not there any more.
    async fn removed(mut self) {
        while self.removals.changed().await.is_ok() {
            if !matches!(self.engine.role_of(self.secret.expose()).await, Ok(Some(_))) {
                return;
            }
        }
        // Without an engine there are no tokens, and nobody who removes them.
        std::future::pending::<()>().await;
    }

    /// The answer, as far as the token allows it. What is only waited for is given up with the
    /// token when it `ends_with_client`; all else is finished.
    pub(super) async fn answer(
        self,
        answer: impl Future<Output = Response>,
        ends_with_client: bool,
    ) -> Response {
        let mut end: End = Box::pin(self.removed());
        let response = tokio::select! {
            biased;
            response = answer => response,
            () = &mut end, if ends_with_client => return wrong_token().into_response(),
        };
        // What is there already as a whole may be sent.
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        let media = response.headers().get(header::CONTENT_TYPE);
        let events = media.is_some_and(|media| media == "text/event-stream");
        response.map(|body| until(body, end, events))
    }
}

/// A body that ends with the token: events with one that says so, all else in the middle.
fn until(body: Body, end: End, events: bool) -> Body {
    let state = Some((body.into_data_stream(), end));
    Body::from_stream(futures_util::stream::unfold(state, move |state| async move {
        let (mut stream, mut end) = state?;
        tokio::select! {
            biased;
            () = &mut end => Some((last(events), None)),
            piece = stream.next() => {
                piece.map(|piece| (piece.map_err(io::Error::other), Some((stream, end))))
            }
        }
    }))
}

fn last(events: bool) -> io::Result<Bytes> {
    let why = wrong_token();
    if !events {
        return Err(io::Error::other(why.to_string()));
    }
    let json = serde_json::to_string(&why.body()).map_err(io::Error::other)?;
    Ok(format!("event: error\ndata: {json}\n\n").into())
}
