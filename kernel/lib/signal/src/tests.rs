// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Queues, decisions, stacks and frames.

use crate::frame::{FRAME_SIZE, NoFrame, Registers, Request, Trap, Xstate};
use crate::{
    ActionFlags, Delivery, Dispositions, Handler, Origin, Pending, Queued, Restart, SigAction,
    SigInfo, Signal, SignalSet, SignalStack, code, deliver, force, frame, resume,
};
use kio::Errno;
use std::vec;
use std::vec::Vec;

const RT: Signal = Signal::new(40).unwrap();

fn handler(flags: ActionFlags) -> SigAction {
    let flags = flags | ActionFlags::RESTORER;
    SigAction { handler: Handler::Function(0x1000), flags, restorer: 0x2000, ..Default::default() }
}

#[test]
fn standard_signals_coalesce_and_realtime_ones_queue() {
    let mut pending = Pending::new();
    let first = SigInfo::kill(Signal::SIGUSR1, 1, 0);
    assert_eq!(pending.send(first, 9), Ok(Queued::Added));
    assert_eq!(pending.send(SigInfo::kill(Signal::SIGUSR1, 2, 0), 9), Ok(Queued::Coalesced));
    for value in [5, 6] {
        let origin = Origin::Queue { pid: 1, uid: 0, value };
        pending.send(SigInfo { signal: RT, code: code::SI_QUEUE, origin }, 9).unwrap();
    }
    assert_eq!(pending.take(SignalSet::ALL), Some(first));
    let values: Vec<_> = core::iter::from_fn(|| pending.take(SignalSet::ALL))
        .map(|i| u64::from_le_bytes(i.encode()[24..32].try_into().unwrap()))
        .collect();
    assert_eq!(values, [5, 6]);
    assert!(pending.is_empty());
}

#[test]
fn a_timer_whose_signal_is_pending_overruns() {
    let signal = Signal::new(40).unwrap();
    let mut pending = Pending::new();
    for (id, missed) in [(1, 0), (2, 0), (1, 2), (1, 0)] {
        pending.send(SigInfo::timer(signal, id, missed, 7), 100).unwrap();
    }
    pending.send(SigInfo::kill(signal, 1, 0), 100).unwrap();
    let all = !SignalSet::EMPTY;
    assert_eq!(pending.take(all), Some(SigInfo::timer(signal, 1, 4, 7)));
    assert_eq!(pending.take(all), Some(SigInfo::timer(signal, 2, 0, 7)));
    assert_eq!(pending.take(all), Some(SigInfo::kill(signal, 1, 0)));
    assert_eq!(pending.take(all), None);
}

#[test]
fn beyond_the_limit_details_are_lost_or_sending_fails() {
    let mut pending = Pending::new();
    let queued = SigInfo { code: code::SI_QUEUE, ..SigInfo::kill(RT, 1, 0) };
    assert_eq!(pending.send(queued, 0), Err(Errno::EAGAIN));
    assert_eq!(pending.send(SigInfo::kill(RT, 7, 7), 0), Ok(Queued::Added));
    assert_eq!(pending.take(SignalSet::ALL), Some(SigInfo::kill(RT, 0, 0)));
    assert_eq!(pending.take(SignalSet::ALL), None);
    let fault = SigInfo::fault(Signal::SIGSEGV, code::SEGV_MAPERR, 0x10);
    pending.send(fault, 0).unwrap();
    assert_eq!(pending.take(SignalSet::ALL), Some(fault));
}

#[test]
fn faults_of_the_thread_come_first_then_the_lowest() {
    let (mut thread, mut process) = (Pending::new(), Pending::new());
    let mut actions = Dispositions::default();
    for signal in [Signal::SIGHUP, Signal::SIGSEGV, Signal::SIGUSR1, Signal::SIGBUS] {
        actions.set(signal, handler(ActionFlags::NODEFER)).unwrap();
    }
    let fault = SigInfo::fault(Signal::SIGSEGV, 1, 8);
    process.send(SigInfo::kill(Signal::SIGHUP, 1, 0), 9).unwrap();
    thread.send(SigInfo::kill(Signal::SIGUSR1, 1, 0), 9).unwrap();
    // Sent by a program: does not belong to the registers.
    thread.send(SigInfo::kill(Signal::SIGBUS, 1, 0), 9).unwrap();
    thread.send(fault, 9).unwrap();
    thread.send(SigInfo::kernel(Signal::SIGCHLD), 9).unwrap();
    let mut order = Vec::new();
    while let Some(delivery) = deliver(&mut thread, &mut process, SignalSet::EMPTY, &mut actions) {
        let Delivery::Handle { info, .. } = delivery else { panic!("{delivery:?}") };
        order.push(info.signal);
    }
    let expected = [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGUSR1, Signal::SIGHUP];
    assert_eq!(order, expected);
}

