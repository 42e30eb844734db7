// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Walks through configuration spaces, whole and broken.

use crate::hosted::{FakeConfig, FakeFunction};
use crate::{
    Address, Bar, ConfigAccess, Error, Function, Msi, Msix, PortAccess, Windows, assign_bars,
    enumerate,
};
use kdevice::hosted::{self, add_mmio, mmio_load};
use kdevice::{MsiMessage, PortIo};
use ksync::SpinLock;
use std::sync::Arc;
use std::vec::Vec;

fn machine(functions: &[(u8, u8, u8, FakeFunction)]) -> (Arc<FakeConfig>, Arc<dyn ConfigAccess>) {
    let config = Arc::new(FakeConfig::new());
    for (bus, device, function, fake) in functions {
        config.add(*bus, *device, *function, fake.clone());
    }
    (config.clone(), config)
}

fn one(fake: FakeFunction) -> Function {
    let (_, access) = machine(&[(0, 1, 0, fake)]);
    Function::new(access, Address { segment: 0, bus: 0, device: 1, function: 0 }).unwrap()
}

fn bridge(secondary: u8) -> FakeFunction {
    let mut fake = FakeFunction::new(0x1b36, 1);
    fake.words[3] = 1 << 16;
    fake.words[6] = u32::from(secondary) << 8;
    fake
}

#[test]
fn bridges_are_followed_once_and_empty_buses_not_at_all() {
    let mut multi = FakeFunction::new(0x8086, 0x2918);
    multi.words[3] = 0x80 << 16;
    let (config, access) = machine(&[
        (0, 0, 0, FakeFunction::new(0x8086, 0x29c0)),
        (0, 3, 0, bridge(2)),
        (0, 4, 0, bridge(0)),
        (0, 31, 0, multi),
        (0, 31, 2, FakeFunction::new(0x8086, 0x2922)),
        (0, 5, 0, FakeFunction::new(0x1234, 1)),
        (0, 5, 1, FakeFunction::new(0x1234, 2)),
        (2, 0, 0, FakeFunction::new(0x1af4, 0x1041)),
        (2, 1, 0, bridge(7)),
        (7, 9, 0, bridge(2)),
        (9, 0, 0, FakeFunction::new(0x1af4, 0x1041)),
    ]);
    let found: Vec<_> = enumerate(&access)
        .iter()
        .map(|f| (f.address().bus, f.address().device, f.address().function))
        .collect();
    let expected = [
        (0, 0, 0),
        (0, 3, 0),
        (0, 4, 0),
        (0, 5, 0),
        (0, 31, 0),
        (0, 31, 2),
        (2, 0, 0),
        (2, 1, 0),
        (7, 9, 0),
    ];
    assert_eq!(found, expected);
    assert_eq!(config.lookups(Address { segment: 0, bus: 1, device: 0, function: 0 }), 0);
    assert_eq!(config.lookups(Address { segment: 0, bus: 2, device: 0, function: 0 }), 1);
}

#[test]
fn windows_have_addresses_and_sizes() {
    let function = one(FakeFunction::new(1, 2)
        .bar(0, 0xfebc_0000, 0x2_0000)
        .bar(1, 0xc041, 64)
        .bar(2, 0x38_0000_400c, 0x4000)
        .bar(4, 0x40_0000_0004, 1 << 32));
    let memory = |address, wide, prefetchable| Some(Bar::Memory { address, wide, prefetchable });
    assert_eq!(function.bar(0), memory(0xfebc_0000, false, false));
    assert_eq!(function.bar(1), Some(Bar::Io { port: 0xc040 }));
    assert_eq!(function.bar(2), memory(0x38_0000_4000, true, true));
    assert_eq!(function.bar(6), None);
    let sizes = [0, 1, 2, 4].map(|index| function.bar_size(index));
    assert_eq!(sizes, [0x2_0000, 64, 0x4000, 1 << 32]);
    // Asking changed nothing.
    assert_eq!(function.bar(2), memory(0x38_0000_4000, true, true));
    assert_eq!(function.map_bar(1, 0, 4).err(), Some(Error::NoBar));
    assert_eq!(function.map_bar(2, 0x3ff0, 0x11).err(), Some(Error::Malformed));
    assert_eq!(function.map_bar(2, u64::MAX, 2).err(), Some(Error::Malformed));
    assert_eq!(one(FakeFunction::new(1, 2).bar(5, 4, 16)).bar(5), None, "no upper half");
    let unassigned = one(FakeFunction::new(1, 2).bar(0, 0, 4096));
    assert_eq!(unassigned.map_bar(0, 0, 4).err(), Some(Error::NotAssigned));
}

#[test]
fn capability_lists_may_loop() {
    let fake = FakeFunction::new(1, 2).capability(0x40, &[5, 0]).capability(0x60, &[9, 0]);
    let ids: Vec<_> = one(fake.clone()).capabilities().map(|c| (c.id, c.offset)).collect();
    assert_eq!(ids, [(9, 0x60), (5, 0x40)]);
    let mut looping = fake.clone();
    looping.words[0x40 / 4] |= 0x60 << 8;
    assert_eq!(one(looping).capabilities().count(), 48);
    let mut low = fake.clone();
    low.words[13] = 0x10;
    assert_eq!(one(low).capabilities().count(), 0);
    let mut unlisted = fake;
    unlisted.words[1] = 0;
    assert_eq!(one(unlisted).capabilities().count(), 0);
}

