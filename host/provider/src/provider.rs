// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The trait, and who calls what when.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Artifact, Capabilities, Error, ErrorKind, ImageId, InstanceId, Kind, LogSource, Plan,
    Readiness, Result, StagedImage, StagedVolume, Status, Usage, VolumeId,
};

/// Told of long transfers.
pub trait Progress: Send + Sync {
    /// `done` of `total` bytes are through; `what` is one word or two for a person.
    fn advance(&self, what: &str, done: u64, total: u64);
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _: &str, _: u64, _: u64) {}
}

/// Runs instances on one kind of hypervisor or cloud.
///
/// ```text
///   stage_image ──> create ──> start ──> (running) ──> request_stop / kill ──> (stopped)
///                     │          ^           │  pause / resume                     │
///                     │          └───────────┼─────────────────────────────────────┤
///                     └──────────────────────┴──> delete <─────────────────────────┘
/// ```
///
/// The contract, which the conformance suite checks:
///
/// * The daemon calls one operation at a time for one instance, image or volume; operations on
///   different ones run at once.
/// * Every operation can be repeated. The daemon may have been killed in the middle of it: then
///   it calls `delete` (or `remove_*`) for what it does not want, or the same operation again.
///   What `create` leaves half-made is found by `list` and removed by `delete`.
/// * `delete`, `kill`, `remove_image` and `remove_volume` of something that is not there succeed.
/// * Nothing that runs may depend on the daemon's process: instances go on when it dies, their
///   output is written to the end, and another daemon finds them by `list`.
/// * A failed operation leaves nothing behind that `list` does not show.
#[async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Which one it is.
    fn kind(&self) -> Kind;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether it works here, and with what.
    async fn readiness(&self) -> Readiness;

    /// Puts an image where instances can be started from it.
    async fn stage_image(
        &self,
        id: &ImageId,
        artifact: &Artifact,
        progress: &dyn Progress,
    ) -> Result<StagedImage>;

    /// Takes an image away. No instance uses it.
    async fn remove_image(&self, image: &StagedImage) -> Result<()>;

    /// Makes an instance without starting it, and checks all that can be checked before.
    async fn create(&self, plan: &Plan) -> Result<()>;

    /// Starts an instance that is created or stopped. When this returns, its monitor runs and
    /// its log is written; its program may still be booting. The log of an earlier run is kept
    /// before the new one.
    async fn start(&self, plan: &Plan) -> Result<()>;

    /// Asks the program to end, as SIGTERM does, and does not wait. Unsupported where there is
    /// no way to ask; a paused instance is a conflict.
    async fn request_stop(&self, id: &InstanceId) -> Result<()>;

    /// Ends an instance at once, and waits until it is gone.
    async fn kill(&self, id: &InstanceId) -> Result<()>;

    /// Holds a running instance.
    async fn pause(&self, _id: &InstanceId) -> Result<()> {
        Err(unsupported(self.kind(), "pause instances"))
    }

    /// Lets a paused instance go on.
    async fn resume(&self, _id: &InstanceId) -> Result<()> {
        Err(unsupported(self.kind(), "resume instances"))
    }

    /// Saves a paused instance below `directory`, and leaves it paused.
    async fn save_snapshot(&self, _id: &InstanceId, _directory: &Path) -> Result<()> {
        Err(unsupported(self.kind(), "save snapshots"))
    }

    /// Starts a stopped instance from what was saved below `directory`; it runs when this
    /// returns.
    async fn restore_snapshot(&self, _plan: &Plan, _directory: &Path) -> Result<()> {
        Err(unsupported(self.kind(), "restore snapshots"))
    }

    /// Removes an instance, running or not, and all that belongs to it but its volumes.
    async fn delete(&self, id: &InstanceId) -> Result<()>;

    /// What an instance is doing. [`ErrorKind::NotFound`] when it is not there.
    async fn status(&self, id: &InstanceId) -> Result<Status>;

    /// All instances of this daemon that are there, those half-made as well.
    async fn list(&self) -> Result<Vec<InstanceId>>;

    /// Waits until an instance does not run any more, or for `limit`.
    async fn wait(&self, id: &InstanceId, limit: Duration) -> Result<Status>;

    /// Where the output is. It exists from `create` to `delete`.
    fn log(&self, id: &InstanceId) -> LogSource;

    /// The output from byte `offset` on, where [`LogSource`] is remote.
    async fn fetch_log(&self, _id: &InstanceId, _offset: u64) -> Result<Vec<u8>> {
        Err(unsupported(self.kind(), "fetch logs"))
    }

    /// A unix stream socket or a FIFO whose bytes become the program's standard input while it
    /// runs. Its output is in the log; what a socket says back is to be thrown away.
    async fn console(&self, _id: &InstanceId) -> Result<std::path::PathBuf> {
        Err(unsupported(self.kind(), "attach to a console"))
    }

    /// What a running instance uses.
    async fn usage(&self, _id: &InstanceId) -> Result<Usage> {
        Err(unsupported(self.kind(), "measure instances"))
    }

    /// Puts a volume where it can be attached. On this machine that is the file itself.
    async fn stage_volume(
        &self,
        id: &VolumeId,
        artifact: &Artifact,
        progress: &dyn Progress,
    ) -> Result<StagedVolume>;

    /// Takes a volume away. No instance uses it.
    async fn remove_volume(&self, volume: &StagedVolume) -> Result<()>;
}

fn unsupported(kind: Kind, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{} cannot {what}", kind.title()))
}
