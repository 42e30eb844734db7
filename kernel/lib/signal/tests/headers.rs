// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The byte layouts against the C library's headers.

use ksignal::frame::{Registers, Request, Trap, build};
use ksignal::{ActionFlags, Handler, Origin, SigAction, SigInfo, Signal, SignalSet, SignalStack};
use std::collections::HashMap;
use std::process::Command;

const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <ucontext.h>
#define P(t, f) printf(#f " %zu\n", offsetof(t, f));
int main(void) {
    P(siginfo_t, si_signo) P(siginfo_t, si_code) P(siginfo_t, si_pid) P(siginfo_t, si_uid)
    P(siginfo_t, si_status) P(siginfo_t, si_utime) P(siginfo_t, si_stime)
    P(siginfo_t, si_value) P(siginfo_t, si_addr) P(siginfo_t, si_timerid)
    P(siginfo_t, si_overrun) P(siginfo_t, si_syscall) P(siginfo_t, si_arch)
    P(struct signalfd_siginfo, ssi_signo) P(struct signalfd_siginfo, ssi_code)
    P(struct signalfd_siginfo, ssi_pid) P(struct signalfd_siginfo, ssi_uid)
    P(struct signalfd_siginfo, ssi_status) P(struct signalfd_siginfo, ssi_int)
    P(struct signalfd_siginfo, ssi_ptr) P(struct signalfd_siginfo, ssi_utime)
    P(struct signalfd_siginfo, ssi_addr) P(struct signalfd_siginfo, ssi_overrun)
    P(struct signalfd_siginfo, ssi_tid) P(struct signalfd_siginfo, ssi_syscall)
    P(ucontext_t, uc_stack.ss_sp) P(ucontext_t, uc_stack.ss_size) P(ucontext_t, uc_sigmask)
    P(ucontext_t, uc_mcontext.fpregs)
#define G(r) printf(#r " %zu\n", offsetof(ucontext_t, uc_mcontext.gregs) + 8 * REG_##r);
    G(R8) G(R15) G(RDI) G(RSI) G(RBP) G(RBX) G(RDX) G(RAX) G(RCX) G(RSP) G(RIP) G(EFL)
    G(CSGSFS) G(ERR) G(TRAPNO) G(OLDMASK) G(CR2)
    printf("sizeof(siginfo_t) %zu\n", sizeof(siginfo_t));
    return 0;
}
"#;

fn offsets(test: &str) -> HashMap<String, usize> {
    let directory = std::env::temp_dir().join(format!("ksignal-{test}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (source, program) = (directory.join("offsets.c"), directory.join("offsets"));
    std::fs::write(&source, PROGRAM).unwrap();
    let status = Command::new("cc").arg(&source).arg("-o").arg(&program).status().unwrap();
    assert!(status.success());
    let output = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.rsplit_once(' ').unwrap());
    lines.map(|(name, at)| (name.to_owned(), at.parse().unwrap())).collect()
}

struct View<'a>(&'a HashMap<String, usize>, &'a [u8]);

impl View<'_> {
    fn word(&self, field: &str) -> u32 {
        let at = self.0[field];
        u32::from_le_bytes(self.1[at..at + 4].try_into().unwrap())
    }

    fn long(&self, field: &str) -> u64 {
        let at = self.0[field];
        u64::from_le_bytes(self.1[at..at + 8].try_into().unwrap())
    }
}

