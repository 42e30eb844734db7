// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What happens on an exception, an interrupt or a system call: the table, the
//! repair of user copies, and the hand-over to the kernel's handlers.

use super::entry::{syscall_entry, trap_stubs};
use super::frame::TrapFrame;
use super::percpu::{KERNEL_CODE, TablePointer};
use super::{apic, cpu, interrupt, shootdown};
use core::arch::asm;
use core::cell::UnsafeCell;
use ksync::Once;

/// Where the kernel above wants to be called. All run with interrupts disabled.
pub struct Handlers {
    /// A system call; the number is in `error`, the result goes to `rax`.
    pub system_call: fn(&mut TrapFrame),
    /// A page fault of user code: frame, address, error code.
    pub page_fault: fn(&mut TrapFrame, u64, u64),
    /// Any other exception of user code: frame and vector.
    pub exception: fn(&mut TrapFrame, u64),
    /// The local timer fired.
    pub timer: fn(),
    /// After an interrupt, before going back to user code.
    pub before_user: fn(&mut TrapFrame),
}

static HANDLERS: Once<Handlers> = Once::new();

/// Installs the kernel's handlers; before the first user code runs.
pub fn set_handlers(handlers: Handlers) {
    assert!(HANDLERS.set(handlers).is_ok(), "handlers are set once");
}

fn handlers() -> &'static Handlers {
    HANDLERS.get().expect("handlers are set before user code runs")
}

const VECTOR_NMI: usize = 2;
const VECTOR_DOUBLE_FAULT: usize = 8;
const VECTOR_PAGE_FAULT: u64 = 14;
const VECTOR_MACHINE_CHECK: usize = 18;

#[repr(C, align(16))]
struct Table(UnsafeCell<[[u64; 2]; 256]>);
// SAFETY: written once by the first CPU before the others start.
unsafe impl Sync for Table {}
static IDT: Table = Table(UnsafeCell::new([[0; 2]; 256]));

/// Fills the interrupt table; once, on the first CPU.
pub fn build_table() {
    // SAFETY: runs once, before any other CPU or interrupt.
    let table = unsafe { &mut *IDT.0.get() };
    for (vector, gate) in table.iter_mut().enumerate() {
        // SAFETY: the table of stubs is 256 entries of code.
        let handler = unsafe { (&raw const trap_stubs[vector]) } as u64;
        let ist = match vector {
            VECTOR_NMI => 1,
            VECTOR_DOUBLE_FAULT => 2,
            VECTOR_MACHINE_CHECK => 3,
            _ => 0,
        };
        // Breakpoint and overflow may be raised by user code.
        let privilege = if vector == 3 || vector == 4 { 3 } else { 0 };
        gate[0] = (handler & 0xffff)
            | u64::from(KERNEL_CODE) << 16
            | ist << 32
            | (0x8e | privilege << 5) << 40
            | (handler >> 16 & 0xffff) << 48;
        gate[1] = handler >> 32;
    }
}

/// Loads the table and the system call entry on this CPU.
pub fn load() {
    let pointer = TablePointer::new(&IDT);
    // SAFETY: the table is static and filled; the MSRs name our entry, our
    // selectors, and clear IF, DF, TF, AC, NT on entry.
    unsafe {
        asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly));
        cpu::wrmsr(cpu::MSR_EFER, cpu::rdmsr(cpu::MSR_EFER) | 1);
        cpu::wrmsr(cpu::MSR_STAR, u64::from(KERNEL_CODE) << 32 | 0x23 << 48);
        cpu::wrmsr(cpu::MSR_LSTAR, syscall_entry as *const () as u64);
        cpu::wrmsr(cpu::MSR_SFMASK, 0x4_7700);
    }
}

pub(super) extern "C" fn on_syscall(frame: &mut TrapFrame) {
    (handlers().system_call)(frame);
}

unsafe extern "C" {
    static user_copy_start: u8;
    static user_copy_end: u8;
    static user_copy_fault: u8;
    static user_copy_bytes_start: u8;
    static user_copy_bytes_end: u8;
    static user_copy_bytes_fault: u8;
    static user_cmpxchg_start: u8;
    static user_cmpxchg_end: u8;
    static user_cmpxchg_fault: u8;
}

/// Where to go on when kernel code at `rip` faulted on user memory.
fn repair(rip: u64) -> Option<u64> {
    let places = [
        (&raw const user_copy_start, &raw const user_copy_end, &raw const user_copy_fault),
        (
            &raw const user_copy_bytes_start,
            &raw const user_copy_bytes_end,
            &raw const user_copy_bytes_fault,
        ),
        (&raw const user_cmpxchg_start, &raw const user_cmpxchg_end, &raw const user_cmpxchg_fault),
    ];
    places
        .iter()
        .find(|(start, end, _)| (*start as u64..*end as u64).contains(&rip))
        .map(|(_, _, fault)| *fault as u64)
}

pub(super) extern "C" fn on_trap(frame: &mut TrapFrame) {
    let vector = frame.vector;
    if vector >= 32 {
        on_interrupt(vector as u8);
        if frame.is_user() {
            (handlers().before_user)(frame);
        }
        return;
    }
    if !frame.is_user() {
        return on_kernel_exception(frame);
    }
    if vector == VECTOR_PAGE_FAULT {
        let address = cpu::cr2();
        (handlers().page_fault)(frame, address, frame.error);
    } else if vector == VECTOR_NMI as u64 {
        return;
    } else {
        (handlers().exception)(frame, vector);
    }
    (handlers().before_user)(frame);
}

fn on_kernel_exception(frame: &mut TrapFrame) {
    if frame.vector == VECTOR_NMI as u64 {
        return;
    }
    if (frame.vector == VECTOR_PAGE_FAULT || frame.vector == 13)
        && let Some(rip) = repair(frame.rip)
    {
        frame.rip = rip;
        return;
    }
    panic!(
        "exception {} (error {:#x}) in the kernel at {:#x}, address {:#x}, stack {:#x}",
        frame.vector,
        frame.error,
        frame.rip,
        cpu::cr2(),
        frame.rsp
    );
}

fn on_interrupt(vector: u8) {
    match vector {
        apic::VECTOR_TIMER => {
            apic::end_of_interrupt();
            (handlers().timer)();
        }
        apic::VECTOR_WAKE => apic::end_of_interrupt(),
        apic::VECTOR_SHOOTDOWN => {
            apic::end_of_interrupt();
            shootdown::answer();
        }
        apic::VECTOR_HALT => cpu::halt_forever(),
        apic::VECTOR_SPURIOUS => {}
        _ => interrupt::dispatch(vector),
    }
}
