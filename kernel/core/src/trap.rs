// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where user code comes into the kernel, and what happens before it goes on.

use crate::mm::Fault;
use crate::thread::Thread;
use crate::{exit, log, sched, signal, syscall};
use abi::control::Exit;
use khal::{Handlers, TrapFrame, machine};
use ksignal::frame::Trap;
use ksignal::{Origin, SigInfo, Signal, code};

/// Page fault error code bits.
const WRITE: u64 = 2;
const FETCH: u64 = 16;
const VECTOR_PAGE_FAULT: u64 = 14;

/// Takes over traps; before user code runs.
pub fn install() {
    machine::set_handlers(Handlers {
        system_call,
        page_fault,
        exception,
        timer: sched::on_timer,
        before_user,
    });
}

fn system_call(frame: &mut TrapFrame) {
    let Some(thread) = sched::current_thread() else { return };
    syscall::enter(thread, frame);
    prepare_user(thread, frame);
}

/// Signals, the end of the process, preemption: until there is nothing left.
#[inline]
pub fn before_user(frame: &mut TrapFrame) {
    if let Some(thread) = sched::current_thread() {
        prepare_user(thread, frame);
    }
}

#[inline]
fn prepare_user(thread: &Thread, frame: &mut TrapFrame) {
    sched::preempt_if_due();
    if thread.has_attention() {
        attend(thread, frame);
    }
}

#[cold]
fn attend(thread: &Thread, frame: &mut TrapFrame) {
    while thread.has_attention() {
        thread.clear_attention();
        crate::background::run_if_due();
        if !thread.must_end() {
            signal::deliver(thread, frame);
        }
        if thread.must_end() {
            crate::exit::exit_thread();
        }
    }
}

fn page_fault(_frame: &mut TrapFrame, address: u64, error: u64) {
    let Some(thread) = sched::current_thread() else { return };
    let outcome = thread.space().fault(address, error & WRITE != 0, error & FETCH != 0);
    let info = match outcome {
        Ok(()) => return,
        Err(Fault::Unmapped) => SigInfo::fault(Signal::SIGSEGV, code::SEGV_MAPERR, address),
        Err(Fault::Denied) => SigInfo::fault(Signal::SIGSEGV, code::SEGV_ACCERR, address),
        Err(Fault::BeyondEnd) => SigInfo::fault(Signal::SIGBUS, code::BUS_ADRERR, address),
        Err(Fault::OutOfMemory) => {
            out_of_memory(thread);
            return;
        }
    };
    let user_error = error | 4;
    signal::force(info, Trap { number: VECTOR_PAGE_FAULT, error: user_error, address });
}

fn out_of_memory(thread: &Thread) {
    let memory = kmm::memory_info();
    log::fatal(format_args!(
        "out of memory: {} KiB in all, {} KiB free; the program is killed (give it more with -m)",
        memory.total_frames * 4,
        memory.free_frames * 4
    ));
    thread.process.end(Exit::Signal(Signal::SIGKILL.number()));
}

fn exception(frame: &mut TrapFrame, vector: u64) {
    let rip = frame.rip;
    let info = match vector {
        0 => SigInfo::fault(Signal::SIGFPE, code::FPE_INTDIV, rip),
        1 => SigInfo::fault(Signal::SIGTRAP, code::TRAP_TRACE, rip),
        3 => SigInfo::kernel(Signal::SIGTRAP),
        4 | 5 | 11 | 12 | 13 => SigInfo::kernel(Signal::SIGSEGV),
        6 => SigInfo::fault(Signal::SIGILL, code::ILL_ILLOPN, rip),
        16 | 19 => SigInfo::fault(Signal::SIGFPE, code::FPE_FLTINV, rip),
        17 => SigInfo::fault(Signal::SIGBUS, code::BUS_ADRALN, 0),
        _ => SigInfo::kernel(Signal::SIGSEGV),
    };
    signal::force(info, Trap { number: vector, error: frame.error, address: 0 });
}

/// The readable report of a program that a fault ends.
pub fn report_fatal(thread: &Thread, frame: &TrapFrame, info: &SigInfo, core: bool) {
    let name = info.signal.name();
    let pid = thread.process.pid;
    if !core {
        crate::debug!("process {pid} ended by {name}");
        return;
    }
    if pid != exit::FIRST {
        // Its parent is told, and may do that on purpose.
        crate::info!("process {pid} ended by {name} (code {}) at {:#x}", info.code, frame.rip);
        return;
    }
    match info.origin {
        Origin::Fault { address } => log::fatal(format_args!(
            "{name} (code {}) at address {address:#x}, thread {}",
            info.code,
            thread.tid()
        )),
        _ => log::fatal(format_args!("{name} (code {}), thread {}", info.code, thread.tid())),
    }
    let f = frame;
    log::fatal(format_args!("rip {:016x} rsp {:016x} rflags {:x}", f.rip, f.rsp, f.rflags));
    log::fatal(format_args!(
        "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
        f.rax, f.rbx, f.rcx, f.rdx
    ));
    log::fatal(format_args!(
        "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}",
        f.rsi, f.rdi, f.rbp, f.r8
    ));
    log::fatal(format_args!(
        "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}",
        f.r9, f.r10, f.r11, f.r12
    ));
    log::fatal(format_args!("r13 {:016x} r14 {:016x} r15 {:016x}", f.r13, f.r14, f.r15));
    report_backtrace(f);
}

/// Return addresses along the frame pointers of user code.
fn report_backtrace(frame: &TrapFrame) {
    const DEPTH: usize = 24;
    log::fatal(format_args!("#0 {:#x}", frame.rip));
    let mut pointer = frame.rbp;
    for depth in 1..DEPTH {
        if pointer < frame.rsp || !pointer.is_multiple_of(8) {
            return;
        }
        let Ok([next, address]) = crate::user::read_words::<2>(pointer) else { return };
        if address == 0 || next <= pointer && next != 0 {
            return;
        }
        log::fatal(format_args!("#{depth} {address:#x}"));
        pointer = next;
    }
}
