// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be found in a definition block without interpreting it: constant
//! packages and resource templates (chapters 6.4 and 20).

use crate::bytes::{array, u8_at, u16_at, u32_at};
use alloc::vec::Vec;

/// The values that a sleep state wants in the control registers (7.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepType {
    /// For the first control register.
    pub a: u8,
    /// For the second one.
    pub b: u8,
}

const NAME_OP: u8 = 0x08;
const PACKAGE_OP: u8 = 0x12;
const ZERO_OP: u8 = 0x00;
const ONE_OP: u8 = 0x01;
const BYTE_PREFIX: u8 = 0x0a;
const WORD_PREFIX: u8 = 0x0b;
const DWORD_PREFIX: u8 = 0x0c;

/// The package `\_Sn_`, for a name object with constant elements, which is
/// what all firmware has.
pub fn sleep_type(block: &[u8], state: u8) -> Option<SleepType> {
    let name = [b'_', b'S', b'0' + state.min(5), b'_'];
    positions(block, &name).find_map(|at| {
        let named = matches!(&block[..at], [.., NAME_OP] | [.., NAME_OP, b'\\']);
        if !named || u8_at(block, at + 4)? != PACKAGE_OP {
            return None;
        }
        // PkgLength: the top two bits count the bytes that follow (20.2.4).
        let length_bytes = 1 + usize::from(u8_at(block, at + 5)? >> 6);
        let mut next = at + 5 + length_bytes;
        if u8_at(block, next)? == 0 {
            return None;
        }
        next += 1;
        let (a, next) = integer(block, next)?;
        // A package with one element has both values in it, a byte each.
        let (b, _) = integer(block, next).unwrap_or((a >> 8, next));
        Some(SleepType { a: a as u8, b: b as u8 })
    })
}

/// A constant integer and where the next object starts.
pub(super) fn integer(block: &[u8], at: usize) -> Option<(u32, usize)> {
    Some(match u8_at(block, at)? {
        ZERO_OP => (0, at + 1),
        ONE_OP => (1, at + 1),
        BYTE_PREFIX => (u32::from(u8_at(block, at + 1)?), at + 2),
        WORD_PREFIX => (u32::from(u16_at(block, at + 1)?), at + 3),
        DWORD_PREFIX => (u32_at(block, at + 1)?, at + 5),
        _ => return None,
    })
}

/// A virtio-mmio device in a definition block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioDevice {
    /// Physical address of its registers.
    pub base: u64,
    /// Size of the window in bytes.
    pub size: u64,
    /// Global system interrupt.
    pub gsi: u32,
}

/// The hardware ID of virtio-mmio devices.
const VIRTIO_MMIO_ID: &[u8] = b"LNRO0005";
/// Memory32Fixed and extended interrupt descriptors, with their lengths (6.4.3).
const MEMORY32_FIXED: [u8; 3] = [0x86, 9, 0];
const EXTENDED_INTERRUPT: u8 = 0x89;
/// The resources stand this close behind the hardware ID.
const REACH: usize = 128;

/// Devices with the hardware ID of virtio-mmio, with a window below 4 GiB and
/// an interrupt, as QEMU's microvm declares them.
pub fn virtio_mmio_devices(block: &[u8]) -> Vec<MmioDevice> {
    let found = positions(block, VIRTIO_MMIO_ID).filter_map(|at| {
        let rest = &block[at + VIRTIO_MMIO_ID.len()..];
        let next = positions(rest, VIRTIO_MMIO_ID).next().unwrap_or(rest.len());
        let resources = &rest[..next.min(REACH)];
        let window = positions(resources, &MEMORY32_FIXED).next()?;
        let base = u64::from(u32_at(resources, window + 4)?);
        let size = u64::from(u32_at(resources, window + 8)?);
        let interrupts = resources.get(window + 12..)?;
        let [kind, _, _, _, count] = array(interrupts, 0)?;
        let gsi = u32_at(interrupts, 5)?;
        let plausible = kind == EXTENDED_INTERRUPT && count >= 1 && base != 0 && size != 0;
        plausible.then_some(MmioDevice { base, size, gsi })
    });
    found.take(256).collect()
}

/// Where `needle` occurs.
pub(super) fn positions<'a>(
    haystack: &'a [u8],
    needle: &'a [u8],
) -> impl Iterator<Item = usize> + 'a {
    // The first byte tells most places apart, without a call at each of them.
    let is_there = move |w: &[u8]| w.first() == needle.first() && w == needle;
    haystack.windows(needle.len()).enumerate().filter(move |(_, w)| is_there(w)).map(|(at, _)| at)
}
