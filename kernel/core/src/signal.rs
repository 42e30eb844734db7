// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals: sending, choosing, and the frames on user stacks.

use crate::process::Process;
use crate::sched;
use crate::thread::Thread;
use crate::user;
use abi::control::Exit;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use khal::{Task, TrapFrame, USER_END, extended_state, tasks};
use kio::{Errno, Events, Result, WaitQueue};
use ksignal::frame::{self, Registers, Request, Trap, Xstate};
use ksignal::{
    Delivery, Dispositions, Origin, Pending, Restart, SigAction, SigInfo, Signal, SignalSet,
    SignalStack,
};
use ksync::SpinLock;

const QUEUE_LIMIT: usize = 63_000;
/// MXCSR bits that every SSE2 CPU has.
const MXCSR_MASK: u32 = 0xffff;

/// How many signals may be queued: none more when the kernel has little memory.
fn queue_limit() -> usize {
    if kmm::kernel_can_spare(size_of::<SigInfo>()) { QUEUE_LIMIT } else { 0 }
}

/// Signals of a process.
#[derive(Debug, Default)]
pub struct ProcessSignals {
    shared: SpinLock<Shared>,
    /// Told when a signal arrives: signalfd, sigtimedwait.
    pub arrived: WaitQueue,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Pending,
    dispositions: Dispositions,
}

/// Signals of a thread.
#[derive(Debug, Default)]
pub struct ThreadSignals {
    own: SpinLock<Own>,
    /// Copy of the mask, for a look without the lock.
    blocked: AtomicU64,
}

#[derive(Debug, Default)]
struct Own {
    pending: Pending,
    blocked: SignalSet,
    /// The mask that comes back after sigsuspend, ppoll and the like.
    saved: Option<SignalSet>,
    stack: SignalStack,
    trap: Trap,
}

impl ProcessSignals {
    /// sigaction(2).
    pub fn action(&self, signal: Signal) -> SigAction {
        self.shared.lock().dispositions.action(signal)
    }

    /// Sets a disposition; pending signals that are ignored now are dropped.
    pub fn set_action(&self, process: &Process, signal: Signal, action: SigAction) -> Result<()> {
        let mut shared = self.shared.lock();
        shared.dispositions.set(signal, action)?;
        if shared.dispositions.ignores(signal) {
            shared.pending.discard(SignalSet::of(&[signal]));
            drop(shared);
            for (_, task) in process.threads() {
                if let Some(thread) = sched::thread_of(&task) {
                    thread.signals.own.lock().pending.discard(SignalSet::of(&[signal]));
                }
            }
        }
        Ok(())
    }

    /// execve(2).
    pub fn reset_handlers(&self) {
        self.shared.lock().dispositions.reset_handlers();
    }

    /// fork(2): the child's dispositions.
    pub fn duplicate_dispositions(&self) -> Self {
        let dispositions = self.shared.lock().dispositions.clone();
        let shared = Shared { pending: Pending::new(), dispositions };
        Self { shared: SpinLock::new(shared), arrived: WaitQueue::new() }
    }

    /// Pending for the process as a whole.
    pub fn pending(&self) -> SignalSet {
        self.shared.lock().pending.set()
    }
}

impl ThreadSignals {
    /// The mask.
    pub fn blocked(&self) -> SignalSet {
        SignalSet::from_bits(self.blocked.load(Ordering::Relaxed))
    }

    /// Sets the mask.
    pub fn set_blocked(&self, thread: &Thread, mask: SignalSet) {
        let mut own = self.own.lock();
        own.blocked = mask.blockable();
        self.blocked.store(own.blocked.bits(), Ordering::Relaxed);
        drop(own);
        thread.notice();
    }

    /// Sets the mask for the time of one call; the old one comes back when a
    /// handler returns, or with [`restore_mask`](Self::restore_mask).
    pub fn set_temporary_mask(&self, thread: &Thread, mask: SignalSet) {
        let old = self.blocked();
        self.set_blocked(thread, mask);
        self.own.lock().saved = Some(old);
    }

    /// Ends a temporary mask, if there is one and no handler will.
    pub fn restore_mask(&self, thread: &Thread) {
        let saved = self.own.lock().saved.take();
        if let Some(mask) = saved {
            self.set_blocked(thread, mask);
        }
    }

    /// Pending for this thread alone.
    pub fn pending(&self) -> SignalSet {
        self.own.lock().pending.set()
    }

