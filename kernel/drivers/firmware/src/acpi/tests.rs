// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables of real machines (dumped from QEMU 7.2 with four CPUs), whole, cut
//! short and damaged.

use super::{
    Fadt, Madt, McfgRegion, Register, SleepType, Tables, mcfg_regions, sleep_type,
    virtio_mmio_devices,
};
use crate::bytes::{u32_at, u64_at};
use kdevice::{InterruptLine, PhysicalMemory, Polarity, PortIo, Trigger};
use ksync::SpinLock;
use std::vec::Vec;

const PC: &[u8] = include_bytes!("../../testdata/pc.acpi");
const Q35: &[u8] = include_bytes!("../../testdata/q35.acpi");
const MICROVM: &[u8] = include_bytes!("../../testdata/microvm.acpi");

/// Physical memory with some regions in it.
#[derive(Clone)]
struct Memory(Vec<(u64, Vec<u8>)>);

impl Memory {
    /// From a dump: address (8 bytes), length (4 bytes), bytes, and so on; the
    /// root pointer comes first.
    fn load(dump: &[u8]) -> Self {
        let mut regions = Vec::new();
        let mut at = 0;
        while at < dump.len() {
            let len = u32_at(dump, at + 8).unwrap() as usize;
            let bytes = dump[at + 12..at + 12 + len].to_vec();
            regions.push((u64_at(dump, at).unwrap(), bytes));
            at += 12 + len;
        }
        Self(regions)
    }

    fn rsdp(&self) -> Option<u64> {
        Some(self.0[0].0)
    }
}

impl PhysicalMemory for Memory {
    /// RAM below 64 MiB; what is not in a region is zero.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        buffer.fill(0);
        for (start, bytes) in &self.0 {
            for (offset, byte) in buffer.iter_mut().enumerate() {
                let at = (address + offset as u64).checked_sub(*start);
                if let Some(found) = at.and_then(|at| bytes.get(at as usize)) {
                    *byte = *found;
                }
            }
        }
        address.checked_add(buffer.len() as u64).is_some_and(|end| end <= 64 << 20)
    }
}

#[derive(Default)]
struct Ports(SpinLock<Vec<(u16, u32)>>);

impl PortIo for Ports {
    fn read8(&self, _port: u16) -> u8 {
        0
    }
    fn read16(&self, _port: u16) -> u16 {
        0
    }
    fn read32(&self, _port: u16) -> u32 {
        0
    }
    fn write8(&self, port: u16, value: u8) {
        self.0.lock().push((port, value.into()));
    }
    fn write16(&self, port: u16, value: u16) {
        self.0.lock().push((port, value.into()));
    }
    fn write32(&self, port: u16, value: u32) {
        self.0.lock().push((port, value));
    }
}

#[test]
fn the_root_is_given_or_found() {
    for dump in [PC, Q35, MICROVM] {
        let memory = Memory::load(dump);
        let given = Tables::find(&memory, memory.rsdp()).unwrap();
        let found = Tables::find(&memory, None).unwrap();
        let wrong = Tables::find(&memory, Some(0x1234)).unwrap();
        assert_eq!(given.entries, found.entries);
        assert_eq!(given.entries, wrong.entries);
        assert!(given.table(&memory, b"APIC").is_some());
    }
    assert!(Tables::find(&Memory(Vec::new()), None).is_none());
}

#[test]
fn cpus_and_interrupts_of_q35() {
    let memory = Memory::load(Q35);
    let madt = Tables::find(&memory, None).unwrap().madt(&memory).unwrap();
    assert_eq!(madt.local_apic, 0xfee0_0000);
    assert!(madt.has_8259);
    let ids: Vec<_> = madt.cpus.iter().map(|cpu| (cpu.apic_id, cpu.enabled)).collect();
    assert_eq!(ids, [(0, true), (1, true), (2, true), (3, true)]);
    assert_eq!((madt.io_apics[0].address, madt.io_apics[0].gsi_base), (0xfec0_0000, 0));
    assert_eq!(madt.isa_line(0).gsi, 2, "the timer is moved");
    let line = InterruptLine { gsi: 11, trigger: Trigger::Level, polarity: Polarity::High };
    assert_eq!(madt.isa_line(11), line);
    assert_eq!(madt.isa_line(4), InterruptLine::isa(4));
}

