// SPDX-License-Identifier: Apache-2.0 OR MIT
//! virtio rings: drivers against a device that lies. It writes what the input
//! says into the used ring, into buffers and into its configuration, but only
//! where a device may write.

use crate::take::Input;
use kdevice::hosted::{self, ram_load, ram_store, ram_write};
use kdevice::{EntropySource, InterruptHandler};
use kdrv_virtio::{
    DeviceType, Error, Interrupts, QueueAddresses, Transport, VirtioBlock, VirtioNet, VirtioRng,
};
use knet::device::{NetDevice, RxPacket, TxPacket, Uplink};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Deeds of one input.
const DEEDS: usize = 120;

#[derive(Clone, Copy)]
struct Ring {
    size: u16,
    addresses: QueueAddresses,
    used: u16,
}

#[derive(Default)]
struct Device {
    features: u64,
    status: u8,
    queue_max: u16,
    config: Vec<u8>,
    generation: u32,
    /// Refuses FEATURES_OK or never resets.
    stubborn: u8,
    rings: Vec<(u16, Ring)>,
    handlers: Vec<Arc<dyn InterruptHandler>>,
}

#[derive(Clone)]
struct Liar {
    kind: DeviceType,
    legacy: bool,
    device: Arc<Mutex<Device>>,
}

impl Liar {
    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupt(&self, which: usize) {
        let handler = {
            let device = self.device();
            device.handlers.get(which % device.handlers.len().max(1)).cloned()
        };
        if let Some(handler) = handler {
            handler.handle();
        }
    }

    /// Writes an element into a used ring (virtio 1.2, 2.7.8) and maybe into
    /// the buffer of the descriptor that it names.
    fn complete(&self, input: &mut Input<'_>) {
        let honest = input.u8();
        let which = usize::from(input.u8());
        let mut device = self.device();
        let count = device.rings.len().max(1);
        let Some((_, ring)) = device.rings.get_mut(which % count) else { return };
        let (size, at) = (u64::from(ring.size), ring.addresses);
        let id = match honest & 3 {
            // What the driver made available, in turn.
            0 | 1 => ram_load::<u16>(at.available + 4 + u64::from(ring.used % ring.size) * 2),
            2 => input.u16() % ring.size,
            _ => input.u16(),
        };
        let len = if honest & 4 == 0 { input.u32() % 4096 } else { input.u32() };
        if u64::from(id) < size {
            fill(at.descriptors + u64::from(id) * 16, input);
        }
        let slot = at.used + 4 + u64::from(ring.used % ring.size) * 8;
        ram_store(slot, u32::from(id));
        ram_store(slot + 4, len);
        let step = if honest & 0x38 == 0x38 { input.u16() } else { 1 };
        ring.used = ring.used.wrapping_add(step);
        ram_store(at.used + 2, ring.used);
    }

    /// Damage within the used ring: flags, index, elements, event index.
    fn scribble(&self, input: &mut Input<'_>) {
        let device = self.device();
        let which = usize::from(input.u8());
        let Some((_, ring)) = device.rings.get(which % device.rings.len().max(1)) else { return };
        let bytes = 6 + u64::from(ring.size) * 8;
        let offset = u64::from(input.u16()) % bytes / 2 * 2;
        ram_store(ring.addresses.used + offset, input.u16());
    }
}

/// Writes into the buffer of a descriptor, if the device may.
fn fill(descriptor: u64, input: &mut Input<'_>) {
    let (address, len) = (ram_load::<u64>(descriptor), ram_load::<u32>(descriptor + 8));
    let writable = ram_load::<u16>(descriptor + 12) & 2 != 0;
    if writable {
        let count = usize::from(input.u8()).min(len as usize);
        ram_write(address, input.bytes(count));
    }
}

impl Transport for Liar {
    fn device_type(&self) -> DeviceType {
        self.kind
    }

    fn is_legacy(&self) -> bool {
        self.legacy
    }

    fn device_features(&self) -> u64 {
        self.device().features
    }

    fn set_driver_features(&self, features: u64) {
        let offered = self.device().features;
        assert_eq!(features & !offered, 0, "accepts what was not offered");
    }

    fn status(&self) -> u8 {
        let device = self.device();
        // FEATURES_OK does not stay set when the device is stubborn.
        if device.stubborn == 1 { device.status & !8 } else { device.status }
    }

    fn set_status(&self, status: u8) {
        let mut device = self.device();
        device.status = status;
        if status == 0 {
            device.rings.clear();
        }
    }

    fn queue_max(&self, index: u16) -> u16 {
        if index < 3 { self.device().queue_max } else { 0 }
    }

    fn set_queue(&self, index: u16, size: u16, addresses: QueueAddresses) -> Result<(), Error> {
        assert!(size.is_power_of_two(), "a queue of {size}");
        let mut device = self.device();
        assert!(size <= device.queue_max);
        if device.stubborn == 2 {
            return Err(Error::Queue);
        }
        device.rings.push((index, Ring { size, addresses, used: 0 }));
        Ok(())
    }

    fn notify(&self, index: u16) {
        assert!(self.device().rings.iter().any(|(i, _)| *i == index), "no queue {index}");
    }

    fn connect(&self, interrupts: Interrupts) -> Result<(), Error> {
        let mut device = self.device();
        device.handlers = interrupts.queues;
        device.handlers.extend(interrupts.config);
        Ok(())
    }

    fn config_generation(&self) -> u32 {
        let mut device = self.device();
        if device.stubborn == 3 {
            device.generation = device.generation.wrapping_add(1);
        }
        device.generation
    }

    fn config8(&self, offset: usize) -> u8 {
        self.device().config.get(offset).copied().unwrap_or(0)
    }

