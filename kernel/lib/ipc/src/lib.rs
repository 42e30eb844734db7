// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pipes, eventfd, timerfd, signalfd, epoll and unix sockets.
#![no_std]