#[test]
fn configuration_space_of_q35() {
    let memory = Memory::load(Q35);
    let tables = Tables::find(&memory, None).unwrap();
    let region = McfgRegion { base: 0xb000_0000, segment: 0, first_bus: 0, last_bus: 255 };
    assert_eq!(tables.mcfg(&memory), [region]);
    let memory = Memory::load(PC);
    assert_eq!(Tables::find(&memory, None).unwrap().mcfg(&memory), []);
}

#[test]
fn power_off_of_pc_and_microvm() {
    for (dump, pm1a, reset) in [(PC, 0x604, &[][..]), (Q35, 0x604, &[(0xcf9, 0x0f)])] {
        let memory = Memory::load(dump);
        let power = Tables::find(&memory, None).unwrap().power_control(&memory).unwrap();
        let ports = Ports::default();
        assert!(power.can_power_off());
        power.power_off(&ports);
        assert_eq!(*ports.0.lock(), [(pm1a, 0x2000)]);
        ports.0.lock().clear();
        power.reset(&ports);
        assert_eq!(*ports.0.lock(), reset);
    }
    let memory = Memory::load(MICROVM);
    let tables = Tables::find(&memory, None).unwrap();
    let fadt = tables.fadt(&memory).unwrap();
    assert!(fadt.hardware_reduced && fadt.pm1a_control.is_none());
    assert!(matches!(fadt.sleep_control, Some(Register::Memory(_))), "{fadt:?}");
    assert!(tables.power_control(&memory).unwrap().can_power_off());
}

#[test]
fn mmio_devices_of_microvm() {
    let memory = Memory::load(MICROVM);
    let devices = Tables::find(&memory, None).unwrap().virtio_mmio(&memory);
    assert_eq!(devices.len(), 2);
    for device in devices {
        assert_eq!(device.size, 512);
        let slot = (device.base - 0xfeb0_0000) / 512;
        assert!(slot < 24, "{device:x?}");
        // The first I/O APIC has the lines 5 to 12 for them, a second one all.
        assert!([5, 16, 24].contains(&(u64::from(device.gsi) - slot)), "{device:x?}");
    }
}

#[test]
fn sleep_types_in_all_their_spellings() {
    let cases: [(&[u8], Option<SleepType>); 9] = [
        (b"\x08_S5_\x12\x06\x04\x00\x00\x00\x00", Some(SleepType { a: 0, b: 0 })),
        (b"\x08\\_S5_\x12\x08\x04\x0a\x05\x0a\x06\x00\x00", Some(SleepType { a: 5, b: 6 })),
        (b"\x08_S5_\x12\x47\x00\x02\x01\x0b\x07\x00", Some(SleepType { a: 1, b: 7 })),
        (b"\x08_S5_\x12\x08\x01\x0c\x05\x06\x00\x00", Some(SleepType { a: 5, b: 6 })),
        (b"\x5b_S5_\x12\x06\x04\x00\x00\x00\x00", None),
        (b"_S5_\x12\x06\x04\x00\x00", None),
        (b"\x08_S5_\x12\x06\x00", None),
        (b"\x08_S5_\x12\xc6", None),
        (b"\x08_S4_\x12\x06\x04\x00\x00\x00\x00", None),
    ];
    for (block, expected) in cases {
        assert_eq!(sleep_type(block, 5), expected, "{block:x?}");
    }
}

/// Every table cut at every length, and with every byte changed in some ways:
/// nothing panics, and a wrong sum is noticed.
#[test]
fn damaged_tables_are_no_harm() {
    let exercise = |table: &[u8]| {
        let _ = Madt::parse(table);
        let _ = Fadt::parse(table);
        let _ = super::Spcr::parse(table);
        let _ = mcfg_regions(table);
        let _ = sleep_type(table, 5);
        let _ = virtio_mmio_devices(table);
    };
    for dump in [Q35, MICROVM] {
        let memory = Memory::load(dump);
        for (_, table) in memory.0.iter().filter(|(_, table)| table.len() < 1000) {
            (0..table.len()).for_each(|len| exercise(&table[..len]));
            let mut damaged = table.clone();
            for at in 0..table.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    damaged[at] = value;
                    exercise(&damaged);
                }
                damaged[at] = table[at];
            }
        }
    }
    let mut memory = Memory::load(Q35);
    for region in 1..memory.0.len() {
        let signature: [u8; 4] = memory.0[region].1[..4].try_into().unwrap();
        if signature == *b"RSDT" || signature == *b"DSDT" {
            continue;
        }
        memory.0[region].1[37] ^= 1;
        let tables = Tables::find(&memory, None).unwrap();
        assert_eq!(tables.table(&memory, &signature), None);
        memory.0[region].1[37] ^= 1;
    }
}
