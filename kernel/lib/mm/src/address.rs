// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Physical addresses as a type of their own.

use core::fmt;
use core::ops::{Add, Sub};

/// Bytes in a frame.
pub const FRAME_SIZE: usize = 4096;

/// A physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(u64);

impl PhysAddr {
    /// From a number of bytes.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// From a frame number.
    pub const fn from_frame_number(number: usize) -> Self {
        Self((number * FRAME_SIZE) as u64)
    }

    /// The address in bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of the frame that holds the address.
    pub const fn frame_number(self) -> usize {
        (self.0 / FRAME_SIZE as u64) as usize
    }
}

impl Add<u64> for PhysAddr {
    type Output = Self;
    fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl Sub<PhysAddr> for PhysAddr {
    type Output = u64;
    fn sub(self, other: PhysAddr) -> u64 {
        self.0 - other.0
    }
}

impl fmt::Debug for PhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}p", self.0)
    }
}
