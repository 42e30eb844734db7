// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon that answers from a table and keeps what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// Before the answer.
    pub delay: Duration,
    /// It comes when a request whose line ends so has come.
    pub when: Option<&'static str>,
    /// It is given once; then the one that was there before counts again.
    pub once: bool,
    /// The connection ends before all of it is there.
    pub cut: bool,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes(), ..Self::bytes("") }
    }

    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            delay: Duration::ZERO,
            when: None,
            once: false,
            cut: false,
        }
    }

    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub fn when(self, line: &'static str) -> Self {
        Self { when: Some(line), ..self }
    }

    pub fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// The connection ends without an answer.
    pub fn none() -> Self {
        Self { status: 0, ..Self::bytes("") }
    }
}

/// What is answered before the table is asked.
type Override = (String, Answer);

#[derive(Clone, Default)]
pub struct Fake {
    asked: Arc<Mutex<Vec<Asked>>>,
    overrides: Arc<Mutex<Vec<Override>>>,
}

impl Fake {
    pub fn listen(socket: &Path) -> Self {
        let fake = Self::default();
        let listener = UnixListener::bind(socket).unwrap();
        let own = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = own.clone();
                std::thread::spawn(move || fake.serve(stream));
            }
        });
        fake
    }

    /// Answers requests whose line begins so with this; the latest counts.
    pub fn answer(&self, line: &str, answer: Answer) {
        self.overrides.lock().unwrap().insert(0, (line.to_owned(), answer));
    }

    /// What was asked since the last time, signs of life apart.
    pub fn take(&self) -> Vec<Asked> {
        let all = std::mem::take(&mut *self.asked.lock().unwrap());
        all.into_iter().filter(|asked| asked.target != "/v1/ping").collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.take().iter().map(Asked::line).collect()
    }

    /// Waits until a request whose line ends so has come.
    pub fn heard(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.asked.lock().unwrap().iter().any(|asked| asked.line().ends_with(line)) {
            assert!(Instant::now() < deadline, "nobody asks for {line}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What is answered in place of what the table has.
    fn special(&self, line: &str) -> Option<Answer> {
        let mut overrides = self.overrides.lock().unwrap();
        let at = overrides.iter().position(|(begin, _)| line.starts_with(begin))?;
        let answer = overrides[at].1.clone();
        if answer.once {
            overrides.remove(at);
        }
        Some(answer)
    }

    fn serve(&self, stream: UnixStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(asked) = read(&mut reader) else { return };
        let line = asked.line();
        self.asked.lock().unwrap().push(asked.clone());
        let answer = self.special(&line).unwrap_or_else(|| table(&asked));
        std::thread::sleep(answer.delay);
        if let Some(line) = answer.when {
            self.heard(line);
        }
        if answer.status == 0 {
            return;
        }
        let mut stream = stream;
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.status,
            answer.body.len() + usize::from(answer.cut)
        );
        // A client that was killed does not read.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body));
    }
}

fn read(reader: &mut BufReader<UnixStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut piece = vec![0; size + 2];
        reader.read_exact(&mut piece).ok()?;
        body.extend_from_slice(&piece[..size]);
        chunked = size != 0;
    }
    Some(Asked { method, target, body })
}

pub fn instance() -> Value {
    json!({
        "id": "0123456789abcdef0123456789abcdef", "name": "web", "image": "web:latest", "image_id": "feed".repeat(16),
        "provider": "qemu", "state": "running", "created": "2020-01-01T00:00:00Z", "started": "2020-01-01T00:00:01Z",
        "restarts": 0, "env_names": ["MODE"], "labels": {"tier": "front"}, "memory_mib": 64, "cpus": 1,
        "ports": [{"host_address": "127.0.0.1", "host": 8080, "guest": 80, "protocol": "tcp"}], "volumes": [],
        "network": {"mode": "default"}, "restart": {"name": "no"}, "health": "healthy",
    })
}

pub fn image() -> Value {
    json!({
        "id": "feed".repeat(16), "names": ["web:latest", "web:1.2"], "language": "go", "args": [], "env": [], "ports": [{"guest": 8080, "protocol": "tcp"}, {"guest": 53, "protocol": "udp"}],
        "size_bytes": 7_444_288, "least_memory_mib": 32, "usual_memory_mib": 160, "created": "2020-01-01T00:00:00Z",
        "staged": [],
    })
}

pub fn volume() -> Value {
    json!({
        "id": "cafe".repeat(8), "name": "data", "provider": "qemu", "size_bytes": 1_073_741_824_u64, "attachments": [],
        "labels": {}, "created": "2020-01-01T00:00:00Z",
    })
}

