// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The provider itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bhojpur_provider::{
    Artifact, Capabilities, Error, ErrorKind, ImageId, InstanceId, Kind, LogSource, Network, Plan,
    Progress, Provider, Readiness, Result, StagedImage, StagedVolume, State, Status, Usage,
    VolumeId,
};

use crate::api::model::{Action, ActionType, SnapshotCreate, VmState};
use crate::api::{Client, Request};
use crate::config::Config;
use crate::files::Directory;
use crate::jail::Launch;
use crate::network::{self, Connection};
use crate::start::{From, MEMORY, STATE, Starter, hold};
use crate::{check, machine, outcome, proxy, readiness};

/// The connection of the instance, in the directory of a snapshot.
const SNAPSHOT_CONNECTION: &str = "network.json";

/// Instances in Firecracker on this machine.
#[derive(Debug)]
pub struct Firecracker {
    root: PathBuf,
    config: Config,
    /// Networks that starts of this process have chosen and not yet written down.
    choosing: Mutex<BTreeMap<InstanceId, Ipv4Addr>>,
}

impl Firecracker {
    /// A provider whose instances are below `root`.
    pub fn new(root: impl Into<PathBuf>, config: Config) -> Self {
        let root = root.into();
        let root = std::path::absolute(&root).unwrap_or(root);
        Self { root, config, choosing: Mutex::default() }
    }

    fn directory(&self, id: &InstanceId) -> Directory {
        Directory::of(&self.root, id)
    }

    fn existing(&self, id: &InstanceId) -> Result<Directory> {
        let directory = self.directory(id);
        if directory.exists() {
            return Ok(directory);
        }
        Err(Error::new(ErrorKind::NotFound, format!("there is no instance {}", id.short())))
    }

    fn client(&self, directory: &Directory) -> Client {
        // Without the executable there is no jail either.
        let binary = self.config.find().unwrap_or_else(|| "firecracker".into());
        Client::new(Launch::new(directory, &binary, self.config.jailer.as_ref()).socket())
    }

    /// What a running Firecracker says that its machine does; nothing when it does not run or
    /// just ends.
    async fn state(&self, directory: &Directory) -> Result<Option<State>> {
        if !directory.monitor().is_running()? {
            return Ok(None);
        }
        // One that was spawned and not noted as started belongs to a start that was cut short.
        let (noted, pid) =
            (directory.start().and_then(|start| start.pid), directory.monitor().pid());
        if pid.is_some() && noted != pid {
            return Ok(Some(State::Created));
        }
        let described = self.client(directory).describe().await;
        Ok(match described.as_ref().map(|info| info.state.as_str()) {
            Ok("Paused") => Some(State::Paused),
            Ok("Not started") => Some(State::Created),
            _ => directory.monitor().is_running()?.then_some(State::Running),
        })
    }

    /// A running or paused machine, or a conflict.
    async fn machine(&self, id: &InstanceId, wanted: State) -> Result<(Directory, Client)> {
        let directory = self.existing(id)?;
        let state = self.state(&directory).await?;
        let problem = match (state, wanted) {
            (Some(state), wanted) if state == wanted => {
                let client = self.client(&directory);
                return Ok((directory, client));
            }
            (Some(State::Paused), _) => "is paused",
            (Some(State::Running), _) => "is not paused",
            _ => "does not run",
        };
        let message = format!("the instance {} {problem}", id.short());
        Err(Error::new(ErrorKind::Conflict, message))
    }

    fn ids(&self) -> Result<Vec<InstanceId>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(Error::io(format!("cannot read {}", self.root.display()), error));
            }
        };
        let id = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        Ok(entries.flatten().filter_map(id).collect())
    }

    /// Decides how an instance is connected, and keeps it.
    fn connect(&self, plan: &Plan, fixed: Option<Connection>) -> Result<Option<Connection>> {
        let directory = self.directory(&plan.id);
        let mut choosing = self.choosing.lock().unwrap_or_else(|poison| poison.into_inner());
        let mut taken: Vec<Ipv4Addr> = choosing.values().copied().collect();
        for id in self.ids()?.iter().filter(|id| **id != plan.id) {
            taken.extend(self.directory(id).connection().and_then(|other| other.network));
        }
        let wanted = fixed.as_ref().and_then(|fixed| fixed.network);
        let earlier = wanted.or_else(|| directory.connection()?.network);
        let (range, host) = (self.config.range, &self.config.host);
        let chosen = network::choose(&plan.id, &plan.network, range, host, &taken, earlier)?;
        let got = chosen.as_ref().and_then(|chosen| chosen.network);
        if wanted.is_some() && got != wanted {
            let message = "the addresses that the snapshot was made with are in use";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        if let Some(network) = got {
            choosing.insert(plan.id.clone(), network);
        }
        let written = directory.set_connection(chosen.as_ref());
        choosing.remove(&plan.id);
        written?;
        Ok(chosen)
    }

    /// What can be checked without making anything.
    fn check(&self, plan: &Plan) -> Result<()> {
        machine::check(plan)?;
        proxy::check(&plan.ports)?;
        if !plan.ports.is_empty() && plan.network != Network::Default {
            let message = "ports lead to instances with the default network alone";
            return Err(Error::new(ErrorKind::Invalid, message)
                .advise("on a tap device, a bridge or no network, leave the ports out"));
        }
        check::image(plan)?;
        check::volumes(plan)
    }

    async fn launch(&self, plan: &Plan, from: From<'_>, fixed: Option<Connection>) -> Result<()> {
        let directory = self.existing(&plan.id)?;
        match self.state(&directory).await? {
            None => {}
            // Left behind by a start that did not get to its end.
            Some(State::Created) => directory.monitor().kill().await?,
            // A start that is repeated.
            Some(State::Running) => return Ok(()),
            Some(_) => {
                let message = format!("the instance {} is paused", plan.id.short());
                return Err(Error::new(ErrorKind::Conflict, message).advise("resume it"));
            }
        }
        directory.proxy().kill().await?;
        self.check(plan)?;
        proxy::check_free(&plan.ports)?;
        let connection = self.connect(plan, fixed)?;
        let starter = Starter {
            config: &self.config,
            directory: &directory,
            plan,
            connection: connection.as_ref(),
        };
        starter.start(from).await
    }
}

