// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting the other CPUs (Intel SDM vol. 3, 9.4).

use super::boot::KERNEL_OFFSET;
use super::{apic, cpu, fpu, kvm_clock, memory, percpu, time, trap};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use kmm::FrameBlock;
use ksync::{Once, SpinLock};

/// Physical page for the first instructions of a CPU, in real mode.
const TRAMPOLINE: u64 = 0x8000;

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .global trampoline_start
    .global trampoline_end
    .global trampoline_root
    .global trampoline_stack
    .set GDTR_AT, 0x8000 + trampoline_gdtr - trampoline_start
    .set ROOT_AT, 0x8000 + trampoline_root - trampoline_start
    .set STACK_AT, 0x8000 + trampoline_stack - trampoline_start
    .code16
trampoline_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    lgdt [GDTR_AT]
    mov eax, 0x620
    mov cr4, eax
    mov eax, [ROOT_AT]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x901
    wrmsr
    mov eax, 0x80010033
    mov cr0, eax
    .byte 0x66, 0xea                        // far jump to 64-bit code
    .long 0x8000 + trampoline_long - trampoline_start
    .word 0x10
    .code64
trampoline_long:
    mov eax, 0x18
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, [STACK_AT]
    xor ebp, ebp
    movabs rax, offset {entry}
    call rax
    ud2
    .balign 8
trampoline_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff
trampoline_gdtr:
    .word 31
    .long 0x8000 + trampoline_gdt - trampoline_start
    .balign 8
trampoline_root:  .quad 0
trampoline_stack: .quad 0
trampoline_end:
    "#,
    entry = sym secondary,
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_root: u8;
    static trampoline_stack: u8;
    static boot_pml4: u8;
}
/// How long a CPU of a busy host may take to start.
const PATIENCE: Duration = Duration::from_secs(3);

static STARTED: AtomicU32 = AtomicU32::new(0);
static NEXT_APIC_ID: AtomicU32 = AtomicU32::new(0);
/// What the next CPU needs before it may take a lock: a CPU that spins answers
/// shootdowns, for which it has to know who it is.
static STACKS_FOR_NEXT: SpinLock<Option<FrameBlock>> = SpinLock::new(None);
static MAIN: Once<fn() -> !> = Once::new();

/// Starts the CPUs with these local APIC ids, one after the other; each runs
/// `main` on a stack of its own. Returns how many CPUs run now.
pub fn start_others(apic_ids: impl Iterator<Item = u32>, main: fn() -> !) -> usize {
    let own = percpu::current().apic_id();
    if MAIN.set(main).is_err() {
        return percpu::count();
    }
    let mut copied = false;
    for apic_id in apic_ids.filter(|id| *id != own).take(percpu::MAX_CPUS - 1) {
        if !copied {
            copy_trampoline();
            copied = true;
        }
        if !start(apic_id) {
            // It may still come, and finds what was laid out for it; another
            // one would find the same.
            break;
        }
    }
    percpu::count()
}

fn field(of: *const u8) -> *mut u64 {
    let offset = of as u64 - (&raw const trampoline_start) as u64;
    (super::boot::DIRECT_MAP + TRAMPOLINE + offset) as *mut u64
}

fn copy_trampoline() {
    let from = &raw const trampoline_start;
    let len = (&raw const trampoline_end) as usize - from as usize;
    // SAFETY: the page at 0x8000 is RAM below 1 MiB, which nothing else uses
    // (see `split_regions`), and the direct map covers it.
    unsafe {
        from.copy_to((super::boot::DIRECT_MAP + TRAMPOLINE) as *mut u8, len);
        field(&raw const trampoline_root)
            .write_unaligned((&raw const boot_pml4) as u64 - KERNEL_OFFSET);
    }
}

/// Starts one CPU; false when it does not answer.
fn start(apic_id: u32) -> bool {
    let Ok(stack) = FrameBlock::allocate(2) else { return false };
    let top = stack.as_ptr() as u64 + stack.len() as u64;
    let _ = stack.into_raw();
    // SAFETY: as in `copy_trampoline`; the CPU starts with a call, on an
    // aligned stack.
    unsafe { field(&raw const trampoline_stack).write_unaligned(top) };
    NEXT_APIC_ID.store(apic_id, Ordering::Release);
    *STACKS_FOR_NEXT.lock() = FrameBlock::allocate(2).ok();
    let before = STARTED.load(Ordering::Acquire);
    let wait = |micros: u32| {
        let end = time::monotonic() + Duration::from_micros(u64::from(micros));
        while time::monotonic() < end && STARTED.load(Ordering::Acquire) == before {
            core::hint::spin_loop();
        }
    };
    apic::start_cpu(apic_id, (TRAMPOLINE >> 12) as u8, wait);
    let patience = time::monotonic() + PATIENCE;
    while STARTED.load(Ordering::Acquire) == before {
        if time::monotonic() >= patience {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

/// First Rust code of another CPU, on the boot page tables.
extern "C" fn secondary() -> ! {
    let features = cpu::Features::detect();
    let index = percpu::count();
    // SAFETY: the kernel's root maps this code and the stack (direct map).
    unsafe {
        super::enable_features(&features);
        cpu::set_cr3(memory::root().as_u64());
        // Nobody else wants this lock now: see STACKS_FOR_NEXT.
        let fault_stacks = STACKS_FOR_NEXT.lock().take();
        percpu::set_up(index, NEXT_APIC_ID.load(Ordering::Acquire), fault_stacks);
    }
    percpu::current().root.store(memory::root().as_u64(), Ordering::Relaxed);
    trap::load();
    fpu::set_up(&features);
    apic::enable();
    kvm_clock::share();
    percpu::announce();
    STARTED.fetch_add(1, Ordering::AcqRel);
    match MAIN.get() {
        Some(main) => main(),
        None => cpu::halt_forever(),
    }
}
