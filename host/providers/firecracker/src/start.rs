// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bringing a machine up: network, process, requests, ports; and taking all of it down again
//! when one of them fails.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bhojpur_provider::{Error, ErrorKind, Plan, Result};

use crate::api::model::{
    Action, ActionType, MemoryBackend, NetworkOverride, SnapshotLoad, Vm, VmState,
};
use crate::api::{Client, Request};
use crate::config::Config;
use crate::files::{Directory, Start};
use crate::jail::Launch;
use crate::network::{self, Connection, INTERFACE};
use crate::{machine, outcome, proxy, readiness};

/// How long Firecracker may take until it listens: a loaded machine starts it slowly, and the
/// jailer copies it first.
const LISTEN_LIMIT: Duration = Duration::from_secs(30);
/// How long the ports may take to open.
const PORTS_LIMIT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(5);

/// What a machine begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From<'a> {
    /// Its image.
    Image,
    /// A snapshot, and the tap device that was in it.
    Snapshot(&'a Path, Option<&'a str>),
}

/// One start.
#[derive(Debug)]
pub(crate) struct Starter<'a> {
    /// What can be chosen.
    pub(crate) config: &'a Config,
    /// The instance.
    pub(crate) directory: &'a Directory,
    /// What it shall be.
    pub(crate) plan: &'a Plan,
    /// How it is connected; decided, not made.
    pub(crate) connection: Option<&'a Connection>,
}

