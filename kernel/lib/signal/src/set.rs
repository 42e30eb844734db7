// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sets of signals, as the kernel's `sigset_t`: signal n is bit n - 1.

use crate::Signal;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// All signals.
    pub const ALL: Self = Self(u64::MAX);
    /// Raised by what the thread itself does; delivered before others.
    pub const SYNCHRONOUS: Self = Self::of(&[
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGILL,
        Signal::SIGTRAP,
        Signal::SIGFPE,
        Signal::SIGSYS,
    ]);
    /// Cannot be blocked, caught or ignored.
    pub const UNBLOCKABLE: Self = Self::of(&[Signal::SIGKILL, Signal::SIGSTOP]);
    /// Stop by default; SIGCONT clears them.
    pub const STOPS: Self =
        Self::of(&[Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU]);

    /// The set of some signals.
    pub const fn of(signals: &[Signal]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < signals.len() {
            bits |= 1 << (signals[at].number() - 1);
            at += 1;
        }
        Self(bits)
    }

    /// From the bits of a `sigset_t`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of a `sigset_t`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A mask that may block: without SIGKILL and SIGSTOP.
    pub const fn blockable(self) -> Self {
        Self(self.0 & !Self::UNBLOCKABLE.0)
    }

    /// True when nothing is inside.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when `signal` is inside.
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & 1 << (signal.number() - 1) != 0
    }

    /// Adds a signal.
    pub const fn insert(&mut self, signal: Signal) {
        self.0 |= 1 << (signal.number() - 1);
    }

    /// Takes a signal out.
    pub const fn remove(&mut self, signal: Signal) {
        self.0 &= !(1 << (signal.number() - 1));
    }

    /// The one to deliver next: synchronous ones first, then the lowest.
    pub const fn first(self) -> Option<Signal> {
        let urgent = self.0 & Self::SYNCHRONOUS.0;
        let bits = if urgent != 0 { urgent } else { self.0 };
        if bits == 0 { None } else { Signal::new(bits.trailing_zeros() + 1) }
    }
}

impl BitOr for SignalSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for SignalSet {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for SignalSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for SignalSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}
