// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The disk that boots: MBR and GPT, the BIOS loader, and a system partition with the
//! UEFI loader and the kernel, which both loaders read.

use std::io::{Read, Seek};

use bhojpur_abi::boot::{KERNEL_FILE, LoaderParameters};

use crate::fat;
use crate::gpt::{self, Identity, Partition, SECTOR};
use crate::loader::{Loaders, with_parameters, with_place};
use crate::medium::{Medium, round_up};
use crate::pack::{Error, Kernel};

/// Where firmware looks for the loader of a removable or nameless disk (UEFI 2.10, 3.5.1.1).
const UEFI_FILE: &str = "EFI/BOOT/BOOTX64.EFI";
/// The system partition and the end of the disk lie on multiples of this.
const ALIGN: u64 = 1 << 20;

/// A FAT volume with the UEFI loader and the kernel at a place of a medium, and the BIOS
/// loader that knows this place.
#[derive(Debug)]
pub(crate) struct SystemPartition {
    at: u64,
    volume: fat::Volume,
    uefi: Vec<u8>,
    kernel_size: u64,
    /// The BIOS loader, filled in but for its own place.
    pub(crate) bios: Vec<u8>,
}

impl SystemPartition {
    pub(crate) fn new(
        at: u64,
        kernel_size: u64,
        loaders: &Loaders<'_>,
        command_line: &str,
        identity: &Identity,
    ) -> Result<Self, Error> {
        let files = [
            fat::File { path: UEFI_FILE, size: loaders.uefi.len() as u64 },
            fat::File { path: KERNEL_FILE, size: kernel_size },
        ];
        let volume = fat::layout(&files, (at / SECTOR) as u32, identity.serial());
        let parameters = LoaderParameters {
            kernel_offset: at + volume.offsets[1],
            kernel_size,
            command_line: command_line.as_bytes(),
        };
        let bios = with_parameters(loaders.bios, &parameters)?;
        let uefi = with_parameters(loaders.uefi, &parameters)?;
        Ok(Self { at, volume, uefi, kernel_size, bios })
    }

    /// Bytes of the volume.
    pub(crate) fn length(&self) -> u64 {
        self.volume.length
    }

    /// Offset on the medium and size of the UEFI loader.
    pub(crate) fn uefi(&self) -> (u64, u64) {
        (self.at + self.volume.offsets[0], self.uefi.len() as u64)
    }

    /// Offset on the medium and size of the kernel.
    pub(crate) fn kernel(&self) -> (u64, u64) {
        (self.at + self.volume.offsets[1], self.kernel_size)
    }

    /// Puts the volume on a medium whose source is the kernel.
    pub(crate) fn put<R: Read + Seek>(self, medium: &mut Medium<R>) {
        let (uefi, kernel) = (self.uefi(), self.kernel());
        for (offset, bytes) in self.volume.metadata {
            medium.put_bytes(self.at + offset, bytes);
        }
        medium.put_bytes(uefi.0, self.uefi);
        medium.put_source(kernel.0, 0, kernel.1);
    }
}

/// Lays out a disk that boots `kernel` on BIOS and UEFI machines.
pub fn medium<R: Read + Seek>(
    kernel: Kernel<R>,
    loaders: &Loaders<'_>,
    command_line: &str,
) -> Result<Medium<R>, Error> {
    let identity = kernel.identity(&[b"disk", loaders.bios, loaders.uefi, command_line.as_bytes()]);
    let system = SystemPartition::new(ALIGN, kernel.size(), loaders, command_line, &identity)?;
    let bios_at = gpt::FIRST_USABLE * SECTOR;
    let bios = with_place(&system.bios, bios_at, SECTOR as u16)?;
    let end = ALIGN + round_up(system.length(), ALIGN);
    let partitions = [
        Partition {
            kind: gpt::BIOS_BOOT,
            name: "BIOS boot",
            first: gpt::FIRST_USABLE,
            count: ALIGN / SECTOR - gpt::FIRST_USABLE,
        },
        Partition {
            kind: gpt::ESP,
            name: "EFI system partition",
            first: ALIGN / SECTOR,
            count: (end - ALIGN) / SECTOR,
        },
    ];
    let mut medium = Medium::new(kernel.into_source(), end + ALIGN);
    gpt::put(&mut medium, &bios, &partitions, &identity);
    medium.put_bytes(bios_at, bios);
    system.put(&mut medium);
    Ok(medium)
}
