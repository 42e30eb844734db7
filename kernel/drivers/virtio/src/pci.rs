// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The PCI transport (4.1), modern interface. Transitional devices are driven
//! through it too; devices with the legacy interface alone are refused.

use crate::spec::isr;
use crate::{DeviceType, Error, Interrupts, QueueAddresses, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use kdevice::{InterruptHandler, InterruptLine, Mmio, Registers, allocate_msi, platform};
use kdrv_pci::{Capability, Function, Msix};
use ksync::{Once, SpinLock};

/// Registers of the common configuration (4.1.4.3).
mod register {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURE: usize = 0x0c;
    pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(super) const NUM_QUEUES: usize = 0x12;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const CONFIG_GENERATION: usize = 0x15;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(super) const QUEUE_DESC: usize = 0x20;
    pub(super) const QUEUE_DRIVER: usize = 0x28;
    pub(super) const QUEUE_DEVICE: usize = 0x30;
    pub(super) const END: usize = 0x38;
}

const VENDOR: u16 = 0x1af4;
/// Device IDs from here on are modern: this plus the device type (4.1.2).
const MODERN: u16 = 0x1040;
const NO_VECTOR: u16 = 0xffff;
const CAPABILITY_VENDOR: u8 = 0x09;
/// No device of ours has more queues; a device cannot make us keep more.
const QUEUES_MAX: u16 = 64;

/// Structures that a vendor capability points at (4.1.4).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// The windows of a device.
pub(crate) struct Windows<R> {
    pub(crate) common: R,
    pub(crate) notify: R,
    /// Bytes between the notification addresses of queues.
    pub(crate) notify_multiplier: u32,
    pub(crate) isr: R,
    pub(crate) device: Option<R>,
}

/// How the device interrupts.
pub(crate) enum Signal {
    Messages(Msix),
    Line(InterruptLine),
}

/// Which vectors queues have, once connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// 0 is for the configuration, 1 + n for queue n.
    Each,
    /// 0 is for everything.
    Shared,
    None,
}

/// A device behind PCI.
pub struct PciTransport<R: Registers + 'static = Mmio> {
    windows: Windows<Arc<R>>,
    device: DeviceType,
    signal: Signal,
    vectors: Once<Vectors>,
    /// Where in the notify window each queue is notified.
    notify_at: Box<[AtomicU32]>,
    /// Queue registers are used by several accesses that belong together.
    selected: SpinLock<()>,
}

impl PciTransport {
    /// Looks whether `function` is a virtio device; `Ok(None)` when it is not.
    /// `line` is where its interrupt pin leads, for a device without MSI-X.
    pub fn probe(function: &Function, line: Option<InterruptLine>) -> Result<Option<Self>, Error> {
        let Some(device) = device_type(function) else { return Ok(None) };
        let windows = find_windows(function)?;
        let signal = match Msix::new(function) {
            Ok(Some(msix)) => Signal::Messages(msix),
            Ok(None) | Err(_) => Signal::Line(line.ok_or(Error::Interrupt)?),
        };
        function.enable_bus_master();
        Self::new(device, windows, signal).map(Some)
    }
}

/// What `function` is, if it is a virtio device.
pub(crate) fn device_type(function: &Function) -> Option<DeviceType> {
    if function.vendor() != VENDOR {
        return None;
    }
    match function.device() {
        id @ 0x1040..=0x107f => DeviceType::from_id(u32::from(id - MODERN)),
        0x1000..=0x103f => DeviceType::from_id(u32::from(function.subsystem().1)),
        _ => None,
    }
}

fn find_windows(function: &Function) -> Result<Windows<Mmio>, Error> {
    let find = |kind| {
        let is_kind =
            |c: &Capability| c.id == CAPABILITY_VENDOR && function.read8(c.offset + 3) == kind;
        function.capabilities().find(is_kind)
    };
    let map = |capability: Capability| {
        let bar = function.read8(capability.offset + 4);
        let offset = u64::from(function.read32(capability.offset + 8));
        let len = function.read32(capability.offset + 12) as usize;
        // What is read from a window is aligned in it (4.1.4.1).
        if offset % 4 != 0 && function.read8(capability.offset + 3) != ISR {
            return Err(Error::Device);
        }
        function.map_bar(bar, offset, len).map_err(|_| Error::Device)
    };
    let notify = find(NOTIFY).ok_or(Error::NotVirtio)?;
    Ok(Windows {
        common: map(find(COMMON).ok_or(Error::NotVirtio)?)?,
        notify_multiplier: function.read32(notify.offset + 16),
        notify: map(notify)?,
        isr: map(find(ISR).ok_or(Error::NotVirtio)?)?,
        device: find(DEVICE).map(map).transpose()?,
    })
}

