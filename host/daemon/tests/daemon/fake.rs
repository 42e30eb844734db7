// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A provider without a hypervisor: real processes that outlive the daemon, and no mercy for a
//! daemon that uses the contract wrongly.
//!
//! What is done wrongly is written to `violations` above the provider's directory. A file
//! `faults/OPERATION` there with `fail N` makes the next N calls fail; `spare N` makes all fail but
//! the next N; `delay MS` makes each take its time. With a file `framed` there, records stand
//! between what programs print; with `remote`, what they print has to be fetched; with a file
//! `snapshots` it can save instances.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bhojpur_provider::process::Monitor;
use bhojpur_provider::{
    Artifact, Capabilities, Ended, Error, ErrorKind, ImageId, InstanceId, Kind, LogSource, Plan,
    Progress, Provider, Readiness, Result, StagedImage, StagedVolume, State, Status, Usage,
    VolumeId,
};
use rustix::process::Signal;

use crate::process::MYSELF;

/// The first argument of a monitor.
pub(crate) const MONITOR: &str = "--fake-monitor";

#[derive(Debug)]
pub(crate) struct Fake {
    root: PathBuf,
    busy: Mutex<BTreeSet<String>>,
}

/// An operation on an instance goes on.
struct Busy<'a>(&'a Fake, String);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.lock().unwrap().remove(&self.1);
    }
}

impl Fake {
    pub(crate) fn new(home: &Path) -> Self {
        let root = home.join("instances").join("qemu");
        fs::create_dir_all(&root).unwrap();
        Self { root, busy: Mutex::default() }
    }

    fn directory(&self, id: &InstanceId) -> PathBuf {
        self.root.join(id.as_str())
    }

    fn accuse(&self, what: &str) -> Error {
        let path = self.root.with_file_name("violations");
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{what}"));
        Error::new(ErrorKind::Failed, format!("wrong use of the provider: {what}"))
    }

    /// Only one operation at a time for one thing; faults strike here.
    async fn begin(&self, operation: &str, id: &str) -> Result<Busy<'_>> {
        if !self.busy.lock().unwrap().insert(id.to_owned()) {
            return Err(
                self.accuse(&format!("{operation} of {id} while another operation goes on"))
            );
        }
        let busy = Busy(self, id.to_owned());
        self.strike(operation).await?;
        Ok(busy)
    }

    /// Faults of an operation.
    async fn strike(&self, operation: &str) -> Result<()> {
        let path = self.root.with_file_name("faults").join(operation);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let number = |word: &str| text.trim().strip_prefix(word)?.trim().parse::<u64>().ok();
        if let Some(delay) = number("delay") {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if let Some(left) = number("spare") {
            if left == 0 {
                return Err(Error::new(ErrorKind::Failed, format!("{operation} fails for good")));
            }
            let _ = fs::write(&path, format!("spare {}", left - 1));
        }
        if let Some(left) = number("fail").filter(|left| *left > 0) {
            let _ = fs::write(&path, format!("fail {}", left - 1));
            return Err(Error::new(ErrorKind::Failed, format!("{operation} fails as it was told")));
        }
        Ok(())
    }

    fn is_told(&self, what: &str) -> bool {
        self.root.with_file_name("faults").join(what).exists()
    }

    /// Starts the process of an instance.
    fn launch(&self, plan: &Plan) -> Result<()> {
        let directory = self.directory(&plan.id);
        if !directory.join("plan.json").is_file() {
            return Err(Self::missing(&plan.id));
        }
        if !Path::new(&plan.image.locator).is_file() {
            return Err(self.accuse("an instance is started whose image is gone"));
        }
        for attachment in &plan.volumes {
            if !Path::new(&attachment.volume.locator).is_file() {
                return Err(self.accuse("an instance is started whose volume is gone"));
            }
        }
        let word = |index: usize| plan.args.as_ref().and_then(|args| args.get(index)).cloned();
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(directory.join("console.log"))
            .map_err(failed("cannot write the log"))?;
        let _ = fs::remove_file(directory.join("exit"));
        let _ = fs::remove_file(directory.join("paused"));
        fs::write(directory.join("started"), "").map_err(failed("cannot start"))?;
        let mut command = Command::new(MYSELF);
        command
            .arg(MONITOR)
            .arg(&directory)
            .args([
                word(0).unwrap_or_else(|| "forever".into()),
                word(1).unwrap_or_else(|| "0".into()),
            ])
            .env_clear()
            .envs(plan.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log);
        let pid = Monitor::of(&directory).spawn(&mut command)?;
        let _ = fs::write(directory.join("pid"), pid.to_string());
        Ok(())
    }

    fn missing(id: &InstanceId) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no instance {}", id.short()))
    }
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull => ErrorKind::Exhausted,
            _ => ErrorKind::Failed,
        };
        Error::io(what, error).with_kind(kind)
    }
}

