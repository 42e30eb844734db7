// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A platform for tests on the host: no devices, messages that are counted.
#![expect(unsafe_code, reason = "implements the platform")]

use crate::{InterruptHandler, InterruptLine, MsiMessage, Platform, Refused, set_platform};
use alloc::sync::Arc;
use alloc::vec::Vec;
use kmm::PhysAddr;
use ksync::SpinLock;

struct Hosted {
    messages: SpinLock<Vec<Arc<dyn InterruptHandler>>>,
    lines: SpinLock<Vec<(InterruptLine, Arc<dyn InterruptHandler>)>>,
}

static HOSTED: Hosted =
    Hosted { messages: SpinLock::new(Vec::new()), lines: SpinLock::new(Vec::new()) };

/// Address of the messages that the hosted platform gives out.
pub const MSI_ADDRESS: u64 = 0xfee0_0000;

/// Makes the arena of `kmm` and installs the hosted platform.
pub fn start() {
    kmm::hosted::start();
    let _ = set_platform(&HOSTED);
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

// SAFETY: nothing is mapped.
unsafe impl Platform for Hosted {
    fn map_mmio(&self, _address: PhysAddr, _len: usize) -> Result<*mut u8, Refused> {
        Err(Refused)
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
