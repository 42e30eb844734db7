// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs instances: the [`Provider`] trait and the types that it speaks.
//!
//! A provider makes instances real on one kind of hypervisor or cloud, and nothing else: names,
//! restart policies, health checks and what the user wants to exist are the daemon's, written
//! once above this trait. So a provider keeps no list of its own. Everything that it made can
//! be found again by [`Provider::list`], because it carries the instance's id where it lives:
//! in the name of a directory, or in the tag of a cloud's machine.
#![forbid(unsafe_code)]

mod capability;
mod error;
mod id;
mod instance;
mod kind;
mod log;
pub mod process;
mod provider;
mod storage;

pub use capability::{Capabilities, Readiness};
pub use error::{Error, ErrorKind, Result};
pub use id::{ImageId, InstanceId, ParseIdError, VolumeId};
pub use instance::{Ended, Network, Plan, Port, Protocol, State, Status, Usage};
pub use kind::{Kind, ParseKindError, Stage};
pub use log::{Cut, LogReader, LogSource};
pub use provider::{Progress, Provider, Silent};
pub use storage::{Artifact, Attachment, StagedImage, StagedVolume};
