// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every kernel object that a program reaches through a descriptor
//! speaks: errno, readiness, wait queues, data in and out, and the file trait.
//!
//! The rule that keeps the kernel simple: **objects never block.** An operation
//! that cannot go on returns [`Errno::EAGAIN`]; the system call layer alone
//! waits on the object's [`WaitQueue`] and tries again. So pipes, sockets,
//! timers and terminals need no scheduler and are tested on the host.
//!
//! The second rule: **objects may copy to and from user memory under their
//! locks**, because such a copy never faults in pages: a [`Sink`] or [`Source`]
//! that meets a missing page stops with [`Errno::EFAULT`] and the system call
//! layer, outside of all locks, brings the page in and calls again. So an
//! operation must be restartable: what it did not copy, it did not consume.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod buffer;
mod errno;
mod events;
mod file;
mod socket;
mod time;
mod wait;

pub use buffer::{Sink, SliceSink, SliceSource, Source, VecSink};
pub use errno::Errno;
pub use events::Events;
pub use file::{DirEntry, File, FileKind, Stat, UserWords};
pub use socket::{Control, MessageFlags, Received, Shutdown, Socket, SocketAddress};
pub use time::{Clock, Instant, TimerId, Timers};
pub use wait::{Registration, WaitQueue, Wake};

/// Result of an operation at the system call edge.
pub type Result<T> = core::result::Result<T, Errno>;