#[async_trait]
impl Provider for Fake {
    fn kind(&self) -> Kind {
        Kind::Qemu
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            ports: true,
            pause: true,
            console: true,
            volumes: true,
            snapshot: self.is_told("snapshots"),
            ..Capabilities::default()
        }
    }

    async fn readiness(&self) -> Readiness {
        Readiness::Ready { found: "a fake".to_owned() }
    }

    async fn stage_image(
        &self,
        id: &ImageId,
        artifact: &Artifact,
        _: &dyn Progress,
    ) -> Result<StagedImage> {
        let _busy = self.begin("stage_image", id.as_str()).await?;
        if !artifact.path.is_file() {
            return Err(self.accuse("an image is staged whose file is not there"));
        }
        Ok(StagedImage { id: id.clone(), locator: artifact.path.display().to_string() })
    }

    async fn remove_image(&self, image: &StagedImage) -> Result<()> {
        self.begin("remove_image", image.id.as_str()).await.map(drop)
    }

    async fn create(&self, plan: &Plan) -> Result<()> {
        let _busy = self.begin("create", plan.id.as_str()).await?;
        let directory = self.directory(&plan.id);
        fs::create_dir_all(&directory).map_err(failed("cannot make the directory"))?;
        tokio::time::sleep(Duration::from_millis(3)).await;
        let made = || -> std::io::Result<()> {
            fs::write(directory.join("console.log"), "")?;
            fs::write(directory.join("plan.part"), serde_json::to_vec(plan)?)?;
            fs::rename(directory.join("plan.part"), directory.join("plan.json"))
        };
        made().map_err(failed("cannot create"))
    }

    async fn start(&self, plan: &Plan) -> Result<()> {
        let _busy = self.begin("start", plan.id.as_str()).await?;
        self.launch(plan)
    }

    async fn request_stop(&self, id: &InstanceId) -> Result<()> {
        let _busy = self.begin("request_stop", id.as_str()).await?;
        if self.directory(id).join("paused").exists() {
            return Err(self.accuse("a paused instance is asked to stop"));
        }
        Monitor::of(self.directory(id)).signal(Signal::TERM).map(drop)
    }

    async fn kill(&self, id: &InstanceId) -> Result<()> {
        let _busy = self.begin("kill", id.as_str()).await?;
        Monitor::of(self.directory(id)).kill().await
    }

    async fn pause(&self, id: &InstanceId) -> Result<()> {
        let _busy = self.begin("pause", id.as_str()).await?;
        fs::write(self.directory(id).join("paused"), "").map_err(failed("cannot pause"))?;
        Monitor::of(self.directory(id)).signal(Signal::STOP).map(drop)
    }

    async fn resume(&self, id: &InstanceId) -> Result<()> {
        let _busy = self.begin("resume", id.as_str()).await?;
        fs::remove_file(self.directory(id).join("paused")).map_err(failed("cannot resume"))?;
        Monitor::of(self.directory(id)).signal(Signal::CONT).map(drop)
    }

    async fn save_snapshot(&self, id: &InstanceId, target: &Path) -> Result<()> {
        let busy = self.begin("save_snapshot", id.as_str()).await?;
        if !self.directory(id).join("paused").exists() {
            return Err(self.accuse("an instance is saved that is not held"));
        }
        drop(busy);
        fs::write(target.join("state"), id.as_str()).map_err(failed("cannot save"))
    }

    async fn restore_snapshot(&self, plan: &Plan, source: &Path) -> Result<()> {
        let _busy = self.begin("restore_snapshot", plan.id.as_str()).await?;
        let state = fs::read_to_string(source.join("state")).map_err(failed("cannot restore"))?;
        if state != plan.id.as_str() {
            return Err(self.accuse("an instance is restored from what is not its own"));
        }
        self.launch(plan)
    }

    async fn delete(&self, id: &InstanceId) -> Result<()> {
        let _busy = self.begin("delete", id.as_str()).await?;
        let directory = self.directory(id);
        Monitor::of(&directory).kill().await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("cannot delete", error))
            }
            _ => Ok(()),
        }
    }

    async fn status(&self, id: &InstanceId) -> Result<Status> {
        let directory = self.directory(id);
        if !directory.is_dir() {
            return Err(Self::missing(id));
        }
        let state = if Monitor::of(&directory).is_running()? {
            if directory.join("paused").exists() { State::Paused } else { State::Running }
        } else if directory.join("started").exists() {
            State::Stopped
        } else {
            State::Created
        };
        let ended = (state == State::Stopped).then(|| {
            let exit = fs::read_to_string(directory.join("exit")).ok();
            match exit.and_then(|text| text.trim().parse().ok()) {
                Some(code) => Ended::Exited { code },
                None => Ended::Lost { message: "its monitor vanished".to_owned() },
            }
        });
        let reason = fs::read_to_string(directory.join("reason")).ok();
        Ok(Status { state, address: None, ended, reason, started_at: None, ended_at: None })
    }

    async fn list(&self) -> Result<Vec<InstanceId>> {
        let entries = fs::read_dir(&self.root).map_err(failed("cannot list"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    async fn wait(&self, id: &InstanceId, limit: Duration) -> Result<Status> {
        Monitor::of(self.directory(id)).wait(limit).await?;
        self.status(id).await
    }

    fn log(&self, id: &InstanceId) -> LogSource {
        let path = self.directory(id).join("console.log");
        match (self.is_told("remote"), self.is_told("framed")) {
            (true, _) => LogSource::Remote,
            (false, true) => LogSource::FramedFile(path),
            (false, false) => LogSource::File(path),
        }
    }

    async fn fetch_log(&self, id: &InstanceId, offset: u64) -> Result<Vec<u8>> {
        self.strike("fetch_log").await?;
        let all = fs::read(self.directory(id).join("console.log"));
        let all = all.map_err(failed("cannot read the log"))?;
        Ok(all.get(usize::try_from(offset).unwrap()..).unwrap_or_default().to_vec())
    }

    async fn console(&self, id: &InstanceId) -> Result<PathBuf> {
        let socket = self.directory(id).join("console.sock");
        // The process makes it a moment after its start.
        for _ in 0..500 {
            if socket.exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        Ok(socket)
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage> {
        self.strike("usage").await?;
        let usage = Monitor::of(self.directory(id)).usage();
        usage.ok_or_else(|| Error::new(ErrorKind::Conflict, "it does not run"))
    }

    async fn stage_volume(
        &self,
        id: &VolumeId,
        artifact: &Artifact,
        _: &dyn Progress,
    ) -> Result<StagedVolume> {
        let _busy = self.begin("stage_volume", id.as_str()).await?;
        Ok(StagedVolume { id: id.clone(), locator: artifact.path.display().to_string() })
    }

    async fn remove_volume(&self, volume: &StagedVolume) -> Result<()> {
        self.begin("remove_volume", volume.id.as_str()).await.map(drop)
    }
}

/// Prints. A full disk ends no program that does not care.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The process of an instance: prints, waits, ends with a status; SIGTERM ends it with 0 unless
/// it is `stubborn`. What is typed on its console it prints.
pub(crate) fn monitor(arguments: &[String]) -> ExitCode {
    let directory = PathBuf::from(&arguments[0]);
    let stubborn = arguments[1] == "stubborn";
    let code: u8 = arguments[2].parse().unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate()).unwrap();
        // A stopped process hears it when its parent dies, setpgid(2); a machine does not.
        let _hang_up = signal(SignalKind::hangup()).unwrap();
        say(&format!("hello from {}\n", std::env::var("WHO").unwrap_or_else(|_| "nobody".into())));
        let socket = directory.join("console.sock");
        let _ = fs::remove_file(&socket);
        let console = tokio::net::UnixListener::bind(&socket);
        let typed = async {
            use tokio::io::AsyncReadExt as _;
            let Ok(console) = console else { return std::future::pending::<()>().await };
            loop {
                let Ok((mut stream, _)) = console.accept().await else { continue };
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    say(&format!("typed {}", String::from_utf8_lossy(&bytes[..read])));
                }
            }
        };
        let ends = async {
            match arguments[1].parse::<u64>() {
                Ok(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
                Err(_) => std::future::pending().await,
            }
        };
        let asked = async {
            loop {
                term.recv().await;
                say("asked to stop\n");
                if !stubborn {
                    return;
                }
            }
        };
        tokio::select! {
            () = ends => code,
            () = asked => 0,
            () = typed => 0,
        }
    });
    say("goodbye\n");
    let part = directory.join("exit.part");
    let _ =
        fs::write(&part, code.to_string()).and_then(|()| fs::rename(&part, directory.join("exit")));
    ExitCode::from(code)
}
