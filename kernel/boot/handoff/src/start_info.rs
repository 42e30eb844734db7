// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `hvm_start_info` of the PVH protocol, version 1 (Xen's
//! `public/arch-x86/hvm/start_info.h`).

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;

/// The structure, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<StartInfo>() == 56);

impl StartInfo {
    /// Start information from the addresses of its parts.
    pub fn new(command_line: u64, rsdp: u64, memory_map: u64, memory_map_entries: u32) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            flags: 0,
            module_count: 0,
            modules: 0,
            command_line,
            rsdp,
            memory_map,
            memory_map_entries,
            reserved: 0,
        }
    }
}
