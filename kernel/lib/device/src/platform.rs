// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the architecture crate does for drivers.

use crate::{InterruptHandler, InterruptLine, MsiMessage};
use alloc::sync::Arc;
use kmm::PhysAddr;
use ksync::Once;

/// The platform does not do that: the range is not a device's, no vector is
/// left, there is no such line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The machine as drivers see it. Every method may be called on any CPU at any
/// time after [`set_platform`], from interrupt handlers too.
///
/// # Safety
/// [`map_mmio`](Self::map_mmio) must give a pointer that is valid for volatile
/// access over the whole length for ever, and must refuse ranges that overlap
/// RAM that `kmm` manages, the kernel image, or page tables.
/// [`read_physical`](Self::read_physical) must not write, and must not touch
/// memory whose reading has side effects.
#[expect(unsafe_code, reason = "memory safety rests on what an implementation gives out")]
pub unsafe trait Platform: Sync {
    /// Maps device memory, uncached. `address` need not be aligned to a page;
    /// the pointer is for exactly that byte. Mapping a range again may give
    /// the same pointer again.
    fn map_mmio(&self, address: PhysAddr, len: usize) -> Result<*mut u8, Refused>;

    /// Reads a byte from an I/O port.
    fn port_read8(&self, port: u16) -> u8;
    /// Reads two bytes from an I/O port.
    fn port_read16(&self, port: u16) -> u16;
    /// Reads four bytes from an I/O port.
    fn port_read32(&self, port: u16) -> u32;
    /// Writes a byte to an I/O port.
    fn port_write8(&self, port: u16, value: u8);
    /// Writes two bytes to an I/O port.
    fn port_write16(&self, port: u16, value: u16);
    /// Writes four bytes to an I/O port.
    fn port_write32(&self, port: u16, value: u32);

    /// Gives a vector of `cpu` (its number in the order of start-up, 0 boots)
    /// to `handler`, and the message that raises it. An edge: the platform
    /// acknowledges it before or after the handler, as it likes.
    fn allocate_msi(
        &self,
        handler: Arc<dyn InterruptHandler>,
        cpu: usize,
    ) -> Result<MsiMessage, Refused>;

    /// Routes a line of an interrupt controller to `handler` and unmasks it.
    /// Lines may be shared: every handler of a line is called. A level line is
    /// acknowledged after its handlers ran.
    fn connect_line(
        &self,
        line: InterruptLine,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<(), Refused>;

    /// Copies physical memory out, for firmware tables. Refuses what is not
    /// RAM, ROM or firmware memory, and what wraps around.
    fn read_physical(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<(), Refused>;

    /// How many CPUs take interrupts: the bound of `cpu` in
    /// [`allocate_msi`](Self::allocate_msi).
    fn cpu_count(&self) -> usize;
}

static PLATFORM: Once<&'static dyn Platform> = Once::new();

/// Installs the platform; the first call wins, a later one is refused.
pub fn set_platform(platform: &'static dyn Platform) -> Result<(), Refused> {
    PLATFORM.set(platform).map_err(|_| Refused)
}

/// The platform.
///
/// # Panics
/// Before [`set_platform`]: the kernel's start-up order is wrong then.
#[inline]
pub fn platform() -> &'static dyn Platform {
    *PLATFORM.get().expect("set_platform runs before the first driver")
}