#[test]
fn structures_match_the_headers() {
    let offsets = offsets("info");
    assert_eq!(offsets["sizeof(siginfo_t)"], SigInfo::SIZE);
    let child = Origin::Child { pid: 1, uid: 2, status: 3, user_time: 4, system_time: 5 };
    let info = SigInfo { signal: Signal::SIGCHLD, code: 6, origin: child };
    let bytes = info.encode();
    let view = View(&offsets, &bytes);
    let fields = ["si_signo", "si_code", "si_pid", "si_uid", "si_status", "si_utime", "si_stime"];
    assert_eq!(fields.map(|f| view.word(f)), [17, 6, 1, 2, 3, 4, 5]);
    let bytes = info.encode_signalfd();
    let view = View(&offsets, &bytes);
    let fields = ["ssi_signo", "ssi_code", "ssi_pid", "ssi_uid", "ssi_status", "ssi_utime"];
    assert_eq!(fields.map(|f| view.word(f)), [17, 6, 1, 2, 3, 4]);
    let timer = SigInfo::timer(Signal::SIGALRM, 7, 8, 0x9_0000_000a);
    let bytes = timer.encode();
    let view = View(&offsets, &bytes);
    assert_eq!([view.word("si_timerid"), view.word("si_overrun")], [7, 8]);
    assert_eq!(view.long("si_value"), 0x9_0000_000a);
    let bytes = timer.encode_signalfd();
    let view = View(&offsets, &bytes);
    let fields = ["ssi_tid", "ssi_overrun", "ssi_int"];
    assert_eq!(fields.map(|f| view.word(f)), [7, 8, 10]);
    assert_eq!(view.long("ssi_ptr"), 0x9_0000_000a);
    let call = Origin::Call { address: 1, number: 2, arch: 3 };
    let bytes = SigInfo { signal: Signal::SIGSYS, code: 1, origin: call }.encode();
    let view = View(&offsets, &bytes);
    assert_eq!([view.word("si_syscall"), view.word("si_arch")], [2, 3]);
}

#[test]
fn the_context_matches_the_headers() {
    let offsets = offsets("context");
    let registers = Registers {
        r8: 1,
        r15: 2,
        rdi: 3,
        rsi: 4,
        rbp: 5,
        rbx: 6,
        rdx: 7,
        rax: 8,
        rcx: 9,
        rsp: 1 << 40,
        rip: 11,
        rflags: 12,
        cs: 0x33,
        ss: 0x2b,
        ..Registers::default()
    };
    let info = SigInfo::fault(Signal::SIGSEGV, 2, 0x55);
    let action = SigAction {
        handler: Handler::Function(1),
        flags: ActionFlags::RESTORER | ActionFlags::ONSTACK,
        restorer: 0x77,
        mask: SignalSet::EMPTY,
    };
    let mut stack = SignalStack::DISABLED;
    let mut raw = [0; 24];
    raw[..8].copy_from_slice(&0x1000_0000u64.to_le_bytes());
    raw[16..].copy_from_slice(&0x10000u64.to_le_bytes());
    stack.set(&raw, 0, 2048).unwrap();
    let frame = build(&Request {
        registers: &registers,
        info: &info,
        action: &action,
        blocked: SignalSet::from_bits(0xabcd),
        stack,
        trap: Trap { number: 14, error: 7, address: 0x55 },
        xstate_size: 832,
    })
    .unwrap();
    assert_eq!(frame.bytes[..8], 0x77u64.to_le_bytes());
    let context = &frame.bytes[(frame.entry.rdx - frame.address) as usize..];
    let view = View(&offsets, context);
    let names = ["R8", "R15", "RDI", "RSI", "RBP", "RBX", "RDX", "RAX", "RCX", "RSP", "RIP", "EFL"];
    let expected = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1 << 40, 11, 12];
    assert_eq!(names.map(|n| view.long(n)), expected);
    assert_eq!(view.long("CSGSFS"), 0x002b_0000_0000_0033);
    assert_eq!(["ERR", "TRAPNO", "OLDMASK", "CR2"].map(|n| view.long(n)), [7, 14, 0xabcd, 0x55]);
    assert_eq!(view.long("uc_sigmask"), 0xabcd);
    assert_eq!(view.long("uc_mcontext.fpregs"), frame.xstate_address);
    assert_eq!(view.long("uc_stack.ss_sp"), 0x1000_0000);
    assert_eq!(view.long("uc_stack.ss_size"), 0x10000);
    let info_at = (frame.entry.rsi - frame.address) as usize;
    assert_eq!(frame.bytes[info_at..], info.encode());
}
