// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sequence numbers (RFC 9293, 3.4): a circle, compared by distance.

use core::ops::{Add, AddAssign, Sub};

/// A sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    /// Signed distance from `other` to here.
    #[inline]
    pub(crate) fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// Bytes from `other` to here, 0 when `other` is later.
    #[inline]
    pub(crate) fn distance(self, other: Self) -> usize {
        self.since(other).max(0) as usize
    }

    #[inline]
    pub(crate) fn lt(self, other: Self) -> bool {
        self.since(other) < 0
    }

    #[inline]
    pub(crate) fn le(self, other: Self) -> bool {
        self.since(other) <= 0
    }

    pub(crate) fn max(self, other: Self) -> Self {
        if self.lt(other) { other } else { self }
    }

    pub(crate) fn min(self, other: Self) -> Self {
        if self.lt(other) { self } else { other }
    }
}

impl Add<usize> for Seq {
    type Output = Self;
    #[inline]
    fn add(self, n: usize) -> Self {
        Self(self.0.wrapping_add(n as u32))
    }
}

impl AddAssign<usize> for Seq {
    fn add_assign(&mut self, n: usize) {
        *self = *self + n;
    }
}

impl Sub<usize> for Seq {
    type Output = Self;
    fn sub(self, n: usize) -> Self {
        Self(self.0.wrapping_sub(n as u32))
    }
}
