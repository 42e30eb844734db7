// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration as a value that can be changed, and its encoder.

use super::{
    Address, Config, Error, HEADER_LEN, MAGIC, MAX_LEN, MOUNT_READ_ONLY, Network, Port, VERSION,
    tag,
};
use crate::control::Level;
use crate::crc32c;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

/// A file system to mount; see [`Mount`](super::Mount).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedMount {
    /// Type, or `auto`.
    pub kind: String,
    /// Device, `LABEL=x`, `UUID=x` or tag.
    pub source: Vec<u8>,
    /// Where, in the guest; absolute.
    pub target: Vec<u8>,
    /// Refuse writes.
    pub read_only: bool,
}

/// All that a record says; `None` leaves a field out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedConfig {
    /// Path of the program; without it, the first argument.
    pub program: Option<Vec<u8>>,
    /// Arguments; the first is `argv[0]`.
    pub args: Vec<Vec<u8>>,
    /// `NAME=value` each.
    pub env: Vec<Vec<u8>>,
    /// Working directory; absolute.
    pub cwd: Option<Vec<u8>>,
    /// Host name.
    pub hostname: Option<String>,
    /// File systems to mount, in order.
    pub mounts: Vec<OwnedMount>,
    /// How the network is set up.
    pub network: Option<Network>,
    /// Static addresses.
    pub addresses: Vec<Address>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// DNS servers.
    pub name_servers: Vec<IpAddr>,
    /// `RLIMIT_NOFILE`.
    pub limit_nofile: Option<u64>,
    /// `RLIMIT_STACK` in bytes.
    pub limit_stack: Option<u64>,
    /// Options of the kernel itself.
    pub options: Vec<String>,
    /// Bytes of memory without which the image does not run.
    pub memory_minimum: Option<u64>,
    /// What to log.
    pub log_level: Option<Level>,
    /// Where the program says that it listens.
    pub ports: Vec<Port>,
    /// Bytes of memory that a machine gets when its user names none.
    pub memory_usual: Option<u64>,
    /// Processors that a machine gets when its user names none.
    pub cpus_usual: Option<u64>,
}

impl From<&Config<'_>> for OwnedConfig {
    fn from(config: &Config<'_>) -> Self {
        let vectors =
            |values: &mut dyn Iterator<Item = &[u8]>| values.map(<[u8]>::to_vec).collect();
        Self {
            program: config.once.program.map(<[u8]>::to_vec),
            args: vectors(&mut config.args()),
            env: vectors(&mut config.env()),
            cwd: config.once.cwd.map(<[u8]>::to_vec),
            hostname: config.hostname().map(str::to_owned),
            mounts: config
                .mounts()
                .map(|m| OwnedMount {
                    kind: m.kind.to_owned(),
                    source: m.source.to_vec(),
                    target: m.target.to_vec(),
                    read_only: m.read_only,
                })
                .collect(),
            network: config.once.network,
            addresses: config.addresses().collect(),
            gateways: config.gateways().collect(),
            name_servers: config.name_servers().collect(),
            limit_nofile: config.limit_nofile(),
            limit_stack: config.limit_stack(),
            options: config.options().map(str::to_owned).collect(),
            memory_minimum: config.memory_minimum(),
            log_level: config.once.log_level,
            ports: config.ports().collect(),
            memory_usual: config.memory_usual(),
            cpus_usual: config.cpus_usual(),
        }
    }
}

impl OwnedConfig {
    /// Sets `name` in the environment, in place of an older value.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let mut entry = name.as_bytes().to_vec();
        entry.push(b'=');
        let key = entry.len();
        entry.extend_from_slice(value.as_bytes());
        match self.env.iter_mut().find(|e| e.get(..key) == entry.get(..key)) {
            Some(old) => *old = entry,
            None => self.env.push(entry),
        }
    }

    /// The record; refused if the reader would refuse it.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = Encoder { bytes: Vec::from([0; HEADER_LEN]) };
        self.encode_program(&mut out)?;
        self.encode_mounts(&mut out)?;
        self.encode_network(&mut out)?;
        out.optional(tag::LIMIT_NOFILE, self.limit_nofile)?;
        out.optional(tag::LIMIT_STACK, self.limit_stack)?;
        self.options.iter().try_for_each(|o| out.field(tag::OPTION, o.as_bytes()))?;
        out.optional(tag::MEMORY_MINIMUM, self.memory_minimum)?;
        if let Some(level) = self.log_level {
            out.field(tag::LOG_LEVEL, &[level as u8])?;
        }
        for port in &self.ports {
            let [low, high] = port.number.to_le_bytes();
            out.field(tag::PORT, &[low, high, u8::from(port.udp)])?;
        }
        out.optional(tag::MEMORY_USUAL, self.memory_usual)?;
        out.optional(tag::CPUS_USUAL, self.cpus_usual)?;
        let bytes = out.finish()?;
        Config::parse(&bytes)?;
        Ok(bytes)
    }

    fn encode_program(&self, out: &mut Encoder) -> Result<(), Error> {
        if let Some(program) = &self.program {
            out.field(tag::PROGRAM, program)?;
        }
        self.args.iter().try_for_each(|a| out.field(tag::ARG, a))?;
        self.env.iter().try_for_each(|e| out.field(tag::ENV, e))?;
        if let Some(cwd) = &self.cwd {
            out.field(tag::CWD, cwd)?;
        }
        match &self.hostname {
            Some(name) => out.field(tag::HOSTNAME, name.as_bytes()),
            None => Ok(()),
        }
    }

    fn encode_mounts(&self, out: &mut Encoder) -> Result<(), Error> {
        for mount in &self.mounts {
            let flags = if mount.read_only { MOUNT_READ_ONLY } else { 0 };
            let mut value = flags.to_le_bytes().to_vec();
            for part in [mount.kind.as_bytes(), &mount.source, &mount.target] {
                let len = u16::try_from(part.len()).map_err(|_| Error::Value(tag::MOUNT))?;
                value.extend_from_slice(&len.to_le_bytes());
                value.extend_from_slice(part);
            }
            out.field(tag::MOUNT, &value)?;
        }
        Ok(())
    }

    fn encode_network(&self, out: &mut Encoder) -> Result<(), Error> {
        if let Some(network) = self.network {
            out.field(tag::NETWORK, &[network as u8])?;
        }
        for a in &self.addresses {
            let mut value = Vec::from([a.prefix]);
            value.extend_from_slice(&octets(a.address));
            out.field(tag::ADDRESS, &value)?;
        }
        self.gateways.iter().try_for_each(|&a| out.field(tag::GATEWAY, &octets(a)))?;
        self.name_servers.iter().try_for_each(|&a| out.field(tag::NAME_SERVER, &octets(a)))
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    fn field(&mut self, tag: u16, value: &[u8]) -> Result<(), Error> {
        if value.len() > MAX_LEN || self.bytes.len() + 8 + value.len() > MAX_LEN {
            return Err(Error::TooLong);
        }
        self.bytes.extend_from_slice(&tag.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    fn optional(&mut self, tag: u16, value: Option<u64>) -> Result<(), Error> {
        value.map_or(Ok(()), |v| self.field(tag, &v.to_le_bytes()))
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        let fields = self.bytes.get(HEADER_LEN..).ok_or(Error::Truncated)?;
        let len = u32::try_from(fields.len()).map_err(|_| Error::TooLong)?;
        let crc = crc32c::checksum(fields);
        self.bytes[..8].copy_from_slice(&MAGIC);
        self.bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&len.to_le_bytes());
        self.bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        Ok(self.bytes)
    }
}