#[test]
fn a_message_table_in_a_window() {
    const BASE: u64 = 0xf100_0000;
    hosted::start();
    add_mmio(BASE, 0x1000);
    let mut fake = FakeFunction::new(1, 2)
        .bar(1, BASE, 0x1000)
        .capability(0x40, &[0x0002_0011, 0x801, 0x0c01]);
    fake.writable[0x10] = 0xc000 << 16;
    let function = one(fake.clone());
    let msix = Msix::new(&function).unwrap().unwrap();
    assert_eq!(msix.entries(), 3);
    assert_eq!(mmio_load::<u32>(BASE + 0x800 + 12), 1, "masked");
    msix.set(1, MsiMessage { address: 0x1_fee0_1000, data: 0x31 });
    let entry: [u32; 4] = core::array::from_fn(|i| mmio_load(BASE + 0x810 + 4 * i as u64));
    assert_eq!(entry, [0xfee0_1000, 1, 0x31, 0]);
    msix.enable();
    assert_eq!(function.read16(0x42), 0x8002);
    assert_eq!(function.read16(4), 1 << 1 | 1 << 10, "memory on, pin off");
    // A table beyond the end of its window is not one.
    fake.words[0x11] = 0xff1;
    assert_eq!(Msix::new(&one(fake)).err(), Some(Error::Malformed));
    assert!(Msix::new(&one(FakeFunction::new(1, 2))).unwrap().is_none());
}

#[test]
fn a_single_message() {
    let message = MsiMessage { address: 0xfee0_2000, data: 0x41 };
    for (control, data_at) in [(0x80u32, 0x4c), (0, 0x48)] {
        let mut fake = FakeFunction::new(1, 2).capability(0x40, &[control << 16 | 5, 0, 0, 0]);
        fake.writable[0x10] = 0x71 << 16;
        fake.writable[0x11..0x14].fill(u32::MAX);
        let function = one(fake);
        let msi = Msi::new(&function).unwrap();
        assert!(!msi.enable(MsiMessage { data: 0x1_0000, ..message }));
        let far = MsiMessage { address: 1 << 32, ..message };
        assert_eq!(msi.enable(far), control != 0);
        assert!(msi.enable(message));
        assert_eq!((function.read32(0x44), function.read16(data_at)), (0xfee0_2000, 0x41));
        assert_eq!(function.read16(0x42), control as u16 | 1);
    }
}

#[test]
fn windows_without_addresses_get_some() {
    let function = one(FakeFunction::new(1, 2)
        .bar(0, 0, 0x1000)
        .bar(1, 1, 64)
        .bar(2, 0b100, 0x4000)
        .bar(4, 0x38_0000_0004, 0x1000));
    let mut windows = Windows { low: 0xe000_0800..0xe000_2000, high: 1 << 40..1 << 41 };
    assert!(assign_bars(&function, &mut windows));
    let address = |index| match function.bar(index) {
        Some(Bar::Memory { address, .. }) => address,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 2, 4].map(address), [0xe000_1000, 1 << 40, 0x38_0000_0000]);
    let full = one(FakeFunction::new(1, 2).bar(0, 0, 0x1000));
    assert!(!assign_bars(&full, &mut windows));
}

/// The ports of a machine with one function.
struct Ports(SpinLock<(u32, u32)>);

impl PortIo for Ports {
    fn read8(&self, _port: u16) -> u8 {
        unreachable!()
    }
    fn read16(&self, _port: u16) -> u16 {
        unreachable!()
    }
    fn read32(&self, port: u16) -> u32 {
        let (selector, value) = *self.0.lock();
        match (port, selector) {
            (0xcf8, _) => selector,
            (0xcfc, 0x8002_1b10) => value,
            _ => u32::MAX,
        }
    }
    fn write8(&self, _port: u16, _value: u8) {
        unreachable!()
    }
    fn write16(&self, _port: u16, _value: u16) {
        unreachable!()
    }
    fn write32(&self, port: u16, value: u32) {
        let mut state = self.0.lock();
        match port {
            0xcf8 => state.0 = value,
            _ => state.1 = value,
        }
    }
}

#[test]
fn ports_reach_the_first_segment() {
    let access = PortAccess::over(Ports(SpinLock::new((0, 5))));
    let address = Address { segment: 0, bus: 2, device: 3, function: 3 };
    assert_eq!(access.roots(), [(0, 0)]);
    assert_eq!(access.read(address, 0x10), 5);
    access.write(address, 0x10, 6);
    assert_eq!(access.read(address, 0x10), 6);
    assert_eq!(access.read(address, 0x110), u32::MAX);
    assert_eq!(access.read(Address { segment: 1, ..address }, 0x10), u32::MAX);
}
