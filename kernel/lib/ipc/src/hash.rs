// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A hasher for keys that the kernel itself numbers.

use core::hash::{BuildHasherDefault, Hasher};

/// Multiplies and rotates; only for keys that no peer can choose freely.
#[derive(Clone, Copy, Default)]
pub(crate) struct NumberHasher(u64);

pub(crate) type NumberHash = BuildHasherDefault<NumberHasher>;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        // The table uses the top bits as tags and the low bits as position.
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(26) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_i32(&mut self, value: i32) {
        self.write_u64(u64::from(value.cast_unsigned()));
    }
}
