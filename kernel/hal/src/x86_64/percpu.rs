// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What each CPU has of its own, reached through GS: its stacks, its GDT and
//! TSS, the running task.

use super::cpu;
use super::shootdown::Shootdowns;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use kmm::FrameBlock;

/// As many CPUs as one local APIC destination byte can name, and more than any
/// instance has.
pub const MAX_CPUS: usize = 64;

pub const KERNEL_CODE: u16 = 0x10;
pub const KERNEL_DATA: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x40;

/// The 64-bit task state segment (Intel SDM vol. 3, 8.7): stacks only.
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    rsp: [u64; 3],
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map: u16,
}

/// One CPU. The assembly of `entry.rs` knows the offsets of the first fields.
#[repr(C, align(64))]
pub struct PerCpu {
    this: AtomicUsize,
    /// Kernel stack pointer for entries from user mode.
    kernel_rsp: AtomicU64,
    /// Scratch: the user's stack pointer during a system call's first steps.
    user_rsp: AtomicU64,
    index: AtomicU32,
    apic_id: AtomicU32,
    /// The running task, owned by `task.rs`.
    pub(super) current: AtomicPtr<()>,
    /// The task that was switched away from, until the new one lets it go.
    pub(super) previous: AtomicPtr<()>,
    /// Root of the page tables that are loaded.
    pub(super) root: AtomicU64,
    /// TLB shootdowns that this CPU was asked for and that it has done: see
    /// `shootdown.rs`.
    pub(super) shootdowns: Shootdowns,
    /// Idle: it uses no user memory until it runs a thread again, and looks at
    /// `shootdowns` before that.
    pub(super) lazy: AtomicBool,
    /// Cycles are not wasted on interrupting a CPU that is about to look anyway.
    pub(super) online: AtomicBool,
    tables: UnsafeCell<Tables>,
}

#[repr(C, align(16))]
struct Tables {
    gdt: [u64; 10],
    tss: TaskState,
}

pub const OFFSET_KERNEL_RSP: usize = offset_of!(PerCpu, kernel_rsp);
pub const OFFSET_USER_RSP: usize = offset_of!(PerCpu, user_rsp);

// SAFETY: `tables` is written only by its own CPU, before interrupts and user
// mode; everything else is atomic.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    const fn new() -> Self {
        Self {
            this: AtomicUsize::new(0),
            kernel_rsp: AtomicU64::new(0),
            user_rsp: AtomicU64::new(0),
            index: AtomicU32::new(0),
            apic_id: AtomicU32::new(0),
            current: AtomicPtr::new(core::ptr::null_mut()),
            previous: AtomicPtr::new(core::ptr::null_mut()),
            root: AtomicU64::new(0),
            shootdowns: Shootdowns::new(),
            lazy: AtomicBool::new(false),
            online: AtomicBool::new(false),
            tables: UnsafeCell::new(Tables {
                gdt: [
                    0,
                    0x00cf_9b00_0000_ffff,
                    0x00af_9b00_0000_ffff,
                    0x00cf_9300_0000_ffff,
                    0x00cf_fb00_0000_ffff,
                    0x00cf_f300_0000_ffff,
                    0x00af_fb00_0000_ffff,
                    0,
                    0,
                    0,
                ],
                tss: TaskState {
                    reserved0: 0,
                    rsp: [0; 3],
                    reserved1: 0,
                    ist: [0; 7],
                    reserved2: 0,
                    reserved3: 0,
                    io_map: size_of::<TaskState>() as u16,
                },
            }),
        }
    }

    /// Number of this CPU, dense from 0.
    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed) as usize
    }

    /// Its local APIC id.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }
}

static CPUS: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The CPU with this number.
pub fn of(index: usize) -> &'static PerCpu {
    &CPUS[index]
}

/// How many CPUs run.
pub fn count() -> usize {
    COUNT.load(Ordering::Acquire)
}

/// The CPU that executes this.
#[inline]
pub fn current() -> &'static PerCpu {
    let this: *const PerCpu;
    // SAFETY: after `set_up`, GS points to this CPU's entry in CPUS while in
    // the kernel, and its first field is its own address.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) this, options(nostack, pure, readonly, preserves_flags));
        &*this
    }
}

/// Loads the tables of CPU `index` and makes GS point to it.
///
/// # Safety
/// Once for each CPU, on that CPU, before anything else of this crate.
pub unsafe fn set_up(index: usize, apic_id: u32, fault_stacks: Option<FrameBlock>) {
    let cpu = &CPUS[index];
    cpu.this.store(core::ptr::from_ref(cpu) as usize, Ordering::Relaxed);
    cpu.index.store(index as u32, Ordering::Relaxed);
    cpu.apic_id.store(apic_id, Ordering::Relaxed);
    // SAFETY: only this CPU uses its tables, and does so here only.
    let tables = unsafe { &mut *cpu.tables.get() };
    if let Some(block) = fault_stacks {
        let base = block.as_ptr() as u64;
        let size = block.len() as u64 / 4;
        let _ = block.into_raw();
        // NMI, double fault, machine check: each its own.
        let mut stacks = tables.tss.ist;
        stacks[..3].copy_from_slice(&[base + size, base + 2 * size, base + 3 * size]);
        tables.tss.ist = stacks;
    }
    let base = core::ptr::from_ref(&tables.tss) as u64;
    let limit = size_of::<TaskState>() as u64 - 1;
    tables.gdt[8] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    tables.gdt[9] = base >> 32;
    let pointer = TablePointer::new(&tables.gdt);
    // SAFETY: the GDT is static and has flat segments under the selectors
    // loaded here; GS is set right after its selector was cleared.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {tmp}, [rip + 2f]",
            "push {tmp}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "xor {tmp:e}, {tmp:e}",
            "mov fs, {tmp:e}",
            "mov gs, {tmp:e}",
            "mov {tmp:e}, {tss}",
            "ltr {tmp:x}",
            pointer = in(reg) &raw const pointer,
            code = const KERNEL_CODE as i64,
            data = in(reg) u64::from(KERNEL_DATA),
            tss = const TSS_SELECTOR as i64,
            tmp = out(reg) _,
        );
        cpu::wrmsr(cpu::MSR_GS_BASE, core::ptr::from_ref(cpu) as u64);
        cpu::wrmsr(cpu::MSR_KERNEL_GS_BASE, 0);
    }
}

/// Counts this CPU among the running ones.
pub fn announce() {
    current().online.store(true, Ordering::Release);
    COUNT.fetch_add(1, Ordering::AcqRel);
}

/// Sets the stack that the next entry from user mode starts on.
#[inline]
pub fn set_kernel_stack(top: u64) {
    let cpu = current();
    cpu.kernel_rsp.store(top, Ordering::Relaxed);
    // SAFETY: only this CPU writes its TSS, and the CPU reads it when it
    // enters from user mode, which is not now.
    unsafe { (&raw mut (*cpu.tables.get()).tss.rsp).cast::<u64>().write_unaligned(top) };
}

/// Operand of `lgdt` and `lidt`.
#[repr(C, packed)]
pub struct TablePointer {
    limit: u16,
    base: u64,
}

impl TablePointer {
    pub fn new<T>(table: &T) -> Self {
        Self { limit: size_of::<T>() as u16 - 1, base: core::ptr::from_ref(table) as u64 }
    }
}

/// Tells the first CPU its local APIC id, once that can be asked.
pub fn set_first_apic_id(apic_id: u32) {
    CPUS[0].apic_id.store(apic_id, Ordering::Relaxed);
}
