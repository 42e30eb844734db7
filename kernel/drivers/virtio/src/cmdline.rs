// SPDX-License-Identifier: Apache-2.0 OR MIT
//! MMIO devices named on the kernel command line (4.2.2.1, and the
//! `virtio_mmio.device=` parameter of Linux, which VMMs use).

/// A window of registers that may hold a virtio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioSlot {
    /// Physical address of the registers.
    pub base: u64,
    /// Size of the window in bytes.
    pub size: u64,
    /// Interrupt: an input of the I/O APIC.
    pub irq: u32,
    /// Number that the command line gives the device, if it does.
    pub id: Option<u32>,
}

/// All slots of `virtio_mmio.device=<size>[KMG]@<base>:<irq>[:<id>]`
/// parameters, in order. Parameters that are not of this form are skipped.
pub fn mmio_slots(command_line: &str) -> impl Iterator<Item = MmioSlot> {
    command_line.split_ascii_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        matches!(name, "virtio_mmio.device" | "virtio-mmio.device").then(|| slot(value)).flatten()
    })
}

fn slot(value: &str) -> Option<MmioSlot> {
    let (size, rest) = value.split_once('@')?;
    let mut fields = rest.split(':');
    let base = number(fields.next()?)?;
    let irq = u32::try_from(number(fields.next()?)?).ok()?;
    let id = match fields.next() {
        Some(text) => Some(u32::try_from(number(text)?).ok()?),
        None => None,
    };
    let size = scaled(size)?;
    let well_formed = fields.next().is_none() && size > 0 && base.checked_add(size).is_some();
    well_formed.then_some(MmioSlot { base, size, irq, id })
}

/// A number in C notation, with the suffix K, M or G for the size.
fn scaled(text: &str) -> Option<u64> {
    let shift = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return number(text),
    };
    number(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

/// A number in C notation: decimal, `0x` hexadecimal or `0` octal.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // `from_str_radix` takes a sign, which C's grammar does not have here.
    (!digits.starts_with(['+', '-'])).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{MmioSlot, mmio_slots};
    use std::vec::Vec;

    fn slots(line: &str) -> Vec<MmioSlot> {
        mmio_slots(line).collect()
    }

    #[test]
    fn reads_what_firecracker_and_qemu_write() {
        let line = "console=ttyS0 reboot=k panic=1 virtio_mmio.device=4K@0xd0000000:5 \
                    virtio_mmio.device=512@0xfeb00e00:12:3 root=/dev/vda";
        let expected = [
            MmioSlot { base: 0xd000_0000, size: 4096, irq: 5, id: None },
            MmioSlot { base: 0xfeb0_0e00, size: 512, irq: 12, id: Some(3) },
        ];
        assert_eq!(slots(line), expected);
    }

    #[test]
    fn radix_and_suffix_are_as_in_c() {
        assert_eq!(slots("virtio_mmio.device=0x1k@010:0x11")[0].size, 1024);
        assert_eq!(slots("virtio_mmio.device=0x1k@010:0x11")[0].base, 8);
        assert_eq!(slots("virtio_mmio.device=0x1k@010:0x11")[0].irq, 17);
    }

    #[test]
    fn malformed_parameters_are_skipped() {
        for bad in [
            "",
            "4K",
            "4K@",
            "4K@0x1",
            "4K@0x1:",
            "4K@:5",
            "@0x1:5",
            "0@0x1:5",
            "K@0x1:5",
            "4K@0x1:5:",
            "4K@0x1:5:6:7",
            "4K@-1:5",
            "4K@+1:5",
            "4K@0xffffffffffffffff:5",
            "4K@0x1:4294967296",
            "18014398509481984K@0:5",
            "4Kü@0:5",
            "ü@0:5",
        ] {
            let line = std::format!("virtio_mmio.device={bad} virtio_mmio.device=1@2:3");
            assert_eq!(slots(&line).len(), 1, "{bad}");
        }
    }
}
