// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What cases work with: a provider, plans for it, and ways to wait.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bhojpur_provider::process::Monitor;
use bhojpur_provider::{
    Attachment, Capabilities, Ended, Error, ErrorKind, ImageId, InstanceId, LogReader, Network,
    Plan, Port, Protocol, Provider, Silent, StagedImage, State, Status, VolumeId,
};

use crate::cases::Case;
use crate::{Harness, Verdict, volume};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);
/// How many waits a case may need one after the other.
const WAITS: u32 = 8;

/// The provider under test, and what it has been given.
#[derive(Debug)]
pub struct Bench {
    pub(crate) harness: Harness,
    /// Nothing only while the daemon is "down".
    provider: Option<Arc<dyn Provider>>,
    pub(crate) capabilities: Capabilities,
    pub(crate) image: StagedImage,
}

impl Bench {
    pub(crate) async fn new(harness: Harness) -> Result<Self> {
        let provider: Arc<dyn Provider> = Arc::from((harness.make)());
        let image = provider
            .stage_image(&ImageId::from_bytes(&[0x1a; 32]), &harness.image, &Silent)
            .await
            .context("the image cannot be staged")?;
        let left = provider.list().await?;
        ensure!(left.is_empty(), "there are instances already: {left:?}");
        Ok(Self { capabilities: provider.capabilities(), harness, provider: Some(provider), image })
    }

