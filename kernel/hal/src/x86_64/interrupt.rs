// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Device interrupts: vectors, I/O APICs (Intel 82093AA), messages, and what
//! the `Platform` trait promises to drivers.

use super::{apic, cpu, memory, percpu};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicPtr, Ordering};
use kdevice::{InterruptHandler, InterruptLine, MsiMessage, Platform, Polarity, Refused, Trigger};
use kmm::PhysAddr;
use ksync::SpinLock;

const FIRST_VECTOR: u8 = 0x30;
const LAST_VECTOR: u8 = 0xdf;
const VECTORS: usize = (LAST_VECTOR - FIRST_VECTOR + 1) as usize;
/// Where an I/O APIC is when no table tells.
const DEFAULT_IO_APIC: u64 = 0xfec0_0000;

type Handlers = Vec<Arc<dyn InterruptHandler>>;
static VECTOR_HANDLERS: [SpinLock<Handlers>; VECTORS] =
    [const { SpinLock::new(Vec::new()) }; VECTORS];
static STATE: SpinLock<State> =
    SpinLock::new(State { next_vector: FIRST_VECTOR, lines: Vec::new(), io_apics: Vec::new() });

struct State {
    next_vector: u8,
    lines: Vec<(u32, u8)>,
    io_apics: Vec<IoApic>,
}

struct IoApic {
    base: AtomicPtr<u8>,
    first_gsi: u32,
    inputs: u32,
}

impl IoApic {
    fn map(address: u64, first_gsi: u32) -> Option<Self> {
        let base = memory::map_device(PhysAddr::new(address), 4096)?;
        let mut apic = Self { base: AtomicPtr::new(base), first_gsi, inputs: 0 };
        apic.inputs = (apic.read(1) >> 16 & 0xff) + 1;
        Some(apic)
    }

    fn select(&self, register: u32) -> *mut u32 {
        let base = self.base.load(Ordering::Relaxed);
        // SAFETY: IOREGSEL and IOWIN of a mapped I/O APIC; the state lock
        // keeps select and access together.
        unsafe {
            base.cast::<u32>().write_volatile(register);
            base.add(0x10).cast()
        }
    }

    fn read(&self, register: u32) -> u32 {
        // SAFETY: as in `select`.
        unsafe { self.select(register).read_volatile() }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as in `select`.
        unsafe { self.select(register).write_volatile(value) };
    }

    fn route(&self, line: InterruptLine, vector: u8, apic_id: u32) {
        let input = line.gsi - self.first_gsi;
        let level = if line.trigger == Trigger::Level { 1 << 15 } else { 0 };
        let low = if line.polarity == Polarity::Low { 1 << 13 } else { 0 };
        self.write(0x10 + 2 * input + 1, apic_id << 24);
        self.write(0x10 + 2 * input, u32::from(vector) | level | low);
    }
}

/// Adds an I/O APIC that the firmware tables name.
pub fn add_io_apic(address: u64, first_gsi: u32) {
    let mut state = STATE.lock();
    if state.io_apics.iter().all(|a| a.first_gsi != first_gsi) {
        state.io_apics.extend(IoApic::map(address, first_gsi));
    }
}

/// Masks the two old interrupt controllers, which may be there.
pub fn disable_legacy() {
    // SAFETY: the data ports of the two 8259s, or nobody.
    unsafe {
        cpu::outb(0x21, 0xff);
        cpu::outb(0xa1, 0xff);
    }
}

/// Runs the handlers of a device vector.
pub fn dispatch(vector: u8) {
    if (FIRST_VECTOR..=LAST_VECTOR).contains(&vector) {
        let handlers = VECTOR_HANDLERS[usize::from(vector - FIRST_VECTOR)].lock();
        handlers.iter().for_each(|h| h.handle());
    }
    apic::end_of_interrupt();
}

/// The PC as a platform.
#[derive(Debug)]
pub struct PcPlatform;

/// The one platform.
pub static PLATFORM: PcPlatform = PcPlatform;

impl PcPlatform {
    fn new_vector(state: &mut State, handler: Arc<dyn InterruptHandler>) -> Result<u8, Refused> {
        let vector = state.next_vector;
        if vector > LAST_VECTOR {
            return Err(Refused);
        }
        state.next_vector += 1;
        VECTOR_HANDLERS[usize::from(vector - FIRST_VECTOR)].lock().push(handler);
        Ok(vector)
    }
}