impl<R: Registers + 'static> PciTransport<R> {
    pub(crate) fn new(
        device: DeviceType,
        windows: Windows<R>,
        signal: Signal,
    ) -> Result<Self, Error> {
        if windows.common.window() < register::END || windows.isr.window() < 1 {
            return Err(Error::Device);
        }
        let queues = windows.common.read16(register::NUM_QUEUES).min(QUEUES_MAX);
        let windows = Windows {
            common: Arc::new(windows.common),
            notify: Arc::new(windows.notify),
            notify_multiplier: windows.notify_multiplier,
            isr: Arc::new(windows.isr),
            device: windows.device.map(Arc::new),
        };
        Ok(Self {
            windows,
            device,
            signal,
            vectors: Once::new(),
            notify_at: (0..queues).map(|_| AtomicU32::new(u32::MAX)).collect(),
            selected: SpinLock::new(()),
        })
    }

    fn write64(&self, offset: usize, value: u64) {
        self.windows.common.write32(offset, value as u32);
        self.windows.common.write32(offset + 4, (value >> 32) as u32);
    }

    /// Sets a vector register; a device without room for it says so (4.1.5.1).
    fn set_vector(&self, offset: usize, vector: u16) -> Result<(), Error> {
        self.windows.common.write16(offset, vector);
        let taken = self.windows.common.read16(offset) == vector;
        taken.then_some(()).ok_or(Error::Interrupt)
    }

    fn connect_messages(&self, msix: &Msix, interrupts: Interrupts) -> Result<Vectors, Error> {
        let wanted = interrupts.queues.len() + 1;
        if usize::from(msix.entries()) < wanted {
            let message = allocate_msi(Arc::new(All(interrupts)), 0).or(Err(Error::Interrupt))?;
            msix.set(0, message);
            return Ok(Vectors::Shared);
        }
        if let Some(config) = interrupts.config {
            msix.set(0, allocate_msi(config, 0).or(Err(Error::Interrupt))?);
        }
        let cpus = platform().cpu_count().max(1);
        for (entry, handler) in (1..).zip(interrupts.queues) {
            // Queues come in pairs, receive and transmit: a pair, a CPU.
            let cpu = usize::from((entry - 1) / 2) % cpus;
            msix.set(entry, allocate_msi(handler, cpu).or(Err(Error::Interrupt))?);
        }
        Ok(Vectors::Each)
    }

    fn device_window(&self, offset: usize, len: usize) -> Option<&R> {
        let window = self.windows.device.as_deref()?;
        (offset.checked_add(len)? <= window.window()).then_some(window)
    }
}

