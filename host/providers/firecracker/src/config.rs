// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be chosen about the provider, and where Firecracker is.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The word that makes an executable the port proxy of an instance.
pub const PORT_PROXY: &str = "__port-proxy";

/// What can be chosen.
#[derive(Clone, Debug)]
pub struct Config {
    /// Firecracker; else `FIRECRACKER` of the environment, else in the path.
    pub binary: Option<PathBuf>,
    /// Run it in a jail.
    pub jailer: Option<Jailer>,
    /// Addresses for instances; each gets four of them.
    pub range: Range,
    /// The command that runs [`crate::proxy::main`] when a directory is added to it. It has to
    /// be there as long as instances run.
    pub port_proxy: Vec<OsString>,
    /// Where the network of this machine is seen and changed.
    pub host: Host,
}

impl Default for Config {
    fn default() -> Self {
        // The file may be replaced while we run, by an upgrade: this names the running one.
        let own = std::env::current_exe().unwrap_or_else(|_| "kernctl".into());
        Self {
            binary: None,
            jailer: None,
            range: Range::default(),
            port_proxy: vec![own.into(), PORT_PROXY.into()],
            host: Host::default(),
        }
    }
}

impl Config {
    /// Where Firecracker is, when it is there.
    #[must_use]
    pub fn find(&self) -> Option<PathBuf> {
        match &self.binary {
            Some(path) => executable(path),
            None => match std::env::var_os("FIRECRACKER").filter(|value| !value.is_empty()) {
                Some(path) => executable(Path::new(&path)),
                None => in_path("firecracker"),
            },
        }
    }
}

/// How the jailer is used: `docs/jailer.md` of Firecracker. It needs root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jailer {
    /// The jailer.
    pub binary: PathBuf,
    /// Firecracker's user in the jail. Disks of volumes are given to it at the start.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Where the network of this machine is seen and changed.
#[derive(Clone, Debug)]
pub struct Host {
    /// iproute2's `ip`.
    pub ip: PathBuf,
    /// Network devices (sysfs(5)).
    pub interfaces: PathBuf,
    /// IPv4 routes (proc(5)).
    pub routes: PathBuf,
    /// The device of KVM.
    pub kvm: PathBuf,
    /// The device that makes tap devices.
    pub tun: PathBuf,
    /// Our own status (proc(5)).
    pub process_status: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        let sbin = Path::new("/usr/sbin/ip");
        let ip = in_path("ip").unwrap_or_else(|| sbin.to_owned());
        Self {
            ip,
            interfaces: "/sys/class/net".into(),
            routes: "/proc/net/route".into(),
            kvm: "/dev/kvm".into(),
            tun: "/dev/net/tun".into(),
            process_status: "/proc/self/status".into(),
        }
    }
}

/// A range of addresses, `172.30.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Range {
    base: u32,
    prefix: u32,
}

/// A text that is no range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRangeError(String);

impl std::fmt::Display for ParseRangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no range of addresses; write one of /8 to /30, 172.30.0.0/16", self.0)
    }
}

impl std::error::Error for ParseRangeError {}

impl Default for Range {
    fn default() -> Self {
        Self { base: u32::from(Ipv4Addr::new(172, 30, 0, 0)), prefix: 16 }
    }
}

impl FromStr for Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let parse = || {
            let (base, prefix) = text.split_once('/')?;
            let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
            let prefix = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix))?;
            (base << prefix == 0).then_some(Self { base, prefix })
        };
        parse().ok_or_else(|| ParseRangeError(text.to_owned()))
    }
}

impl TryFrom<String> for Range {
    type Error = ParseRangeError;

    fn try_from(text: String) -> Result<Self, ParseRangeError> {
        text.parse()
    }
}

impl From<Range> for String {
    fn from(range: Range) -> Self {
        range.to_string()
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl Range {
    /// How many networks of four addresses it has.
    #[must_use]
    pub fn networks(&self) -> u32 {
        1 << (30 - self.prefix)
    }

    /// The first address of a network.
    #[must_use]
    pub fn network(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 4 * (index % self.networks()))
    }
}

fn executable(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = path.metadata().ok()?;
    let runs = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    runs.then(|| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|directory| executable(&directory.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_networks_of_four_addresses() {
        let range: Range = "172.30.0.0/16".parse().unwrap();
        assert_eq!((range, range.networks()), (Range::default(), 16384));
        assert_eq!(range.network(1), Ipv4Addr::new(172, 30, 0, 4));
        assert_eq!(range.network(16383), Ipv4Addr::new(172, 30, 255, 252));
        assert_eq!("10.0.0.4/30".parse::<Range>().unwrap().networks(), 1);
        for text in ["", "10.0.0.0", "10.0.0.1/24", "10.0.0.0/31", "10.0.0.0/0", "x/16", "::/16"] {
            assert!(text.parse::<Range>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn files_that_do_not_run_are_not_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut config = Config { binary: Some(file.path().to_owned()), ..Config::default() };
        assert_eq!(config.find(), None);
        config.binary = Some("/bin/sh".into());
        assert_eq!(config.find(), Some("/bin/sh".into()));
    }
}
