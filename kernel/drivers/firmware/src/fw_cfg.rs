// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU's firmware configuration device (docs/specs/fw_cfg in QEMU): named
//! files that the command line of the host gives to the guest.

use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::fence;
use kdevice::{DmaBuffer, PortIo, SystemPorts};
use ksync::SpinLock;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA_HIGH: u16 = 0x514;
const DMA_LOW: u16 = 0x518;

const KEY_SIGNATURE: u16 = 0x00;
const KEY_CPU_COUNT: u16 = 5;
const KEY_ID: u16 = 0x01;
const KEY_DIRECTORY: u16 = 0x19;
/// Bit of the ID: the DMA interface is there.
const ID_DMA: u32 = 1 << 1;

const DMA_ERROR: u32 = 1 << 0;
const DMA_READ: u32 = 1 << 1;
const DMA_SELECT: u32 = 1 << 3;

/// The DMA access structure lies at the start of the buffer, data behind it.
const DMA_DATA: usize = 64;
const DMA_BUFFER: usize = 16 << 10;
/// Looks at a transfer before it is given up; QEMU does it at once.
const DMA_ATTEMPTS: usize = 1_000_000;

/// Bytes of a directory entry, and of the name in it.
const ENTRY: usize = 64;
const NAME: usize = 56;
/// QEMU has 32 slots for files by default; more than this is an error.
const FILES_MAX: u32 = 4096;

/// A file of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its name; those that users give start with `opt/`.
    pub name: String,
    /// Bytes.
    pub size: u32,
    key: u16,
}

/// The configuration device.
pub struct FwCfg<P: PortIo = SystemPorts> {
    ports: P,
    dma: bool,
    /// The device has one position: accesses are made one after the other.
    /// The buffer is made when it is first used.
    buffer: SpinLock<Option<DmaBuffer>>,
}

impl FwCfg {
    /// The device of the machine, if it has one.
    pub fn probe() -> Option<Self> {
        Self::over(SystemPorts)
    }
}

impl<P: PortIo> FwCfg<P> {
    /// The device behind `ports`, if there is one.
    pub fn over(ports: P) -> Option<Self> {
        let mut device = Self { ports, dma: false, buffer: SpinLock::new(None) };
        let mut signature = [0; 4];
        device.read_ports(KEY_SIGNATURE, &mut signature);
        if signature != *b"QEMU" {
            return None;
        }
        let mut id = [0; 4];
        device.read_ports(KEY_ID, &mut id);
        device.dma = u32::from_le_bytes(id) & ID_DMA != 0;
        Some(device)
    }

    /// Processors that the machine starts with; their local APIC ids count
    /// from 0 where no table says otherwise.
    pub fn cpu_count(&self) -> u32 {
        let mut count = [0; 2];
        self.read_ports(KEY_CPU_COUNT, &mut count);
        u32::from(u16::from_le_bytes(count)).max(1)
    }

    /// The files, in the order of the device.
    pub fn files(&self) -> Vec<ConfigFile> {
        let mut count = [0; 4];
        self.read(KEY_DIRECTORY, &mut count);
        let count = u32::from_be_bytes(count);
        let mut directory = Vec::new();
        let bytes = 4 + count.min(FILES_MAX) as usize * ENTRY;
        if directory.try_reserve_exact(bytes).is_err() {
            return Vec::new();
        }
        directory.resize(bytes, 0);
        self.read(KEY_DIRECTORY, &mut directory);
        directory[4..].chunks_exact(ENTRY).filter_map(entry).collect()
    }

    /// The file with this name.
    pub fn file(&self, name: &str) -> Option<ConfigFile> {
        self.files().into_iter().find(|file| file.name == name)
    }

    /// The contents of a file; `None` when it is larger than `limit` or there
    /// is no memory for it.
    pub fn contents(&self, file: &ConfigFile, limit: usize) -> Option<Vec<u8>> {
        let size = file.size as usize;
        let mut bytes = Vec::new();
        if size > limit || bytes.try_reserve_exact(size).is_err() {
            return None;
        }
        bytes.resize(size, 0);
        self.read(file.key, &mut bytes);
        Some(bytes)
    }

    /// Reads an item from its start. Bytes beyond its end are zeroes.
    fn read(&self, key: u16, bytes: &mut [u8]) {
        if !self.dma || self.read_dma(key, bytes).is_none() {
            self.read_ports(key, bytes);
        }
    }

    /// Byte by byte; each is an exit to the host.
    fn read_ports(&self, key: u16, bytes: &mut [u8]) {
        let _exclusive = self.buffer.lock();
        self.ports.write16(SELECTOR, key);
        bytes.iter_mut().for_each(|byte| *byte = self.ports.read8(DATA));
    }

    fn read_dma(&self, key: u16, bytes: &mut [u8]) -> Option<()> {
        let mut slot = self.buffer.lock();
        if slot.is_none() {
            *slot = DmaBuffer::allocate(DMA_BUFFER).ok();
        }
        let buffer = slot.as_ref()?;
        let mut control = u32::from(key) << 16 | DMA_SELECT | DMA_READ;
        for chunk in bytes.chunks_mut(DMA_BUFFER - DMA_DATA) {
            self.transfer(buffer, control, chunk.len() as u32)?;
            buffer.read(DMA_DATA, chunk);
            control = DMA_READ;
        }
        Some(())
    }

