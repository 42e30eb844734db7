// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The configuration record: what to run in the guest, and how.
//!
//! A record is a header and a list of fields, little endian:
//!
//! ```text
//! header  0  magic "BHJCONF\0"
//!         8  u16 version (1)    10  u16 reserved (0)
//!        12  u32 length of the fields in bytes
//!        16  u32 CRC-32C of the fields    20  u32 reserved (0)
//! field   0  u16 tag    2  u16 reserved (0)    4  u32 length    8  value
//! ```
//!
//! A reader that does not know a tag skips the field if the tag has
//! [`OPTIONAL`] set and refuses the record otherwise: a kernel must not run a
//! program with half of what its user asked for. Bytes behind the record are
//! not looked at. A record from the [`FW_CFG_FILE`] replaces the embedded one
//! wholly.

#[cfg(feature = "alloc")]
mod owned;
#[cfg(test)]
mod tests;

use crate::bytes::{Cursor, array, u16_at, u32_at};
use crate::control::Level;
use crate::crc32c;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
#[cfg(feature = "alloc")]
pub use owned::{OwnedConfig, OwnedMount};

/// Name of the QEMU fw_cfg file whose record replaces the embedded one.
pub const FW_CFG_FILE: &str = "opt/org.bhojpur/config";
/// First bytes of a record.
pub const MAGIC: [u8; 8] = *b"BHJCONF\0";
/// Version of the header; fields grow by tags instead.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 24;
/// Longest record, header included.
pub const MAX_LEN: usize = 4 << 20;
/// Set in the tags of fields that a reader may skip.
pub const OPTIONAL: u16 = 0x8000;
/// Longest host name, as in sethostname(2).
pub const HOST_NAME_MAX: usize = 64;
/// Longest path with its end, as in limits.h.
pub const PATH_MAX: usize = 4096;

/// Numbers of the fields.
pub mod tag {
    use super::OPTIONAL;
    /// Path of the program; without it, the first argument.
    pub const PROGRAM: u16 = 1;
    /// One argument, repeated in order; the first is `argv[0]`.
    pub const ARG: u16 = 2;
    /// One `NAME=value`, repeated in order.
    pub const ENV: u16 = 3;
    /// Working directory.
    pub const CWD: u16 = 4;
    /// Host name.
    pub const HOSTNAME: u16 = 5;
    /// A mount: u16 flags, then kind, source and target, each u16 length and bytes.
    pub const MOUNT: u16 = 6;
    /// u8: how the network is set up.
    pub const NETWORK: u16 = 7;
    /// u8 prefix length and 4 or 16 bytes, repeated.
    pub const ADDRESS: u16 = 8;
    /// 4 or 16 bytes, repeated.
    pub const GATEWAY: u16 = 9;
    /// 4 or 16 bytes, repeated.
    pub const NAME_SERVER: u16 = 10;
    /// u64: `RLIMIT_NOFILE`.
    pub const LIMIT_NOFILE: u16 = 11;
    /// u64: `RLIMIT_STACK` in bytes.
    pub const LIMIT_STACK: u16 = 12;
    /// `name` or `name=value` for the kernel itself, repeated.
    pub const OPTION: u16 = 13;
    /// u64: bytes of memory without which the image does not run.
    pub const MEMORY_MINIMUM: u16 = 14 | OPTIONAL;
    /// u8: a [`Level`](crate::control::Level).
    pub const LOG_LEVEL: u16 = 15 | OPTIONAL;
    /// u16 port, u8 transport (0 TCP, 1 UDP): where the program listens, repeated.
    pub const PORT: u16 = 16 | OPTIONAL;
    /// u64: bytes of memory that a machine gets when its user names none.
    pub const MEMORY_USUAL: u16 = 17 | OPTIONAL;
    /// u64: processors that a machine gets when its user names none.
    pub const CPUS_USUAL: u16 = 18 | OPTIONAL;
}