    /// True when a signal waits that the thread does not block.
    pub fn has_deliverable(&self, thread: &Thread) -> bool {
        let wanted = !self.blocked().blockable();
        !(self.pending() & wanted).is_empty()
            || !(thread.process.signals.pending() & wanted).is_empty()
    }

    /// The alternate stack.
    pub fn stack(&self) -> SignalStack {
        self.own.lock().stack
    }

    /// sigaltstack(2).
    pub fn set_stack(&self, bytes: &[u8; SignalStack::SIZE], sp: u64) -> Result<()> {
        self.own.lock().stack.set(bytes, sp, minimum_stack())
    }

    /// execve(2): no alternate stack.
    pub fn forget_stack(&self) {
        self.own.lock().stack = SignalStack::default();
    }

    /// A new thread inherits the mask; its stack and pending set are empty.
    pub fn inherit(&self, from: &Self) {
        let blocked = from.blocked();
        self.own.lock().blocked = blocked;
        self.blocked.store(blocked.bits(), Ordering::Relaxed);
    }

    /// Copies the alternate stack too: fork and vfork.
    pub fn inherit_stack(&self, from: &Self) {
        let stack = from.stack();
        self.own.lock().stack = stack;
    }
}

/// AT_MINSIGSTKSZ.
pub fn minimum_stack() -> u64 {
    frame::minimum_stack(extended_state::state_size()) as u64
}

/// Prepares for a signal that arrives: what it undoes.
fn before_send(process: &Process, signal: Signal) {
    if signal == Signal::SIGCONT {
        process.signals.shared.lock().pending.discard(SignalSet::STOPS);
    }
}

/// Sends to a process as a whole: kill(2).
pub fn send_to_process(process: &Arc<Process>, info: SigInfo) -> Result<()> {
    before_send(process, info.signal);
    if info.signal == Signal::SIGKILL {
        process.end(Exit::Signal(Signal::SIGKILL.number()));
        return Ok(());
    }
    let mut shared = process.signals.shared.lock();
    let threads = process.threads();
    let blocks = |task: &Arc<Task>| {
        sched::thread_of(task).is_none_or(|t| t.signals.blocked().contains(info.signal))
    };
    if shared.dispositions.ignores(info.signal) && !threads.iter().all(|(_, t)| blocks(t)) {
        return Ok(());
    }
    shared.pending.send(info, queue_limit())?;
    drop(shared);
    process.signals.arrived.notify(Events::READABLE);
    // Any thread that does not block it will do; the first one first.
    if let Some((_, task)) = threads.iter().find(|(_, t)| !blocks(t)) {
        interrupt(task);
    }
    Ok(())
}

/// Sends to one thread: tgkill(2).
pub fn send_to_thread(task: &Arc<Task>, info: SigInfo) -> Result<()> {
    let thread = sched::thread_of(task).ok_or(Errno::ESRCH)?;
    before_send(&thread.process, info.signal);
    if info.signal == Signal::SIGKILL {
        thread.process.end(Exit::Signal(Signal::SIGKILL.number()));
        return Ok(());
    }
    let blocked = thread.signals.blocked().contains(info.signal);
    if !blocked && thread.process.signals.shared.lock().dispositions.ignores(info.signal) {
        return Ok(());
    }
    thread.signals.own.lock().pending.send(info, queue_limit())?;
    thread.process.signals.arrived.notify(Events::READABLE);
    if !blocked {
        interrupt(task);
    }
    Ok(())
}

/// Makes a thread look at its signals soon, wherever it is.
fn interrupt(task: &Arc<Task>) {
    if let Some(thread) = sched::thread_of(task) {
        thread.notice();
        sched::unpark(task);
        sched::kick(thread);
    }
}

/// A fault of the running thread: the signal cannot be blocked or ignored.
pub fn force(info: SigInfo, trap: Trap) {
    let Some(thread) = sched::current_thread() else { return };
    let mut own = thread.signals.own.lock();
    own.trap = trap;
    let mut blocked = own.blocked;
    ksignal::force(&info, &mut blocked, &mut thread.process.signals.shared.lock().dispositions);
    own.blocked = blocked;
    thread.signals.blocked.store(blocked.bits(), Ordering::Relaxed);
    let _ = own.pending.send(info, QUEUE_LIMIT);
    drop(own);
    thread.notice();
}

/// Takes a pending signal of `wanted` out: sigtimedwait(2), signalfd(2).
pub fn take(thread: &Thread, wanted: SignalSet) -> Option<SigInfo> {
    let own = thread.signals.own.lock().pending.take(wanted);
    let info = own.or_else(|| thread.process.signals.shared.lock().pending.take(wanted));
    info.inspect(|info| note_overrun(thread, info))
}

