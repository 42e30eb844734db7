// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon: state, REST interface, builds, supervision.
#![forbid(unsafe_code)]

mod ancestor;
mod clock;
mod config;
mod engine;
mod error;
mod home;
mod http;
mod instance;
mod locks;
pub mod logging;
mod marks;
mod metrics;
mod model;
mod providers;
mod reserve;
mod secret;
mod server;
mod store;
mod web;
mod wire;

pub use bhojpur_provider_firecracker::PORT_PROXY;
/// What an executable that has a daemon in it runs when its first argument is [`PORT_PROXY`].
pub use bhojpur_provider_firecracker::proxy::main as port_proxy;
pub use config::{ANCESTOR_FILE_NAME, Builds, Config, FILE_NAME, Limits, Log, Tcp};
pub use error::{Error, Result};
pub use providers::Providers;
pub use secret::Secret;
pub use server::{Ready, run, run_with};