pub fn ended(code: u8) -> Value {
    let mut instance = instance();
    instance["state"] = json!("stopped");
    instance["exit_code"] = json!(code);
    instance
}

/// Server-sent events.
pub fn events(items: &[Value]) -> Vec<u8> {
    items.iter().map(|item| format!("data: {item}\n\n")).collect::<String>().into_bytes()
}

pub fn not_found(what: &str) -> Answer {
    Answer::json(404, &json!({ "code": "not_found", "message": format!("there is no {what}") }))
}

fn table(asked: &Asked) -> Answer {
    let path = asked.target.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    let ok = |body: &Value| Answer::json(200, body);
    match (asked.method.as_str(), parts.as_slice()) {
        (_, ["ping"]) => ok(&json!({"version": "9.9.9", "api": ["v1"]})),
        (_, ["info"]) => ok(&json!({
            "version": "9.9.9", "pid": 1, "directory": "/d", "default_provider": "qemu", "images": 1, "instances": 2,
            "running": 1, "volumes": 0, "started": "2020-01-01T00:00:00Z", "role": "admin",
        })),
        (_, ["providers"]) => ok(&json!([{
            "name": "qemu", "title": "QEMU", "ready": true, "available": true, "status": "8.2", "needs": "qemu",
            "capabilities": ["ports"],
        }])),
        (_, ["compilers"]) => ok(&json!([{
            "name": "bhojpur-go-qemu", "language": "go", "provider": "qemu", "ready": true, "description": "Go 1.22",
        }])),
        ("GET", ["images"]) => ok(&json!([image()])),
        ("POST", ["images", "build"]) => Answer::bytes(events(&[
            json!({"event": "step", "title": "compiling (go)"}),
            json!({"event": "output", "line": "main.go"}),
            json!({"event": "progress", "what": "staging", "done": 1, "total": 2}),
            json!({"event": "done", "image": image()}),
        ])),
        ("DELETE", ["images", _]) => ok(&json!({"untagged": ["web:latest"], "instances": []})),
        ("GET", ["instances"]) => ok(&json!([instance()])),
        ("GET", ["instances" | "images" | "volumes", "none"]) => not_found(parts[1]),
        ("PUT", [.., "files"]) => ok(&json!({"warnings": []})),
        ("POST", ["instances", _, "input"])
        | ("DELETE", ["instances" | "volumes" | "tokens", ..]) => {
            Answer { status: 204, ..Answer::bytes("") }
        }
        // Who comes back has seen it.
        ("GET", ["instances", _, "logs"]) if asked.target.contains("offset=") => {
            Answer::bytes(events(&[]))
        }
        ("GET", ["instances", _, "logs"]) if asked.target.contains("follow") => {
            Answer::bytes(events(&[json!({"offset": 0, "text": "hello\n"})]))
        }
        ("GET", ["instances", _, "logs"]) => Answer::bytes("hello\nworld\n"),
        ("GET", ["instances", _, "wait"]) => ok(&ended(3)).after(Duration::from_millis(100)),
        ("GET", ["instances", _, "stats"]) => ok(&json!({
            "time": "2020-01-01T00:00:00Z", "cpu": 0.25, "cpu_time_ns": 1_500_000_000_u64, "memory_bytes": 50_000_000,
            "memory_limit_bytes": 100_000_000,
        })),
        ("GET", ["instances", _, "snapshots"]) => ok(&json!([])),
        ("POST", ["instances", _, "snapshots"]) => {
            ok(&json!({"name": "s", "created": "2020-01-01T00:00:00Z", "size_bytes": 1}))
        }
        ("GET", ["images", _]) | ("POST", ["images", ..]) => ok(&image()),
        (_, ["instances", ..]) => ok(&instance()),
        ("GET", ["volumes"]) => ok(&json!([volume()])),
        (_, ["volumes", ..]) => ok(&volume()),
        ("GET", ["tokens"]) => {
            ok(&json!([{"name": "ci", "role": "operate", "created": "2020-01-01T00:00:00Z"}]))
        }
        ("POST", ["tokens"]) => ok(&json!({"name": "ci", "role": "operate", "secret": "s3cret"})),
        ("GET", ["events"]) => Answer::bytes(events(&[json!({
            "id": 7, "time": "2020-01-01T00:00:00Z", "subject": "instance", "subject_id": "0123456789abcdef", "name": "web",
            "action": "die", "attributes": {"exit_code": "3"},
        })])),
        _ => not_found(path),
    }
}
