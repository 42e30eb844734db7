// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The alternate signal stack: sigaltstack(2).

use crate::bytes::{put_u32, put_u64, u32_at, u64_at};
use kio::{Errno, Result};

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;

/// The alternate stack of a thread; empty when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalStack {
    /// Lowest address.
    pub base: u64,
    /// Size; 0 when there is none.
    pub size: u64,
    flags: u32,
}

impl Default for SignalStack {
    fn default() -> Self {
        Self::DISABLED
    }
}

impl SignalStack {
    /// No alternate stack.
    pub const DISABLED: Self = Self { base: 0, size: 0, flags: SS_DISABLE };
    /// Size of `stack_t`.
    pub const SIZE: usize = 24;

    /// True when the stack pointer is on it. An auto-disarmed stack never is.
    pub fn contains(&self, sp: u64) -> bool {
        self.flags & SS_AUTODISARM == 0 && self.spans(sp)
    }

    /// True when `sp` lies inside, whatever the flags.
    pub(crate) fn spans(&self, sp: u64) -> bool {
        sp > self.base && sp - self.base <= self.size
    }

    /// The `stack_t` that sigaltstack(2) returns to a thread with this `sp`.
    pub fn encode(&self, sp: u64) -> [u8; Self::SIZE] {
        let state = match self.size {
            0 => SS_DISABLE,
            _ if self.contains(sp) => SS_ONSTACK,
            _ => 0,
        };
        self.encode_with(state | self.flags & SS_AUTODISARM)
    }

    /// The `stack_t` in a signal frame, which sigreturn takes back.
    pub(crate) fn encode_for_frame(&self) -> [u8; Self::SIZE] {
        self.encode_with(self.flags)
    }

    fn encode_with(&self, flags: u32) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put_u64(&mut bytes, 0, self.base);
        put_u32(&mut bytes, 8, flags);
        put_u64(&mut bytes, 16, self.size);
        bytes
    }

    /// Sets it from a `stack_t`: `EPERM` while it is in use, `EINVAL` for bad
    /// flags, `ENOMEM` when it is smaller than `minimum` (AT_MINSIGSTKSZ).
    pub fn set(&mut self, bytes: &[u8; Self::SIZE], sp: u64, minimum: u64) -> Result<()> {
        if self.contains(sp) {
            return Err(Errno::EPERM);
        }
        let flags = u32_at(bytes, 8);
        let (base, size) = (u64_at(bytes, 0), u64_at(bytes, 16));
        match flags & !SS_AUTODISARM {
            SS_DISABLE => *self = Self { base: 0, size: 0, flags },
            0 | SS_ONSTACK if size < minimum => return Err(Errno::ENOMEM),
            0 | SS_ONSTACK => *self = Self { base, size, flags },
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// What the thread keeps while a handler runs: nothing with SS_AUTODISARM.
    pub fn after_delivery(self) -> Self {
        if self.flags & SS_AUTODISARM == 0 { self } else { Self::DISABLED }
    }
}
