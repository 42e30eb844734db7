// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The directory of an instance.
//!
//! ```text
//! plan.json        the last plan
//! console.log      all that came out of the serial line, over all starts
//! console          what goes into it: a FIFO
//! start.json       the last start, and where its output begins
//! network.json     the tap device and the addresses
//! killed           the last run was ended by us
//! firecracker.log  what Firecracker itself says
//! api.sock         its API
//! monitor.*        its process (bhojpur_provider::process)
//! proxy/           the process that carries published ports
//! jail/            what the jailer made
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bhojpur_provider::process::Monitor;
use bhojpur_provider::{Error, InstanceId, Plan, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::network::Connection;

/// The last start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Length of the console's log before it.
    pub console: u64,
    /// Length of Firecracker's log before it.
    pub log: u64,
    /// Its Firecracker.
    pub pid: Option<u32>,
}

impl Start {
    /// When it was.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + std::time::Duration::from_millis(self.at_ms)
    }
}

/// The directory of one instance, there or not.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory of an instance below the provider's.
    #[must_use]
    pub fn of(provider: &Path, id: &InstanceId) -> Self {
        Self { path: provider.join(id.as_str()) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the instance is there.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Firecracker's process.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        Monitor::of(&self.path)
    }

    /// The file whose lock tells whether Firecracker runs.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.path.join("monitor.log")
    }

    /// The directory of the port proxy.
    #[must_use]
    pub fn proxy_directory(&self) -> PathBuf {
        self.path.join("proxy")
    }

    /// The port proxy's process.
    #[must_use]
    pub fn proxy(&self) -> Monitor {
        Monitor::of(self.proxy_directory())
    }

    /// What came out of the serial line.
    #[must_use]
    pub fn console_log(&self) -> PathBuf {
        self.path.join("console.log")
    }

    /// What goes into the serial line.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.path.join("console")
    }

    /// What Firecracker itself says.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("firecracker.log")
    }

    /// The API's socket, outside of a jail.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path.join("api.sock")
    }

    /// Where jails are made.
    #[must_use]
    pub fn jail(&self) -> PathBuf {
        self.path.join("jail")
    }

    /// Makes it, for a plan.
    pub fn make(&self, plan: &Plan) -> Result<()> {
        let make = || -> io::Result<()> {
            use std::os::unix::fs::DirBuilderExt as _;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            OpenOptions::new().create(true).append(true).open(self.console_log())?;
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            match rustix::fs::mkfifoat(rustix::fs::CWD, self.console(), mode) {
                Err(error) if error != rustix::io::Errno::EXIST => Err(error.into()),
                _ => Ok(()),
            }
        };
        make().map_err(|error| self.failed(error))?;
        self.write("plan.json", plan)
    }

    /// The plan of the last start, or of the creation.
    pub fn plan(&self) -> Option<Plan> {
        self.read("plan.json")
    }

    /// Keeps the plan.
    pub fn set_plan(&self, plan: &Plan) -> Result<()> {
        self.write("plan.json", plan)
    }

    /// The last start.
    pub fn start(&self) -> Option<Start> {
        self.read("start.json")
    }

    /// A start that is beginning: now, behind what the logs have.
    pub fn new_start(&self) -> Start {
        let length = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Start {
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            console: length(self.console_log()),
            log: length(self.log()),
            pid: None,
        }
    }

    /// Keeps the start: from here on, the last run is this one.
    pub fn set_start(&self, start: &Start) -> Result<()> {
        self.set_killed(false)?;
        self.write("start.json", start)
    }

    /// Takes a start back that did not come to be.
    pub fn restore_start(&self, earlier: Option<&Start>, killed: bool) -> Result<()> {
        match earlier {
            Some(start) => self.write("start.json", start)?,
            None => self.remove("start.json")?,
        }
        self.set_killed(killed)
    }

    /// How it is connected.
    pub fn connection(&self) -> Option<Connection> {
        self.read("network.json")
    }

    /// Keeps how it is connected.
    pub fn set_connection(&self, connection: Option<&Connection>) -> Result<()> {
        match connection {
            Some(connection) => self.write("network.json", connection),
            None => self.remove("network.json"),
        }
    }

    /// Whether the last run was ended by us.
    pub fn was_killed(&self) -> bool {
        self.path.join("killed").exists()
    }

    /// Keeps that the run is ended by us, or that a new one begins.
    pub fn set_killed(&self, killed: bool) -> Result<()> {
        if killed {
            File::create(self.path.join("killed")).map(drop).map_err(|error| self.failed(error))
        } else {
            self.remove("killed")
        }
    }

    /// When the last run ended, once it has: nothing is written later.
    pub fn last_written(&self) -> Option<SystemTime> {
        let paths = [self.console_log(), self.log(), self.lock(), self.path.join("killed")];
        paths.iter().filter_map(|path| path.metadata().ok()?.modified().ok()).max()
    }

    /// Removes a file, there or not.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// Removes all of it.
    pub fn remove_all(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    /// An error about this directory.
    pub fn failed(&self, error: io::Error) -> Error {
        Error::io(format!("the instance's directory {}", self.path.display()), error)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path.join(name)).ok()?).ok()
    }

    /// Writes a file whole or not at all.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let write = || -> io::Result<()> {
            let temporary = self.path.join(format!(".{name}"));
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec(value)?)?;
            file.sync_data()?;
            fs::rename(temporary, self.path.join(name))
        };
        write().map_err(|error| self.failed(error))
    }
}
