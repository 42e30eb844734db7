// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What all transports do, and the steps that bring a device up (3.1).

use crate::DeviceType;
use crate::spec::{feature, status};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kdevice::InterruptHandler;
use kmm::OutOfFrames;

/// Why a device cannot be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no virtio device there, or one of a version we do not know.
    NotVirtio,
    /// Not the device that this driver is for.
    WrongType,
    /// It refuses the features we can do, or lacks one we need.
    Features,
    /// It lacks a queue, or its queue is already in use.
    Queue,
    /// It did not come out of reset, or its registers are inconsistent.
    Device,
    /// No interrupt can be routed.
    Interrupt,
    /// No memory for queues and buffers.
    NoMemory,
}

impl From<OutOfFrames> for Error {
    fn from(_: OutOfFrames) -> Self {
        Self::NoMemory
    }
}

/// Where the parts of a queue lie in physical memory (2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAddresses {
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring: driver to device.
    pub available: u64,
    /// Used ring: device to driver.
    pub used: u64,
}

/// Who is called when a device interrupts.
pub struct Interrupts {
    /// One handler for each queue, in the order of their indices.
    pub queues: Vec<Arc<dyn InterruptHandler>>,
    /// For changes of the configuration.
    pub config: Option<Arc<dyn InterruptHandler>>,
}

/// A way to talk to a device. The calls come in this order: `reset`,
/// features, `connect`, `set_queue` for each queue, `notify` after DRIVER_OK.
pub trait Transport: Send + Sync {
    /// What the device is.
    fn device_type(&self) -> DeviceType;
    /// True for the interface from before version 1.0.
    fn is_legacy(&self) -> bool;
    /// What the device offers.
    fn device_features(&self) -> u64;
    /// What we accept of it.
    fn set_driver_features(&self, features: u64);
    /// The device status.
    fn status(&self) -> u8;
    /// Sets the device status; 0 resets.
    fn set_status(&self, status: u8);
    /// Largest size of a queue; 0 when there is no such queue.
    fn queue_max(&self, index: u16) -> u16;
    /// Gives a queue its memory and enables it.
    fn set_queue(&self, index: u16, size: u16, addresses: QueueAddresses) -> Result<(), Error>;
    /// Tells the device that a queue has new buffers.
    fn notify(&self, index: u16);
    /// Routes the device's interrupts. Called once.
    fn connect(&self, interrupts: Interrupts) -> Result<(), Error>;
    /// Changes when the configuration changed between two reads (2.5).
    fn config_generation(&self) -> u32;
    /// Reads a byte of the device's configuration; 0 beyond its end.
    fn config8(&self, offset: usize) -> u8;
    /// Reads two bytes of it.
    fn config16(&self, offset: usize) -> u16;
    /// Reads four bytes of it.
    fn config32(&self, offset: usize) -> u32;
}

/// Reads of the configuration that are tried before a device that changes it
/// all the time is read as it is.
const CONFIG_ATTEMPTS: usize = 16;
/// Status reads that a reset may take; each is an exit to the host.
const RESET_ATTEMPTS: usize = 100_000;

impl dyn Transport + '_ {
    /// Reads something that takes more than one access, consistently (2.5.3).
    pub(crate) fn consistent<T>(&self, read: impl Fn(&Self) -> T) -> T {
        for _ in 1..CONFIG_ATTEMPTS {
            let before = self.config_generation();
            let value = read(self);
            if self.config_generation() == before {
                return value;
            }
        }
        read(self)
    }

    /// Resets the device and waits until it says that it is reset (2.1.2).
    pub(crate) fn reset(&self) -> Result<(), Error> {
        self.set_status(0);
        for _ in 0..RESET_ATTEMPTS {
            if self.status() == 0 {
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(Error::Device)
    }

    /// Steps 1 to 6 of 3.1.1: up to the agreement on features. `choose` gets
    /// what is offered and returns what is wanted of it.
    pub(crate) fn negotiate(&self, choose: impl FnOnce(u64) -> u64) -> Result<u64, Error> {
        self.reset()?;
        self.set_status(status::ACKNOWLEDGE);
        self.set_status(status::ACKNOWLEDGE | status::DRIVER);
        let offered = self.device_features();
        if !self.is_legacy() && offered & feature::VERSION_1 == 0 {
            return Err(self.give_up(Error::Features));
        }
        let version = match self.is_legacy() {
            true => feature::ANY_LAYOUT,
            false => feature::VERSION_1 | feature::ACCESS_PLATFORM,
        };
        let general = version | feature::EVENT_IDX | feature::INDIRECT_DESC;
        let accepted = offered & (choose(offered) | general);
        self.set_driver_features(accepted);
        if !self.is_legacy() {
            self.set_status(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK);
            if self.status() & status::FEATURES_OK == 0 {
                return Err(self.give_up(Error::Features));
            }
        }
        Ok(accepted)
    }

    /// Step 8 of 3.1.1: the device may use its queues from now on.
    pub(crate) fn go(&self) {
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK;
        self.set_status(if self.is_legacy() { ready } else { ready | status::FEATURES_OK });
    }

    /// Tells the device that we give it up.
    pub(crate) fn give_up(&self, error: Error) -> Error {
        self.set_status(self.status() | status::FAILED);
        error
    }

    /// True when the device says that it is broken (2.1.1).
    pub(crate) fn needs_reset(&self) -> bool {
        self.status() & status::NEEDS_RESET != 0
    }
}
