// SPDX-License-Identifier: Apache-2.0 OR MIT
//! DMA, MMIO and interrupt types that make drivers safe Rust.
//!
//! The architecture crate implements [`Platform`] and installs it once with
//! [`set_platform`]; drivers then see only [`DmaBuffer`], [`Mmio`], [`Port`]
//! and the interrupt functions. No instruction of any architecture stands
//! here: what `core::sync::atomic` cannot say goes through the platform.
//!
//! What these types cannot rule out is a driver that programs a device with
//! the address of memory that is not its own. So a driver hands out only the
//! addresses of buffers it holds, and resets the device before it lets go of
//! them.
#![no_std]

extern crate alloc;
#[cfg(any(test, feature = "hosted"))]
extern crate std;

mod block;
mod dma;
#[cfg(any(test, feature = "hosted"))]
pub mod hosted;
mod interrupt;
mod mmio;
mod platform;
mod port;
mod word;

pub use block::{BlockDevice, BlockLimits, BlockOperation, BlockRequest, BlockSegment};
pub use dma::DmaBuffer;
pub use interrupt::{InterruptHandler, InterruptLine, MsiMessage, Polarity, Trigger, allocate_msi};
pub use mmio::{Mmio, Registers};
pub use platform::{Platform, Refused, platform, set_platform};
pub use port::{PhysicalMemory, Port, PortIo, SystemMemory, SystemPorts};
pub use word::Word;

/// Where random bytes come from: a device that makes them.
pub trait EntropySource: Send + Sync {
    /// Fills the front of `buffer` with what is ready, and says how much that
    /// is: zero when nothing is ready now. The bytes are to be mixed with other
    /// sources, because the device may lie.
    fn take(&self, buffer: &mut [u8]) -> usize;
}
