// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the commands that run programs and machines share: places, flags,
//! bounded processes and the toolchains.

pub(crate) mod flags;
pub(crate) mod process;
pub(crate) mod toolchain;

use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Where built things go; follows cargo's own choice.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}