#[async_trait]
impl Provider for Firecracker {
    fn kind(&self) -> Kind {
        Kind::Firecracker
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ports: true,
            pause: true,
            snapshot: true,
            debug: false,
            console: true,
            volumes: true,
            host_network: true,
        }
    }

    async fn readiness(&self) -> Readiness {
        readiness::look(&self.config).await
    }

    async fn stage_image(
        &self,
        id: &ImageId,
        artifact: &Artifact,
        _progress: &dyn Progress,
    ) -> Result<StagedImage> {
        Ok(StagedImage { id: id.clone(), locator: located(artifact)? })
    }

    async fn remove_image(&self, _image: &StagedImage) -> Result<()> {
        Ok(())
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        self.check(plan)?;
        let directory = self.directory(&plan.id);
        if self.state(&directory).await?.is_some_and(|state| state != State::Created) {
            let message = format!("the instance {} runs", plan.id.short());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        // The same network as at the start is chosen, or at least one is there.
        let (range, host) = (self.config.range, &self.config.host);
        network::choose(&plan.id, &plan.network, range, host, &[], None)?;
        let made = directory.make(plan);
        if made.is_err() && directory.plan().is_none() {
            let _ = directory.remove_all();
        }
        made
    }

    async fn start(&self, plan: &Plan) -> Result<()> {
        self.launch(plan, From::Image, None).await
    }

    async fn request_stop(&self, id: &InstanceId) -> Result<()> {
        let directory = self.existing(id)?;
        if !matches!(self.state(&directory).await?, Some(State::Running | State::Paused)) {
            // It has ended, which is all that is wanted.
            return Ok(());
        }
        let (_, client) = self.machine(id, State::Running).await?;
        let action = Action { action_type: ActionType::SendCtrlAltDel };
        match client.send(&Request::put("/actions", &action)).await {
            Ok(_) => Ok(()),
            // A program that ends at once takes Firecracker along, with the answer.
            Err(error) => {
                let over = directory.monitor().wait(Duration::from_millis(500)).await?;
                if over { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn kill(&self, id: &InstanceId) -> Result<()> {
        let directory = self.directory(id);
        if !directory.exists() {
            return Ok(());
        }
        if directory.monitor().is_running()? {
            directory.set_killed(true)?;
            directory.monitor().kill().await?;
        }
        directory.proxy().kill().await
    }

    async fn pause(&self, id: &InstanceId) -> Result<()> {
        let directory = self.existing(id)?;
        if self.state(&directory).await? == Some(State::Paused) {
            return Ok(());
        }
        let (_, client) = self.machine(id, State::Running).await?;
        client.send(&hold(VmState::Paused)).await.map(drop)
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        let directory = self.existing(id)?;
        if self.state(&directory).await? == Some(State::Running) {
            return Ok(());
        }
        let (_, client) = self.machine(id, State::Paused).await?;
        client.send(&hold(VmState::Resumed)).await.map(drop)
    }

    async fn save_snapshot(&self, id: &InstanceId, target: &Path) -> Result<()> {
        let (directory, client) = self.machine(id, State::Paused).await?;
        let failed = |error| Error::io(format!("the snapshot {}", target.display()), error);
        std::fs::create_dir_all(target).map_err(failed)?;
        let target = std::path::absolute(target).map_err(failed)?;
        let binary = self.config.find().unwrap_or_else(|| "firecracker".into());
        let launch = Launch::new(&directory, &binary, self.config.jailer.as_ref());
        let (state, state_made) = launch.made(STATE, &target.join(STATE));
        let (memory, memory_made) = launch.made(MEMORY, &target.join(MEMORY));
        let body = SnapshotCreate { snapshot_path: state, mem_file_path: memory };
        client.send(&Request::put("/snapshot/create", &body)).await?;
        for (made, name) in [(state_made, STATE), (memory_made, MEMORY)] {
            bring(&made, &target.join(name)).map_err(failed)?;
        }
        let connection = serde_json::to_vec(&directory.connection()).unwrap_or_default();
        std::fs::write(target.join(SNAPSHOT_CONNECTION), connection).map_err(failed)
    }

    async fn restore_snapshot(&self, plan: &Plan, source: &Path) -> Result<()> {
        let path = source.join(SNAPSHOT_CONNECTION);
        let saved = std::fs::read(&path)
            .map_err(|error| Error::io(format!("the snapshot {}", source.display()), error))?;
        let saved: Option<Connection> = serde_json::from_slice(&saved).map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("{}: {error}", path.display()))
        })?;
        let source = std::path::absolute(source).unwrap_or_else(|_| source.to_owned());
        let device = saved.as_ref().map(|saved| saved.device.clone());
        self.launch(plan, From::Snapshot(&source, device.as_deref()), saved).await
    }

    async fn delete(&self, id: &InstanceId) -> Result<()> {
        let directory = self.directory(id);
        if !directory.exists() {
            return Ok(());
        }
        directory.monitor().kill().await?;
        directory.proxy().kill().await?;
        if let Some(connection) = directory.connection() {
            network::remove(&connection, &self.config.host)?;
        }
        directory.remove_all()
    }

    async fn status(&self, id: &InstanceId) -> Result<Status> {
        let directory = self.existing(id)?;
        let state = self.state(&directory).await?;
        let start = directory.start();
        let connection = directory.connection();
        let address = match (connection, start) {
            (Some(Connection { network: None, .. }), Some(start)) => {
                outcome::address(&directory.console_log(), start.console)
            }
            (connection, _) => {
                connection.and_then(|connection| connection.guest_address()).map(IpAddr::V4)
            }
        };
        let mut status = Status {
            state: State::Created,
            address: None,
            ended: None,
            reason: None,
            started_at: start.map(|start| start.time()),
            ended_at: None,
        };
        match (state, start) {
            (Some(state @ (State::Running | State::Paused)), _) => {
                status.state = state;
                status.address = address;
            }
            (_, None) => {}
            // Cut short between the note of its start and the start itself.
            (Some(State::Created), Some(start)) if start.pid == directory.monitor().pid() => {
                status.started_at = None;
            }
            (_, Some(start)) => {
                status.state = State::Stopped;
                status.ended_at = directory.last_written();
                let recorded = outcome::recorded(&directory.console_log(), start.console);
                status.ended = Some(match recorded {
                    Some(recorded) => {
                        status.reason = recorded.reason;
                        recorded.ended
                    }
                    None if directory.was_killed() => bhojpur_provider::Ended::Killed,
                    None => {
                        let messages = directory.monitor().messages();
                        outcome::unrecorded(&directory.log(), start.log, &messages)
                    }
                });
            }
        }
        Ok(status)
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        self.ids()
    }

    async fn wait(&self, id: &InstanceId, limit: Duration) -> Result<Status> {
        let directory = self.existing(id)?;
        if directory.monitor().wait(limit).await? {
            // It ends right after; then its ports are free.
            directory.proxy().wait(Duration::from_secs(5)).await?;
        }
        self.status(id).await
    }

    fn log(&self, id: &InstanceId) -> LogSource {
        LogSource::FramedFile(self.directory(id).console_log())
    }

    async fn console(&self, id: &InstanceId) -> Result<PathBuf> {
        let directory = self.existing(id)?;
        if !directory.monitor().is_running()? {
            let message = format!("the instance {} does not run", id.short());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(directory.console())
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage> {
        let directory = self.existing(id)?;
        let usage = directory.monitor().usage().ok_or_else(|| {
            let message = format!("the instance {} does not run", id.short());
            Error::new(ErrorKind::Conflict, message)
        })?;
        let device = directory.connection().map(|connection| connection.device);
        let (received, sent) =
            device.map_or((None, None), |device| network::counters(&device, &self.config.host));
        Ok(Usage { network_received_bytes: received, network_sent_bytes: sent, ..usage })
    }

    async fn stage_volume(
        &self,
        id: &VolumeId,
        artifact: &Artifact,
        _progress: &dyn Progress,
    ) -> Result<StagedVolume> {
        Ok(StagedVolume { id: id.clone(), locator: located(artifact)? })
    }

    async fn remove_volume(&self, _volume: &StagedVolume) -> Result<()> {
        Ok(())
    }
}

/// A file of the store stays where it is.
fn located(artifact: &Artifact) -> Result<String> {
    let what = || format!("the file {}", artifact.path.display());
    let path = artifact.path.canonicalize().map_err(|error| Error::io(what(), error))?;
    path.into_os_string().into_string().map_err(|_| {
        Error::new(ErrorKind::Invalid, format!("{} has a name that is not UTF-8", what()))
    })
}

/// Moves a file to where it shall be, unless it is there already.
fn bring(made: &Path, target: &Path) -> std::io::Result<()> {
    if made == target {
        return Ok(());
    }
    std::fs::rename(made, target).or_else(|_| {
        std::fs::copy(made, target)?;
        std::fs::remove_file(made)
    })
}
