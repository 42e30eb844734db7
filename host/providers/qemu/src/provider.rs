// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The provider: each operation looks at what is there and does what is left to do.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use bhojpur_monitor::{Accelerator, AcceleratorChoice};
use bhojpur_provider::{
    Artifact, Capabilities, Error, ErrorKind, ImageId, InstanceId, Kind, LogSource, Plan, Progress,
    Provider, Readiness, Result, StagedImage, StagedVolume, State, Status, Usage, VolumeId,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::files::{self, Files};
use crate::outcome::LastWords;
use crate::qmp::{ANSWER_LIMIT, Client, RunState};
use crate::{plan, snapshot, start};

/// How long a look at an instance waits for QEMU. One that does not answer runs, as far as
/// anybody can tell.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs instances in QEMU.
#[derive(Debug)]
pub struct QemuProvider {
    directory: PathBuf,
    accelerator: AcceleratorChoice,
    start_limit: Duration,
}

impl QemuProvider {
    /// A provider whose instances have their directories below this one.
    #[must_use]
    pub fn new(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self {
            // QEMU has a directory of its own: relative paths would lead elsewhere.
            directory: std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()),
            accelerator: AcceleratorChoice::Auto,
            start_limit: start::START_LIMIT,
        }
    }

    /// What executes guests; chosen by looking when nothing is said.
    #[must_use]
    pub fn with_accelerator(mut self, accelerator: AcceleratorChoice) -> Self {
        self.accelerator = accelerator;
        self
    }

    fn files(&self, id: &InstanceId) -> Files {
        Files::of(&self.directory, id)
    }

    /// The files of an instance that is there.
    fn known(&self, id: &InstanceId) -> Result<Files> {
        let files = self.files(id);
        if files.exists() {
            return Ok(files);
        }
        Err(Error::new(ErrorKind::NotFound, format!("QEMU has no instance {}", id.short())))
    }

    fn accelerator(&self) -> Result<Accelerator> {
        let (accelerator, _) = self.accelerator.resolve().map_err(|why| {
            Error::new(ErrorKind::NotReady, format!("KVM cannot be used: {why}"))
                .advise("choose tcg as the accelerator, which is slower, or leave the choice to us")
        })?;
        Ok(accelerator)
    }

    /// A QMP connection to an instance that runs. `doing` is for the message when it does not.
    async fn connect(&self, id: &InstanceId, doing: &str) -> Result<Client> {
        let files = self.known(id)?;
        let monitor = files.monitor();
        let deadline = Instant::now() + ANSWER_LIMIT;
        while monitor.is_running()? {
            match Client::connect(&files.qmp(), ANSWER_LIMIT).await {
                Ok(client) => return Ok(client),
                // It is just starting, or just ending.
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(INTERVAL).await,
            }
        }
        let message = format!("instance {} does not run, so it cannot be {doing}", id.short());
        Err(Error::new(ErrorKind::Conflict, message))
    }

    /// Waits until a machine has read what was saved of it, and lets it run.
    async fn go_on(&self, id: &InstanceId, files: &Files) -> Result<()> {
        start::ready(files, self.start_limit).await?;
        let mut client = self.connect(id, "restored").await?;
        match snapshot::go_on(&mut client).await {
            // QEMU tells on standard error what it does not like, and ends.
            Err(_) if files.monitor().wait(LOOK_LIMIT).await? => Err(start::explain_end(files)),
            result => result,
        }
    }

    async fn running_status(&self, files: &Files) -> Status {
        let mut state = State::Running;
        if let Ok(mut client) = Client::connect(&files.qmp(), LOOK_LIMIT).await
            && let Ok(RunState::Paused) = client.run_state().await
        {
            state = State::Paused;
        }
        Status {
            state,
            address: address(files),
            ended: None,
            reason: None,
            started_at: files.started_at(),
            ended_at: None,
        }
    }
}

/// Where an instance can be reached: at the host behind ports of it, else where the guest says.
fn address(files: &Files) -> Option<IpAddr> {
    use bhojpur_provider::Network;
    let plan = files.plan()?;
    match plan.network {
        Network::None => None,
        Network::Default => plan.ports.first().map(|port| match port.host_address {
            // All addresses of the host; one that surely leads here.
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        }),
        Network::Tap { .. } | Network::Bridge { .. } => {
            LastWords::read(&files.control_tail()).address
        }
    }
}

