// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The few structures of UEFI 2.10 that the loader uses, as the firmware lays them out.

use core::ffi::c_void;

/// `EFI_STATUS`: zero is success, the top bit says error.
pub(crate) type Status = usize;
pub(crate) type Handle = *mut c_void;

pub(crate) const SUCCESS: Status = 0;
pub(crate) const LOAD_ERROR: Status = ERROR | 1;
const ERROR: Status = 1 << (usize::BITS - 1);

/// `EFI_GUID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Guid(pub(crate) u32, pub(crate) u16, pub(crate) u16, pub(crate) [u8; 8]);

pub(crate) const LOADED_IMAGE: Guid =
    Guid(0x5b1b_31a1, 0x9562, 0x11d2, [0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b]);
pub(crate) const SIMPLE_FILE_SYSTEM: Guid =
    Guid(0x964e_5b22, 0x6459, 0x11d2, [0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b]);
pub(crate) const ACPI_20_TABLE: Guid =
    Guid(0x8868_e871, 0xe4f1, 0x11d3, [0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81]);
pub(crate) const ACPI_10_TABLE: Guid =
    Guid(0xeb9d_2d30, 0x2d88, 0x11d3, [0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d]);

/// `EFI_TABLE_HEADER`.
#[repr(C)]
pub(crate) struct TableHeader {
    signature: u64,
    revision: u32,
    size: u32,
    sum: u32,
    reserved: u32,
}

/// `EFI_SYSTEM_TABLE` (section 4.3).
#[repr(C)]
pub(crate) struct SystemTable {
    header: TableHeader,
    vendor: *const u16,
    revision: u32,
    console_in_handle: Handle,
    console_in: *mut c_void,
    console_out_handle: Handle,
    pub(crate) console_out: *mut TextOutput,
    error_handle: Handle,
    error: *mut TextOutput,
    runtime_services: *mut c_void,
    pub(crate) boot_services: *mut BootServices,
    pub(crate) table_count: usize,
    pub(crate) tables: *const ConfigurationTable,
}

/// `EFI_CONFIGURATION_TABLE`.
#[repr(C)]
pub(crate) struct ConfigurationTable {
    pub(crate) guid: Guid,
    pub(crate) table: *const c_void,
}

/// `EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL`.
#[repr(C)]
pub(crate) struct TextOutput {
    reset: usize,
    pub(crate) output_string: unsafe extern "efiapi" fn(*mut TextOutput, *const u16) -> Status,
}

/// `EFI_ALLOCATE_TYPE`.
pub(crate) const ALLOCATE_MAX_ADDRESS: u32 = 1;
pub(crate) const ALLOCATE_ADDRESS: u32 = 2;

/// `EFI_MEMORY_TYPE` (section 7.2.1).
pub(crate) mod memory_type {
    pub(crate) const LOADER_CODE: u32 = 1;
    pub(crate) const LOADER_DATA: u32 = 2;
    pub(crate) const BOOT_SERVICES_CODE: u32 = 3;
    pub(crate) const BOOT_SERVICES_DATA: u32 = 4;
    pub(crate) const CONVENTIONAL: u32 = 7;
    pub(crate) const UNUSABLE: u32 = 8;
    pub(crate) const ACPI_RECLAIM: u32 = 9;
    pub(crate) const ACPI_NVS: u32 = 10;
    pub(crate) const PERSISTENT: u32 = 14;
}

/// `EFI_MEMORY_DESCRIPTOR`; firmware may make it longer.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct MemoryDescriptor {
    pub(crate) kind: u32,
    pub(crate) physical: u64,
    virtual_address: u64,
    pub(crate) pages: u64,
    attribute: u64,
}

/// `EFI_BOOT_SERVICES` (section 4.4) as far as the loader calls it.
#[repr(C)]
pub(crate) struct BootServices {
    header: TableHeader,
    task_priority: [usize; 2],
    pub(crate) allocate_pages: unsafe extern "efiapi" fn(
        kind: u32,
        memory: u32,
        pages: usize,
        address: *mut u64,
    ) -> Status,
    pub(crate) free_pages: unsafe extern "efiapi" fn(address: u64, pages: usize) -> Status,
    pub(crate) memory_map: unsafe extern "efiapi" fn(
        size: *mut usize,
        map: *mut c_void,
        key: *mut usize,
        descriptor_size: *mut usize,
        version: *mut u32,
    ) -> Status,
    pool: [usize; 2],
    events: [usize; 6],
    protocols: [usize; 3],
    pub(crate) handle_protocol: unsafe extern "efiapi" fn(
        handle: Handle,
        protocol: *const Guid,
        interface: *mut *mut c_void,
    ) -> Status,
    reserved: usize,
    handles: [usize; 4],
    images: [usize; 4],
    pub(crate) exit_boot_services: unsafe extern "efiapi" fn(image: Handle, key: usize) -> Status,
    monotonic_count: usize,
    pub(crate) stall: unsafe extern "efiapi" fn(microseconds: usize) -> Status,
    pub(crate) set_watchdog_timer: unsafe extern "efiapi" fn(
        seconds: usize,
        code: u64,
        size: usize,
        data: *const u16,
    ) -> Status,
}

/// `EFI_LOADED_IMAGE_PROTOCOL` (section 9.1).
#[repr(C)]
pub(crate) struct LoadedImage {
    revision: u32,
    parent: Handle,
    system_table: *mut SystemTable,
    pub(crate) device: Handle,
}

/// `EFI_SIMPLE_FILE_SYSTEM_PROTOCOL` (section 13.4).
#[repr(C)]
pub(crate) struct SimpleFileSystem {
    revision: u64,
    pub(crate) open_volume:
        unsafe extern "efiapi" fn(*mut SimpleFileSystem, root: *mut *mut File) -> Status,
}

/// `EFI_FILE_MODE_READ`.
pub(crate) const FILE_READ: u64 = 1;

/// `EFI_FILE_PROTOCOL` (section 13.5).
#[repr(C)]
pub(crate) struct File {
    revision: u64,
    pub(crate) open: unsafe extern "efiapi" fn(
        *mut File,
        opened: *mut *mut File,
        name: *const u16,
        mode: u64,
        attributes: u64,
    ) -> Status,
    close: usize,
    delete: usize,
    pub(crate) read:
        unsafe extern "efiapi" fn(*mut File, size: *mut usize, buffer: *mut c_void) -> Status,
    write: usize,
    pub(crate) position: unsafe extern "efiapi" fn(*mut File, position: *mut u64) -> Status,
    pub(crate) set_position: unsafe extern "efiapi" fn(*mut File, position: u64) -> Status,
}

// The offsets that the specification's tables have on 64-bit machines.
const _: () = assert!(core::mem::offset_of!(SystemTable, boot_services) == 96);
const _: () = assert!(core::mem::offset_of!(BootServices, handle_protocol) == 24 + 16 * 8);
const _: () = assert!(core::mem::offset_of!(BootServices, exit_boot_services) == 24 + 26 * 8);
const _: () = assert!(core::mem::offset_of!(BootServices, set_watchdog_timer) == 24 + 29 * 8);
const _: () = assert!(size_of::<MemoryDescriptor>() == 40);
