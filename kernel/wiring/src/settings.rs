// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration as it counts: the record of the image or of fw_cfg,
//! changed by the command line and by the metadata service.

use crate::metadata;
use abi::config::{Config, OwnedConfig};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use knet::Stack;

/// Applies the kernel's command line to `record`.
pub(crate) fn with_command_line<'a>(record: &'a [u8], line: &str) -> Result<Cow<'a, [u8]>, String> {
    if !abi::cmdline::is_for_us(line) {
        return Ok(Cow::Borrowed(record));
    }
    let mut config = owned(record)?;
    match abi::cmdline::apply(line, &mut config) {
        Ok(false) => Ok(Cow::Borrowed(record)),
        Ok(true) => encoded(&config, "the command line").map(Cow::Owned),
        Err(error) => Err(format!("the command line: {error}")),
    }
}

/// Applies what the metadata service says, if the command line names one.
pub(crate) fn with_metadata<'a>(
    record: Cow<'a, [u8]>,
    line: &str,
    stack: &Arc<Stack>,
) -> Result<Cow<'a, [u8]>, String> {
    const FROM: &str = "the metadata service";
    let document = metadata::fetch(line, stack).map_err(|error| format!("{FROM}: {error}"))?;
    let Some(document) = document else { return Ok(record) };
    let mut config = owned(&record)?;
    kmetadata::document::apply(&document, &mut config)
        .map_err(|error| format!("{FROM}: {error}"))?;
    encoded(&config, FROM).map(Cow::Owned)
}

fn owned(record: &[u8]) -> Result<OwnedConfig, String> {
    let config = Config::parse(record);
    config.map(|c| OwnedConfig::from(&c)).map_err(|e| format!("the configuration record: {e}"))
}

fn encoded(config: &OwnedConfig, from: &str) -> Result<Vec<u8>, String> {
    config.encode().map_err(|error| format!("{from}: {error}"))
}
