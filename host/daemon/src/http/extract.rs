// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What comes in: JSON, queries, references and uploads, each refused with one clear error.

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bhojpur_api::Code;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use super::App;
use crate::engine::Upload;
use crate::{Error, Result};

/// Bytes of JSON.
const JSON_MAX: usize = 1 << 20;

/// The body as JSON. An unknown field is an error.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let limit = app.engine.config.limits.request_time;
        let read = tokio::time::timeout(limit, collect(request.into_body()));
        let bytes = read.await.map_err(|_| {
            Error::new(Code::Timeout, "the request took too long to arrive").advise("try again")
        })??;
        parse(&bytes).map(Self)
    }
}

async fn collect(body: Body) -> Result<Vec<u8>> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        let broken =
            |error| Error::new(Code::BadRequest, format!("the request broke off: {error}"));
        let piece = piece.map_err(broken)?;
        if bytes.len() + piece.len() > JSON_MAX {
            let message = format!("the JSON of a request has {} KiB at most", JSON_MAX >> 10);
            return Err(Error::new(Code::TooLarge, message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { Code::Invalid } else { Code::BadRequest };
        // A value in the message may be a secret: serde names it only where a type is wrong.
        let message = redact(&error.to_string());
        Error::new(code, format!("the JSON of the request cannot be used: {message}"))
            .advise("GET /v1/openapi.json describes what is expected")
    })
}

/// `invalid type: string "hunter2", expected u64` without what was sent.
fn redact(message: &str) -> String {
    match (message.find(": string \""), message.rfind("\", expected")) {
        (Some(start), Some(end)) if start < end => {
            format!("{}: a string{}", &message[..start], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}

/// The name, id or prefix in a path.
#[derive(Debug)]
pub(crate) struct Reference(pub(crate) String);

impl FromRequestParts<App> for Reference {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let path =
            Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, app)
                .await
                .map_err(|error| Error::new(Code::BadRequest, error))?;
        let reference = path.0.get("ref").or_else(|| path.0.get("name")).cloned();
        Ok(Self(reference.unwrap_or_default()))
    }
}

/// The parameters of a query, in order.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl FromRequestParts<App> for Pairs {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Error::new(Code::BadRequest, error))?;
        Ok(Self(pairs.0))
    }
}

impl Pairs {
    /// Refuses parameters that are not known.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((stranger, _)) => {
                let error = Error::invalid(format!("the parameter {stranger:?} is not known"));
                Err(if known.is_empty() {
                    error.advise("this address takes none")
                } else {
                    error.advise(format!("known are {}", known.join(", ")))
                })
            }
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `?force`, `?force=true` and `?force=1`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => Err(Error::invalid(format!("{name} is true or false, not {other:?}"))),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>> {
        let number = |text: &str| {
            text.parse()
                .map_err(|_| Error::invalid(format!("{name} is a whole number, not {text:?}")))
        };
        self.text(name).filter(|text| !text.is_empty()).map(number).transpose()
    }
}

/// Takes the body of a request to its end; nothing when it is empty.
pub(crate) async fn upload(app: &App, body: Body) -> Result<Option<Upload>> {
    let upload = app.engine.receive(body.into_data_stream()).await?;
    Ok(Some(upload).filter(|upload| upload.size > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_repeated() {
        let error = parse::<Vec<u64>>(b"[\"hunter2\"]").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(error.code(), Code::Invalid);
        assert_eq!(parse::<Vec<u64>>(b"[1").unwrap_err().code(), Code::BadRequest);
    }

    #[test]
    fn parameters_are_known_and_have_types() {
        let pairs = |list: &[(&str, &str)]| {
            Pairs(list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
        };
        assert!(pairs(&[("all", ""), ("label", "a=b")]).only(&["all", "label"]).is_ok());
        assert!(pairs(&[("al", "")]).only(&["all"]).is_err());
        assert!(pairs(&[("all", "")]).flag("all").unwrap());
        assert!(pairs(&[("all", "maybe")]).flag("all").is_err());
        assert_eq!(pairs(&[("tail", "7")]).number("tail").unwrap(), Some(7));
        assert!(pairs(&[("tail", "-1")]).number("tail").is_err());
    }
}
