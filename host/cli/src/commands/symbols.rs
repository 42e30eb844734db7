// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names for the return addresses of a kernel panic.

use std::path::Path;

/// The symbols of the kernel.
#[derive(Debug)]
pub(super) struct Symbols;

impl Symbols {
    /// Those of the image, or of the kernel in this tool.
    pub(super) fn of(_image: &Path) -> Self {
        Self
    }

    /// An address with its function.
    pub(super) fn describe(&self, address: u64) -> String {
        format!("{address:#018x}")
    }
}
