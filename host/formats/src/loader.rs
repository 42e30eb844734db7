// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The boot loaders as a packing tool sees them: opaque bytes with a record to fill in.

use bhojpur_abi::boot::{
    BIOS_SECTOR_RECORD, BIOS_SIZE_MAX, BIOS_STAGE2, LOADER_MAGIC, LOADER_RECORD_SIZE,
    LoaderParameters,
};

use crate::medium::is_zero;
use crate::pack::Error;

/// The finished loaders, as [`crate::pe`] makes them from what the compiler puts out.
#[derive(Clone, Copy, Debug)]
pub struct Loaders<'a> {
    /// Flat binary for BIOS: the boot sector and the second stage.
    pub bios: &'a [u8],
    /// `BOOTX64.EFI`.
    pub uefi: &'a [u8],
}

/// Fills the record of a loader in.
pub fn with_parameters(loader: &[u8], parameters: &LoaderParameters<'_>) -> Result<Vec<u8>, Error> {
    let record = parameters.record().ok_or(Error::CommandLine)?;
    // The compiler may have a second copy of the magic to compare with; only the record itself
    // is followed by zeros.
    let is_record = |at: &usize| {
        loader.get(*at..at + LOADER_RECORD_SIZE).is_some_and(|record| {
            record.starts_with(&LOADER_MAGIC) && is_zero(&record[LOADER_MAGIC.len()..])
        })
    };
    let mut found = (0..loader.len()).filter(is_record);
    let at = found.next().ok_or(Error::Loader("it has no parameter record"))?;
    if found.next().is_some() {
        return Err(Error::Loader("it has more than one parameter record"));
    }
    let mut loader = loader.to_vec();
    loader[at..at + LOADER_RECORD_SIZE].copy_from_slice(&record);
    Ok(loader)
}

/// Tells the boot sector of a BIOS loader where the loader itself lies: its first byte is at
/// byte `offset` of a medium with sectors of `sector` bytes.
pub fn with_place(bios: &[u8], offset: u64, sector: u16) -> Result<Vec<u8>, Error> {
    if bios.len() <= BIOS_STAGE2 || bios.len() > BIOS_SIZE_MAX {
        return Err(Error::Loader("the BIOS loader has the wrong size"));
    }
    let stage2 = offset + BIOS_STAGE2 as u64;
    let sectors = (bios.len() - BIOS_STAGE2).div_ceil(sector.into()) as u16;
    let mut bios = bios.to_vec();
    let record = &mut bios[BIOS_SECTOR_RECORD..BIOS_SECTOR_RECORD + 12];
    record[..8].copy_from_slice(&(stage2 / u64::from(sector)).to_le_bytes());
    record[8..10].copy_from_slice(&sectors.to_le_bytes());
    record[10..12].copy_from_slice(&sector.to_le_bytes());
    Ok(bios)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> LoaderParameters<'static> {
        LoaderParameters { kernel_offset: 1, kernel_size: 2, command_line: b"quiet" }
    }

    #[test]
    fn the_record_is_found_and_filled() {
        let mut loader = vec![0x90; 84];
        loader.extend([LOADER_MAGIC; 2].concat());
        loader.resize(100 + LOADER_RECORD_SIZE + 9, 0);
        let filled = with_parameters(&loader, &parameters()).unwrap();
        let record = filled[100..100 + LOADER_RECORD_SIZE].try_into().unwrap();
        assert_eq!(LoaderParameters::parse(record), Some(parameters()));
        assert_eq!(filled.len(), loader.len());
    }

    #[test]
    fn a_wrong_loader_is_refused() {
        let mut loader = vec![0; 100];
        assert!(with_parameters(&loader, &parameters()).is_err());
        loader.extend(LOADER_MAGIC);
        assert!(with_parameters(&loader, &parameters()).is_err());
        loader.resize(8192, 0);
        assert!(with_parameters(&loader, &parameters()).is_ok());
        loader.extend(LOADER_MAGIC);
        loader.resize(16384, 0);
        assert!(with_parameters(&loader, &parameters()).is_err());
        assert!(with_place(&[0; 512], 0, 512).is_err());
    }
}
