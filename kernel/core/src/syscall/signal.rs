// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Signals as system calls.

use super::Args;
use super::time::read_timespec;
use crate::exit::FIRST;
use crate::process::{self, Process};
use crate::signal::{self, take};
use crate::thread::Thread;
use crate::wait::{self, wait_on};
use crate::{family, user};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use kio::{Errno, Events, Instant, Result};
use ksignal::frame::Trap;
use ksignal::{SigAction, SigInfo, Signal, SignalSet, SignalStack};

const SET_SIZE: u64 = 8;

fn signal_number(number: u32) -> Result<Signal> {
    Signal::new(number).ok_or(Errno::EINVAL)
}

/// A `sigset_t` argument with its size.
pub(super) fn read_set(address: u64, size: u64) -> Result<SignalSet> {
    if size != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    user::read_u64(address).map(SignalSet::from_bits)
}

/// A frame that sigreturn cannot read: SIGSEGV.
pub(super) fn bad_frame() {
    signal::force(SigInfo::kernel(Signal::SIGSEGV), Trap::default());
}

pub(super) fn sigaction(thread: &Thread, a: Args) -> Result<u64> {
    if a.u64(3) != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let signal = signal_number(a.u32(0))?;
    let signals = &thread.process.signals;
    let old = signals.action(signal);
    if a.u64(1) != 0 {
        let action = SigAction::decode(&user::read_bytes(a.u64(1))?);
        signals.set_action(&thread.process, signal, action)?;
    }
    if a.u64(2) != 0 {
        user::write(a.u64(2), &old.encode())?;
    }
    Ok(0)
}

