// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The suite that every provider passes.
#![forbid(unsafe_code)]