/// A timer's signal comes off the queue: timer_getoverrun(2) tells of it.
fn note_overrun(thread: &Thread, info: &SigInfo) {
    if let Origin::Timer { id, overrun, .. } = info.origin {
        let timer = thread.process.timers.lock().get(&id).cloned();
        if let Some(timer) = timer {
            timer.delivered(overrun);
        }
    }
}

fn next_delivery(thread: &Thread) -> Option<Delivery> {
    let mut own = thread.signals.own.lock();
    let blocked = own.blocked;
    let mut shared = thread.process.signals.shared.lock();
    let Shared { pending, dispositions } = &mut *shared;
    ksignal::deliver(&mut own.pending, pending, blocked, dispositions)
}

/// Before going back to user code: delivers what is pending. `interrupted` is
/// the kernel-internal error of the system call that `frame` belongs to.
pub fn deliver(thread: &Thread, frame: &mut TrapFrame) {
    let mut error = interrupted_call(frame);
    loop {
        let Some(delivery) = next_delivery(thread) else {
            if let Some(error) = error {
                restart(frame, ksignal::resume(error, None));
            }
            thread.signals.restore_mask(thread);
            return;
        };
        match delivery {
            Delivery::Handle { info, action, blocked } => {
                if let Some(error) = error.take() {
                    restart(frame, ksignal::resume(error, Some(&action)));
                }
                note_overrun(thread, &info);
                if enter_handler(thread, frame, &info, &action, blocked).is_err() {
                    let fault = SigInfo::kernel(Signal::SIGSEGV);
                    if info.signal == Signal::SIGSEGV {
                        thread.process.end(Exit::Signal(Signal::SIGSEGV.number()));
                        return;
                    }
                    force(fault, Trap::default());
                }
            }
            Delivery::Terminate { info, core } => {
                crate::trap::report_fatal(thread, frame, &info, core);
                thread.process.end(Exit::Signal(info.signal.number()));
                return;
            }
            // Job control has no terminal and no parent here.
            Delivery::Stop { .. } => {}
        }
    }
}

/// What calls end with that a signal interrupted.
pub const RESTARTED: [Errno; 3] =
    [Errno::ERESTARTSYS, Errno::ERESTARTNOINTR, Errno::ERESTARTNOHAND];

/// The internal error that an interrupted system call left in `rax`.
fn interrupted_call(frame: &TrapFrame) -> Option<Errno> {
    if frame.vector != khal::VECTOR_SYSCALL {
        return None;
    }
    let value = -(frame.rax as i64);
    RESTARTED.into_iter().find(|e| i64::from(e.number()) == value)
}

fn restart(frame: &mut TrapFrame, how: Option<Restart>) {
    match how {
        Some(Restart::Again) => {
            frame.rax = frame.error;
            frame.rip -= 2;
        }
        Some(Restart::Fail(errno)) => frame.rax = errno.as_result() as u64,
        None => {}
    }
}

fn registers_of(frame: &TrapFrame) -> Registers {
    Registers {
        r8: frame.r8,
        r9: frame.r9,
        r10: frame.r10,
        r11: frame.r11,
        r12: frame.r12,
        r13: frame.r13,
        r14: frame.r14,
        r15: frame.r15,
        rdi: frame.rdi,
        rsi: frame.rsi,
        rbp: frame.rbp,
        rbx: frame.rbx,
        rdx: frame.rdx,
        rax: frame.rax,
        rcx: frame.rcx,
        rsp: frame.rsp,
        rip: frame.rip,
        rflags: frame.rflags,
        cs: frame.cs as u16,
        ss: frame.ss as u16,
    }
}

fn load_registers(frame: &mut TrapFrame, from: &Registers) {
    frame.r8 = from.r8;
    frame.r9 = from.r9;
    frame.r10 = from.r10;
    frame.r11 = from.r11;
    frame.r12 = from.r12;
    frame.r13 = from.r13;
    frame.r14 = from.r14;
    frame.r15 = from.r15;
    frame.rdi = from.rdi;
    frame.rsi = from.rsi;
    frame.rbp = from.rbp;
    frame.rbx = from.rbx;
    frame.rdx = from.rdx;
    frame.rax = from.rax;
    frame.rcx = from.rcx;
    frame.rsp = from.rsp;
    frame.rip = from.rip;
    frame.rflags = from.rflags;
    frame.vector = 0;
}

