// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The other side, for tests: a device behind MMIO registers that insists on
//! the rules, and a device's view of a queue.

use crate::spec::{feature, status};
use crate::{MmioTransport, QueueAddresses, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use kdevice::hosted::{self, ram_load, ram_read, ram_store, ram_write};
use kdevice::{InterruptLine, Registers};
use ksync::SpinLock;

/// A small generator of repeatable numbers (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

#[derive(Clone, Debug, Default)]
struct QueueState {
    size: u16,
    ready: bool,
    addresses: [u32; 6],
    legacy_frame: u32,
}

#[derive(Debug)]
struct State {
    status: u8,
    offered: u64,
    accepted: u64,
    feature_half: u32,
    driver_half: u32,
    selected: u32,
    queues: Vec<QueueState>,
    isr: u32,
    config: Vec<u8>,
    generation: u32,
    notifications: Vec<u16>,
}

/// The registers of a device.
#[derive(Clone)]
pub(crate) struct FakeDevice {
    version: u32,
    id: u32,
    queue_max: u16,
    pub(crate) gsi: u32,
    state: Arc<SpinLock<State>>,
}

impl FakeDevice {
    pub(crate) fn new(version: u32, id: u32, queues: usize, offered: u64, config: &[u8]) -> Self {
        static NEXT_GSI: AtomicU32 = AtomicU32::new(0);
        hosted::start();
        let offered = match version {
            1 => offered | feature::ANY_LAYOUT,
            _ => offered | feature::VERSION_1,
        };
        let state = State {
            status: status::FAILED,
            offered,
            accepted: 0,
            feature_half: 0,
            driver_half: 0,
            selected: 0,
            queues: std::vec![QueueState::default(); queues],
            isr: 0,
            config: config.to_vec(),
            generation: 0,
            notifications: Vec::new(),
        };
        let gsi = NEXT_GSI.fetch_add(1, Ordering::Relaxed);
        Self { version, id, queue_max: 1024, gsi, state: Arc::new(SpinLock::new(state)) }
    }

    pub(crate) fn with_queue_max(mut self, max: u16) -> Self {
        self.queue_max = max;
        self
    }

    pub(crate) fn transport(&self) -> Box<dyn Transport> {
        let line = InterruptLine::isa(self.gsi);
        Box::new(MmioTransport::new(self.clone(), line).unwrap().unwrap())
    }

    /// The device's view of a queue that the driver enabled.
    pub(crate) fn queue(&self, index: usize) -> DeviceQueue {
        let state = self.state.lock();
        let queue = &state.queues[index];
        assert!(queue.ready, "queue {index} is not ready");
        let wide =
            |at: usize| u64::from(queue.addresses[at]) | u64::from(queue.addresses[at + 1]) << 32;
        let size = u64::from(queue.size);
        let addresses = if self.version == 1 {
            let descriptors = u64::from(queue.legacy_frame) * 4096;
            let available = descriptors + 16 * size;
            let used = (available + 6 + 2 * size).next_multiple_of(4096);
            QueueAddresses { descriptors, available, used }
        } else {
            QueueAddresses { descriptors: wide(0), available: wide(2), used: wide(4) }
        };
        DeviceQueue::new(addresses, queue.size, state.accepted)
    }

    pub(crate) fn status(&self) -> u8 {
        self.state.lock().status
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.state.lock().accepted
    }

    /// Notifications since the last call.
    pub(crate) fn take_notifications(&self) -> Vec<u16> {
        core::mem::take(&mut self.state.lock().notifications)
    }

    pub(crate) fn interrupt(&self) {
        self.state.lock().isr |= 1;
        hosted::raise_line(self.gsi);
    }

    pub(crate) fn change_config(&self, offset: usize, bytes: &[u8]) {
        let mut state = self.state.lock();
        state.config[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.generation += 1;
        state.isr |= 2;
        drop(state);
        hosted::raise_line(self.gsi);
    }

    pub(crate) fn demand_reset(&self) {
        let mut state = self.state.lock();
        state.status |= status::NEEDS_RESET;
        state.isr |= 2;
        drop(state);
        hosted::raise_line(self.gsi);
    }
}

impl State {
    fn set_status(&mut self, value: u8, version: u32) {
        if value == 0 {
            self.status = 0;
            self.accepted = 0;
            self.queues.iter_mut().for_each(|queue| *queue = QueueState::default());
            return;
        }
        assert_eq!(value & self.status, self.status, "the driver took a status bit back");
        if value & status::DRIVER_OK != 0 && version == 2 {
            assert_ne!(value & status::FEATURES_OK, 0);
        }
        self.status = value;
    }

    fn write(&mut self, offset: usize, value: u32, version: u32) {
        let before_go = self.status & status::DRIVER_OK == 0;
        match offset {
            0x14 => self.feature_half = value,
            0x20 => {
                assert_ne!(self.status & status::DRIVER, 0);
                assert_eq!(self.status & status::FEATURES_OK, 0);
                self.accepted |= u64::from(value) << (32 * self.driver_half);
                assert_eq!(self.accepted & !self.offered, 0, "accepted what was not offered");
            }
            0x24 => self.driver_half = value,
            0x28 => assert_eq!((version, value), (1, 4096)),
            0x30 => self.selected = value,
            0x3c => assert_eq!((version, value), (1, 4096)),
            0x38 => {
                assert!(before_go && value.is_power_of_two());
                self.queue().size = value as u16;
            }
            0x40 => {
                assert_eq!(version, 1);
                let queue = self.queue();
                (queue.legacy_frame, queue.ready) = (value, true);
            }
            0x44 => {
                assert!(version == 2 && before_go && value == 1);
                assert_ne!(self.status & status::FEATURES_OK, 0);
                self.queue().ready = true;
            }
            0x50 => {
                assert!(!before_go, "notified before DRIVER_OK");
                self.notifications.push(value as u16);
            }
            0x64 => self.isr &= !value,
            0x70 => self.set_status(value as u8, version),
            0x80 | 0x84 | 0x90 | 0x94 | 0xa0 | 0xa4 => {
                assert_eq!(version, 2);
                let at = (offset - 0x80) / 16 * 2 + offset / 4 % 2;
                self.queue().addresses[at] = value;
            }
            _ => panic!("write of {value:#x} to {offset:#x}"),
        }
    }

    fn queue(&mut self) -> &mut QueueState {
        &mut self.queues[self.selected as usize]
    }
}

impl Registers for FakeDevice {
    fn read8(&self, offset: usize) -> u8 {
        self.state.lock().config.get(offset - 0x100).copied().unwrap_or(0)
    }

    fn read16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.read8(offset), self.read8(offset + 1)])
    }

    fn read32(&self, offset: usize) -> u32 {
        if offset >= 0x100 {
            let [low, high] = [self.read16(offset), self.read16(offset + 2)].map(u32::from);
            return low | high << 16;
        }
        let mut state = self.state.lock();
        let exists = (state.selected as usize) < state.queues.len();
        match offset {
            0x00 => 0x7472_6976,
            0x04 => self.version,
            0x08 => self.id,
            0x10 => (state.offered >> (32 * state.feature_half)) as u32,
            0x34 if exists => u32::from(self.queue_max),
            0x34 => 0,
            0x40 => state.queue().legacy_frame,
            0x44 => u32::from(state.queue().ready),
            0x60 => state.isr,
            0x70 => u32::from(state.status),
            0xfc => state.generation,
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write8(&self, offset: usize, value: u8) {
        panic!("write of {value:#x} to {offset:#x}");
    }

    fn write16(&self, offset: usize, value: u16) {
        panic!("write of {value:#x} to {offset:#x}");
    }

    fn write32(&self, offset: usize, value: u32) {
        self.state.lock().write(offset, value, self.version);
    }

    fn window(&self) -> usize {
        0x200
    }
}

/// Memory that a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) writable: bool,
}