fn stopped_status(files: &Files) -> Status {
    let mut status = Status {
        state: State::Created,
        address: None,
        ended: None,
        reason: None,
        started_at: files.started_at(),
        ended_at: None,
    };
    if files.was_started() {
        status.state = State::Stopped;
        let (ended, reason) = start::outcome(files);
        (status.ended, status.reason) = (Some(ended), reason);
        // The kernel's last word, ours, or QEMU's; of a silent end nobody knows the time.
        let killed = files::changed(&files.killed());
        let said = !files.monitor().messages().is_empty();
        let messages = files.directory().join("monitor.log");
        status.ended_at = killed
            .or_else(|| files::changed(&messages).filter(|_| said))
            .or_else(|| files::changed(&files.control()));
    }
    status
}

/// A file of the daemon's store, which is used where it lies.
fn in_place(artifact: &Artifact, what: &str) -> Result<String> {
    let path = &artifact.path;
    let fail = |error| Error::io(format!("cannot read the {what} {}", path.display()), error);
    File::open(path).map_err(fail)?;
    let path = std::path::absolute(path).map_err(fail)?;
    path.into_os_string().into_string().map_err(|path| {
        let message = format!("the path {} is not UTF-8", Path::new(&path).display());
        Error::new(ErrorKind::Invalid, message).advise("choose another home directory")
    })
}

