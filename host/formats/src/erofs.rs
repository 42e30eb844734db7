// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Writes uncompressed EROFS images that a guest maps in place.
//!
//! ```
//! use bhojpur_formats::erofs::{Attributes, Options, Plan, Tree};
//! let mut tree = Tree::new();
//! tree.add_bytes("/etc/hosts", b"127.0.0.1 localhost\n".to_vec(), Attributes::FILE)?;
//! let plan = Plan::new(&tree, &Options::default())?;
//! let mut image = std::io::Cursor::new(Vec::new());
//! plan.write(&mut image)?;
//! assert_eq!(image.get_ref().len() as u64, plan.size());
//! # Ok::<(), bhojpur_formats::erofs::Error>(())
//! ```
//!
//! Files of a page and more begin on a page and have no inline tail; smaller
//! ones follow their inode. The same tree gives the same bytes: names are
//! sorted, times come from the options, the UUID from the contents.

mod pack;
mod plan;
#[cfg(test)]
mod tests;
mod tree;

pub use plan::{Options, Plan};
pub use tree::{Attributes, Data, Tree};

use std::io;
use std::path::PathBuf;

/// Why a tree could not be built or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the host could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the host has another length than when it was added.
    #[error("{0} changed while it was read")]
    Changed(PathBuf),
    /// The image could not be written.
    #[error("cannot write the root image: {0}")]
    Write(#[from] io::Error),
    /// A path of the tree is not one: empty, with `..`, NUL or too long.
    #[error("{0:?} is not a valid path in the root image")]
    Path(String),
    /// A name stands already for something that cannot be replaced.
    #[error("{0} is already in the root image as something else")]
    Exists(String),
    /// A part of the path is no directory.
    #[error("{0}: a part of the path is not a directory")]
    NotDirectory(String),
    /// A hard link to something that is not there, or is a directory.
    #[error("{0} is not a file that can be linked to")]
    NotFile(String),
    /// Something of the host that an image cannot hold.
    #[error("{0} is neither a file, a directory, a symbolic link nor a device")]
    Special(PathBuf),
    /// More than the format can address.
    #[error("the root image is too large: {0}")]
    TooLarge(&'static str),
}

/// A path of the tree for messages.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
