// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The firmware's services as safe calls, while boot services last.
#![expect(unsafe_code, reason = "firmware is called through raw tables")]

use core::ffi::c_void;
use core::fmt;
use core::ptr::null_mut;

use kboot::kernel::{Error, Source};

use crate::efi::{
    self, ALLOCATE_ADDRESS, ALLOCATE_MAX_ADDRESS, BootServices, Handle, MemoryDescriptor, SUCCESS,
    SystemTable,
};

pub(crate) const PAGE: u64 = 4096;
/// The entry of the kernel sees nothing above.
const HIGHEST: u64 = 0xffff_ffff;
/// Some firmware reads no more than this at once without trouble.
const READ_MAX: usize = 8 << 20;

/// The firmware that started this image.
#[derive(Clone, Copy)]
pub(crate) struct Firmware {
    image: Handle,
    system: *const SystemTable,
    services: *const BootServices,
}

impl Firmware {
    /// # Safety
    /// The arguments are those of the image's entry, and boot services last as long as this
    /// is used.
    pub(crate) unsafe fn new(image: Handle, system: *const SystemTable) -> Self {
        // SAFETY: the firmware hands over a valid table.
        Self { image, system, services: unsafe { (*system).boot_services } }
    }

    fn services(&self) -> &BootServices {
        // SAFETY: the table is the firmware's and stays until boot services end.
        unsafe { &*self.services }
    }

    /// Switches off the watchdog that resets the machine after five minutes of loading.
    pub(crate) fn stop_watchdog(&self) {
        // SAFETY: a call with the types that the specification wants.
        let _ = unsafe { (self.services().set_watchdog_timer)(0, 0, 0, core::ptr::null()) };
    }

    /// Lets the reader read.
    pub(crate) fn pause(&self, seconds: usize) {
        // SAFETY: as above.
        let _ = unsafe { (self.services().stall)(seconds * 1_000_000) };
    }

    /// Takes pages at an address, when they are free.
    pub(crate) fn allocate_at(&self, address: u64, pages: usize) -> bool {
        let mut place = address;
        // SAFETY: the place lives across the call.
        let status = unsafe {
            let kind = efi::memory_type::LOADER_DATA;
            (self.services().allocate_pages)(ALLOCATE_ADDRESS, kind, pages, &raw mut place)
        };
        status == SUCCESS
    }

    /// Takes pages that end below `limit`, of a memory type.
    pub(crate) fn allocate_below(&self, limit: u64, kind: u32, pages: usize) -> Option<u64> {
        let mut place = limit.min(HIGHEST);
        // SAFETY: as above.
        let status = unsafe {
            (self.services().allocate_pages)(ALLOCATE_MAX_ADDRESS, kind, pages, &raw mut place)
        };
        (status == SUCCESS).then_some(place)
    }

    /// Gives pages back.
    pub(crate) fn free(&self, address: u64, pages: usize) {
        // SAFETY: pages that are not ours are refused by the firmware.
        let _ = unsafe { (self.services().free_pages)(address, pages) };
    }

    /// Reads the memory map into the buffer: its key and the size of a descriptor.
    pub(crate) fn memory_map(&self, buffer: &mut [u8]) -> Option<Map> {
        let (mut size, mut key, mut descriptor, mut version) = (buffer.len(), 0, 0, 0);
        // SAFETY: the size is that of the buffer, and all of it lives across the call.
        let status = unsafe {
            (self.services().memory_map)(
                &raw mut size,
                buffer.as_mut_ptr().cast(),
                &raw mut key,
                &raw mut descriptor,
                &raw mut version,
            )
        };
        let sound = status == SUCCESS && descriptor >= size_of::<MemoryDescriptor>();
        sound.then_some(Map { size, key, descriptor })
    }

    /// Ends boot services. The firmware refuses when the map has changed meanwhile.
    pub(crate) fn exit(&self, map: &Map) -> bool {
        // SAFETY: the image handle is ours.
        unsafe { (self.services().exit_boot_services)(self.image, map.key) == SUCCESS }
    }

