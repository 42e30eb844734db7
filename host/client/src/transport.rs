// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests and answers.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bhojpur_api::{Code, ErrorBody, VERSION};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_rustls::rustls::ClientConfig;

use crate::upload::{Body, Upload};
use crate::{Address, ByteStream, Error, EventStream, Result, Target, connection, tls};

/// How long the daemon may take for what it knows already.
pub(crate) const QUICK: Duration = Duration::from_secs(60);
/// How long it may take for what a hypervisor or cloud has to do.
pub(crate) const SLOW: Duration = Duration::from_secs(900);
/// What an answer may take that is kept in memory.
const ANSWER_MAX: usize = 64 << 20;

/// Speaks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
}

/// A request, as far as it is the same for all.
#[derive(Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<(&'static str, Upload)>,
    limit: Option<Duration>,
}

impl Call {
    fn new(method: Method, segments: &[&str]) -> Self {
        let mut path = format!("/{VERSION}");
        for segment in segments {
            path.push('/');
            encode(segment, &mut path);
        }
        Self { method, path, query: Vec::new(), body: None, limit: Some(QUICK) }
    }

    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::new(Method::GET, segments)
    }

    pub(crate) fn post(segments: &[&str]) -> Self {
        Self::new(Method::POST, segments)
    }

    pub(crate) fn put(segments: &[&str]) -> Self {
        Self::new(Method::PUT, segments)
    }

    pub(crate) fn delete(segments: &[&str]) -> Self {
        Self::new(Method::DELETE, segments)
    }

    /// Adds to the query.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a flag to the query, when it is set.
    pub(crate) fn flag(self, name: &str, set: bool) -> Self {
        if set { self.with(name, true) } else { self }
    }

    /// Adds the fields of a structure to the query; what is empty, absent or false is left out.
    pub(crate) fn with_all(mut self, fields: &impl Serialize) -> Self {
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(fields) {
            for (name, value) in fields {
                let text = match value {
                    serde_json::Value::Null | serde_json::Value::Bool(false) => continue,
                    serde_json::Value::String(text) if text.is_empty() => continue,
                    serde_json::Value::String(text) => text,
                    other => other.to_string(),
                };
                self.query.push((name, text));
            }
        }
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::Setup(error.to_string()))?;
        self.body = Some(("application/json", Upload::bytes(bytes)));
        Ok(self)
    }

    pub(crate) fn upload(mut self, kind: &'static str, upload: Upload) -> Self {
        self.body = Some((kind, upload));
        self.limit = None;
        self
    }

    /// How long the answer may take to begin.
    pub(crate) fn within(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limit = limit.into();
        self
    }

    fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (at, (name, value)) in self.query.iter().enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            encode(name, &mut uri);
            uri.push('=');
            encode(value, &mut uri);
        }
        uri
    }
}

impl Client {
    /// A client of this daemon. Nothing is connected yet, but files that the target names are
    /// read.
    pub fn new(target: Target) -> Result<Self> {
        let tls = match target.address {
            Address::Unix(_) => None,
            Address::Tls { .. } => Some(tls::config(&target.trust)?),
        };
        Ok(Self { target, tls })
    }

