// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Uploads: into a file of ours first, within limits, so that nobody's slowness or size harms.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use bhojpur_api::Code;
use futures_util::{Stream, StreamExt as _};
use tokio::io::AsyncWriteExt as _;

use super::Engine;
use crate::home::Scratch;
use crate::{Error, Result};

/// The free space is looked at once in so many bytes.
const LOOK_EVERY: u64 = 16 << 20;

/// A file that was uploaded. It goes away with its directory unless it is moved.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) scratch: Scratch,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl Engine {
    /// Takes an upload to its end.
    pub(crate) async fn receive<B: AsRef<[u8]>, E: Display>(
        &self,
        stream: impl Stream<Item = Result<B, E>>,
    ) -> Result<Upload> {
        let limits = &self.config.limits;
        let scratch = self.home.scratch()?;
        let path = scratch.path().join("upload");
        let failed = |path: &Path, error: &std::io::Error| {
            Error::io(format!("cannot write {}", path.display()), error)
        };
        let mut file =
            tokio::fs::File::create(&path).await.map_err(|error| failed(&path, &error))?;
        let mut stream = std::pin::pin!(stream);
        let (mut size, mut looked) = (0, None);
        loop {
            let piece = match tokio::time::timeout(limits.upload_pause, stream.next()).await {
                Err(_) => return Err(paused()),
                Ok(None) => break,
                Ok(Some(piece)) => piece.map_err(|error| broken(&error))?,
            };
            let piece = piece.as_ref();
            size += piece.len() as u64;
            if size > limits.upload_bytes {
                return Err(too_large(limits.upload_bytes));
            }
            if looked.is_none_or(|at| size - at >= LOOK_EVERY) {
                looked = Some(size);
                self.check_room(piece.len() as u64)?;
            }
            file.write_all(piece).await.map_err(|error| failed(&path, &error))?;
        }
        file.flush().await.map_err(|error| failed(&path, &error))?;
        Ok(Upload { scratch, path, size })
    }

    /// Refuses what would take the last of the disk.
    pub(crate) fn check_room(&self, wanted: u64) -> Result<()> {
        let free = self.home.free();
        if free >= wanted.saturating_add(self.config.limits.reserve_bytes) {
            return Ok(());
        }
        let message = format!(
            "there is no room for {} MiB more below {}: {} MiB are free, and {} MiB have to stay so",
            wanted.div_ceil(1 << 20),
            self.home.root().display(),
            free >> 20,
            self.config.limits.reserve_bytes >> 20
        );
        Err(Error::new(Code::Exhausted, message)
            .advise("remove images or volumes that nobody needs, or make room on that disk"))
    }
}

fn too_large(limit: u64) -> Error {
    let message = format!("the upload is larger than {} MiB", limit >> 20);
    Error::new(Code::TooLarge, message)
        .advise("the daemon's limit is [limits] upload_mib in daemon.toml")
}

fn paused() -> Error {
    Error::new(Code::Timeout, "the upload stopped before its end").advise("try again")
}

fn broken(error: &dyn Display) -> Error {
    Error::new(Code::BadRequest, format!("the upload broke off: {error}"))
}
