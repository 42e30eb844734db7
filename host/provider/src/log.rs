// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where the output of an instance is.

use std::path::PathBuf;

/// Where the output of an instance can be read, from its first byte on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// A file that the monitor writes, and that only grows or is cut to nothing at a start.
    File(PathBuf),
    /// What a cloud answers when it is asked; [`crate::Provider::fetch_log`] gets it.
    Remote,
}
