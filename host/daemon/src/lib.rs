// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon: state, REST interface, builds, supervision.
#![forbid(unsafe_code)]

mod clock;
mod config;
mod error;
mod home;
mod secret;

pub use config::{ANCESTOR_FILE_NAME, Builds, Config, FILE_NAME, Limits, Log, Tcp};
pub use error::{Error, Result};
pub use secret::Secret;
