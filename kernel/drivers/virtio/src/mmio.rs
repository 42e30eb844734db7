// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The MMIO transport, version 2 and the legacy version 1 (4.2).

use crate::spec::{feature, isr, status};
use crate::{DeviceType, Error, Interrupts, MmioSlot, QueueAddresses, Transport};
use alloc::sync::Arc;
use kdevice::{InterruptHandler, InterruptLine, Mmio, Registers};
use kmm::{FRAME_SIZE, PhysAddr};
use ksync::SpinLock;

/// Register offsets (4.2.2, legacy ones from 4.2.4).
mod register {
    pub(super) const MAGIC: usize = 0x00;
    pub(super) const VERSION: usize = 0x04;
    pub(super) const DEVICE_ID: usize = 0x08;
    pub(super) const DEVICE_FEATURES: usize = 0x10;
    pub(super) const DEVICE_FEATURES_SELECT: usize = 0x14;
    pub(super) const DRIVER_FEATURES: usize = 0x20;
    pub(super) const DRIVER_FEATURES_SELECT: usize = 0x24;
    pub(super) const LEGACY_GUEST_PAGE_SIZE: usize = 0x28;
    pub(super) const QUEUE_SELECT: usize = 0x30;
    pub(super) const QUEUE_SIZE_MAX: usize = 0x34;
    pub(super) const QUEUE_SIZE: usize = 0x38;
    pub(super) const LEGACY_QUEUE_ALIGN: usize = 0x3c;
    pub(super) const LEGACY_QUEUE_PFN: usize = 0x40;
    pub(super) const QUEUE_READY: usize = 0x44;
    pub(super) const QUEUE_NOTIFY: usize = 0x50;
    pub(super) const INTERRUPT_STATUS: usize = 0x60;
    pub(super) const INTERRUPT_ACK: usize = 0x64;
    pub(super) const STATUS: usize = 0x70;
    pub(super) const QUEUE_DESC: usize = 0x80;
    pub(super) const QUEUE_DRIVER: usize = 0x90;
    pub(super) const QUEUE_DEVICE: usize = 0xa0;
    pub(super) const CONFIG_GENERATION: usize = 0xfc;
    pub(super) const CONFIG: usize = 0x100;
}

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;

/// A device behind MMIO registers.
pub struct MmioTransport<R: Registers + 'static = Mmio> {
    registers: Arc<R>,
    line: InterruptLine,
    device: DeviceType,
    legacy: bool,
    /// Queue registers are used by several accesses that belong together.
    selected: SpinLock<()>,
}

impl MmioTransport {
    /// Maps a slot and looks what is there; `Ok(None)` for an empty one.
    pub fn probe(slot: &MmioSlot) -> Result<Option<Self>, Error> {
        let len = usize::try_from(slot.size).map_err(|_| Error::NotVirtio)?;
        if len <= register::CONFIG || !slot.base.is_multiple_of(4) {
            return Err(Error::NotVirtio);
        }
        let window = Mmio::map(PhysAddr::new(slot.base), len).map_err(|_| Error::NotVirtio)?;
        Self::new(window, InterruptLine::isa(slot.irq))
    }
}

impl<R: Registers + 'static> MmioTransport<R> {
    /// Looks what is behind `registers`; `Ok(None)` for an empty slot.
    ///
    /// The line is used as an edge: the handler acknowledges before it looks
    /// at the queues, so that each later event makes a new edge, whether the
    /// host holds the line (QEMU) or pulses it (Firecracker).
    pub fn new(registers: R, line: InterruptLine) -> Result<Option<Self>, Error> {
        if registers.window() <= register::CONFIG || registers.read32(register::MAGIC) != MAGIC {
            return Err(Error::NotVirtio);
        }
        let legacy = match registers.read32(register::VERSION) {
            1 => true,
            2 => false,
            _ => return Err(Error::NotVirtio),
        };
        let Some(device) = DeviceType::from_id(registers.read32(register::DEVICE_ID)) else {
            return Ok(None);
        };
        let registers = Arc::new(registers);
        Ok(Some(Self { registers, line, device, legacy, selected: SpinLock::new(()) }))
    }

    fn write64(&self, offset: usize, value: u64) {
        self.registers.write32(offset, value as u32);
        self.registers.write32(offset + 4, (value >> 32) as u32);
    }

    /// Where `len` bytes of configuration are, if the window has them.
    fn config_at(&self, offset: usize, len: usize) -> Option<usize> {
        let at = register::CONFIG.checked_add(offset)?;
        (at.checked_add(len)? <= self.registers.window()).then_some(at)
    }
}