/// Flag of a mount: refuse writes.
pub(crate) const MOUNT_READ_ONLY: u16 = 1;

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It does not start with the magic.
    Magic,
    /// The header has a version that this reader does not know.
    Version(u16),
    /// It ends before its length says.
    Truncated,
    /// It is longer than [`MAX_LEN`].
    TooLong,
    /// The checksum does not match.
    Checksum,
    /// A required field that this reader does not know.
    UnknownField(u16),
    /// A field that may stand once stands twice.
    Repeated(u16),
    /// The value of this field is malformed.
    Value(u16),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a configuration record"),
            Self::Version(v) => write!(f, "configuration version {v} is not supported"),
            Self::Truncated => f.write_str("configuration record is cut short"),
            Self::TooLong => write!(f, "configuration record is longer than {MAX_LEN} bytes"),
            Self::Checksum => f.write_str("configuration record has a wrong checksum"),
            Self::UnknownField(t) => write!(f, "configuration field {t} is not known"),
            Self::Repeated(t) => write!(f, "configuration field {t} stands twice"),
            Self::Value(t) => write!(f, "configuration field {t} has a malformed value"),
        }
    }
}

impl core::error::Error for Error {}

/// How the network is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Network {
    /// No network but the loopback.
    None = 0,
    /// Ask a DHCP server (and router advertisements for IPv6).
    #[default]
    Dhcp = 1,
    /// The addresses and gateways of the record.
    Static = 2,
}

/// An address with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface's address.
    pub address: IpAddr,
    /// Bits of the network's prefix.
    pub prefix: u8,
}

/// A port on which the program says that it listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its number; not 0.
    pub number: u16,
    /// UDP, or else TCP.
    pub udp: bool,
}

/// A file system to mount before the program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Type: `ext4`, `tmpfs`, `virtiofs`, ... or `auto`.
    pub kind: &'a str,
    /// Device (`/dev/vdb`), `LABEL=x`, `UUID=x` or a device's tag.
    pub source: &'a [u8],
    /// Where, in the guest; absolute.
    pub target: &'a [u8],
    /// Refuse writes.
    pub read_only: bool,
}

/// A checked record; all it gives borrows from the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Config<'a> {
    fields: &'a [u8],
    once: Once<'a>,
}

/// The fields that stand at most once.
#[derive(Clone, Copy, Debug, Default)]
struct Once<'a> {
    program: Option<&'a [u8]>,
    cwd: Option<&'a [u8]>,
    hostname: Option<&'a str>,
    network: Option<Network>,
    limit_nofile: Option<u64>,
    limit_stack: Option<u64>,
    memory_minimum: Option<u64>,
    log_level: Option<Level>,
    memory_usual: Option<u64>,
    cpus_usual: Option<u64>,
}

