// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The descriptor inside the kernel's ELF that says where the configuration
//! record and the root image lie in physical memory.
//!
//! The kernel defines
//!
//! ```ignore
//! #[used]
//! #[unsafe(link_section = ".bhojpur.payload")]
//! static PAYLOAD: Payload = Payload::empty();
//! ```
//!
//! and the host patches the file. The numbers are atomics so that the
//! compiler may not assume that they are the zeroes it sees.

use crate::bytes::{array, u32_at, u64_at};
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Name of the section that holds the descriptor.
pub const SECTION: &str = ".bhojpur.payload";
/// First bytes of the descriptor. The kernel never compares with it, so that
/// it stands in the file once.
pub const MAGIC: [u8; 16] = *b"BHOJPUR-PAYLOAD\0";
/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of the descriptor.
pub const SIZE: usize = 64;
/// Boundary on which the descriptor lies.
pub const ALIGN: usize = 16;

/// The descriptor as it lies in the kernel.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Payload {
    magic: [u8; 16],
    version: u32,
    reserved: u32,
    config_start: AtomicU64,
    config_len: AtomicU64,
    root_start: AtomicU64,
    root_len: AtomicU64,
    reserved_tail: u64,
}

const _: () = assert!(size_of::<Payload>() == SIZE && align_of::<Payload>() == ALIGN);

impl Payload {
    /// What a bare kernel carries: nothing yet.
    pub const fn empty() -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            reserved: 0,
            config_start: AtomicU64::new(0),
            config_len: AtomicU64::new(0),
            root_start: AtomicU64::new(0),
            root_len: AtomicU64::new(0),
            reserved_tail: 0,
        }
    }

    /// What the host put in; `None` for a bare kernel.
    pub fn descriptor(&self) -> Option<Descriptor> {
        Descriptor::from_parts(
            self.config_start.load(Relaxed),
            self.config_len.load(Relaxed),
            self.root_start.load(Relaxed),
            self.root_len.load(Relaxed),
        )
    }
}

/// Physical addresses of the two parts of the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The configuration record.
    pub config: Range<u64>,
    /// The EROFS root image, page aligned; empty when there is none.
    pub root: Range<u64>,
}

/// What is wrong with a descriptor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not a descriptor, or cut short.
    Malformed,
    /// The kernel speaks another version of the layout.
    Version(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed payload descriptor"),
            Self::Version(v) => write!(f, "payload descriptor version {v}, expected {VERSION}"),
        }
    }
}

impl core::error::Error for Error {}

impl Descriptor {
    fn from_parts(config: u64, config_len: u64, root: u64, root_len: u64) -> Option<Self> {
        if config_len == 0 {
            return None;
        }
        Some(Self {
            config: config..config.checked_add(config_len)?,
            root: root..root.checked_add(root_len)?,
        })
    }

    /// Reads the descriptor that starts at the front of `bytes`; `None` inside
    /// when it was never filled in.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Error> {
        if array::<16>(bytes, 0) != Some(MAGIC) {
            return Err(Error::Malformed);
        }
        let version = u32_at(bytes, 16).ok_or(Error::Malformed)?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let field = |i: usize| u64_at(bytes, 24 + 8 * i).ok_or(Error::Malformed);
        let (config, config_len, root, root_len, _) =
            (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
        if config_len == 0 {
            return Ok(None);
        }
        Self::from_parts(config, config_len, root, root_len).map(Some).ok_or(Error::Malformed)
    }

    /// The bytes to put over an empty descriptor.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        out[..16].copy_from_slice(&MAGIC);
        out[16..20].copy_from_slice(&VERSION.to_le_bytes());
        let len = |r: &Range<u64>| r.end.saturating_sub(r.start);
        let fields = [self.config.start, len(&self.config), self.root.start, len(&self.root)];
        for (i, field) in fields.iter().enumerate() {
            out[24 + 8 * i..32 + 8 * i].copy_from_slice(&field.to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let d = Descriptor { config: 0x40_0000..0x40_0123, root: 0x40_1000..0x80_0000 };
        let bytes = d.encode();
        assert_eq!(Descriptor::parse(&bytes), Ok(Some(d)));
        for len in 0..SIZE {
            assert_eq!(Descriptor::parse(&bytes[..len]), Err(Error::Malformed));
        }
        let mut other = bytes;
        other[16] = 9;
        assert_eq!(Descriptor::parse(&other), Err(Error::Version(9)));
        let mut wraps = bytes;
        wraps[24..32].fill(0xff);
        assert_eq!(Descriptor::parse(&wraps), Err(Error::Malformed));
    }

    #[test]
    fn empty_payload_has_no_descriptor() {
        assert_eq!(Payload::empty().descriptor(), None);
        let mut empty = [0; SIZE];
        empty[..16].copy_from_slice(&MAGIC);
        empty[16] = VERSION as u8;
        assert_eq!(Descriptor::parse(&empty), Ok(None));
    }
}
