// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The virtual machine's generation (Microsoft, "Virtual Machine Generation
//! ID"): 16 bytes in memory that are others after each restore from a
//! snapshot, and the generic event device whose interrupt says so (5.6.9).

use super::dsdt::{integer, positions};
use crate::bytes::{u8_at, u16_at, u32_at};
use alloc::vec::Vec;
use kdevice::{InterruptLine, Polarity, Trigger};

/// Bytes of the generation.
pub const GENERATION_SIZE: usize = 16;

/// The compatible ID of the device, and the name of the package that says where.
const GENERATION_ID: &[u8] = b"VM_Gen_Counter\0";
const ADDRESS_NAME: &[u8] = b"\x08ADDR\x12";
const EVENT_DEVICE_ID: &[u8] = b"ACPI0013\0";
const EXTENDED_INTERRUPT: u8 = 0x89;
/// What belongs to a device stands this close behind its ID.
const REACH: usize = 128;

/// Physical address of the generation, where the package is constant.
pub fn generation_address(block: &[u8]) -> Option<u64> {
    positions(block, GENERATION_ID).find_map(|at| {
        let rest = &block[at..block.len().min(at + REACH)];
        let name = positions(rest, ADDRESS_NAME).next()?;
        let length = name + ADDRESS_NAME.len();
        // PkgLength: the top two bits count the bytes that follow (20.2.4).
        let count = length + 1 + usize::from(u8_at(rest, length)? >> 6);
        if u8_at(rest, count)? != 2 {
            return None;
        }
        let (low, next) = integer(rest, count + 1)?;
        let (high, _) = integer(rest, next)?;
        let address = u64::from(high) << 32 | u64::from(low);
        (address != 0 && address.is_multiple_of(8)).then_some(address)
    })
}

/// The interrupts of the generic event devices.
pub fn event_lines(block: &[u8]) -> Vec<InterruptLine> {
    let mut lines = Vec::new();
    for at in positions(block, EVENT_DEVICE_ID) {
        let rest = &block[at + EVENT_DEVICE_ID.len()..block.len().min(at + REACH)];
        let Some(mut next) = rest.iter().position(|b| *b == EXTENDED_INTERRUPT) else { continue };
        while let Some((line, length)) = interrupt(&rest[next..]) {
            lines.push(line);
            next += length;
        }
    }
    lines
}

/// An extended interrupt descriptor with one interrupt (6.4.3.6), and its length.
fn interrupt(bytes: &[u8]) -> Option<(InterruptLine, usize)> {
    if u8_at(bytes, 0)? != EXTENDED_INTERRUPT || u8_at(bytes, 4)? != 1 {
        return None;
    }
    let flags = u8_at(bytes, 3)?;
    let line = InterruptLine {
        gsi: u32_at(bytes, 5)?,
        trigger: if flags & 1 << 1 != 0 { Trigger::Edge } else { Trigger::Level },
        polarity: if flags & 1 << 2 != 0 { Polarity::Low } else { Polarity::High },
    };
    let length = 3 + usize::from(u16_at(bytes, 1)?);
    (length >= 9 && length <= bytes.len()).then_some((line, length))
}

#[cfg(test)]
mod tests {
    use super::{event_lines, generation_address};
    use kdevice::{Polarity, Trigger};
    use std::vec::Vec;

    /// Two devices as Firecracker declares them.
    fn block() -> Vec<u8> {
        let mut block = Vec::from(*b"_HID\x0dVMGENCTR\0\x08_CID\x0dVM_Gen_Counter\0");
        block.extend_from_slice(b"\x08_DDN\x0dVM_Gen_Counter\0\x08ADDR");
        block.extend_from_slice(b"\x12\x08\x02\x0c\xf0\xff\x0d\x00\x00");
        block.extend_from_slice(b"_HID\x0dACPI0013\0\x08_CRS\x11\x17\x0a\x14");
        block.extend_from_slice(b"\x89\x06\x00\x03\x01\x05\x00\x00\x00");
        block.extend_from_slice(b"\x89\x06\x00\x07\x01\x06\x00\x00\x00\x79\x00");
        block
    }

    #[test]
    fn the_generation_is_found() {
        let block = block();
        assert_eq!(generation_address(&block), Some(0xd_fff0));
        assert_eq!(generation_address(&block[..40]), None);
        // An address above 4 GiB, and one that nothing can be at.
        let with = |low: u8, high: &[u8]| {
            let mut bytes = Vec::from(*b"VM_Gen_Counter\0\x08ADDR\x12\x0c\x02\x0a");
            bytes.push(low);
            bytes.extend_from_slice(high);
            generation_address(&bytes)
        };
        assert_eq!(with(0x10, b"\x01"), Some(0x1_0000_0010));
        assert_eq!(with(0x10, b"\x0c\x02\0\0\0"), Some(0x2_0000_0010));
        assert_eq!(with(0x11, b"\x01"), None);
        assert_eq!(with(0, b"\x00"), None);
        assert_eq!(with(0x10, b""), None);
    }

    #[test]
    fn the_lines_of_events_are_found() {
        let lines = event_lines(&block());
        let seen: Vec<_> = lines.iter().map(|l| (l.gsi, l.trigger, l.polarity)).collect();
        let expected = [(5, Trigger::Edge, Polarity::High), (6, Trigger::Edge, Polarity::Low)];
        assert_eq!(seen, expected);
        assert!(event_lines(b"ACPI0013\0\x89\x06\x00").is_empty());
        assert!(event_lines(b"ACPI0013\0\x89\x00\x00\x03\x01\x05\x00\x00\x00").is_empty());
    }
}