    /// One transfer into the data part of the buffer.
    fn transfer(&self, buffer: &DmaBuffer, control: u32, len: u32) -> Option<()> {
        let address = buffer.address().as_u64();
        let data = address + DMA_DATA as u64;
        // The structure and the address of it are big-endian.
        buffer.store(0, control.swap_bytes(), Relaxed);
        buffer.store(4, len.swap_bytes(), Relaxed);
        buffer.store(8, data.swap_bytes(), Relaxed);
        fence(SeqCst);
        self.ports.write32(DMA_HIGH, ((address >> 32) as u32).swap_bytes());
        self.ports.write32(DMA_LOW, (address as u32).swap_bytes());
        for _ in 0..DMA_ATTEMPTS {
            match buffer.load::<u32>(0, SeqCst).swap_bytes() {
                0 => return Some(()),
                state if state & DMA_ERROR != 0 => return None,
                _ => core::hint::spin_loop(),
            }
        }
        None
    }
}

/// A directory entry; `None` when its name is not text.
fn entry(bytes: &[u8]) -> Option<ConfigFile> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?);
    let key = u16::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
    let name = bytes.get(8..8 + NAME)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    let name = core::str::from_utf8(&name[..end]).ok().filter(|name| !name.is_empty())?;
    Some(ConfigFile { name: name.into(), size, key })
}

#[cfg(test)]
mod tests {
    use super::{DMA_DATA, DMA_HIGH, DMA_LOW, FwCfg};
    use kdevice::PortIo;
    use kdevice::hosted::{self, ram_load, ram_store, ram_write};
    use ksync::SpinLock;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// The device, with its position.
    struct Fake {
        dma: bool,
        items: BTreeMap<u16, Vec<u8>>,
        state: SpinLock<(u16, usize, u32)>,
    }

    impl Fake {
        fn new(dma: bool, files: &[(&str, &[u8])]) -> Self {
            hosted::start();
            let mut items = BTreeMap::new();
            items.insert(0, b"QEMU".to_vec());
            items.insert(1, std::vec![if dma { 3 } else { 1 }, 0, 0, 0]);
            let mut directory = (files.len() as u32).to_be_bytes().to_vec();
            for (key, (name, bytes)) in (0x20u16..).zip(files) {
                directory.extend((bytes.len() as u32).to_be_bytes());
                directory.extend(key.to_be_bytes());
                directory.extend([0; 2]);
                let mut field = [0; 56];
                field[..name.len()].copy_from_slice(name.as_bytes());
                directory.extend(field);
                items.insert(key, bytes.to_vec());
            }
            items.insert(0x19, directory);
            Self { dma, items, state: SpinLock::new((0, 0, 0)) }
        }

        fn next(&self) -> u8 {
            let mut state = self.state.lock();
            let byte = self.items.get(&state.0).and_then(|item| item.get(state.1));
            state.1 += 1;
            byte.copied().unwrap_or(0)
        }

        fn transfer(&self, address: u64) {
            let control = ram_load::<u32>(address).swap_bytes();
            let len = ram_load::<u32>(address + 4).swap_bytes();
            let data = ram_load::<u64>(address + 8).swap_bytes();
            assert_eq!(data, address + DMA_DATA as u64);
            if control & 8 != 0 {
                let mut state = self.state.lock();
                (state.0, state.1) = ((control >> 16) as u16, 0);
            }
            let bytes: Vec<u8> = (0..len).map(|_| self.next()).collect();
            ram_write(data, &bytes);
            ram_store(address, 0u32);
        }
    }

    impl PortIo for Fake {
        fn read8(&self, port: u16) -> u8 {
            assert_eq!(port, 0x511);
            self.next()
        }
        fn read16(&self, _port: u16) -> u16 {
            unreachable!()
        }
        fn read32(&self, _port: u16) -> u32 {
            unreachable!()
        }
        fn write8(&self, _port: u16, _value: u8) {
            unreachable!()
        }
        fn write16(&self, port: u16, value: u16) {
            assert_eq!(port, 0x510);
            let mut state = self.state.lock();
            (state.0, state.1) = (value, 0);
        }
        fn write32(&self, port: u16, value: u32) {
            assert!(self.dma);
            match port {
                DMA_HIGH => self.state.lock().2 = value.swap_bytes(),
                DMA_LOW => {
                    let high = u64::from(self.state.lock().2);
                    self.transfer(high << 32 | u64::from(value.swap_bytes()));
                }
                _ => unreachable!(),
            }
        }
    }

    #[test]
    fn files_are_found_and_read_both_ways() {
        let large: Vec<u8> = (0..100_000u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for dma in [false, true] {
            let files: [(&str, &[u8]); 3] = [
                ("etc/acpi/tables", b"xy"),
                ("opt/org.example/config", &large),
                ("opt/empty", b""),
            ];
            let device = FwCfg::over(Fake::new(dma, &files)).unwrap();
            let names: Vec<_> = device.files().into_iter().map(|file| file.name).collect();
            assert_eq!(names, files.map(|file| file.0));
            let file = device.file("opt/org.example/config").unwrap();
            assert_eq!(device.contents(&file, 1 << 20).unwrap(), large);
            assert_eq!(device.contents(&file, 99_999), None);
            let empty = device.file("opt/empty").unwrap();
            assert_eq!(device.contents(&empty, 0).unwrap(), []);
            assert_eq!(device.file("opt/none"), None);
        }
    }

    #[test]
    fn no_device_and_bad_directories_are_no_harm() {
        let mut absent = Fake::new(false, &[]);
        absent.items.insert(0, std::vec![0xff; 4]);
        assert!(FwCfg::over(absent).is_none());
        let mut lying = Fake::new(true, &[]);
        lying.items.insert(0x19, std::vec![0xff; 4 + 64]);
        assert_eq!(FwCfg::over(lying).unwrap().files(), []);
    }
}
