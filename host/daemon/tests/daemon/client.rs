// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A small client over the unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Nothing takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) socket: PathBuf,
}

/// Nobody answered: the daemon is gone, perhaps in the middle.
#[derive(Debug)]
pub(crate) struct NoAnswer;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) type Connection = SendRequest<Full<Bytes>>;

impl Client {
    pub(crate) fn new(home: &Path) -> Self {
        Self { socket: home.join("kernctl.sock") }
    }

    pub(crate) async fn connect(&self) -> Result<Connection, NoAnswer> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| NoAnswer)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        send(&mut self.connect().await?, method, path, body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, NoAnswer> {
        let answer = async {
            let response = self.open(method, path, body).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|_| NoAnswer)?;
            Ok(Answer { status, body: body.to_bytes().to_vec() })
        };
        tokio::time::timeout(LIMIT, answer).await.expect("an answer takes too long")
    }

    /// For tests in which the daemon has to answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, body).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("POST", path, body).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub(crate) async fn delete(&self, path: &str) {
        let answer = self.ask("DELETE", path, Value::Null).await;
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", answer.text());
    }

    /// An error has its code, a message and the status that goes with it.
    pub(crate) async fn refused(
        &self,
        method: &str,
        path: &str,
        body: Value,
        status: u16,
        code: &str,
    ) -> Value {
        let answer = self.ask(method, path, body).await;
        let error = answer.json();
        assert_eq!(
            (answer.status, error["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {}",
            answer.text()
        );
        assert!(!error["message"].as_str().unwrap().is_empty());
        error
    }

    /// Waits until an instance is in a state.
    pub(crate) async fn until(&self, name: &str, state: &str) -> Value {
        let deadline = tokio::time::Instant::now() + LIMIT;
        loop {
            let instance = self.get(&format!("/v1/instances/{name}")).await;
            if instance["state"] == state {
                return instance;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} does not become {state}: {instance}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) async fn send(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, NoAnswer> {
    let request = Request::builder()
        .method(method)
        .uri(encode(path))
        .header("host", "daemon")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    connection.ready().await.map_err(|_| NoAnswer)?;
    connection.send_request(request).await.map_err(|_| NoAnswer)
}

/// RFC 3986 section 2.1, for the few characters that tests use.
fn encode(path: &str) -> String {
    let mut encoded = String::new();
    for c in path.chars() {
        match c {
            '"' | '[' | ']' | '{' | '}' | ' ' => encoded.push_str(&format!("%{:02X}", c as u32)),
            _ => encoded.push(c),
        }
    }
    encoded
}

/// Server-sent events of an answer, as they come.
pub(crate) struct Events {
    body: Incoming,
    buffer: String,
}

impl Events {
    pub(crate) async fn open(client: &Client, path: &str) -> Self {
        Self::of(client.open("GET", path, Vec::new()).await.expect("an answer"))
    }

    pub(crate) fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffer: String::new() }
    }

    /// The data of the next event; nothing at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let data = data.map(|data| serde_json::from_str(data).unwrap());
                    self.buffer = rest.to_owned();
                    match data {
                        Some(data) => return Some(data),
                        None => continue,
                    }
                }
                let frame = self.body.frame().await?.ok()?;
                self.buffer.push_str(std::str::from_utf8(frame.data_ref()?).unwrap());
            }
        };
        tokio::time::timeout(LIMIT, next).await.expect("an event takes too long")
    }
}
