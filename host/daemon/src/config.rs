// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person can set about the daemon.

mod file;
mod yaml;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhojpur_provider::Kind;

use crate::{Error, Result};

/// The name of the configuration file in the daemon's directory.
pub const FILE_NAME: &str = "daemon.toml";
/// The name that the ancestor's file had.
pub const ANCESTOR_FILE_NAME: &str = "daemon-config.yaml";

/// Everything that can be set. All of it has a default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Where its state lies.
    pub directory: PathBuf,
    /// The unix socket; `None`: no such socket.
    pub socket: Option<PathBuf>,
    /// The TCP address, TLS only; `None`: none.
    pub tcp: Option<Tcp>,
    /// The provider that is used when none is named; found out when absent.
    pub default_provider: Option<Kind>,
    /// What is told to providers, by their kinds: key and value.
    pub providers: BTreeMap<Kind, BTreeMap<String, String>>,
    /// What requests may take.
    pub limits: Limits,
    /// Builds.
    pub builds: Builds,
    /// The logs of instances lose their older half when they are larger than this many bytes.
    pub instance_log_max: Option<u64>,
    /// What the daemon says about itself.
    pub log: Log,
    /// The daemon ends by itself when nobody is connected and nothing needs it for this long:
    /// what an embedded one does.
    pub exit_when_idle: Option<Duration>,
    /// How long a start waits for another daemon in its directory that may be about to end: its
    /// socket is gone before it has finished what it was asked.
    pub start_patience: Duration,
}

/// The TCP side.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tcp {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificate chain in PEM; one of our own making when absent.
    pub certificate: Option<PathBuf>,
    /// Its key in PEM.
    pub key: Option<PathBuf>,
    /// Names and addresses in a certificate of our own making, beside those of this machine.
    pub names: Vec<String>,
}

impl Tcp {
    /// A listener with a certificate of our own making.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, certificate: None, key: None, names: Vec::new() }
    }
}

/// What requests may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of an upload. An upload may also not take the last of the disk.
    pub upload_bytes: u64,
    /// Files in an uploaded tar.
    pub upload_entries: u64,
    /// Connections at once.
    pub connections: usize,
    /// Requests at once, streams apart.
    pub requests: usize,
    /// Streams at once: logs, events, builds, statistics.
    pub streams: usize,
    /// Time for the head of a request, and for its JSON.
    pub request_time: Duration,
    /// Time between two pieces of an upload.
    pub upload_pause: Duration,
    /// How long a request may wait for the end of an instance until it is answered anyway.
    pub wait: Duration,
    /// Events that are kept.
    pub events: u64,
    /// Bytes on the disk that uploads leave free.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload_bytes: 16 << 30,
            upload_entries: 1_000_000,
            connections: 4096,
            requests: 1024,
            streams: 2048,
            request_time: Duration::from_secs(30),
            upload_pause: Duration::from_secs(60),
            wait: Duration::from_secs(3600),
            events: 10_000,
            reserve_bytes: 64 << 20,
        }
    }
}

/// How programs are built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Builds {
    /// How many at once.
    pub at_once: usize,
    /// How long one may take.
    pub time: Duration,
    /// Whether C may be compiled. Where the kernel has no Landlock, C sources can read any file
    /// that the daemon can read.
    pub cgo: bool,
    /// What tools may read beside the system's directories and those of the language.
    pub read: Vec<PathBuf>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { at_once: 2, time: Duration::from_secs(1800), cgo: false, read: Vec::new() }
    }
}

/// What the daemon says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or what `tracing` calls a filter.
    pub filter: String,
    /// JSON, for programs, or lines for people.
    pub json: bool,
    /// The file; standard error when absent.
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), json: true, file: None }
    }
}

impl Config {
    /// The defaults for a directory: its unix socket, nothing else.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            socket: Some(directory.join("kernctl.sock")),
            directory,
            tcp: None,
            default_provider: None,
            providers: BTreeMap::new(),
            limits: Limits::default(),
            builds: Builds::default(),
            instance_log_max: None,
            log: Log::default(),
            exit_when_idle: None,
            start_patience: Duration::ZERO,
        }
    }

    /// `$BHOJPUR_HOME`, or `.bhojpur` in the home directory.
    pub fn default_directory() -> Result<PathBuf> {
        if let Some(home) = std::env::var_os("BHOJPUR_HOME").filter(|home| !home.is_empty()) {
            return Ok(home.into());
        }
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        home.map(|home| Path::new(&home).join(".bhojpur")).ok_or_else(|| {
            Error::invalid("neither BHOJPUR_HOME nor HOME is set")
                .advise("set BHOJPUR_HOME to the directory for images, instances and volumes")
        })
    }

    /// What the directory's `daemon.toml` says, or its `daemon-config.yaml` when there is only
    /// that; the defaults without either.
    pub fn load(directory: impl Into<PathBuf>) -> Result<Self> {
        let config = Self::new(directory);
        let own = config.directory.join(FILE_NAME);
        let ancestor = config.directory.join(ANCESTOR_FILE_NAME);
        if own.exists() {
            config.with_file(&own)
        } else if ancestor.exists() {
            config.with_file(&ancestor)
        } else {
            Ok(config)
        }
    }

    /// On top of what is set, what a file says. Relative paths in it start at the daemon's
    /// directory. A file whose name ends in `.yaml` or `.yml` is read as the ancestor's.
    pub fn with_file(self, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(format!("cannot read {}", path.display()), &error))?;
        let name = path.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => yaml::apply(self, &name, &text),
            _ => file::apply(self, &name, &text),
        }
    }
}
