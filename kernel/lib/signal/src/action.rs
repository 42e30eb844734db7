// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a process wants done about each signal: sigaction(2).

use crate::bytes::{put_u64, u64_at};
use crate::{DefaultAction, Signal, SignalSet};
use bitflags::bitflags;
use kio::{Errno, Result};

bitflags! {
    /// The `SA_*` flags with the kernel's values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ActionFlags: u64 {
        /// No SIGCHLD for stopped children.
        const NOCLDSTOP = 0x1;
        /// Children leave no zombies.
        const NOCLDWAIT = 0x2;
        /// The handler takes three arguments (on x86-64 it always gets them).
        const SIGINFO = 0x4;
        /// `sa_restorer` is set.
        const RESTORER = 0x0400_0000;
        /// Run on the alternate stack.
        const ONSTACK = 0x0800_0000;
        /// Restart interrupted system calls.
        const RESTART = 0x1000_0000;
        /// Do not block the signal while its handler runs.
        const NODEFER = 0x4000_0000;
        /// Back to the default when the handler starts.
        const RESETHAND = 0x8000_0000;
    }
}

/// `sa_handler`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Handler {
    /// SIG_DFL.
    #[default]
    Default,
    /// SIG_IGN.
    Ignore,
    /// A function of the program.
    Function(u64),
}

/// One disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SigAction {
    /// What to do.
    pub handler: Handler,
    /// How.
    pub flags: ActionFlags,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SignalSet,
}

impl SigAction {
    /// Size of the kernel's `struct sigaction`.
    pub const SIZE: usize = 32;

    /// From the kernel's `struct sigaction`; unknown flags are dropped, as
    /// Linux does since 5.11.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        let handler = match u64_at(bytes, 0) {
            0 => Handler::Default,
            1 => Handler::Ignore,
            address => Handler::Function(address),
        };
        Self {
            handler,
            flags: ActionFlags::from_bits_truncate(u64_at(bytes, 8)),
            restorer: u64_at(bytes, 16),
            mask: SignalSet::from_bits(u64_at(bytes, 24)),
        }
    }

    /// As the kernel's `struct sigaction`.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let handler = match self.handler {
            Handler::Default => 0,
            Handler::Ignore => 1,
            Handler::Function(address) => address,
        };
        put_u64(&mut bytes, 0, handler);
        put_u64(&mut bytes, 8, self.flags.bits());
        put_u64(&mut bytes, 16, self.restorer);
        put_u64(&mut bytes, 24, self.mask.bits());
        bytes
    }
}

/// The dispositions of a process.
#[derive(Clone, Debug)]
pub struct Dispositions([SigAction; Signal::MAX as usize]);

impl Default for Dispositions {
    fn default() -> Self {
        Self([SigAction::default(); Signal::MAX as usize])
    }
}

impl Dispositions {
    /// The disposition of `signal`.
    pub fn action(&self, signal: Signal) -> SigAction {
        self.0[usize::from(signal.number()) - 1]
    }

    /// Sets it and returns the old one; `EINVAL` for SIGKILL and SIGSTOP. When
    /// [`ignores`](Self::ignores) is true afterwards, the caller discards the
    /// pending ones, blocked or not: POSIX 2.4.3.
    pub fn set(&mut self, signal: Signal, mut action: SigAction) -> Result<SigAction> {
        if SignalSet::UNBLOCKABLE.contains(signal) {
            return Err(Errno::EINVAL);
        }
        action.mask = action.mask.blockable();
        Ok(core::mem::replace(self.action_mut(signal), action))
    }

    pub(crate) fn action_mut(&mut self, signal: Signal) -> &mut SigAction {
        &mut self.0[usize::from(signal.number()) - 1]
    }

    /// True when `signal` would have no effect: ignored, or ignored by default.
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.action(signal).handler {
            Handler::Ignore => true,
            Handler::Default => signal.default_action() == DefaultAction::Ignore,
            Handler::Function(_) => false,
        }
    }

    /// execve(2): handlers go, ignored signals stay ignored.
    pub fn reset_handlers(&mut self) {
        for action in &mut self.0 {
            let ignored = action.handler == Handler::Ignore;
            *action = SigAction {
                handler: if ignored { Handler::Ignore } else { Handler::Default },
                ..SigAction::default()
            };
        }
    }
}