    fn config16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.config8(offset), self.config8(offset + 1)])
    }

    fn config32(&self, offset: usize) -> u32 {
        u32::from(self.config16(offset)) | u32::from(self.config16(offset + 2)) << 16
    }
}

/// The stack above the card: looks at every byte that it is given.
#[derive(Default)]
struct Above(Mutex<u64>);

impl Uplink for Above {
    fn receive(&self, packet: &RxPacket<'_>) {
        let sum: u64 = packet.bytes.iter().map(|&b| u64::from(b)).sum();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += sum;
    }

    fn end_of_batch(&self) {}

    fn transmit_ready(&self) {}
}

enum Driver {
    Net(Arc<VirtioNet>),
    Entropy(Arc<VirtioRng>),
    Block(#[expect(dead_code, reason = "keeps the driver alive")] Arc<VirtioBlock>),
}

impl Driver {
    fn start(liar: &Liar) -> Option<Self> {
        let transport = Box::new(liar.clone());
        match liar.kind {
            DeviceType::Network => {
                let card = VirtioNet::start(transport, [2, 0, 0, 0, 0, 9]).ok()?;
                let _ = (card.mac(), card.mtu(), card.capabilities(), card.link_up());
                card.attach(Arc::new(Above::default()));
                Some(Self::Net(card))
            }
            DeviceType::Entropy => VirtioRng::start(transport).ok().map(Self::Entropy),
            _ => VirtioBlock::start(transport).ok().map(Self::Block),
        }
    }

    fn work(&self, input: &mut Input<'_>) {
        match self {
            Self::Net(card) => {
                let header = vec![1; 14 + usize::from(input.u8())];
                let payload = vec![2; usize::from(input.u16())];
                let packet = TxPacket {
                    header: &header,
                    payload: [&payload, &[]],
                    checksum: None,
                    segmentation: None,
                };
                let _ = card.transmit(&packet);
                card.flush();
                card.poll();
            }
            Self::Entropy(source) => {
                let mut bytes = [0; 64];
                let taken = source.take(&mut bytes);
                assert!(taken <= bytes.len());
            }
            Self::Block(_) => {}
        }
    }
}

/// The device that the front of `input` describes.
fn device(input: &mut Input<'_>) -> Liar {
    let kind = [DeviceType::Network, DeviceType::Network, DeviceType::Entropy, DeviceType::Block]
        [usize::from(input.u8() % 4)];
    let choices = input.u8();
    let legacy = choices & 1 == 1;
    let modern = if legacy { 1 << 27 } else { 1 << 32 };
    let features = u64::from(input.u32())
        | u64::from(input.u8()) << 32
        | if choices & 2 == 0 { modern } else { 0 };
    let device = Device {
        features,
        queue_max: 1 << (choices >> 5),
        stubborn: if choices & 0x1c == 0x1c { input.u8() % 4 } else { 0 },
        config: input.bytes(64).to_vec(),
        ..Device::default()
    };
    Liar { kind, legacy, device: Arc::new(Mutex::new(device)) }
}

pub(crate) fn run(data: &[u8]) {
    hosted::start();
    let mut input = Input(data);
    let liar = device(&mut input);
    play(&liar, &mut input);
    // The handlers hold the driver, which holds the device: end the circle.
    let handlers = std::mem::take(&mut liar.device().handlers);
    drop(handlers);
}

/// Whether the driver accepted the device.
fn play(liar: &Liar, input: &mut Input<'_>) -> bool {
    let Some(driver) = Driver::start(liar) else { return false };
    for _ in 0..DEEDS {
        if input.is_empty() {
            break;
        }
        match input.u8() % 8 {
            0..=2 => liar.complete(input),
            3 => liar.scribble(input),
            4 => {
                let at = usize::from(input.u8());
                let value = input.u8();
                let mut device = liar.device();
                device.generation = device.generation.wrapping_add(1);
                if let Some(byte) = device.config.get_mut(at) {
                    *byte = value;
                }
            }
            5 => liar.interrupt(usize::from(input.u8())),
            _ => driver.work(input),
        }
    }
    true
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // Type, choices (a queue of 16), features, configuration, then deeds.
    let card = |features: u32| {
        let mut seed = vec![0, 0x80];
        seed.extend_from_slice(&features.to_le_bytes());
        seed.push(1);
        seed.extend_from_slice(&[2, 0, 0, 0, 0, 7, 1, 0, 1, 0, 0xdc, 5]);
        seed.extend_from_slice(&[0; 52]);
        for _ in 0..20 {
            seed.extend_from_slice(&[0, 0, 0, 74, 0, 0, 0, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            seed.extend_from_slice(&[7; 28]);
            seed.extend_from_slice(&[5, 0, 6, 20, 64, 0, 0, 0, 1, 0, 0, 0, 0, 5, 1]);
        }
        seed
    };
    let mut entropy = vec![2, 0x60, 0, 0, 0, 0, 1];
    entropy.extend_from_slice(&[0; 64]);
    entropy.extend_from_slice(&[6, 0, 0, 0, 16, 0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, 6, 6]);
    let mut block = vec![3, 0x80, 0xff, 0xff, 0xff, 0x7f, 1];
    block.extend_from_slice(&[
        0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 126, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,
    ]);
    block.extend_from_slice(&[0; 60]);
    vec![card(0), card(0x0001_8023), card(0x3001_ffff), card(u32::MAX), entropy, block]
}

#[cfg(test)]
mod tests {
    use super::{Input, device, hosted, play, seeds};

    #[test]
    fn drivers_accept_the_seeds() {
        hosted::start();
        for (i, seed) in seeds().iter().enumerate() {
            let mut input = Input(seed);
            let liar = device(&mut input);
            assert!(play(&liar, &mut input), "seed {i} is refused");
            assert!(!liar.device().handlers.is_empty());
        }
    }
}