#[test]
fn handlers_block_themselves_and_reset_on_demand() {
    let (mut thread, mut process) = (Pending::new(), Pending::new());
    let mut actions = Dispositions::default();
    let action = SigAction { mask: SignalSet::ALL, ..handler(ActionFlags::RESETHAND) };
    assert_eq!(actions.set(Signal::SIGKILL, action), Err(Errno::EINVAL));
    actions.set(Signal::SIGINT, action).unwrap();
    let int = SigInfo::kill(Signal::SIGINT, 1, 0);
    let send = |thread: &mut Pending| thread.send(int, 9).unwrap();
    send(&mut thread);
    let blocked = SignalSet::of(&[Signal::SIGINT]);
    assert_eq!(deliver(&mut thread, &mut process, blocked, &mut actions), None);
    let delivery = deliver(&mut thread, &mut process, SignalSet::EMPTY, &mut actions);
    let Some(Delivery::Handle { blocked, .. }) = delivery else { panic!("{delivery:?}") };
    assert_eq!(blocked, SignalSet::ALL.blockable());
    send(&mut thread);
    let delivery = deliver(&mut thread, &mut process, SignalSet::EMPTY, &mut actions);
    assert_eq!(delivery, Some(Delivery::Terminate { info: int, core: false }));
    // SIGKILL cannot be kept out.
    let kill = SigInfo::kill(Signal::SIGKILL, 1, 0);
    process.send(kill, 9).unwrap();
    let delivery = deliver(&mut thread, &mut process, SignalSet::ALL, &mut actions);
    assert_eq!(delivery, Some(Delivery::Terminate { info: kill, core: false }));
}

#[test]
fn a_blocked_fault_is_fatal() {
    let mut actions = Dispositions::default();
    actions.set(Signal::SIGSEGV, handler(ActionFlags::empty())).unwrap();
    let fault = SigInfo::fault(Signal::SIGSEGV, 1, 8);
    let mut blocked = SignalSet::EMPTY;
    force(&fault, &mut blocked, &mut actions);
    assert_ne!(actions.action(Signal::SIGSEGV).handler, Handler::Default);
    blocked.insert(Signal::SIGSEGV);
    force(&fault, &mut blocked, &mut actions);
    assert_eq!(actions.action(Signal::SIGSEGV).handler, Handler::Default);
    assert!(blocked.is_empty());
}

#[test]
fn interrupted_calls_restart_by_the_rules() {
    let plain = handler(ActionFlags::empty());
    let restarting = handler(ActionFlags::RESTART);
    let eintr = Some(Restart::Fail(Errno::EINTR));
    assert_eq!(resume(Errno::ERESTARTSYS, None), Some(Restart::Again));
    assert_eq!(resume(Errno::ERESTARTSYS, Some(&restarting)), Some(Restart::Again));
    assert_eq!(resume(Errno::ERESTARTSYS, Some(&plain)), eintr);
    assert_eq!(resume(Errno::ERESTARTNOHAND, Some(&restarting)), eintr);
    assert_eq!(resume(Errno::ERESTARTNOHAND, None), Some(Restart::Again));
    assert_eq!(resume(Errno::ERESTARTNOINTR, Some(&SigAction::default())), Some(Restart::Again));
    assert_eq!(resume(Errno::EAGAIN, Some(&plain)), None);
}

fn registers() -> Registers {
    Registers {
        r8: 8,
        r9: 9,
        r10: 10,
        r11: 11,
        r12: 12,
        r13: 13,
        r14: 14,
        r15: 15,
        rdi: 1,
        rsi: 2,
        rbp: 3,
        rbx: 4,
        rdx: 5,
        rax: 6,
        rcx: 7,
        rsp: 0x7fff_1235,
        rip: 0x40_1000,
        rflags: 0x10702,
        cs: 0x33,
        ss: 0x2b,
    }
}

fn request<'a>(
    registers: &'a Registers,
    info: &'a SigInfo,
    action: &'a SigAction,
    stack: SignalStack,
) -> Request<'a> {
    let blocked = SignalSet::from_bits(0xf0);
    let trap = Trap { number: 14, error: 6, address: 0xdead };
    Request { registers, info, action, blocked, stack, trap, xstate_size: 832 }
}