impl<'a> Config<'a> {
    /// Checks the whole record at the front of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let len = record_len(bytes)?;
        let fields = bytes.get(HEADER_LEN..len).ok_or(Error::Truncated)?;
        if u32_at(bytes, 16) != Some(crc32c::checksum(fields)) {
            return Err(Error::Checksum);
        }
        let mut once = Once::default();
        let mut cursor = Cursor::new(fields);
        while let Some((tag, value)) = next_field(&mut cursor)? {
            once.check(tag, value)?;
        }
        Ok(Self { fields, once })
    }

    /// Bytes of the record, header included.
    pub fn len(&self) -> usize {
        HEADER_LEN + self.fields.len()
    }

    /// Whether no field stands in the record.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn values(&self, tag: u16) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut cursor = Cursor::new(self.fields);
        core::iter::from_fn(move || next_field(&mut cursor).ok().flatten())
            .filter_map(move |(t, value)| (t == tag).then_some(value))
    }

    /// Path of the program: the one given, else the first argument.
    pub fn program(&self) -> Option<&'a [u8]> {
        self.once.program.or_else(|| self.args().next())
    }

    /// The arguments; the first is `argv[0]`.
    pub fn args(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.values(tag::ARG)
    }

    /// The environment as `NAME=value`.
    pub fn env(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.values(tag::ENV)
    }

    /// Working directory, `/` when not given.
    pub fn cwd(&self) -> &'a [u8] {
        self.once.cwd.unwrap_or(b"/")
    }

    /// Host name, when given.
    pub fn hostname(&self) -> Option<&'a str> {
        self.once.hostname
    }

    /// File systems to mount, in order.
    pub fn mounts(&self) -> impl Iterator<Item = Mount<'a>> + Clone + use<'a> {
        self.values(tag::MOUNT).filter_map(parse_mount)
    }

    /// How the network is set up; DHCP when not given.
    pub fn network(&self) -> Network {
        self.once.network.unwrap_or_default()
    }

    /// Static addresses of the first interface.
    pub fn addresses(&self) -> impl Iterator<Item = Address> + Clone + use<'a> {
        self.values(tag::ADDRESS).filter_map(parse_address)
    }

    /// Default routers.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> + Clone + use<'a> {
        self.values(tag::GATEWAY).filter_map(parse_ip)
    }

    /// DNS servers; they come before those that DHCP names.
    pub fn name_servers(&self) -> impl Iterator<Item = IpAddr> + Clone + use<'a> {
        self.values(tag::NAME_SERVER).filter_map(parse_ip)
    }

    /// `RLIMIT_NOFILE`, when given.
    pub fn limit_nofile(&self) -> Option<u64> {
        self.once.limit_nofile
    }

    /// `RLIMIT_STACK` in bytes, when given.
    pub fn limit_stack(&self) -> Option<u64> {
        self.once.limit_stack
    }

    /// What the user told the kernel itself: `name` or `name=value`.
    pub fn options(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.values(tag::OPTION).filter_map(|v| core::str::from_utf8(v).ok())
    }

    /// Value of the last option called `name`; empty for one without a value.
    pub fn option(&self, name: &str) -> Option<&'a str> {
        self.options()
            .filter_map(|o| {
                let (key, value) = o.split_once('=').unwrap_or((o, ""));
                (key == name).then_some(value)
            })
            .last()
    }

    /// Bytes of memory without which the image does not run.
    pub fn memory_minimum(&self) -> Option<u64> {
        self.once.memory_minimum
    }

    /// Bytes of memory that a machine gets when its user names none.
    pub fn memory_usual(&self) -> Option<u64> {
        self.once.memory_usual
    }

    /// Processors that a machine gets when its user names none.
    pub fn cpus_usual(&self) -> Option<u64> {
        self.once.cpus_usual
    }

    /// Where the program says that it listens. The kernel does not care.
    pub fn ports(&self) -> impl Iterator<Item = Port> + Clone + use<'a> {
        self.values(tag::PORT).filter_map(parse_port)
    }

    /// What to log.
    pub fn log_level(&self) -> Level {
        self.once.log_level.unwrap_or_default()
    }
}

/// Length of the record at the front of `bytes`, from its header alone.
pub fn record_len(bytes: &[u8]) -> Result<usize, Error> {
    match array::<8>(bytes, 0) {
        Some(MAGIC) => {}
        Some(_) => return Err(Error::Magic),
        None if MAGIC.starts_with(bytes) => return Err(Error::Truncated),
        None => return Err(Error::Magic),
    }
    let header = bytes.get(..HEADER_LEN).ok_or(Error::Truncated)?;
    let version = u16_at(header, 8).ok_or(Error::Truncated)?;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    let len = u32_at(header, 12).ok_or(Error::Truncated)? as usize;
    if len > MAX_LEN - HEADER_LEN {
        return Err(Error::TooLong);
    }
    Ok(HEADER_LEN + len)
}

fn next_field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<(u16, &'a [u8])>, Error> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let field = |c: &mut Cursor<'a>| {
        let tag = c.u16()?;
        let _reserved = c.u16()?;
        let len = c.u32()?;
        Some((tag, c.take(usize::try_from(len).ok()?)?))
    };
    field(cursor).map(Some).ok_or(Error::Truncated)
}

