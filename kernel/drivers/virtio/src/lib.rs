// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio transports, rings and devices, after the OASIS "Virtual I/O Device
//! (VIRTIO) Version 1.2" specification; section numbers in this crate are its.
//!
//! A device is driven in layers: a [`Transport`] (MMIO or PCI) carries
//! registers, notifications and interrupts; a [`Queue`] is one split
//! virtqueue; the drivers on top copy packets or point at frames. Nothing that
//! a device writes is believed: indices and lengths are checked against what
//! the driver itself remembers, and a device that breaks the rules is given up.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod block;
mod cmdline;
mod mmio;
mod net;
mod pci;
mod probe;
mod queue;
mod rng;
mod spec;
#[cfg(test)]
mod testing;
mod transport;

pub use block::VirtioBlock;
pub use cmdline::{MmioSlot, mmio_slots};
pub use mmio::MmioTransport;
pub use net::VirtioNet;
pub use pci::PciTransport;
pub use probe::{Device, probe_mmio, probe_pci, start};
pub use queue::{Broken, Queue, Used};
pub use rng::VirtioRng;
pub use spec::DeviceType;
pub use transport::{Error, Interrupts, QueueAddresses, Transport};