/// A chain as the device sees it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) head: u16,
    pub(crate) parts: Vec<Part>,
}

impl Chain {
    /// Bytes that the driver gave.
    pub(crate) fn readable(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in self.parts.iter().filter(|part| !part.writable) {
            let start = all.len();
            all.resize(start + part.len as usize, 0);
            ram_read(part.address, &mut all[start..]);
        }
        all
    }

    /// Writes to the parts that the device may write; returns how much fitted.
    pub(crate) fn fill(&self, mut bytes: &[u8]) -> u32 {
        let whole = bytes.len();
        for part in self.parts.iter().filter(|part| part.writable) {
            let (now, later) = bytes.split_at(bytes.len().min(part.len as usize));
            ram_write(part.address, now);
            bytes = later;
        }
        (whole - bytes.len()) as u32
    }
}

/// The device's side of a queue. It asserts what a driver has to keep.
pub(crate) struct DeviceQueue {
    at: QueueAddresses,
    pub(crate) size: u16,
    features: u64,
    taken: u16,
    used: u16,
    held: Vec<bool>,
    /// The device broke the rules itself, so that it cannot insist on them.
    lied: bool,
}

impl DeviceQueue {
    pub(crate) fn new(at: QueueAddresses, size: u16, features: u64) -> Self {
        let held = std::vec![false; usize::from(size)];
        Self { at, size, features, taken: 0, used: 0, held, lied: false }
    }

