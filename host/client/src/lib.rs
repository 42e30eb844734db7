// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Talks to the daemon, over a unix socket or TLS.
#![forbid(unsafe_code)]
