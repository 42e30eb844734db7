// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A platform for tests on the host: windows without behaviour, interrupts
//! that a test raises.
#![expect(unsafe_code, reason = "implements the platform")]

use crate::{InterruptHandler, InterruptLine, MsiMessage, Platform, Refused, Word, set_platform};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use kmm::PhysAddr;
use ksync::SpinLock;

/// A window of plain memory that plays device registers.
struct Window {
    address: u64,
    memory: &'static [AtomicU64],
}

struct Hosted {
    windows: SpinLock<Vec<Window>>,
    messages: SpinLock<Vec<Arc<dyn InterruptHandler>>>,
    lines: SpinLock<Vec<(InterruptLine, Arc<dyn InterruptHandler>)>>,
}

static HOSTED: Hosted = Hosted {
    windows: SpinLock::new(Vec::new()),
    messages: SpinLock::new(Vec::new()),
    lines: SpinLock::new(Vec::new()),
};

/// Address of the messages that the hosted platform gives out.
pub const MSI_ADDRESS: u64 = 0xfee0_0000;

/// Bytes of the arena that `kmm::hosted` makes.
const ARENA: u64 = 64 << 20;

/// Makes the arena of `kmm` and installs the hosted platform.
pub fn start() {
    kmm::hosted::start();
    let _ = set_platform(&HOSTED);
}

/// Makes a window of device memory at `address`, zeroed, that can be mapped
/// from then on. It has no behaviour: a test looks at what was written.
pub fn add_mmio(address: u64, len: usize) {
    let memory: Vec<_> = (0..len.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
    HOSTED.windows.lock().push(Window { address, memory: memory.leak() });
}

fn window(address: u64, len: usize) -> Option<*mut u8> {
    HOSTED.windows.lock().iter().find_map(|window| {
        let offset = usize::try_from(address.checked_sub(window.address)?).ok()?;
        let inside = offset.checked_add(len)? <= window.memory.len() * 8;
        inside.then(|| window.memory.as_ptr().cast_mut().cast::<u8>().wrapping_add(offset))
    })
}

/// Reads a word of a window that [`add_mmio`] made.
///
/// # Panics
/// When there is none at `address`.
pub fn mmio_load<W: Word>(address: u64) -> W {
    let at = window(address, size_of::<W>()).expect("a window");
    // SAFETY: in range; windows are never freed.
    unsafe { W::read_volatile(at) }
}

/// Writes a word of a window that [`add_mmio`] made.
///
/// # Panics
/// When there is none at `address`.
pub fn mmio_store<W: Word>(address: u64, value: W) {
    let at = window(address, size_of::<W>()).expect("a window");
    // SAFETY: as in `mmio_load`.
    unsafe { W::write_volatile(at, value) }
}

/// Raises the interrupt that `data` of a message stands for.
pub fn raise_msi(data: u32) {
    let handler = HOSTED.messages.lock().get(data as usize).cloned();
    if let Some(handler) = handler {
        handler.handle();
    }
}

/// Raises a line: every handler that is connected to it runs.
pub fn raise_line(gsi: u32) {
    let handlers: Vec<_> =
        HOSTED.lines.lock().iter().filter(|l| l.0.gsi == gsi).map(|l| l.1.clone()).collect();
    handlers.iter().for_each(|h| h.handle());
}

/// Forgets who is connected to a line, and so frees what a test made.
pub fn disconnect_line(gsi: u32) {
    let mut lines = HOSTED.lines.lock();
    let (gone, left): (Vec<_>, Vec<_>) = lines.drain(..).partition(|l| l.0.gsi == gsi);
    *lines = left;
    drop(lines);
    drop(gone);
}

// SAFETY: windows are plain memory that is never freed.
unsafe impl Platform for Hosted {
    fn map_mmio(&self, address: PhysAddr, len: usize) -> Result<*mut u8, Refused> {
        window(address.as_u64(), len).ok_or(Refused)
    }
    fn port_read8(&self, _port: u16) -> u8 {
        u8::MAX
    }
    fn port_read16(&self, _port: u16) -> u16 {
        u16::MAX
    }
    fn port_read32(&self, _port: u16) -> u32 {
        u32::MAX
    }
    fn port_write8(&self, _port: u16, _value: u8) {}
    fn port_write16(&self, _port: u16, _value: u16) {}
    fn port_write32(&self, _port: u16, _value: u32) {}

    fn allocate_msi(
        &self,
        handler: Arc<dyn InterruptHandler>,
        _cpu: usize,
    ) -> Result<MsiMessage, Refused> {
        let mut messages = self.messages.lock();
        messages.push(handler);
        Ok(MsiMessage { address: MSI_ADDRESS, data: messages.len() as u32 - 1 })
    }

    fn connect_line(
        &self,
        line: InterruptLine,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<(), Refused> {
        self.lines.lock().push((line, handler));
        Ok(())
    }

    fn read_physical(&self, _address: PhysAddr, _buffer: &mut [u8]) -> Result<(), Refused> {
        Err(Refused)
    }

    fn cpu_count(&self) -> usize {
        1
    }
}

/// Reads a word of the arena that plays physical memory, as a device does.
///
/// # Panics
/// When it is not aligned or not in the arena: a driver gave out a bad address.
pub fn ram_load<W: Word>(address: u64) -> W {
    // SAFETY: `ram` checked the place; the arena is never unmapped.
    unsafe { W::load(ram(address, size_of::<W>(), size_of::<W>()), Ordering::SeqCst) }
}

/// Writes a word of the arena, as a device does.
///
/// # Panics
/// As [`ram_load`].
pub fn ram_store<W: Word>(address: u64, value: W) {
    // SAFETY: as in `ram_load`.
    unsafe { W::store(ram(address, size_of::<W>(), size_of::<W>()), value, Ordering::SeqCst) }
}

/// Copies bytes out of the arena.
///
/// # Panics
/// When they are not in the arena.
pub fn ram_read(address: u64, bytes: &mut [u8]) {
    let at = ram(address, bytes.len(), 1);
    // SAFETY: `ram` checked the range; any byte is valid.
    unsafe { at.copy_to(bytes.as_mut_ptr(), bytes.len()) }
}

/// Copies bytes into the arena.
///
/// # Panics
/// When they are not in the arena.
pub fn ram_write(address: u64, bytes: &[u8]) {
    let at = ram(address, bytes.len(), 1);
    // SAFETY: as in `ram_read`; tests write where a driver told them to.
    unsafe { at.copy_from(bytes.as_ptr(), bytes.len()) }
}

fn ram(address: u64, len: usize, align: usize) -> *mut u8 {
    let inside = address.checked_add(len as u64).is_some_and(|behind| behind <= ARENA);
    assert!(inside, "{len} bytes at {address:#x} are not in RAM");
    assert!(address.is_multiple_of(align as u64), "{address:#x} is not aligned");
    kmm::phys_to_virt(PhysAddr::new(address))
}
