// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the suite has to be told of a provider and of what is under it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bhojpur_provider::{Artifact, Port, Provider, Status};

pub(crate) type Make = Box<dyn Fn() -> Box<dyn Provider> + Send + Sync>;
pub(crate) type Reach = fn(&Status, &Port) -> Option<SocketAddr>;

/// A provider under test.
pub struct Harness {
    pub(crate) name: String,
    pub(crate) make: Make,
    pub(crate) scratch: PathBuf,
    pub(crate) image: Artifact,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) reach: Reach,
    pub(crate) memory_mib: u64,
    pub(crate) patience: Duration,
    pub(crate) skips: Vec<(&'static str, String)>,
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("name", &self.name).field("image", &self.image).finish()
    }
}

impl Harness {
    /// A provider of this name. `make` gives a new object for the same instances each time, as
    /// a daemon does when it starts; `scratch` is an empty directory; `image` is what
    /// [`crate::image::build`] made.
    pub fn new(
        name: impl Into<String>,
        scratch: impl Into<PathBuf>,
        image: Artifact,
        make: impl Fn() -> Box<dyn Provider> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            make: Box::new(make),
            scratch: scratch.into(),
            image,
            directory: None,
            reach: host_port,
            memory_mib: 128,
            patience: Duration::from_secs(60),
            skips: Vec::new(),
        }
    }

    /// The directory of the provider's instances, where it runs monitors on this machine with
    /// [`bhojpur_provider::process::Monitor`]. Cases that end monitors from outside and leave
    /// half-made instances behind need it.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// How a port of an instance is reached; [`host_port`] when nothing is said.
    #[must_use]
    pub fn reach(mut self, reach: fn(&Status, &Port) -> Option<SocketAddr>) -> Self {
        self.reach = reach;
        self
    }

    /// Memory of an ordinary instance; 128 MiB when nothing is said.
    #[must_use]
    pub fn memory_mib(mut self, memory: u64) -> Self {
        self.memory_mib = memory;
        self
    }

    /// How long an instance may take to do something; 60 s when nothing is said.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A case that cannot be shown here, and why.
    #[must_use]
    pub fn skip(mut self, case: &'static str, reason: impl Into<String>) -> Self {
        self.skips.push((case, reason.into()));
        self
    }
}

/// A port of the host leads into the instance.
#[must_use]
pub fn host_port(_: &Status, port: &Port) -> Option<SocketAddr> {
    Some(SocketAddr::new(port.host_address, port.host))
}

/// The instance has an address of its own.
#[must_use]
pub fn guest_address(status: &Status, port: &Port) -> Option<SocketAddr> {
    Some(SocketAddr::new(status.address?, port.guest))
}