    /// The address of ACPI's root pointer, or 0.
    pub(crate) fn rsdp(&self) -> u64 {
        // SAFETY: the table has as many entries as it says.
        let tables = unsafe {
            let system = &*self.system;
            core::slice::from_raw_parts(system.tables, system.table_count)
        };
        [efi::ACPI_20_TABLE, efi::ACPI_10_TABLE]
            .iter()
            .find_map(|guid| tables.iter().find(|table| table.guid == *guid))
            .map_or(0, |table| table.table as u64)
    }

    /// Opens a file in the root directory of the volume that this image came from.
    pub(crate) fn open(&self, name: &[u16]) -> Result<KernelFile, Error> {
        let image: *mut efi::LoadedImage = self.protocol(self.image, &efi::LOADED_IMAGE)?;
        // SAFETY: the firmware gave the interface for its protocol.
        let device = unsafe { (*image).device };
        let volume: *mut efi::SimpleFileSystem = self.protocol(device, &efi::SIMPLE_FILE_SYSTEM)?;
        let mut root = null_mut();
        // SAFETY: as above; the root lives across the call.
        checked(unsafe { ((*volume).open_volume)(volume, &raw mut root) })?;
        let mut file = null_mut();
        // SAFETY: the root was opened; the name ends with a zero, see the caller.
        checked(unsafe { ((*root).open)(root, &raw mut file, name.as_ptr(), efi::FILE_READ, 0) })?;
        Ok(KernelFile { file })
    }

    fn protocol<T>(&self, handle: Handle, guid: &efi::Guid) -> Result<*mut T, Error> {
        let mut interface: *mut c_void = null_mut();
        // SAFETY: the interface lives across the call.
        checked(unsafe { (self.services().handle_protocol)(handle, guid, &raw mut interface) })?;
        Ok(interface.cast())
    }
}

fn checked(status: efi::Status) -> Result<(), Error> {
    if status == SUCCESS { Ok(()) } else { Err(Error::Read) }
}

impl fmt::Write for Firmware {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: the table is valid.
        let out = unsafe { (*self.system).console_out };
        if out.is_null() {
            return Ok(());
        }
        for unit in text.encode_utf16() {
            let pair =
                if unit == u16::from(b'\n') { [u16::from(b'\r'), unit, 0] } else { [unit, 0, 0] };
            // SAFETY: the string ends with a zero.
            let _ = unsafe { ((*out).output_string)(out, pair.as_ptr()) };
        }
        Ok(())
    }
}

/// What the firmware says about the map in a buffer.
pub(crate) struct Map {
    size: usize,
    key: usize,
    descriptor: usize,
}

impl Map {
    /// The descriptors in the buffer that was filled.
    pub(crate) fn descriptors<'a>(
        &self,
        buffer: &'a [u8],
    ) -> impl Iterator<Item = MemoryDescriptor> + use<'a> {
        buffer[..self.size.min(buffer.len())].chunks_exact(self.descriptor).map(|bytes| {
            // SAFETY: a chunk is no shorter than a descriptor, and any bytes are one.
            unsafe { bytes.as_ptr().cast::<MemoryDescriptor>().read_unaligned() }
        })
    }
}

/// The kernel's file on the system partition.
pub(crate) struct KernelFile {
    file: *mut efi::File,
}

impl KernelFile {
    /// Bytes of the file.
    pub(crate) fn size(&mut self) -> Result<u64, Error> {
        let mut position = 0;
        // SAFETY: the file is open; all ones mean its end (section 13.5).
        checked(unsafe { ((*self.file).set_position)(self.file, u64::MAX) })?;
        // SAFETY: as above.
        checked(unsafe { ((*self.file).position)(self.file, &raw mut position) })?;
        Ok(position)
    }
}

impl Source for KernelFile {
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the file is open.
        checked(unsafe { ((*self.file).set_position)(self.file, offset) })?;
        for piece in into.chunks_mut(READ_MAX) {
            let mut size = piece.len();
            // SAFETY: the size is that of the piece.
            checked(unsafe {
                ((*self.file).read)(self.file, &raw mut size, piece.as_mut_ptr().cast())
            })?;
            if size != piece.len() {
                return Err(Error::Read);
            }
        }
        Ok(())
    }
}
