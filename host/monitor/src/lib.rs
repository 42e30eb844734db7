// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs an image in a virtual machine: machine description, QEMU, control channel, exit status.
//!
//! [`Machine`] says what to run and is turned into a command line by [`Machine::command_line`],
//! a pure function. [`run`] starts it, copies the program's output, decodes the control
//! channel, and answers with the [`Outcome`].
#![forbid(unsafe_code)]

mod accel;
mod control;
pub mod leash;
mod machine;
pub mod network;
mod port;
mod qemu;
mod session;
mod size;
mod terminal;
pub mod volume;
pub mod wiring;

pub use accel::{Accelerator, Choice as AcceleratorChoice, ParseError as AcceleratorParseError};
pub use control::{Event, Listener, Reason};
pub use machine::{Boot, Machine};
pub use port::{Error as PortError, Forward, Protocol, check_all as check_ports, check_gdb};
pub use qemu::{Error as QemuError, Qemu};
pub use session::{Error as SessionError, Input, Options, Outcome, run};
pub use size::{ParseError as SizeParseError, Size};
pub use terminal::terminal_size;
pub use volume::{Error as VolumeError, Volume};
pub use wiring::Wiring;
