// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Readiness bits, with the numbers of poll(2) and epoll(7).

use bitflags::bitflags;

bitflags! {
    /// What an object is ready for; the values are Linux's `POLL*` and `EPOLL*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// There is data to read, or an end of file.
        const IN = 0x001;
        /// Exceptional condition.
        const PRI = 0x002;
        /// A write would not block.
        const OUT = 0x004;
        /// Error condition; always reported.
        const ERR = 0x008;
        /// Hang up; always reported.
        const HUP = 0x010;
        /// Invalid descriptor (poll only).
        const NVAL = 0x020;
        /// As IN, for normal data.
        const RDNORM = 0x040;
        /// Priority band data.
        const RDBAND = 0x080;
        /// As OUT.
        const WRNORM = 0x100;
        /// Priority data may be written.
        const WRBAND = 0x200;
        /// The peer closed its writing half.
        const RDHUP = 0x2000;
    }
}

impl Events {
    /// Readable, in both spellings.
    pub const READABLE: Self = Self::IN.union(Self::RDNORM);
    /// Writable, in both spellings.
    pub const WRITABLE: Self = Self::OUT.union(Self::WRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
}
