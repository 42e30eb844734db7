// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Output of instances, read from where their monitors write it.

mod file;

use std::io;
use std::sync::Arc;

use bhojpur_provider::{InstanceId, LogSource, Provider};

use self::file::{FileLog, Lines, tail_offset};
use super::{Engine, blocking};
use crate::{Error, Result};

/// Bytes in one piece.
const PIECE: usize = 64 << 10;

/// Bytes of a log and where they lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a log from one place on.
#[derive(Debug)]
pub(crate) struct LogReader {
    provider: Arc<dyn Provider>,
    id: InstanceId,
    log: FileLog,
}

impl LogReader {
    /// From `offset` on.
    pub(crate) fn new(provider: Arc<dyn Provider>, id: InstanceId, offset: u64) -> Self {
        let log = FileLog::new(provider.log(&id), offset);
        Self { provider, id, log }
    }

    /// From the last `lines` lines on.
    pub(crate) async fn tail(&mut self, lines: u64) -> Result<()> {
        self.log.offset = match self.log.source.clone() {
            LogSource::Remote => {
                let all = self.provider.fetch_log(&self.id, 0).await?;
                let mut lines = Lines::new(lines, 0);
                lines.hear(&all);
                lines.start()
            }
            source => {
                blocking(move || {
                    tail_offset(&source, lines).map_err(|error| unreadable(&source, &error))
                })
                .await?
            }
        };
        Ok(())
    }

    /// Where the next piece begins.
    pub(crate) fn offset(&self) -> u64 {
        self.log.offset
    }

    /// Goes back: the last bytes of a piece are a character that is not whole yet.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        self.log.unread(bytes);
    }

    /// What there is; an empty piece when there is no more for now.
    pub(crate) async fn next(&mut self) -> Result<Piece> {
        let bytes = match &self.log.source {
            LogSource::Remote => self.provider.fetch_log(&self.id, self.log.offset).await?,
            // Short reads of what is in the page cache: a thread for each would cost more.
            _ => self.log.next().map_err(|error| unreadable(&self.log.source, &error))?,
        };
        let offset = self.log.offset;
        self.log.offset += bytes.len() as u64;
        Ok(Piece { offset, bytes })
    }
}

fn unreadable(source: &LogSource, error: &io::Error) -> Error {
    let path = source.path().map_or_else(String::new, |path| format!(" {}", path.display()));
    Error::io(format!("cannot read the output of the instance{path}"), error)
}

/// How long the log of an instance was when it was last looked at.
pub(crate) type Looked = u64;

impl Engine {
    /// Cuts the older half off a log that has become too large, but nothing that came since the
    /// last look: who follows has had time to read what goes.
    pub(crate) async fn limit_log(
        &self,
        provider: &dyn Provider,
        id: &InstanceId,
        looked: &mut Looked,
    ) {
        let Some(max) = self.config.instance_log_max else { return };
        let source = provider.log(id);
        let Some(path) = source.path() else { return };
        let Ok(length) = path.metadata().map(|found| found.len()) else { return };
        let old = length.saturating_sub(max / 2).min(std::mem::replace(looked, length));
        if length <= max {
            return;
        }
        let shown = path.display().to_string();
        let cut = blocking(move || {
            let cut = || match length.saturating_sub(source.start()?.file) > max {
                true => source.cut(old).map(drop),
                false => Ok(()),
            };
            cut().map_err(|error| Error::io("cannot cut it", &error))
        });
        if let Err(error) = cut.await {
            tracing::warn!(log = shown, %error, "a log grows");
        }
    }
}