    /// Where the daemon is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.target.address
    }

    async fn send(&self, call: Call) -> Result<Response<Incoming>> {
        let limit = call.limit;
        let response = self.limited(limit, self.exchange(call)).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.limited(Some(QUICK), self.refusal(response)).await.unwrap_or_else(|error| error))
    }

    async fn exchange(&self, call: Call) -> Result<Response<Incoming>> {
        let mut sender = connection::open(&self.target.address, self.tls.as_ref()).await?;
        let host = match &self.target.address {
            Address::Unix(_) => "localhost".to_owned(),
            tls => tls.to_string().trim_start_matches("https://").to_owned(),
        };
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(call.uri())
            .header(HOST, host)
            .header(ACCEPT, "application/json, text/event-stream, */*")
            .header(USER_AGENT, concat!("kernctl/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.target.token {
            request = request.header(AUTHORIZATION, token.header());
        }
        let upload = match call.body {
            Some((kind, upload)) => {
                request = request.header(CONTENT_TYPE, kind);
                upload
            }
            None => Upload::empty(),
        };
        let request = request
            .body(Body(upload))
            .map_err(|error| Error::Setup(format!("this cannot be asked: {error}")))?;
        sender.send_request(request).await.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &hyper::Error) -> Error {
        // What our own side could not read comes back through the library.
        if error.is_user()
            && let Some(source) = std::error::Error::source(error)
            && let Some(source) = source.downcast_ref::<io::Error>()
        {
            return Error::Upload(io::Error::new(source.kind(), source.to_string()));
        }
        Error::Broken { address: self.target.address.clone(), reason: reason(error) }
    }

    async fn refusal(&self, response: Response<Incoming>) -> Result<Error> {
        let status = response.status();
        let body = ByteStream::new(self.target.address.clone(), response.into_body());
        let bytes = body.collect(1 << 20).await?;
        if let Ok(body) = serde_json::from_slice::<ErrorBody>(&bytes) {
            return Ok(Error::Refused(body));
        }
        // Not from the daemon itself, but from something on the way; the status has to do.
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line: String = line.trim().chars().take(200).collect();
        let message = match line.as_str() {
            "" => format!("the daemon answered {status}"),
            line => format!("the daemon answered {status}: {line}"),
        };
        Ok(Error::Refused(ErrorBody { code: code_of(status.as_u16()), message, advice: None }))
    }

    async fn limited<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(limit) = limit else { return work.await };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::TimedOut { address: self.target.address.clone(), seconds: limit.as_secs() })
        })
    }

    /// Asks, and reads JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let limit = call.limit;
        let bytes = self.bytes(call).await?;
        let bytes = self.limited(limit, bytes.collect(ANSWER_MAX)).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Answer(error.to_string()))
    }

    /// Asks, and reads nothing.
    pub(crate) async fn done(&self, call: Call) -> Result<()> {
        self.send(call).await.map(drop)
    }

    /// Asks, and reads bytes as they come.
    pub(crate) async fn bytes(&self, call: Call) -> Result<ByteStream> {
        let response = self.send(call).await?;
        Ok(ByteStream::new(self.target.address.clone(), response.into_body()))
    }

    /// Asks, and reads events as they come.
    pub(crate) async fn events_of<T: DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<EventStream<T>> {
        self.bytes(call).await.map(EventStream::new)
    }
}

/// What is behind an error of the library, which itself says little.
pub(crate) fn reason(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn code_of(status: u16) -> Code {
    match status {
        400 => Code::BadRequest,
        401 => Code::Unauthorized,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        408 => Code::Timeout,
        409 => Code::Conflict,
        413 => Code::TooLarge,
        422 => Code::Invalid,
        429 | 503 => Code::Busy,
        501 => Code::Unsupported,
        502 | 504 => Code::ProviderFailed,
        507 => Code::Exhausted,
        _ => Code::Internal,
    }
}

/// RFC 3986, section 2.3: what is not unreserved is encoded.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bhojpur_api::BuildQuery;

    #[test]
    fn names_cannot_leave_their_segment() {
        let call = Call::get(&["images", "a/../b:c?d#e f%"]).with("path", "/ä&x=y");
        assert_eq!(call.uri(), "/v1/images/a%2F..%2Fb%3Ac%3Fd%23e%20f%25?path=%2F%C3%A4%26x%3Dy");
    }

    #[test]
    fn what_is_not_set_is_not_sent() {
        let query = BuildQuery { name: "web".into(), force: true, ..BuildQuery::default() };
        assert_eq!(Call::post(&["x"]).with_all(&query).uri(), "/v1/x?force=true&name=web");
    }
}
