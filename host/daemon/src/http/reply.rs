// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers: JSON, files, and errors with their codes.

use std::path::PathBuf;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bhojpur_api::Code;
use tokio::io::AsyncReadExt as _;

use crate::{Error, Result};

/// Bytes of a file in one piece of an answer.
const PIECE: usize = 128 << 10;

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let code = self.code();
        let status =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if code == Code::Internal {
            tracing::error!(error = %self, "a request failed");
        }
        let mut response = (status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if code == Code::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if code == Code::Busy {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// 200 with JSON.
pub(crate) fn ok<T: serde::Serialize>(value: T) -> Result<Response> {
    Ok(Json(value).into_response())
}

/// 201 with JSON.
pub(crate) fn created<T: serde::Serialize>(value: T) -> Result<Response> {
    Ok((StatusCode::CREATED, Json(value)).into_response())
}

/// The bytes of a file, and what has to stay there until they are sent.
pub(crate) async fn bytes_of_file(
    path: PathBuf,
    media: &'static str,
    keep: impl Send + 'static,
) -> Result<Response> {
    let unreadable = |error| Error::io(format!("cannot read {}", path.display()), &error);
    let file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let stream =
        futures_util::stream::unfold((file.take(length), keep), async |(mut file, keep)| {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(Bytes::from(piece)), (file, keep)))
                }
                Err(error) => Some((Err(error), (file, keep))),
            }
        });
    let headers =
        [(header::CONTENT_TYPE, media.to_owned()), (header::CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(stream)).into_response())
}
