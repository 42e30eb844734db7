// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers of the specification.

/// What a device is (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    /// Network card (5.1).
    Network,
    /// Block device (5.2).
    Block,
    /// Console (5.3).
    Console,
    /// Entropy source (5.4).
    Entropy,
    /// Anything else, by its number.
    Other(u32),
}

impl DeviceType {
    /// From the device ID; `None` for 0, an empty slot (4.2.2).
    pub const fn from_id(id: u32) -> Option<Self> {
        Some(match id {
            0 => return None,
            1 => Self::Network,
            2 => Self::Block,
            3 => Self::Console,
            4 => Self::Entropy,
            other => Self::Other(other),
        })
    }
}

/// Device status bits (2.1).
pub(crate) mod status {
    pub(crate) const ACKNOWLEDGE: u8 = 1;
    pub(crate) const DRIVER: u8 = 2;
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const NEEDS_RESET: u8 = 64;
    pub(crate) const FAILED: u8 = 128;
}

/// Feature bits that are not of one device type (section 6).
pub(crate) mod feature {
    /// Legacy: buffers may be cut into descriptors anywhere (2.7.4.3).
    pub(crate) const ANY_LAYOUT: u64 = 1 << 27;
    pub(crate) const INDIRECT_DESC: u64 = 1 << 28;
    pub(crate) const EVENT_IDX: u64 = 1 << 29;
    pub(crate) const VERSION_1: u64 = 1 << 32;
    /// The device obeys the platform's memory ordering and access rules; we
    /// have no IOMMU, so accepting it changes nothing.
    pub(crate) const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// Bits of the interrupt status (4.1.4.5, 4.2.2).
pub(crate) mod isr {
    pub(crate) const QUEUE: u8 = 1;
    pub(crate) const CONFIG: u8 = 2;
}