// SAFETY: `map_device` maps outside RAM windows and never reuses addresses,
// and ranges that touch RAM are refused; `read_physical` reads through the
// direct map or a read-only use of a device mapping of firmware memory.
unsafe impl Platform for PcPlatform {
    fn map_mmio(&self, address: PhysAddr, len: usize) -> Result<*mut u8, Refused> {
        let end = address.as_u64().checked_add(len as u64).ok_or(Refused)?;
        if super::boot_info().ram().iter().any(|&(s, e)| s < end && address.as_u64() < e) {
            return Err(Refused);
        }
        memory::map_device(address, len).ok_or(Refused)
    }

    fn port_read8(&self, port: u16) -> u8 {
        // SAFETY: drivers name ports of their devices; ports do not reach
        // memory except through DMA that drivers set up with DmaBuffer.
        unsafe { cpu::inb(port) }
    }
    fn port_read16(&self, port: u16) -> u16 {
        // SAFETY: as in `port_read8`.
        unsafe { cpu::inw(port) }
    }
    fn port_read32(&self, port: u16) -> u32 {
        // SAFETY: as in `port_read8`.
        unsafe { cpu::inl(port) }
    }
    fn port_write8(&self, port: u16, value: u8) {
        // SAFETY: as in `port_read8`.
        unsafe { cpu::outb(port, value) };
    }
    fn port_write16(&self, port: u16, value: u16) {
        // SAFETY: as in `port_read8`.
        unsafe { cpu::outw(port, value) };
    }
    fn port_write32(&self, port: u16, value: u32) {
        // SAFETY: as in `port_read8`.
        unsafe { cpu::outl(port, value) };
    }

    fn allocate_msi(
        &self,
        handler: Arc<dyn InterruptHandler>,
        cpu: usize,
    ) -> Result<MsiMessage, Refused> {
        if cpu >= percpu::count() {
            return Err(Refused);
        }
        let vector = Self::new_vector(&mut STATE.lock(), handler)?;
        let apic_id = u64::from(percpu::of(cpu).apic_id());
        Ok(MsiMessage { address: 0xfee0_0000 | apic_id << 12, data: u32::from(vector) })
    }

    fn connect_line(
        &self,
        line: InterruptLine,
        handler: Arc<dyn InterruptHandler>,
    ) -> Result<(), Refused> {
        let mut state = STATE.lock();
        if let Some(&(_, vector)) = state.lines.iter().find(|(gsi, _)| *gsi == line.gsi) {
            VECTOR_HANDLERS[usize::from(vector - FIRST_VECTOR)].lock().push(handler);
            return Ok(());
        }
        if state.io_apics.is_empty() {
            state.io_apics.extend(IoApic::map(DEFAULT_IO_APIC, 0));
        }
        let vector = Self::new_vector(&mut state, handler)?;
        let covers = |a: &&IoApic| (a.first_gsi..a.first_gsi + a.inputs).contains(&line.gsi);
        let apic_id = percpu::of(0).apic_id();
        state.io_apics.iter().find(covers).ok_or(Refused)?.route(line, vector, apic_id);
        state.lines.push((line.gsi, vector));
        Ok(())
    }

    fn read_physical(&self, address: PhysAddr, buffer: &mut [u8]) -> Result<(), Refused> {
        let start = address.as_u64();
        let end = start.checked_add(buffer.len() as u64).ok_or(Refused)?;
        let in_ram = super::boot_info().ram().iter().any(|&(s, e)| s <= start && end <= e);
        let from = if in_ram {
            kmm::phys_to_virt(address).cast_const()
        } else {
            // ACPI tables and the BIOS area are not in the list of RAM.
            memory::map_device(address, buffer.len()).ok_or(Refused)?.cast_const()
        };
        // SAFETY: both mappings cover the whole range, which firmware filled and nobody
        // changes; the buffer is the caller's.
        unsafe { buffer.as_mut_ptr().copy_from_nonoverlapping(from, buffer.len()) };
        Ok(())
    }

    fn cpu_count(&self) -> usize {
        percpu::count()
    }
}
