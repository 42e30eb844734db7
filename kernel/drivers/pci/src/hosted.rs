// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Configuration space for tests on the host.

use crate::{Address, ConfigAccess};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ksync::SpinLock;

/// A function as a test describes it.
#[derive(Clone, Debug)]
pub struct FakeFunction {
    /// Its configuration space.
    pub words: [u32; 64],
    /// Which bits of each word can be written.
    pub writable: [u32; 64],
}

impl FakeFunction {
    /// A function with these IDs, decoding off.
    pub fn new(vendor: u16, device: u16) -> Self {
        let (mut words, mut writable) = ([0; 64], [0; 64]);
        words[0] = u32::from(vendor) | u32::from(device) << 16;
        writable[1] = 0xffff;
        Self { words, writable }
    }

    /// Adds a base address register: its value and the size of the window.
    pub fn bar(mut self, index: usize, value: u64, size: u64) -> Self {
        let mask = !(size - 1);
        self.words[4 + index] = value as u32;
        self.writable[4 + index] = mask as u32 & if value & 1 != 0 { !3 } else { !15 };
        if value & 0b111 == 0b100 {
            self.words[5 + index] = (value >> 32) as u32;
            self.writable[5 + index] = (mask >> 32) as u32;
        }
        self
    }

    /// Adds a capability at a multiple of four, in front of the others; the
    /// second byte of `words` is overwritten with the link.
    pub fn capability(mut self, offset: u8, words: &[u32]) -> Self {
        self.words[1] |= 1 << 20;
        let at = usize::from(offset) / 4;
        self.words[at..at + words.len()].copy_from_slice(words);
        self.words[at] = self.words[at] & !0xff00 | self.words[13] << 8 & 0xff00;
        self.words[13] = u32::from(offset);
        self
    }
}

/// The configuration space of a machine.
#[derive(Default)]
pub struct FakeConfig {
    functions: SpinLock<BTreeMap<Address, FakeFunction>>,
    reads: SpinLock<Vec<Address>>,
}

impl FakeConfig {
    /// An empty machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a function into segment 0.
    pub fn add(&self, bus: u8, device: u8, function: u8, fake: FakeFunction) -> Address {
        let address = Address { segment: 0, bus, device, function };
        self.functions.lock().insert(address, fake);
        address
    }

    /// How often `address` was asked for its IDs.
    pub fn lookups(&self, address: Address) -> usize {
        self.reads.lock().iter().filter(|read| **read == address).count()
    }
}

impl ConfigAccess for FakeConfig {
    fn read(&self, address: Address, offset: u16) -> u32 {
        assert!(offset.is_multiple_of(4));
        if offset == 0 {
            self.reads.lock().push(address);
        }
        let functions = self.functions.lock();
        let word = functions.get(&address).and_then(|f| f.words.get(usize::from(offset / 4)));
        word.copied().unwrap_or(u32::MAX)
    }

    fn write(&self, address: Address, offset: u16, value: u32) {
        assert!(offset.is_multiple_of(4));
        let at = usize::from(offset / 4);
        if let Some(fake) = self.functions.lock().get_mut(&address)
            && let Some(word) = fake.words.get_mut(at)
        {
            *word = *word & !fake.writable[at] | value & fake.writable[at];
        }
    }

    fn roots(&self) -> Vec<(u16, u8)> {
        [(0, 0)].into()
    }
}