impl<'a> Once<'a> {
    /// Checks a field, and keeps it if it stands once.
    fn check(&mut self, tag: u16, value: &'a [u8]) -> Result<(), Error> {
        match tag {
            tag::PROGRAM => set(&mut self.program, tag, text(value, PATH_MAX)),
            tag::CWD => set(&mut self.cwd, tag, absolute(value)),
            tag::HOSTNAME => set(&mut self.hostname, tag, hostname(value)),
            tag::NETWORK => set(&mut self.network, tag, network(value)),
            tag::LIMIT_NOFILE => set(&mut self.limit_nofile, tag, number(value)),
            tag::LIMIT_STACK => set(&mut self.limit_stack, tag, number(value)),
            tag::MEMORY_MINIMUM => set(&mut self.memory_minimum, tag, number(value)),
            tag::MEMORY_USUAL => set(&mut self.memory_usual, tag, number(value)),
            tag::CPUS_USUAL => set(&mut self.cpus_usual, tag, number(value)),
            tag::PORT => valid(tag, parse_port(value).is_some()),
            tag::LOG_LEVEL => {
                let level = array::<1>(value, 0).filter(|_| value.len() == 1);
                set(&mut self.log_level, tag, level.and_then(|[n]| Level::from_number(n)))
            }
            tag::ARG => valid(tag, !value.contains(&0)),
            tag::ENV => {
                valid(tag, !value.contains(&0) && value.first().is_some_and(|&b| b != b'='))
            }
            tag::MOUNT => valid(tag, parse_mount(value).is_some()),
            tag::ADDRESS => valid(tag, parse_address(value).is_some()),
            tag::GATEWAY | tag::NAME_SERVER => valid(tag, parse_ip(value).is_some()),
            tag::OPTION => {
                valid(tag, text(value, PATH_MAX).is_some_and(|v| str::from_utf8(v).is_ok()))
            }
            _ if tag & OPTIONAL != 0 => Ok(()),
            _ => Err(Error::UnknownField(tag)),
        }
    }
}

fn set<T>(place: &mut Option<T>, tag: u16, value: Option<T>) -> Result<(), Error> {
    if place.is_some() {
        return Err(Error::Repeated(tag));
    }
    *place = Some(value.ok_or(Error::Value(tag))?);
    Ok(())
}

fn valid(tag: u16, good: bool) -> Result<(), Error> {
    if good { Ok(()) } else { Err(Error::Value(tag)) }
}

fn text(value: &[u8], limit: usize) -> Option<&[u8]> {
    (!value.is_empty() && value.len() < limit && !value.contains(&0)).then_some(value)
}

fn absolute(value: &[u8]) -> Option<&[u8]> {
    text(value, PATH_MAX).filter(|v| v.starts_with(b"/"))
}

fn hostname(value: &[u8]) -> Option<&str> {
    let name = str::from_utf8(text(value, HOST_NAME_MAX + 1)?).ok()?;
    (!name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')).then_some(name)
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

fn network(value: &[u8]) -> Option<Network> {
    match value {
        [0] => Some(Network::None),
        [1] => Some(Network::Dhcp),
        [2] => Some(Network::Static),
        _ => None,
    }
}

fn parse_ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => array::<4>(value, 0).map(|b| Ipv4Addr::from(b).into()),
        16 => array::<16>(value, 0).map(|b| Ipv6Addr::from(b).into()),
        _ => None,
    }
}

fn parse_address(value: &[u8]) -> Option<Address> {
    let (&prefix, rest) = value.split_first()?;
    let address = parse_ip(rest)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (prefix <= longest).then_some(Address { address, prefix })
}

fn parse_port(value: &[u8]) -> Option<Port> {
    let &[low, high, transport @ (0 | 1)] = value else { return None };
    let number = u16::from_le_bytes([low, high]);
    (number != 0).then_some(Port { number, udp: transport == 1 })
}

fn parse_mount(value: &[u8]) -> Option<Mount<'_>> {
    let mut cursor = Cursor::new(value);
    let flags = cursor.u16()?;
    let mut part = || {
        let len = cursor.u16()?;
        text(cursor.take(len.into())?, PATH_MAX)
    };
    let (kind, source, target) = (part()?, part()?, part()?);
    let known = flags & !MOUNT_READ_ONLY == 0 && cursor.is_empty();
    known.then_some(Mount {
        kind: str::from_utf8(kind).ok()?,
        source,
        target: absolute(target)?,
        read_only: flags & MOUNT_READ_ONLY != 0,
    })
}