#[async_trait]
impl Provider for QemuProvider {
    fn kind(&self) -> Kind {
        Kind::Qemu
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ports: true,
            pause: true,
            snapshot: true,
            debug: true,
            console: true,
            volumes: true,
            host_network: true,
        }
    }

    async fn readiness(&self) -> Readiness {
        let missing = |error: Error| Readiness::Missing {
            reason: error.to_string(),
            advice: error.advice().unwrap_or_default().to_owned(),
        };
        let qemu = match start::locate() {
            Ok(qemu) => qemu,
            Err(error) => return missing(error),
        };
        let executes = match self.accelerator.resolve() {
            Ok((Accelerator::Kvm, _)) => "with KVM".to_owned(),
            Ok((Accelerator::Tcg, why)) => {
                let why = why.map(|why| format!(": {why}")).unwrap_or_default();
                format!("by emulation{why}")
            }
            Err(_) => match self.accelerator() {
                Err(error) => return missing(error),
                Ok(_) => String::new(),
            },
        };
        match version(&qemu.path).await {
            Ok(version) => Readiness::Ready { found: format!("{version}, {executes}") },
            Err(error) => missing(error),
        }
    }

    async fn stage_image(
        &self,
        id: &ImageId,
        artifact: &Artifact,
        _progress: &dyn Progress,
    ) -> Result<StagedImage> {
        Ok(StagedImage { id: id.clone(), locator: in_place(artifact, "image")? })
    }

    async fn remove_image(&self, _image: &StagedImage) -> Result<()> {
        Ok(())
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let files = self.files(&plan.id);
        start::locate()?;
        plan::prepare(plan, &files, self.accelerator()?)?;
        if files.monitor().is_running()? {
            let message = format!("instance {} is there and runs", plan.id.short());
            return Err(Error::new(ErrorKind::Conflict, message).advise("stop it first"));
        }
        files.make(plan)
    }

    async fn start(&self, plan: &Plan) -> Result<()> {
        let files = self.known(&plan.id)?;
        if !files.monitor().is_running()? {
            let prepared = plan::prepare(plan, &files, self.accelerator()?)?;
            start::spawn(&start::locate()?, plan, &files, &prepared, &[])?;
        }
        start::or_end(&files, start::ready(&files, self.start_limit)).await
    }

    async fn request_stop(&self, id: &InstanceId) -> Result<()> {
        let files = self.known(id)?;
        let mut client = match self.connect(id, "asked to stop").await {
            Ok(client) => client,
            // It has ended, which is what was wanted.
            Err(_) if !files.monitor().is_running()? => return Ok(()),
            Err(error) => return Err(error),
        };
        if client.run_state().await? == RunState::Paused {
            let message = format!("instance {} is paused and cannot hear", id.short());
            return Err(Error::new(ErrorKind::Conflict, message).advise("resume it first"));
        }
        // The guest's kernel takes a break on its serial line as the wish to end.
        match client.execute("chardev-send-break", json!({ "id": "console" })).await {
            Err(_) if !files.monitor().is_running()? => Ok(()),
            result => result.map(drop),
        }
    }

    async fn kill(&self, id: &InstanceId) -> Result<()> {
        let files = self.files(id);
        let monitor = files.monitor();
        if !monitor.is_running()? {
            return Ok(());
        }
        // Before, or nobody would know who did it. The kernel's own word counts more, should
        // the program end by itself in between.
        files::write_whole(&files.killed(), b"")
            .map_err(|error| Error::io(format!("cannot write {}", files.killed().display()), error))
            .or_else(|error| if files.exists() { Err(error) } else { Ok(()) })?;
        monitor.kill().await
    }

    async fn pause(&self, id: &InstanceId) -> Result<()> {
        self.connect(id, "paused").await?.execute("stop", Value::Null).await.map(drop)
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        let mut client = self.connect(id, "resumed").await?;
        snapshot::give_up(&mut client).await?;
        client.execute("cont", Value::Null).await.map(drop)
    }

    async fn save_snapshot(&self, id: &InstanceId, directory: &Path) -> Result<()> {
        let mut client = self.connect(id, "saved").await?;
        if client.run_state().await? != RunState::Paused {
            let message = format!("instance {} runs; only a paused one is saved", id.short());
            return Err(Error::new(ErrorKind::Conflict, message).advise("pause it first"));
        }
        let plan = self.known(id)?.plan().ok_or_else(|| {
            let message = format!("instance {} has lost its plan", id.short());
            Error::new(ErrorKind::Failed, message)
        })?;
        snapshot::save(&mut client, &plan, directory).await
    }

    async fn restore_snapshot(&self, plan: &Plan, directory: &Path) -> Result<()> {
        let files = self.known(&plan.id)?;
        if files.monitor().is_running()? {
            let message = format!("instance {} runs", plan.id.short());
            return Err(Error::new(ErrorKind::Conflict, message).advise("stop it first"));
        }
        let prepared = plan::prepare(plan, &files, self.accelerator()?)?;
        let arguments = snapshot::arguments(plan, directory)?;
        start::spawn(&start::locate()?, plan, &files, &prepared, &arguments)?;
        start::or_end(&files, self.go_on(&plan.id, &files)).await
    }

    async fn delete(&self, id: &InstanceId) -> Result<()> {
        let files = self.files(id);
        files.monitor().kill().await?;
        files.remove()
    }

    async fn status(&self, id: &InstanceId) -> Result<Status> {
        let files = self.known(id)?;
        if files.monitor().is_running()? {
            let status = self.running_status(&files).await;
            // It may have ended while it was asked.
            if files.monitor().is_running()? {
                return Ok(status);
            }
        }
        Ok(stopped_status(&files))
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        files::all(&self.directory)
    }

    async fn wait(&self, id: &InstanceId, limit: Duration) -> Result<Status> {
        self.known(id)?.monitor().wait(limit).await?;
        self.status(id).await
    }

    fn log(&self, id: &InstanceId) -> LogSource {
        LogSource::File(self.files(id).log())
    }

    async fn console(&self, id: &InstanceId) -> Result<PathBuf> {
        let files = self.known(id)?;
        if !files.monitor().is_running()? {
            let message = format!("instance {} does not run: nobody would listen", id.short());
            return Err(Error::new(ErrorKind::Conflict, message).advise("start it first"));
        }
        Ok(files.console())
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage> {
        let files = self.known(id)?;
        files.monitor().usage().ok_or_else(|| {
            let message = format!("instance {} does not run and uses nothing", id.short());
            Error::new(ErrorKind::Conflict, message)
        })
    }

    async fn stage_volume(
        &self,
        id: &VolumeId,
        artifact: &Artifact,
        _progress: &dyn Progress,
    ) -> Result<StagedVolume> {
        Ok(StagedVolume { id: id.clone(), locator: in_place(artifact, "volume")? })
    }

    async fn remove_volume(&self, _volume: &StagedVolume) -> Result<()> {
        Ok(())
    }
}

/// The first line of what QEMU says of itself.
async fn version(program: &Path) -> Result<String> {
    let fail = |error| Error::io(format!("cannot run {}", program.display()), error);
    let run = tokio::process::Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let late = || Error::new(ErrorKind::NotReady, format!("{} does not answer", program.display()));
    let output =
        tokio::time::timeout(ANSWER_LIMIT, run).await.map_err(|_| late())?.map_err(fail)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => {
            let messages = String::from_utf8_lossy(&output.stderr);
            let message = format!("{} does not work: {}", program.display(), messages.trim());
            Err(Error::new(ErrorKind::NotReady, message).advise("install QEMU again"))
        }
    }
}

#[cfg(test)]
mod tests;