impl<R: Registers + 'static> Transport for PciTransport<R> {
    fn device_type(&self) -> DeviceType {
        self.device
    }

    fn is_legacy(&self) -> bool {
        false
    }

    fn device_features(&self) -> u64 {
        let common = &self.windows.common;
        let half = |select: u32| {
            common.write32(register::DEVICE_FEATURE_SELECT, select);
            u64::from(common.read32(register::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn set_driver_features(&self, features: u64) {
        let common = &self.windows.common;
        for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            common.write32(register::DRIVER_FEATURE_SELECT, select);
            common.write32(register::DRIVER_FEATURE, half);
        }
    }

    fn status(&self) -> u8 {
        self.windows.common.read8(register::DEVICE_STATUS)
    }

    fn set_status(&self, status: u8) {
        self.windows.common.write8(register::DEVICE_STATUS, status);
    }

    fn queue_max(&self, index: u16) -> u16 {
        if usize::from(index) >= self.notify_at.len() {
            return 0;
        }
        let _selected = self.selected.lock();
        self.windows.common.write16(register::QUEUE_SELECT, index);
        self.windows.common.read16(register::QUEUE_SIZE)
    }

    fn set_queue(&self, index: u16, size: u16, addresses: QueueAddresses) -> Result<(), Error> {
        let notify_at = self.notify_at.get(usize::from(index)).ok_or(Error::Queue)?;
        let _selected = self.selected.lock();
        let common = &self.windows.common;
        common.write16(register::QUEUE_SELECT, index);
        if common.read16(register::QUEUE_ENABLE) != 0 {
            return Err(Error::Queue);
        }
        let offset = u32::from(common.read16(register::QUEUE_NOTIFY_OFF))
            .checked_mul(self.windows.notify_multiplier)
            .filter(|at| at % 2 == 0 && *at as usize + 2 <= self.windows.notify.window())
            .ok_or(Error::Device)?;
        notify_at.store(offset, Ordering::Relaxed);
        match self.vectors.get() {
            Some(Vectors::Each) => self.set_vector(register::QUEUE_MSIX_VECTOR, index + 1)?,
            Some(Vectors::Shared) => self.set_vector(register::QUEUE_MSIX_VECTOR, 0)?,
            Some(Vectors::None) | None => {}
        }
        common.write16(register::QUEUE_SIZE, size);
        self.write64(register::QUEUE_DESC, addresses.descriptors);
        self.write64(register::QUEUE_DRIVER, addresses.available);
        self.write64(register::QUEUE_DEVICE, addresses.used);
        common.write16(register::QUEUE_ENABLE, 1);
        Ok(())
    }

    fn notify(&self, index: u16) {
        let at = self.notify_at.get(usize::from(index)).map(|at| at.load(Ordering::Relaxed));
        if let Some(at) = at.filter(|at| *at != u32::MAX) {
            self.windows.notify.write16(at as usize, index);
        }
    }

    fn connect(&self, interrupts: Interrupts) -> Result<(), Error> {
        let vectors = match &self.signal {
            Signal::Messages(msix) => {
                let vectors = self.connect_messages(msix, interrupts)?;
                // Vectors can be set while MSI-X is on only (4.1.5.1.2).
                msix.enable();
                self.set_vector(register::CONFIG_MSIX_VECTOR, 0)?;
                vectors
            }
            Signal::Line(line) => {
                let isr = self.windows.isr.clone();
                let shared = Arc::new(LineHandler { isr, all: All(interrupts) });
                line.connect(shared).map_err(|_| Error::Interrupt)?;
                self.windows.common.write16(register::CONFIG_MSIX_VECTOR, NO_VECTOR);
                Vectors::None
            }
        };
        self.vectors.set(vectors).map_err(|_| Error::Interrupt)
    }

    fn config_generation(&self) -> u32 {
        u32::from(self.windows.common.read8(register::CONFIG_GENERATION))
    }

    fn config8(&self, offset: usize) -> u8 {
        self.device_window(offset, 1).map_or(0, |window| window.read8(offset))
    }

    fn config16(&self, offset: usize) -> u16 {
        self.device_window(offset, 2).map_or(0, |window| window.read16(offset))
    }

    fn config32(&self, offset: usize) -> u32 {
        self.device_window(offset, 4).map_or(0, |window| window.read32(offset))
    }
}

/// Every handler of a device behind one vector, which does not say why.
struct All(Interrupts);

impl InterruptHandler for All {
    fn handle(&self) {
        self.0.queues.iter().chain(&self.0.config).for_each(|handler| handler.handle());
    }
}

/// The interrupt pin, possibly shared with other devices.
struct LineHandler<R> {
    isr: Arc<R>,
    all: All,
}

impl<R: Registers> InterruptHandler for LineHandler<R> {
    fn handle(&self) {
        // Reading acknowledges (4.1.4.5).
        let why = self.isr.read8(0);
        if why & isr::QUEUE != 0 {
            self.all.0.queues.iter().for_each(|handler| handler.handle());
        }
        if why & isr::CONFIG != 0
            && let Some(config) = &self.all.0.config
        {
            config.handle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PciTransport, device_type};
    use crate::spec::status;
    use crate::{Device, DeviceType, Error, probe_pci};
    use kdevice::hosted::{self, MSI_ADDRESS, add_mmio, mmio_load, mmio_store};
    use kdrv_pci::hosted::{FakeConfig, FakeFunction};
    use kdrv_pci::{ConfigAccess, Function};
    use std::sync::Arc;

    fn function(fake: FakeFunction) -> Function {
        let config = Arc::new(FakeConfig::new());
        let address = config.add(0, 3, 0, fake);
        Function::new(config as Arc<dyn ConfigAccess>, address).unwrap()
    }

    /// Capabilities as QEMU lays them out: all in one window, at `base`.
    fn modern(base: u64, device: u16, common: u32) -> FakeFunction {
        let structure = |kind: u32, offset: u32, len: u32| [kind << 24 | 0x14_0009, 4, offset, len];
        let mut fake = FakeFunction::new(0x1af4, device)
            .bar(1, base + 0x4000, 0x1000)
            .bar(4, base | 0b1100, 0x4000)
            .capability(0x40, &structure(1, common, 0x1000))
            .capability(0x50, &structure(3, 0x1001, 1))
            .capability(0x60, &structure(4, 0x2000, 0x1000))
            .capability(0x70, &structure(2, 0x3000, 0x1000))
            .capability(0x98, &[0x0001_0011, 1, 0x801]);
        fake.words[0x80 / 4] = 4;
        fake.writable[0x98 / 4] = 0xc000 << 16;
        fake
    }

    #[test]
    fn an_entropy_source_comes_up_with_messages() {
        const BASE: u64 = 0xf200_0000;
        hosted::start();
        add_mmio(BASE, 0x5000);
        // Plain memory: both halves of the features read 1, VERSION_1 and
        // another; one queue of 8.
        mmio_store(BASE + 4, 1u32);
        mmio_store(BASE + 0x12, 1u16);
        mmio_store(BASE + 0x18, 8u16);
        mmio_store(BASE + 0x1e, 3u16);
        let function = function(modern(BASE, 0x1044, 0));
        let Ok(Some(Device::Entropy(_rng))) = probe_pci(&function, None) else { panic!() };
        assert_eq!(mmio_load::<u8>(BASE + 0x14), 0xf & !status::FAILED);
        assert_eq!(mmio_load::<u16>(BASE + 0x1a), 1, "the queue has vector 1");
        assert_eq!(mmio_load::<u16>(BASE + 0x1c), 1);
        assert_ne!(mmio_load::<u64>(BASE + 0x20), 0);
        let entry: [u32; 4] = core::array::from_fn(|i| mmio_load(BASE + 0x4010 + 4 * i as u64));
        assert_eq!((u64::from(entry[0]), entry[1], entry[3]), (MSI_ADDRESS, 0, 0));
        hosted::raise_msi(entry[2]);
        assert_eq!(function.read16(0x9a) & 0xc000, 0x8000);
        assert_eq!(function.read16(4) & 0b110, 0b110, "memory and bus master");
        // Queue 0 was notified at its offset, 3 times the multiplier of 4.
        assert_eq!(mmio_load::<u16>(BASE + 0x3000 + 12), 0);
    }

    #[test]
    fn devices_that_cannot_be_driven_are_refused() {
        const BASE: u64 = 0xf300_0000;
        hosted::start();
        add_mmio(BASE, 0x5000);
        let probe = |fake| PciTransport::probe(&function(fake), None).map(|t| t.is_some());
        assert_eq!(probe(FakeFunction::new(0x8086, 0x1044)), Ok(false));
        assert_eq!(probe(FakeFunction::new(0x1af4, 0x1110)), Ok(false), "ivshmem");
        assert_eq!(probe(FakeFunction::new(0x1af4, 0x1044)), Err(Error::NotVirtio));
        assert_eq!(probe(modern(BASE, 0x1044, 0x2)), Err(Error::Device), "not aligned");
        assert_eq!(probe(modern(BASE, 0x1044, 0x3ffc)), Err(Error::Device), "too long");
        assert_eq!(probe(modern(BASE, 0x1044, 0)), Ok(true));
        let mut transitional = FakeFunction::new(0x1af4, 0x1000);
        transitional.words[0x2c / 4] = 1 << 16 | 0x1af4;
        assert_eq!(device_type(&function(transitional)), Some(DeviceType::Network));
    }
}
