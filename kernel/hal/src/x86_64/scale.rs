// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How the counter of a CPU becomes time.

/// Bits behind the binary point of a multiplier.
pub const SHIFT: u32 = 32;

/// How the counter becomes nanoseconds: `base_ns + ((tsc - base_tsc) * mult >> 32)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scale {
    /// Counter value at the base.
    pub base_tsc: u64,
    /// Nanoseconds since boot at the base.
    pub base_ns: u64,
    /// Nanoseconds for each tick, times 2^32.
    pub mult: u64,
}

impl Scale {
    /// Nanoseconds since boot at a counter value.
    #[inline]
    pub fn nanos(&self, tsc: u64) -> u64 {
        let ticks = tsc.saturating_sub(self.base_tsc);
        self.base_ns + ((u128::from(ticks) * u128::from(self.mult)) >> SHIFT) as u64
    }
}