    /// Runs a case and looks whether it left anything behind.
    pub(crate) async fn judge(&mut self, case: &Case) -> Verdict {
        let unable = (case.needs)(self).map(str::to_owned);
        let skipped =
            self.harness.skips.iter().find(|(name, _)| *name == case.name).map(|(_, why)| why);
        if let Some(reason) = skipped.cloned().or(unable) {
            return Verdict::Skipped(reason);
        }
        let limit = self.harness.patience * WAITS;
        let result = match tokio::time::timeout(limit, (case.run)(self)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("not through after {} s", limit.as_secs())),
        };
        let swept = self.sweep().await;
        match result.and(swept) {
            Ok(()) => Verdict::Passed,
            Err(error) => Verdict::Failed(format!("{error:#}")),
        }
    }

    /// Removes what is left; after a case that is nothing.
    async fn sweep(&mut self) -> Result<()> {
        let left = self.provider().list().await.context("the instances left cannot be listed")?;
        for id in &left {
            self.provider().delete(id).await.with_context(|| format!("{id} cannot be deleted"))?;
        }
        ensure!(left.is_empty(), "{} instances were left behind", left.len());
        Ok(())
    }

    pub(crate) fn provider(&self) -> &dyn Provider {
        self.provider.as_deref().expect("restart_daemon gives it back")
    }

    /// One that another task can hold.
    pub(crate) fn shared_provider(&self) -> Arc<dyn Provider> {
        self.provider.clone().expect("restart_daemon gives it back")
    }

    /// Forgets the provider and makes it anew, as when the daemon ends and starts again.
    pub(crate) fn restart_daemon(&mut self) {
        // The old one is gone before there is a new one: two daemons never share a directory.
        self.provider = None;
        self.provider = Some(Arc::from((self.harness.make)()));
    }

    /// A plan for a new instance whose program does these steps.
    pub(crate) fn plan(&self, steps: &[&str]) -> Plan {
        let id = InstanceId::from_bytes(&random());
        Plan {
            name: format!("conformance-{}", id.short()),
            id,
            image: self.image.clone(),
            args: Some(steps.iter().map(|&step| step.to_owned()).collect()),
            env: Vec::new(),
            memory_mib: self.harness.memory_mib,
            cpus: 1,
            ports: Vec::new(),
            volumes: Vec::new(),
            network: Network::Default,
            debug_port: None,
        }
    }

    /// Creates and starts.
    pub(crate) async fn launch(&self, plan: &Plan) -> Result<()> {
        self.provider().create(plan).await.context("create")?;
        self.provider().start(plan).await.context("start")
    }

    /// Makes a volume with an empty file system.
    pub(crate) async fn volume(&self, mount_point: &str) -> Result<Attachment> {
        let id = VolumeId::from_bytes(&random());
        let path = self.harness.scratch.join(format!("{id}.raw"));
        let artifact = volume::make(&path)?;
        let volume = self.provider().stage_volume(&id, &artifact, &Silent).await?;
        Ok(Attachment { volume, mount_point: mount_point.to_owned(), read_only: false })
    }

    /// The directory of an instance, where the provider is of this machine.
    pub(crate) fn instance_directory(&self, id: &InstanceId) -> Option<PathBuf> {
        Some(self.harness.directory.as_ref()?.join(id.as_str()))
    }

    pub(crate) fn monitor(&self, id: &InstanceId) -> Result<Monitor> {
        let directory = self.instance_directory(id).context("the harness gave no directory")?;
        Ok(Monitor::of(directory))
    }

    /// What the instance has said.
    pub(crate) async fn log(&self, id: &InstanceId) -> Result<String> {
        let source = self.provider().log(id);
        let mut bytes = Vec::new();
        match LogReader::open(&source).with_context(|| format!("the log {source:?}"))? {
            Some(mut reader) => while reader.read(&mut bytes)? > 0 {},
            None => bytes = self.provider().fetch_log(id, 0).await?,
        }
        // A terminal's line ends are as good.
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"))
    }

    /// For a report: the end of what the instance said, and of what its kernel said.
    async fn tail(&self, id: &InstanceId) -> Result<String> {
        let mut text = last_lines(&self.log(id).await?);
        let control = self.instance_directory(id).map(|directory| directory.join("control"));
        if let Some(control) = control.and_then(|path| std::fs::read_to_string(path).ok()) {
            text.push_str("\nits kernel:\n");
            text.push_str(&last_lines(&control));
        }
        Ok(text)
    }

    /// Waits until a line of the log is `text`.
    pub(crate) async fn says(&self, id: &InstanceId, text: &str) -> Result<()> {
        let said = |log: &str| log.lines().any(|line| line == text);
        self.log_until(id, &format!("{text:?}"), said).await.map(drop)
    }

    /// Waits until the log is as wanted.
    pub(crate) async fn log_until(
        &self,
        id: &InstanceId,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + self.harness.patience;
        loop {
            // Looked at before the log: what has ended says nothing after it.
            let ended = self.provider().status(id).await?.state == State::Stopped;
            let log = self.log(id).await?;
            if wanted(&log) {
                return Ok(log);
            }
            if ended || Instant::now() > deadline {
                let end = self.provider().status(id).await?;
                let log = self.tail(id).await?;
                bail!("the log does not show {what}; {end:?}; it is:\n{log}");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Waits until the instance has ended.
    pub(crate) async fn ended(&self, id: &InstanceId) -> Result<Status> {
        let status = self.provider().wait(id, self.harness.patience).await.context("wait")?;
        if status.state == State::Stopped {
            return Ok(status);
        }
        bail!("it does not end but is {status:?}; the log:\n{}", self.tail(id).await?)
    }

    /// Waits until the program has ended, and compares its status.
    pub(crate) async fn exits(&self, id: &InstanceId, code: u8) -> Result<Status> {
        let status = self.ended(id).await?;
        if status.ended != Some(Ended::Exited { code }) {
            let log = self.tail(id).await?;
            bail!("status {code} was expected, it is {:?}; the log:\n{log}", status.ended);
        }
        Ok(status)
    }

    pub(crate) async fn state(&self, id: &InstanceId) -> Result<State> {
        Ok(self.provider().status(id).await.context("status")?.state)
    }

    pub(crate) async fn expect_state(&self, id: &InstanceId, state: State) -> Result<()> {
        let found = self.state(id).await?;
        ensure!(found == state, "it should be {state:?} and is {found:?}");
        Ok(())
    }

    pub(crate) async fn delete(&self, id: &InstanceId) -> Result<()> {
        self.provider().delete(id).await.context("delete")?;
        self.expect_gone(id).await
    }

    pub(crate) async fn expect_gone(&self, id: &InstanceId) -> Result<()> {
        let status = self.provider().status(id).await;
        expect_error(status, ErrorKind::NotFound, "status of what is deleted")?;
        ensure!(!self.provider().list().await?.contains(id), "it is still listed");
        if let Some(directory) = self.instance_directory(id) {
            ensure!(!directory.exists(), "{} is still there", directory.display());
        }
        Ok(())
    }

    /// Where a port of a running instance is reached.
    pub(crate) async fn reach(&self, id: &InstanceId, port: &Port) -> Result<SocketAddr> {
        let deadline = Instant::now() + self.harness.patience;
        loop {
            let status = self.provider().status(id).await?;
            if status.address.is_some() {
                return (self.harness.reach)(&status, port).context("the port cannot be reached");
            }
            ensure!(Instant::now() < deadline, "its address is not known: {status:?}");
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// A port of loopback that is free, leading to `guest`.
pub(crate) fn free_port(guest: u16, protocol: Protocol) -> Result<Port> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    let host = match protocol {
        Protocol::Tcp => TcpListener::bind(any)?.local_addr()?.port(),
        Protocol::Udp => UdpSocket::bind(any)?.local_addr()?.port(),
    };
    Ok(Port { host_address: Ipv4Addr::LOCALHOST.into(), host, guest, protocol })
}

/// That an operation failed as it should, with a message.
pub(crate) fn expect_error<T>(
    result: bhojpur_provider::Result<T>,
    kind: ErrorKind,
    what: &str,
) -> Result<Error> {
    match result {
        Ok(_) => bail!("{what}: it succeeded, {kind:?} was expected"),
        Err(error) if error.kind() != kind => {
            bail!("{what}: {kind:?} was expected, it is {:?}: {error}", error.kind())
        }
        Err(error) => {
            ensure!(!error.to_string().trim().is_empty(), "{what}: it has no message");
            Ok(error)
        }
    }
}

/// Bytes that no other run has.
pub(crate) fn random() -> [u8; 16] {
    let (one, two) = (RandomState::new(), RandomState::new());
    let (one, two) = (one.build_hasher().finish(), two.build_hasher().finish());
    (u128::from(one) << 64 | u128::from(two)).to_le_bytes()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