pub(super) fn sigprocmask(thread: &Thread, a: Args) -> Result<u64> {
    if a.u64(3) != SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let old = thread.signals.blocked();
    if a.u64(1) != 0 {
        let set = read_set(a.u64(1), SET_SIZE)?;
        let new = match a.u32(0) {
            0 => old | set,
            1 => old & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        thread.signals.set_blocked(thread, new);
    }
    if a.u64(2) != 0 {
        user::write_u64(a.u64(2), old.bits())?;
    }
    Ok(0)
}

pub(super) fn sigpending(thread: &Thread, a: Args) -> Result<u64> {
    if a.u64(1) > SET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = thread.signals.pending() | thread.process.signals.pending();
    let blocked = pending & thread.signals.blocked();
    user::write(a.u64(0), &blocked.bits().to_le_bytes()[..a.usize(1)]).map(|()| 0)
}

pub(super) fn sigsuspend(thread: &Thread, a: Args) -> Result<u64> {
    let mask = read_set(a.u64(0), a.u64(1))?;
    thread.signals.set_temporary_mask(thread, mask);
    pause()
}

pub(super) fn pause() -> Result<u64> {
    wait::sleep_until(None).map_err(|_| Errno::ERESTARTNOHAND).map(|()| 0)
}

pub(super) fn sigtimedwait(thread: &Thread, a: Args) -> Result<u64> {
    let wanted = read_set(a.u64(0), a.u64(3))?.blockable();
    let deadline = match a.u64(2) {
        0 => None,
        address => Some(khal::clock::monotonic() + read_timespec(address)?),
    };
    // Signals that are waited for do not interrupt the wait.
    let old = thread.signals.blocked();
    thread.signals.set_blocked(thread, old & !wanted);
    let result = wait_for_signal(thread, wanted, deadline);
    thread.signals.set_blocked(thread, old);
    let info = result?;
    if a.u64(1) != 0 {
        user::write(a.u64(1), &info.encode())?;
    }
    Ok(u64::from(info.signal.number()))
}

fn wait_for_signal(
    thread: &Thread,
    wanted: SignalSet,
    deadline: Option<Instant>,
) -> Result<SigInfo> {
    let arrived = &thread.process.signals.arrived;
    let result =
        wait_on(arrived, Events::READABLE, deadline, || take(thread, wanted).ok_or(Errno::EAGAIN));
    match result {
        Err(Errno::ETIMEDOUT) => Err(Errno::EAGAIN),
        Err(Errno::ERESTARTSYS) => Err(Errno::EINTR),
        other => other,
    }
}

fn sender(thread: &Thread) -> i32 {
    thread.process.pid as i32
}

pub(super) fn kill(thread: &Thread, a: Args) -> Result<u64> {
    let own = &thread.process;
    // What cannot be a signal is found out after what cannot be a process.
    let tell = |process: &Arc<Process>| match a.u32(1) {
        0 => Ok(()),
        number => {
            let info = SigInfo::kill(signal_number(number)?, sender(thread), 0);
            signal::send_to_process(process, info)
        }
    };
    match a.i32(0) {
        pid @ 1.. => tell(&process::find(pid.unsigned_abs()).ok_or(Errno::ESRCH)?),
        0 => {
            let group = own.group.load(Ordering::Relaxed);
            family::tell_many(|process| family::is_in(process, group), tell)
        }
        -1 => family::tell_many(|process| process.pid != FIRST && process.pid != own.pid, tell),
        group => family::tell_many(|process| family::is_in(process, group.unsigned_abs()), tell),
    }
    .map(|()| 0)
}

/// The thread `tid`, of the process `tgid` unless that is 0.
fn find_thread(tgid: u32, tid: u32) -> Result<Arc<khal::Task>> {
    let mut all = process::all().into_iter().filter(|p| tgid == 0 || p.pid == tgid);
    all.find_map(|p| p.thread(tid)).ok_or(Errno::ESRCH)
}

fn send_to_thread(thread: &Thread, tgid: u32, tid: u32, number: u32) -> Result<u64> {
    let target = find_thread(tgid, tid)?;
    if number != 0 {
        let info = SigInfo::tgkill(signal_number(number)?, sender(thread), 0);
        signal::send_to_thread(&target, info)?;
    }
    Ok(0)
}

pub(super) fn tgkill(thread: &Thread, a: Args) -> Result<u64> {
    if a.i32(0) <= 0 || a.i32(1) <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(thread, a.u32(0), a.u32(1), a.u32(2))
}

pub(super) fn tkill(thread: &Thread, a: Args) -> Result<u64> {
    if a.i32(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(thread, 0, a.u32(0), a.u32(1))
}

fn queued_info(thread: &Thread, number: u32, address: u64, own: bool) -> Result<SigInfo> {
    let info = SigInfo::from_user(signal_number(number)?, &user::read_bytes(address)?);
    // Others may not pretend to be the kernel or tgkill.
    let forged = info.code >= 0 || info.code == ksignal::code::SI_TKILL;
    let _ = thread;
    if forged && !own { Err(Errno::EPERM) } else { Ok(info) }
}

/// What pidfd_send_signal(2) sends to `process`: as kill(2), or as rt_sigqueueinfo(2) with the
/// `siginfo_t` at `address`; nothing for number 0.
pub(super) fn info_for(
    thread: &Thread,
    process: &Process,
    number: u32,
    address: u64,
) -> Result<Option<SigInfo>> {
    if number == 0 {
        return Ok(None);
    }
    if address == 0 {
        return Ok(Some(SigInfo::kill(signal_number(number)?, sender(thread), 0)));
    }
    queued_info(thread, number, address, process.pid == thread.process.pid).map(Some)
}

pub(super) fn sigqueueinfo(thread: &Thread, a: Args) -> Result<u64> {
    let process = process::find(a.u32(0)).ok_or(Errno::ESRCH)?;
    let own = process.pid == thread.process.pid;
    signal::send_to_process(&process, queued_info(thread, a.u32(1), a.u64(2), own)?)?;
    Ok(0)
}

pub(super) fn tgsigqueueinfo(thread: &Thread, a: Args) -> Result<u64> {
    let target = find_thread(a.u32(0), a.u32(1))?;
    let own = a.u32(0) == thread.process.pid;
    signal::send_to_thread(&target, queued_info(thread, a.u32(2), a.u64(3), own)?)?;
    Ok(0)
}

pub(super) fn sigaltstack(thread: &Thread, a: Args) -> Result<u64> {
    let sp = super::process::user_stack_pointer();
    let old = thread.signals.stack().encode(sp);
    if a.u64(0) != 0 {
        let new = user::read_bytes::<{ SignalStack::SIZE }>(a.u64(0))?;
        thread.signals.set_stack(&new, sp)?;
    }
    if a.u64(1) != 0 {
        user::write(a.u64(1), &old)?;
    }
    Ok(0)
}
