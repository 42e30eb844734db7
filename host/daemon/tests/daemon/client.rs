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
pub struct Client {
    pub socket: PathBuf,
}

/// Nobody answered: the daemon is gone, perhaps in the middle.
#[derive(Debug)]
pub struct NoAnswer;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub type Connection = SendRequest<Full<Bytes>>;

impl Client {
    pub fn new(home: &Path) -> Self {
        Self { socket: home.join("kernctl.sock") }
    }

    pub async fn connect(&self) -> Result<Connection, NoAnswer> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|_| NoAnswer)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| NoAnswer)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    pub async fn open(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        send(&mut self.connect().await?, method, path, body).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, NoAnswer> {
        let answer = async {
            let response = self.open(method, path, body).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|_| NoAnswer)?;
            Ok(Answer { status, body: body.to_bytes().to_vec() })
        };
        tokio::time::timeout(LIMIT, answer).await.expect("an answer takes too long")
    }

    /// For tests in which the daemon has to answer.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, body).await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask("POST", path, body).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    pub async fn delete(&self, path: &str) {
        let answer = self.ask("DELETE", path, Value::Null).await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
    }

    /// An error has its code, a message and the status that goes with it.
    pub async fn refused(
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
    pub async fn until(&self, name: &str, state: &str) -> Value {
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

pub async fn send(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Response<Incoming>, NoAnswer> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "daemon")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    connection.ready().await.map_err(|_| NoAnswer)?;
    connection.send_request(request).await.map_err(|_| NoAnswer)
}

/// Server-sent events of an answer, as they come.
pub struct Events {
    body: Incoming,
    buffer: String,
}

impl Events {
    pub async fn open(client: &Client, path: &str) -> Self {
        Self::of(client.open("GET", path, Vec::new()).await.expect("an answer"))
    }

    pub fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffer: String::new() }
    }

    /// The data of the next event; nothing at the end.
    pub async fn next(&mut self) -> Option<Value> {
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