impl Starter<'_> {
    /// Starts the machine; what was made is taken away again when something fails.
    pub(crate) async fn start(&self, from: From<'_>) -> Result<()> {
        let (earlier, killed) = (self.directory.start(), self.directory.was_killed());
        let start = self.directory.new_start();
        let outcome = self.bring_up(from, start).await;
        if outcome.is_err() {
            // The first failure is what matters.
            let _ = self.directory.monitor().kill().await;
            let _ = self.directory.proxy().kill().await;
            if let Some(connection) = self.connection {
                let _ = network::remove(connection, &self.config.host);
            }
            let _ = self.directory.restore_start(earlier.as_ref(), killed);
        }
        outcome
    }

    async fn bring_up(&self, from: From<'_>, start: Start) -> Result<()> {
        let binary = self.config.find().ok_or_else(|| {
            Error::new(ErrorKind::NotReady, readiness::absent(self.config))
                .advise(readiness::INSTALL)
        })?;
        let taps = self.connection.is_some_and(|connection| connection.ours);
        readiness::demand(self.config, &binary, taps)?;
        let launch = Launch::new(self.directory, &binary, self.config.jailer.as_ref());
        let files = launch.prepare(self.plan)?;
        let setup = machine::setup(self.plan, &files, self.connection)?;
        if let Some(connection) = self.connection {
            let host = &self.config.host;
            network::make(connection, &self.plan.network, host, launch.owner())?;
        }
        self.directory.set_plan(self.plan)?;
        let pid = self.spawn(launch.command(setup.payload_max))?;
        let client = Client::new(launch.socket());
        self.listening(&client, &start).await?;
        let last = match from {
            From::Image => {
                for request in &setup.requests {
                    self.send(&client, request, &start).await?;
                }
                Request::put("/actions", &Action { action_type: ActionType::InstanceStart })
            }
            From::Snapshot(directory, device) => {
                Request::put("/snapshot/load", &self.load(&launch, directory, device)?)
            }
        };
        self.open_ports().await?;
        // As late as can be: a start that was cut short before is none.
        self.directory.set_start(&Start { pid: Some(pid), ..start })?;
        match self.send(&client, &last, &start).await {
            // A short program can be over before the answer is out.
            Err(_) if outcome::recorded(&self.directory.console_log(), start.console).is_some() => {
                Ok(())
            }
            sent => sent,
        }
    }

    fn spawn(&self, mut command: Command) -> Result<u32> {
        self.directory.remove("api.sock")?;
        let failed = |error| self.directory.failed(error);
        // Open for both, so that the guest's input never ends: Firecracker itself holds the end
        // that writes.
        let console = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.directory.console())
            .map_err(failed)?;
        let log =
            OpenOptions::new().append(true).open(self.directory.console_log()).map_err(failed)?;
        command.stdin(Stdio::from(console)).stdout(Stdio::from(log));
        self.directory.monitor().spawn(&mut command)
    }

    async fn listening(&self, client: &Client, start: &Start) -> Result<()> {
        let deadline = Instant::now() + LISTEN_LIMIT;
        while !client.is_listening().await {
            if !self.directory.monitor().is_running()? {
                return Err(self.ended(start));
            }
            if Instant::now() > deadline {
                let message = "Firecracker runs, but its API does not answer";
                return Err(Error::new(ErrorKind::Failed, message));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }

    async fn send(&self, client: &Client, request: &Request, start: &Start) -> Result<()> {
        match client.send(request).await {
            Ok(_) => Ok(()),
            // What it said last is more than that it hung up.
            Err(error) if error.kind() == ErrorKind::Failed => {
                let over = self.directory.monitor().wait(Duration::from_millis(500)).await?;
                Err(if over { self.ended(start) } else { error })
            }
            Err(error) => Err(error),
        }
    }

    fn ended(&self, start: &Start) -> Error {
        let messages = self.directory.monitor().messages();
        let log = outcome::tail(&self.directory.log(), start.log);
        let said = messages.lines().chain(log.lines()).rfind(|line| !line.trim().is_empty());
        let said = said.map_or_else(String::new, |line| format!(": {}", line.trim()));
        Error::new(ErrorKind::Failed, format!("Firecracker ended at its start{said}"))
            .advise(format!("its log is {}", self.directory.log().display()))
    }

    fn load(
        &self,
        launch: &Launch<'_>,
        directory: &Path,
        device: Option<&str>,
    ) -> Result<SnapshotLoad> {
        let state = launch.given("snapshot.state", &directory.join(STATE))?;
        let memory = launch.given("snapshot.memory", &directory.join(MEMORY))?;
        let renamed = self.connection.filter(|now| device.is_some_and(|then| then != now.device));
        let network_overrides = renamed.map(|connection| NetworkOverride {
            iface_id: INTERFACE.to_owned(),
            host_dev_name: connection.device.clone(),
        });
        Ok(SnapshotLoad {
            snapshot_path: state,
            mem_backend: MemoryBackend { backend_path: memory, backend_type: "File".to_owned() },
            resume_vm: true,
            network_overrides: network_overrides.into_iter().collect(),
        })
    }

    /// Starts the process of the ports, while the monitor's lock is held already.
    async fn open_ports(&self) -> Result<()> {
        let Some(guest) = self.connection.and_then(Connection::guest_address) else {
            return Ok(());
        };
        if self.plan.ports.is_empty() {
            return Ok(());
        }
        let directory = self.directory.proxy_directory();
        let ports = self.plan.ports.clone();
        proxy::Order { lock: self.directory.lock(), guest, ports }.write(&directory)?;
        let Some((program, arguments)) = self.config.port_proxy.split_first() else {
            return Err(Error::new(ErrorKind::Failed, "there is no port proxy"));
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(&directory).stdin(Stdio::null()).stdout(Stdio::null());
        let process = self.directory.proxy();
        process.spawn(&mut command)?;
        let deadline = Instant::now() + PORTS_LIMIT;
        while !proxy::is_ready(&directory) {
            if !process.is_running()? && !proxy::is_ready(&directory) {
                let said = process.messages();
                let taken = said.contains("Address already in use");
                let kind = if taken { ErrorKind::Conflict } else { ErrorKind::Failed };
                let message = format!("the ports cannot be opened: {said}");
                return Err(Error::new(kind, message)
                    .advise("see what listens there with ss -ltnup, or publish other ports"));
            }
            if Instant::now() > deadline {
                return Err(Error::new(ErrorKind::Failed, "the port proxy does not start"));
            }
            tokio::time::sleep(INTERVAL).await;
        }
        Ok(())
    }
}

/// Processors and devices, in the directory of a snapshot.
pub(crate) const STATE: &str = "firecracker.state";
/// Memory.
pub(crate) const MEMORY: &str = "firecracker.memory";

/// Holds a machine, or lets it go on.
pub(crate) fn hold(state: VmState) -> Request {
    Request::patch("/vm", &Vm { state })
}