const LEGACY_XMM: core::ops::Range<usize> = 160..416;
const XSTATE_BV: usize = 512;

/// The running thread's extended state as user code left it: the SSE
/// registers are those of the frame, the kernel uses the CPU's.
fn user_xstate(frame: &TrapFrame) -> Result<Vec<u8>> {
    let size = extended_state::state_size();
    let mut area = Vec::new();
    area.try_reserve_exact(frame::xstate_footprint(size)).map_err(|_| Errno::ENOMEM)?;
    tasks::with_current_fpu(|state| {
        area.extend_from_slice(state.bytes());
        false
    });
    area.resize(frame::xstate_footprint(size), 0);
    for (slot, xmm) in area[LEGACY_XMM].chunks_exact_mut(16).zip(frame.xmm) {
        slot.copy_from_slice(&xmm.to_le_bytes());
    }
    if extended_state::component_mask() != 0 {
        area[XSTATE_BV] |= 3;
        frame::seal_xstate(&mut area, extended_state::component_mask());
    }
    Ok(area)
}

/// Going back to an address that is not canonical faults in ring 0; nothing
/// outside of user space is ever worth going to.
fn check_instruction_pointer(rip: u64) -> Result<()> {
    if rip < USER_END { Ok(()) } else { Err(Errno::EFAULT) }
}

fn enter_handler(
    thread: &Thread,
    frame: &mut TrapFrame,
    info: &SigInfo,
    action: &SigAction,
    blocked: SignalSet,
) -> Result<()> {
    let (stack, trap, old_mask) = {
        let mut own = thread.signals.own.lock();
        let old = own.saved.take().unwrap_or(own.blocked);
        (own.stack, own.trap, old)
    };
    let built = frame::build(&Request {
        registers: &registers_of(frame),
        info,
        action,
        blocked: old_mask,
        stack,
        trap,
        xstate_size: extended_state::state_size(),
    })
    .map_err(|_| Errno::EFAULT)?;
    check_instruction_pointer(built.entry.rip)?;
    let xstate = user_xstate(frame)?;
    user::write(built.xstate_address, &xstate)?;
    user::write(built.address, &built.bytes)?;
    load_registers(frame, &built.entry);
    frame.xmm = [0; 16];
    tasks::with_current_fpu(|state| {
        state.reset();
        true
    });
    let mut own = thread.signals.own.lock();
    own.stack = stack.after_delivery();
    own.blocked = blocked;
    thread.signals.blocked.store(blocked.bits(), Ordering::Relaxed);
    Ok(())
}

/// rt_sigreturn(2): brings back what the frame holds.
pub fn sigreturn(thread: &Thread, frame: &mut TrapFrame) -> Result<()> {
    let bytes = user::read_bytes::<{ frame::FRAME_SIZE }>(frame::frame_address(frame.rsp))?;
    let restored = frame::restore(&bytes, &registers_of(frame));
    check_instruction_pointer(restored.registers.rip)?;
    load_xstate(frame, restored.xstate_address)?;
    load_registers(frame, &restored.registers);
    let _ = thread.signals.set_stack(&restored.stack, frame.rsp);
    thread.signals.set_blocked(thread, restored.blocked);
    Ok(())
}

fn load_xstate(frame: &mut TrapFrame, address: u64) -> Result<()> {
    if address == 0 {
        frame.xmm = [0; 16];
        tasks::with_current_fpu(|state| {
            state.reset();
            true
        });
        return Ok(());
    }
    let (size, mask) = (extended_state::state_size(), extended_state::component_mask());
    let legacy = user::read_bytes::<512>(address)?;
    let mut area = legacy.to_vec();
    if mask != 0 {
        if let Xstate::Extended { size: extended, .. } = frame::read_xstate(&legacy, size, mask) {
            let end: [u8; 4] = user::read_bytes(address + extended as u64)?;
            if frame::ends_xstate(end) {
                area = user::read_vec(address, extended, size)?;
            }
        }
        if area.len() > XSTATE_BV {
            frame::sanitize_xstate(&mut area, mask, MXCSR_MASK);
        }
    }
    for (xmm, slot) in frame.xmm.iter_mut().zip(area[LEGACY_XMM].chunks_exact(16)) {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(slot);
        *xmm = u128::from_le_bytes(bytes);
    }
    tasks::with_current_fpu(|state| {
        state.load_untrusted(&area);
        true
    });
    Ok(())
}
