// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The Linux 64-bit entry of an image, without a monitor that uses it: the image is given a
//! loader of its own. QEMU enters that one by the PVH note, and it does what Firecracker does
//! (Linux, `Documentation/arch/x86/boot.rst`, 64-bit boot protocol): long mode, the first GiB
//! mapped at its own addresses, a zero page in `rsi`, a jump to the entry of the ELF header.

use anyhow::{Context as _, Result, ensure};
use bhojpur_abi::elf::{HEADER_SIZE, PROGRAM_HEADER_SIZE, PT_LOAD};

use super::{Lab, Verdict, ends};
use crate::firecracker::pvh_note;

/// Where the loader lies: between the old memory of a PC and the kernel.
const BASE: u32 = 0x10_0000;
const GDT: usize = 0x100;
const GDT_REGISTER: usize = 0x140;
const PML4: usize = 0x1000;
const PDPT: usize = 0x2000;
const DIRECTORY: usize = 0x3000;
const ZERO_PAGE: usize = 0x4000;
const SIZE: usize = 0x5000;
/// Fields of the zero page.
const RSDP: usize = 0x70;
const E820_ENTRIES: usize = 0x1e8;
const COMMAND_LINE: usize = 0x228;
const E820_TABLE: usize = 0x2d0;
/// `p_flags`: read, write, execute.
const ALL_RIGHTS: u32 = 7;
/// Memory of the machine.
const MEMORY_MIB: u64 = 128;

pub(super) fn status(lab: &Lab) -> Result<Verdict> {
    let path = lab.place.join("linux-entry.elf");
    std::fs::write(&path, with_loader(&std::fs::read(lab.image())?)?)?;
    for cpus in ["1", "4"] {
        let memory = format!("{MEMORY_MIB}M");
        let mut run = lab.run(&["-c", cpus, "-m", &memory], &path, &["exit", "42"]);
        let ran = ends(&mut run, b"", 42)?;
        let wanted = format!("arguments [\"exit\" \"42\"]\nmode  cpus {cpus}\n");
        ensure!(ran.text() == wanted, "the output is {:?}", ran.text());
    }
    Ok(Verdict::Passed)
}

/// The image with the loader in its spare program header, and the note leading to it.
fn with_loader(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?));
    let entry = word(24).context("the image has no ELF header")?;
    let count = image.get(56).copied().map_or(0, usize::from);
    let header = (0..count).map(|index| HEADER_SIZE + index * PROGRAM_HEADER_SIZE);
    let spare = header.rev().find(|&at| word(at) == Some(0)).context("no spare header")?;
    let mut changed = image.to_vec();
    let offset = image.len().next_multiple_of(0x1000);
    changed.resize(offset, 0);
    changed.extend(loader(entry));
    let place = u64::from(BASE);
    let fields = [offset as u64, place, place, SIZE as u64, SIZE as u64, 0x1000];
    // The others move up by one: segments stand in the order of their addresses.
    changed.copy_within(HEADER_SIZE..spare, HEADER_SIZE + PROGRAM_HEADER_SIZE);
    put(&mut changed, HEADER_SIZE, &PT_LOAD.to_le_bytes());
    put(&mut changed, HEADER_SIZE + 4, &ALL_RIGHTS.to_le_bytes());
    for (index, field) in fields.iter().enumerate() {
        put(&mut changed, HEADER_SIZE + 8 + 8 * index, &field.to_le_bytes());
    }
    let note = pvh_note(image)?;
    put(&mut changed, note, &place.to_le_bytes());
    Ok(changed)
}

/// Code and tables.
fn loader(entry: u32) -> Vec<u8> {
    let mut memory = vec![0; SIZE];
    let code = code(entry);
    put(&mut memory, 0, &code);
    // Selector 0x10 is 64-bit code, 0x18 data.
    let descriptors = [0, 0, 0x00af_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff];
    for (index, descriptor) in descriptors.iter().enumerate() {
        put(&mut memory, GDT + 8 * index, &descriptor.to_le_bytes());
    }
    put(&mut memory, GDT_REGISTER, &31_u16.to_le_bytes());
    put(&mut memory, GDT_REGISTER + 2, &address(GDT).to_le_bytes());
    put(&mut memory, PML4, &u64::from(address(PDPT) | 3).to_le_bytes());
    put(&mut memory, PDPT, &u64::from(address(DIRECTORY) | 3).to_le_bytes());
    for index in 0..512 {
        // Present, writable, 2 MiB.
        let page = (index as u64) << 21 | 0x83;
        put(&mut memory, DIRECTORY + 8 * index, &page.to_le_bytes());
    }
    let ram = [(0, 0x9_f000), (u64::from(BASE), (MEMORY_MIB - 1) << 20)];
    memory[ZERO_PAGE + E820_ENTRIES] = ram.len() as u8;
    for (index, (start, size)) in ram.iter().enumerate() {
        let at = ZERO_PAGE + E820_TABLE + 20 * index;
        put(&mut memory, at, &u64::to_le_bytes(*start));
        put(&mut memory, at + 8, &u64::to_le_bytes(*size));
        put(&mut memory, at + 16, &1_u32.to_le_bytes());
    }
    memory
}

/// From the PVH entry, which has its information at `ebx`, to the entry of the kernel.
fn code(entry: u32) -> Vec<u8> {
    let mut code = Vec::new();
    let mut add = |bytes: &[u8], operand: Option<u32>| {
        code.extend_from_slice(bytes);
        code.extend(operand.into_iter().flat_map(u32::to_le_bytes));
    };
    add(b"\x8b\x43\x18\xa3", Some(address(ZERO_PAGE + COMMAND_LINE))); // mov eax, [ebx + 24]; mov [..], eax
    add(b"\x8b\x43\x20\xa3", Some(address(ZERO_PAGE + RSDP))); // mov eax, [ebx + 32]; mov [..], eax
    add(b"\xb8", Some(address(PML4))); // mov eax, PML4
    add(b"\x0f\x22\xd8", None); // mov cr3, eax
    add(b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0", None); // cr4 |= PAE
    add(b"\xb9", Some(0xc000_0080)); // mov ecx, EFER
    add(b"\x0f\x32\x80\xcc\x01\x0f\x30", None); // EFER |= LME
    add(b"\x0f\x20\xc0\x0d", Some(0x8000_0001)); // mov eax, cr0; or eax, PG | PE
    add(b"\x0f\x22\xc0", None); // mov cr0, eax
    add(b"\x0f\x01\x15", Some(address(GDT_REGISTER))); // lgdt
    let long = code.len() + 7;
    let mut add = |bytes: &[u8], operand: u32| {
        code.extend_from_slice(bytes);
        code.extend(operand.to_le_bytes());
    };
    add(b"\xea", address(long)); // jmp 0x10:long
    add(b"\x10\x00\xb8", 0x18); // long: mov eax, 0x18
    add(b"\x8e\xd8\x8e\xc0\x8e\xd0\xbe", address(ZERO_PAGE)); // ds, es, ss; mov esi, zero page
    add(b"\xb8", entry); // mov eax, entry
    code.extend(b"\xff\xe0"); // jmp rax
    code
}

/// Where a part of the loader is in memory.
fn address(part: usize) -> u32 {
    BASE + part as u32
}

fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    memory[at..at + bytes.len()].copy_from_slice(bytes);
}
