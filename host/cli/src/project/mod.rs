// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Projects with a `builderfile.toml`: the file, its targets, and how they are carried out.

mod arguments;
mod file;
mod plan;
mod targets;

pub use arguments::Builder;
pub use file::{BuilderFile, FILE_NAME, UserTarget};
pub use plan::{Step, plan};
pub use targets::execute;
