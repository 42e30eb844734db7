// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl`: images, instances and volumes on all providers.
#![forbid(unsafe_code)]

fn main() {}