    fn slot(&self, index: u16) -> u64 {
        u64::from(index % self.size)
    }

    /// Takes the next chain, if there is one, and asks to be told of the next.
    pub(crate) fn pop(&mut self) -> Option<Chain> {
        let index: u16 = ram_load(self.at.available + 2);
        if self.lied && index.wrapping_sub(self.taken) > self.size {
            return None;
        }
        assert!(index.wrapping_sub(self.taken) <= self.size, "more offered than there are");
        if index == self.taken {
            return None;
        }
        let head: u16 = ram_load(self.at.available + 4 + 2 * self.slot(self.taken));
        self.taken = self.taken.wrapping_add(1);
        if self.features & feature::EVENT_IDX != 0 {
            ram_store(self.at.used + 4 + 8 * u64::from(self.size), self.taken);
        }
        let held = core::mem::replace(&mut self.held[usize::from(head)], true);
        assert!(self.lied || !held, "offered twice");
        Some(Chain { head, parts: self.parts(self.at.descriptors, self.size, head) })
    }

    fn parts(&self, table: u64, size: u16, head: u16) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut index = head;
        loop {
            assert!(index < size, "descriptor {index} of {size}");
            let at = table + 16 * u64::from(index);
            let (address, len): (u64, u32) = (ram_load(at), ram_load(at + 8));
            let (flags, next): (u16, u16) = (ram_load(at + 12), ram_load(at + 14));
            if flags & 4 != 0 {
                assert!(parts.is_empty() && flags == 4 && len % 16 == 0 && len > 0);
                assert_ne!(self.features & feature::INDIRECT_DESC, 0);
                assert_eq!(table, self.at.descriptors, "a table in a table");
                return self.parts(address, (len / 16) as u16, 0);
            }
            let writable = flags & 2 != 0;
            assert!(len > 0 && flags & !3 == 0);
            assert!(writable || parts.iter().all(|part| !part.writable), "written before read");
            parts.push(Part { address, len, writable });
            assert!(parts.len() <= usize::from(size), "a loop");
            if flags & 1 == 0 {
                return parts;
            }
            index = next;
        }
    }

    /// Gives a chain back. True when the driver wants an interrupt.
    pub(crate) fn push(&mut self, head: u16, written: u32) -> bool {
        assert!(core::mem::take(&mut self.held[usize::from(head)]));
        self.put_used(u32::from(head), written);
        self.wants_interrupt(self.used.wrapping_sub(1))
    }

    /// Puts anything into the used ring.
    pub(crate) fn push_raw(&mut self, id: u32, written: u32) {
        self.lied = true;
        self.put_used(id, written);
    }

    fn put_used(&mut self, id: u32, written: u32) {
        let at = self.at.used + 4 + 8 * self.slot(self.used);
        ram_store(at, id);
        ram_store(at + 4, written);
        self.used = self.used.wrapping_add(1);
        self.set_used_index(self.used);
    }

    pub(crate) fn set_used_index(&self, index: u16) {
        ram_store(self.at.used + 2, index);
    }

    /// Whether used chains since index `old` want an interrupt.
    pub(crate) fn wants_interrupt(&self, old: u16) -> bool {
        if self.features & feature::EVENT_IDX == 0 {
            return ram_load::<u16>(self.at.available) & 1 == 0;
        }
        let event: u16 = ram_load(self.at.available + 4 + 2 * u64::from(self.size));
        self.used.wrapping_sub(event).wrapping_sub(1) < self.used.wrapping_sub(old)
    }

    /// The device does not want to be told of anything.
    pub(crate) fn refuse_notifications(&self) {
        ram_store(self.at.used, 1u16);
        ram_store(self.at.used + 4 + 8 * u64::from(self.size), self.taken.wrapping_sub(1));
    }
}
