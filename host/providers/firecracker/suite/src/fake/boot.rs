// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the kernel finds out before the program runs: the image's configuration record, the
//! command line, the metadata.

use std::fmt;
use std::path::Path;

use bhojpur_abi::cmdline;
use bhojpur_abi::config::OwnedConfig;
use bhojpur_formats::image::KernelFile;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model::MachineConfig;

/// A disk, in the order of the bus.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// The file of the host.
    pub path: String,
    /// Opened so.
    pub read_only: bool,
}

/// A mounted file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Index of its disk.
    pub disk: usize,
    /// Where it is.
    pub target: String,
    /// Mounted so.
    pub read_only: bool,
}

/// What the program finds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Inside {
    /// Arguments behind its name.
    pub args: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Its address.
    pub address: Option<std::net::Ipv4Addr>,
    /// The disks.
    pub disks: Vec<Disk>,
    /// What is mounted from them.
    pub mounts: Vec<Mount>,
    /// Processors.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory_mib: usize,
    /// Whether records are framed in the serial line.
    pub records: bool,
    /// Why the program is not run.
    pub failure: Option<String>,
}

impl Inside {
    /// A kernel that cannot run its program.
    #[must_use]
    pub fn failing(why: &str) -> Self {
        Self { failure: Some(why.to_owned()), records: true, ..Self::default() }
    }

    /// With the machine around it.
    #[must_use]
    pub fn on(mut self, disks: Vec<Disk>, machine: &MachineConfig) -> Self {
        if self.mounts.iter().any(|mount| mount.disk >= disks.len()) {
            self.failure = Some("a volume's disk is missing".to_owned());
        }
        // A file of every image, below which nothing can be.
        let nowhere = |mount: &&Mount| mount.target.starts_with("/etc/passwd/");
        if let Some(mount) = self.mounts.iter().find(nowhere) {
            self.failure = Some(format!("{}: ENOTDIR", mount.target));
        }
        (self.cpus, self.memory_mib) = (machine.vcpu_count, machine.mem_size_mib);
        Self { disks, ..self }
    }
}

/// Why there is no program.
#[derive(Debug)]
pub enum Error {
    /// Firecracker cannot load it.
    Image(String),
    /// The kernel cannot go on.
    Guest(String),
}

/// Reads all three.
pub fn read(image: &Path, line: &str, metadata: Option<&Value>) -> Result<Inside, Error> {
    let file = KernelFile::open(image).map_err(|error| Error::Image(error.to_string()))?;
    let guest = |error: &dyn fmt::Display| Error::Guest(error.to_string());
    let mut config =
        file.config().cloned().ok_or_else(|| Error::Guest("there is no program".to_owned()))?;
    let own_mounts = config.mounts.len();
    cmdline::apply(line, &mut config).map_err(|error| guest(&error))?;
    if let Some(address) = cmdline::option(line, cmdline::METADATA) {
        if config.addresses.is_empty() {
            return Err(Error::Guest("the metadata service cannot be reached".to_owned()));
        }
        let known = address.is_empty() || address == "169.254.169.254";
        let document = metadata.filter(|_| known).and_then(|store| store.get("bhojpur"));
        let document = document.ok_or_else(|| Error::Guest("no metadata".to_owned()))?;
        apply(document, &mut config).map_err(Error::Guest)?;
    }
    let mut mounts = Vec::new();
    for mount in &config.mounts[own_mounts..] {
        let source = String::from_utf8_lossy(&mount.source);
        let name = source.strip_prefix("/dev/").unwrap_or(&source);
        let letter = name.strip_prefix("vd").and_then(|rest| rest.bytes().next());
        let disk = letter.and_then(|letter| usize::from(letter).checked_sub(usize::from(b'a')));
        mounts.push(Mount {
            disk: disk.ok_or_else(|| Error::Guest(format!("there is no disk {source}")))?,
            target: text(&mount.target),
            read_only: mount.read_only,
        });
    }
    let address = config.addresses.iter().find_map(|address| match address.address {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    });
    Ok(Inside {
        args: config.args.iter().skip(1).map(|argument| text(argument)).collect(),
        env: config.env.iter().map(|variable| text(variable)).collect(),
        address,
        mounts,
        records: cmdline::wants_serial_control(line),
        ..Inside::default()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The document of the metadata: `args`, `env`; the guest's kernel refuses all else too.
fn apply(document: &Value, config: &mut OwnedConfig) -> Result<(), String> {
    let members = document.as_object().ok_or("the document is no object")?;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("args", Value::Array(values)) => {
                config.args.truncate(1);
                for value in values {
                    let text = value.as_str().ok_or("args: not a text")?;
                    config.args.push(text.as_bytes().to_vec());
                }
            }
            ("env", Value::Object(values)) => {
                for (name, value) in values {
                    if name.is_empty() || name.contains(['=', '\0']) {
                        return Err(format!("env.{name}: no name of a variable"));
                    }
                    let text = value.as_str().ok_or_else(|| format!("env.{name}: not a text"))?;
                    config.set_env(name, text);
                }
            }
            _ => return Err(format!("{name}: no such member")),
        }
    }
    Ok(())
}
