// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon: state, REST interface, builds, supervision.
#![forbid(unsafe_code)]