impl<R: Registers + 'static> Transport for MmioTransport<R> {
    fn device_type(&self) -> DeviceType {
        self.device
    }

    fn is_legacy(&self) -> bool {
        self.legacy
    }

    fn device_features(&self) -> u64 {
        let half = |select: u32| {
            self.registers.write32(register::DEVICE_FEATURES_SELECT, select);
            u64::from(self.registers.read32(register::DEVICE_FEATURES))
        };
        if self.legacy { half(0) } else { half(0) | half(1) << 32 }
    }

    fn set_driver_features(&self, features: u64) {
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            if select == 1 && self.legacy {
                debug_assert_eq!(features & feature::VERSION_1, 0);
                break;
            }
            self.registers.write32(register::DRIVER_FEATURES_SELECT, select);
            self.registers.write32(register::DRIVER_FEATURES, half);
        }
    }

    fn status(&self) -> u8 {
        self.registers.read32(register::STATUS) as u8
    }

    fn set_status(&self, value: u8) {
        self.registers.write32(register::STATUS, u32::from(value));
        if self.legacy && value == status::ACKNOWLEDGE | status::DRIVER {
            self.registers.write32(register::LEGACY_GUEST_PAGE_SIZE, FRAME_SIZE as u32);
        }
    }

    fn queue_max(&self, index: u16) -> u16 {
        let _selected = self.selected.lock();
        self.registers.write32(register::QUEUE_SELECT, u32::from(index));
        u16::try_from(self.registers.read32(register::QUEUE_SIZE_MAX)).unwrap_or(1 << 15)
    }

    fn set_queue(&self, index: u16, size: u16, addresses: QueueAddresses) -> Result<(), Error> {
        let _selected = self.selected.lock();
        let in_use = if self.legacy { register::LEGACY_QUEUE_PFN } else { register::QUEUE_READY };
        self.registers.write32(register::QUEUE_SELECT, u32::from(index));
        if self.registers.read32(in_use) != 0 {
            return Err(Error::Queue);
        }
        self.registers.write32(register::QUEUE_SIZE, u32::from(size));
        if self.legacy {
            let frame = PhysAddr::new(addresses.descriptors).frame_number();
            let frame = u32::try_from(frame).map_err(|_| Error::NoMemory)?;
            self.registers.write32(register::LEGACY_QUEUE_ALIGN, FRAME_SIZE as u32);
            self.registers.write32(register::LEGACY_QUEUE_PFN, frame);
        } else {
            self.write64(register::QUEUE_DESC, addresses.descriptors);
            self.write64(register::QUEUE_DRIVER, addresses.available);
            self.write64(register::QUEUE_DEVICE, addresses.used);
            self.registers.write32(register::QUEUE_READY, 1);
        }
        Ok(())
    }

    fn notify(&self, index: u16) {
        self.registers.write32(register::QUEUE_NOTIFY, u32::from(index));
    }

    fn connect(&self, interrupts: Interrupts) -> Result<(), Error> {
        let shared = Arc::new(LineHandler { registers: self.registers.clone(), interrupts });
        self.line.connect(shared).map_err(|_| Error::Interrupt)
    }

    fn config_generation(&self) -> u32 {
        // The legacy interface has no such register.
        if self.legacy { 0 } else { self.registers.read32(register::CONFIG_GENERATION) }
    }

    fn config8(&self, offset: usize) -> u8 {
        self.config_at(offset, 1).map_or(0, |at| self.registers.read8(at))
    }

    fn config16(&self, offset: usize) -> u16 {
        self.config_at(offset, 2).map_or(0, |at| self.registers.read16(at))
    }

    fn config32(&self, offset: usize) -> u32 {
        self.config_at(offset, 4).map_or(0, |at| self.registers.read32(at))
    }
}

/// The one interrupt of the device.
struct LineHandler<R> {
    registers: Arc<R>,
    interrupts: Interrupts,
}

impl<R: Registers> InterruptHandler for LineHandler<R> {
    fn handle(&self) {
        let why = self.registers.read32(register::INTERRUPT_STATUS);
        if why == 0 {
            return;
        }
        self.registers.write32(register::INTERRUPT_ACK, why);
        if why & u32::from(isr::QUEUE) != 0 {
            self.interrupts.queues.iter().for_each(|handler| handler.handle());
        }
        if why & u32::from(isr::CONFIG) != 0
            && let Some(handler) = &self.interrupts.config
        {
            handler.handle();
        }
    }
}
