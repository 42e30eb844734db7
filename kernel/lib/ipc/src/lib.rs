// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pipes, eventfd, timerfd, signalfd, epoll and unix sockets.
//!
//! No object blocks (see `kio`). After an operation returned `Err`, what it
//! took from its `Source` or put into its `Sink` does not count: the caller
//! tries again from the position that the last `Ok` count led to. This keeps
//! small writes and whole messages atomic although user pages may be missing.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod copy;
mod epoll;
mod eventfd;
mod hash;
mod pipe;
mod pollset;
mod signalfd;
mod timerfd;
mod unix;

pub use epoll::{Epoll, EpollFlags, Target, Watchers};
pub use eventfd::EventFd;
pub use pipe::{Access, Fifo, FifoOpening, Lent, PIPE_BUF, PipeEnd, PipeSink, pipe};
pub use pollset::PollSet;
pub use signalfd::{PendingSignals, SignalFd};
pub use timerfd::{TimerClock, TimerFd, TimerSetting};
pub use unix::{Credentials, UnixKind, UnixNames, UnixSocket};
