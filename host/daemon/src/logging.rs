// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the daemon's own words go: JSON or lines, standard error or a file.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Log;
use crate::{Error, Result};

/// Sets it up for the whole process, once.
pub fn install(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Error::invalid(format!("{:?} is no filter for the log: {error}", log.filter))
            .advise("use error, warn, info, debug or trace")
    })?;
    match &log.file {
        None => set(log.json, filter, std::io::stderr),
        Some(path) => {
            let mut options = OpenOptions::new();
            let file =
                options.create(true).append(true).mode(0o600).open(path).map_err(|error| {
                    Error::io(format!("cannot write {}", path.display()), &error)
                })?;
            set(log.json, filter, Mutex::new(file))
        }
    }
}

fn set<W>(json: bool, filter: EnvFilter, writer: W) -> Result<()>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let set = if json { lines.json().try_init() } else { lines.try_init() };
    set.map_err(|error| Error::internal(format!("the log cannot be set up: {error}")))
}
