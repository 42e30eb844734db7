// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Image formats: EROFS, the bootable ELF, ISO and disk images.
#![forbid(unsafe_code)]

pub mod erofs;
pub mod fuzz;
