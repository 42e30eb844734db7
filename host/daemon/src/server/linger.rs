// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers before the end of an upload.
//!
//! A connection that is closed while its client still sends is reset, and the answer may be lost
//! on its way (RFC 9112, section 9.6). What nobody wants of a request's body is therefore read and
//! thrown away, for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use hyper::body::{Frame, Incoming, SizeHint};

/// How long a client may go on sending.
const LIMIT: Duration = Duration::from_secs(10);

/// A body that is read to its end, if not by whom it is for.
pub(super) fn to_the_end(body: Incoming, headers: &HeaderMap) -> Body {
    // Who asks before sending hears the answer, and asking for more would be a lie.
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return Body::new(body);
    }
    Body::new(ToTheEnd(Some(body)))
}

struct ToTheEnd(Option<Incoming>);

impl HttpBody for ToTheEnd {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Outside of a runtime there is no connection either.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut rest = Body::new(body).into_data_stream();
            let thrown_away = async { while let Some(Ok(_)) = rest.next().await {} };
            let _ = tokio::time::timeout(LIMIT, thrown_away).await;
        });
    }
}
