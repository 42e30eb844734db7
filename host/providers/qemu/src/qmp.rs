// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A client of QEMU's machine protocol (docs/interop/qmp-spec.txt): one JSON object a line.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhojpur_provider::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::Instant;

/// How long QEMU may take for an answer. Its main loop serves the socket, and on a busy machine
/// that may be late; a hung one never answers.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Longest line that is read: no answer that we ask for comes near it.
const LINE_MAX: usize = 1 << 20;

/// A connection on which commands can be given.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    path: PathBuf,
    received: Vec<u8>,
    limit: Duration,
    next_id: u64,
}

/// Anything that QEMU sends.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    event: Option<String>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
    id: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

/// What a virtual machine does: `RunState` of QEMU's qapi/run-state.json, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// It runs, or waits for a debugger or for what it continues from.
    Running,
    /// It is held.
    Paused,
}

impl RunState {
    fn parse(word: &str) -> Self {
        match word {
            "paused" | "postmigrate" | "finish-migrate" | "save-vm" | "suspended" => Self::Paused,
            _ => Self::Running,
        }
    }
}

impl Client {
    /// Connects and leaves the negotiation mode behind. An absent socket is
    /// [`ErrorKind::NotFound`]; one on which nobody listens is [`ErrorKind::Conflict`].
    pub(crate) async fn connect(path: &Path, limit: Duration) -> Result<Self> {
        let stream = UnixStream::connect(path).await.map_err(|error| {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            let error = Error::io(format!("cannot connect to {}", path.display()), error);
            if refused { error.with_kind(ErrorKind::Conflict) } else { error }
        })?;
        let mut client =
            Self { stream, path: path.to_owned(), received: Vec::new(), limit, next_id: 0 };
        let deadline = Instant::now() + limit;
        // Somebody else's connection may be served first: only one is at a time.
        let greeting = client.message(deadline).await?;
        if greeting.greeting.is_none() {
            return Err(client.failed("QEMU did not greet"));
        }
        client.execute("qmp_capabilities", Value::Null).await?;
        Ok(client)
    }

    /// Gives a command and waits for what it returns. Events in between are left out.
    pub(crate) async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + self.limit;
        self.next_id += 1;
        let id = json!(self.next_id);
        let mut request = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        let sent = tokio::time::timeout_at(deadline, self.stream.write_all(line.as_bytes())).await;
        sent.map_err(|_| self.silent())?
            .map_err(|error| Error::io(format!("cannot tell QEMU to {command}"), error))?;
        loop {
            let message = self.message(deadline).await?;
            if message.event.is_some() {
                continue;
            }
            if let Some(refusal) = message.error {
                let Refusal { class, desc } = refusal;
                let text = format!("QEMU refuses {command}: {desc} ({class})");
                return Err(Error::new(ErrorKind::Failed, text));
            }
            match message.value {
                Some(value) if message.id.as_ref() == Some(&id) => return Ok(value),
                // The answer to a command that we gave up on.
                Some(_) if message.id.is_some() => {}
                _ => return Err(self.failed("QEMU answered what is no answer")),
            }
        }
    }

    /// What the machine does.
    pub(crate) async fn run_state(&mut self) -> Result<RunState> {
        let value = self.execute("query-status", Value::Null).await?;
        match value["status"].as_str() {
            Some(word) => Ok(RunState::parse(word)),
            None => Err(self.failed("QEMU's status is none")),
        }
    }

    /// The next message, whatever it is.
    async fn message(&mut self, deadline: Instant) -> Result<Message> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return serde_json::from_slice(&line).map_err(|error| {
                    self.failed(&format!("QEMU sent what is no message: {error}"))
                });
            }
            if self.received.len() > LINE_MAX {
                return Err(self.failed("QEMU sent a line without an end"));
            }
            let read = self.stream.read_buf(&mut self.received);
            let read = tokio::time::timeout_at(deadline, read).await;
            let count = read
                .map_err(|_| self.silent())?
                .map_err(|error| Error::io("cannot read what QEMU answers", error))?;
            if count == 0 {
                return Err(self.failed("QEMU closed the connection"));
            }
        }
    }

    fn failed(&self, what: &str) -> Error {
        Error::new(ErrorKind::Failed, format!("{what}, on {}", self.path.display()))
    }

    fn silent(&self) -> Error {
        let limit = self.limit.as_secs_f32();
        self.failed(&format!("QEMU did not answer within {limit} s"))
            .advise("its process may be stopped or hang; end the instance by force")
    }
}

#[cfg(test)]
mod tests;
