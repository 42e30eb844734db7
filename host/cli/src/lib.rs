// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command lines `kernel` and `builder`: arguments, commands, and what the user is told.
//!
//! Parsing never acts: `arguments` turns words into values, `commands` turns values into
//! results, and every error becomes a [`Failure`] with what to do about it.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod commands;
pub mod failure;
pub mod image;
mod interrupt;
pub mod printer;
pub mod project;

pub use failure::Failure;
