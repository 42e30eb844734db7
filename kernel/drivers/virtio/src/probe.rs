// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a place where a device may be to a driver that runs.

use crate::{
    DeviceType, Error, MmioSlot, MmioTransport, PciTransport, Transport, VirtioBlock, VirtioNet,
    VirtioRng,
};
use alloc::boxed::Box;
use alloc::sync::Arc;
use kdevice::InterruptLine;
use kdrv_pci::Function;
use knet::device::MacAddress;

/// A device that is up.
pub enum Device {
    /// A network card: give it to the stack, which attaches itself.
    Network(Arc<VirtioNet>),
    /// A disk.
    Block(Arc<VirtioBlock>),
    /// A source of random bytes.
    Entropy(Arc<VirtioRng>),
}

/// Drives what is in an MMIO slot. `Ok(None)`: the slot is empty, or holds a
/// device that we have no driver for.
pub fn probe_mmio(slot: &MmioSlot) -> Result<Option<Device>, Error> {
    let Some(transport) = MmioTransport::probe(slot)? else { return Ok(None) };
    start(Box::new(transport), slot.base)
}

/// Drives a PCI function. `Ok(None)`: it is not a virtio device, or one that
/// we have no driver for. `line` is where its interrupt pin leads, for devices
/// without MSI-X.
pub fn probe_pci(
    function: &Function,
    line: Option<InterruptLine>,
) -> Result<Option<Device>, Error> {
    let address = function.address();
    let place = u64::from(address.segment) << 16
        | u64::from(address.bus) << 8
        | u64::from(address.device) << 3
        | u64::from(address.function);
    let Some(transport) = PciTransport::probe(function, line)? else { return Ok(None) };
    start(Box::new(transport), place)
}

/// Starts the driver for the device behind `transport`; `place` tells apart
/// devices that have no name of their own.
pub fn start(transport: Box<dyn Transport>, place: u64) -> Result<Option<Device>, Error> {
    Ok(Some(match transport.device_type() {
        DeviceType::Network => Device::Network(VirtioNet::start(transport, local_mac(place))?),
        DeviceType::Block => Device::Block(VirtioBlock::start(transport)?),
        DeviceType::Entropy => Device::Entropy(VirtioRng::start(transport)?),
        DeviceType::Console | DeviceType::Other(_) => return Ok(None),
    }))
}

/// An address for a network card without one: locally administered (IEEE 802,
/// 8.4), made of where the card is.
fn local_mac(place: u64) -> MacAddress {
    let hash = place.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    [0x02, hash[0], hash[1], hash[2], hash[3], hash[4]]
}