#[test]
fn a_frame_restores_what_it_saved() {
    let (registers, action) = (registers(), handler(ActionFlags::empty()));
    let info = SigInfo::fault(Signal::SIGSEGV, 1, 0xdead);
    let made = frame::build(&request(&registers, &info, &action, SignalStack::DISABLED)).unwrap();
    assert_eq!((made.address % 16, made.xstate_address % 64), (8, 0));
    assert!(made.address + FRAME_SIZE as u64 <= made.xstate_address);
    assert!(made.xstate_address + 836 <= registers.rsp - 128);
    assert_eq!((made.entry.rdi, made.entry.rip, made.entry.rsp), (11, 0x1000, made.address));
    assert_eq!(made.entry.rflags, 0x202, "no direction, trap or resume flag");
    // The handler returns: its `ret` pops the restorer's address.
    assert_eq!(frame::frame_address(made.address + 8), made.address);
    let restored = frame::restore(&made.bytes, &made.entry);
    assert_eq!(restored.registers, registers);
    assert_eq!(restored.blocked.bits(), 0xf0 & !(1 << 8));
    assert_eq!(restored.xstate_address, made.xstate_address);
    // IOPL, VM and the interrupt flag are not the program's.
    let mut forged = made.bytes;
    forged[8 + 40 + 17 * 8..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(frame::restore(&forged, &made.entry).registers.rflags, 0x202 | 0x50dd5);
}

#[test]
fn alternate_stacks_are_entered_once_and_overflow() {
    let action = handler(ActionFlags::ONSTACK);
    let info = SigInfo::kill(Signal::SIGURG, 1, 0);
    let mut stack = SignalStack::DISABLED;
    let raw = |base: u64, flags: u32, size: u64| {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&base.to_le_bytes());
        bytes[8..12].copy_from_slice(&flags.to_le_bytes());
        bytes[16..].copy_from_slice(&size.to_le_bytes());
        bytes
    };
    assert_eq!(stack.set(&raw(0x10_0000, 0, 100), 1, 2048), Err(Errno::ENOMEM));
    assert_eq!(stack.set(&raw(0x10_0000, 4, 9999), 1, 2048), Err(Errno::EINVAL));
    stack.set(&raw(0x10_0000, 0, 0x1000), 1, 2048).unwrap();
    let outside = registers();
    let first = frame::build(&request(&outside, &info, &action, stack)).unwrap();
    assert!(stack.contains(first.address));
    assert!(first.xstate_address + 836 <= 0x10_1000);
    assert_eq!(stack.set(&raw(0, 2, 0), first.address, 2048), Err(Errno::EPERM));
    assert_eq!(stack.encode(first.address)[8], 1);
    let inside = Registers { rsp: first.address, ..outside };
    let second = frame::build(&request(&inside, &info, &action, stack)).unwrap();
    assert!(second.address < first.address);
    let low = Registers { rsp: 0x10_0200, ..outside };
    let overflow = frame::build(&request(&low, &info, &action, stack));
    assert_eq!(overflow.err(), Some(NoFrame::StackOverflow));
    // With SS_AUTODISARM the thread has none while the handler runs, and
    // sigreturn arms it again.
    stack.set(&raw(0x20_0000, 1 << 31, 0x2000), 1, 2048).unwrap();
    let made = frame::build(&request(&outside, &info, &action, stack)).unwrap();
    let mut current = stack.after_delivery();
    assert_eq!(current, SignalStack::DISABLED);
    current.set(&frame::restore(&made.bytes, &made.entry).stack, made.address, 2048).unwrap();
    assert_eq!(current, stack);
}

#[test]
fn extended_state_is_sealed_and_checked() {
    let mut area = vec![0xaa; frame::xstate_footprint(832)];
    frame::seal_xstate(&mut area, 7);
    let legacy = |area: &[u8]| -> [u8; 512] { area[..512].try_into().unwrap() };
    let found = frame::read_xstate(&legacy(&area), 832, 0xff);
    assert_eq!(found, Xstate::Extended { size: 832, features: 7 });
    assert!(frame::ends_xstate(area[832..].try_into().unwrap()));
    assert_eq!(frame::read_xstate(&legacy(&area), 700, 0xff), Xstate::Legacy);
    frame::sanitize_xstate(&mut area, 3, 0xffff);
    assert_eq!(area[512..520], 2u64.to_le_bytes(), "0xaa.. & 3");
    assert!(area[520..576].iter().all(|b| *b == 0));
    let mut small = vec![1; frame::xstate_footprint(512)];
    frame::seal_xstate(&mut small, 3);
    assert_eq!(frame::read_xstate(&legacy(&small), 832, 3), Xstate::Legacy);
}
