// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The x86-64 signal frame: `struct rt_sigframe` with `ucontext_t`,
//! `siginfo_t` and the XSAVE area, as bytes.
//!
//! Linux's `asm/sigcontext.h` and `asm/ucontext.h` describe the structures.
//! Upwards from the stack pointer of the handler: return address, `ucontext_t`
//! (304 bytes, as the kernel has it), `siginfo_t`; above, at a multiple of 64,
//! the XSAVE area with its second magic number behind.

use crate::bytes::{put, put_u32, put_u64, take, u32_at, u64_at};
use crate::{ActionFlags, Handler, SigAction, SigInfo, SignalSet, SignalStack};

/// Size of the frame without the XSAVE area.
pub const FRAME_SIZE: usize = INFO + SigInfo::SIZE;

const CONTEXT: usize = 8;
const CONTEXT_SIZE: usize = 304;
const INFO: usize = CONTEXT + CONTEXT_SIZE;

// Within `ucontext_t`.
const UC_STACK: usize = 16;
const UC_MCONTEXT: usize = 40;
const UC_SIGMASK: usize = 296;
// Within `mcontext_t`.
const MC_SEGMENTS: usize = 144;
const MC_ERROR: usize = 152;
const MC_TRAP: usize = 160;
const MC_OLDMASK: usize = 168;
const MC_CR2: usize = 176;
const MC_FPSTATE: usize = 184;

const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;

/// The area below the stack pointer that leaf functions may use: System V ABI.
const RED_ZONE: u64 = 128;

const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// `_fpx_sw_bytes` at the end of the legacy 512 bytes.
const SW_BYTES: usize = 464;
/// The legacy area and the XSAVE header: the least that is an XSAVE area.
const XSTATE_MIN: usize = 576;

const EFLAGS_TF: u64 = 1 << 8;
const EFLAGS_DF: u64 = 1 << 10;
const EFLAGS_RF: u64 = 1 << 16;
/// The flags that sigreturn takes from the frame: CF PF AF ZF SF TF DF OF RF AC.
const EFLAGS_RESTORED: u64 = 0x0005_0dd5;

/// The general registers, in the order of `mcontext_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Registers {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub rflags: u64,
    pub cs: u16,
    pub ss: u16,
}

impl Registers {
    fn words(&self) -> [u64; 18] {
        [
            self.r8,
            self.r9,
            self.r10,
            self.r11,
            self.r12,
            self.r13,
            self.r14,
            self.r15,
            self.rdi,
            self.rsi,
            self.rbp,
            self.rbx,
            self.rdx,
            self.rax,
            self.rcx,
            self.rsp,
            self.rip,
            self.rflags,
        ]
    }

    fn from_words(words: [u64; 18], cs: u16, ss: u16) -> Self {
        let [
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rdi,
            rsi,
            rbp,
            rbx,
            rdx,
            rax,
            rcx,
            rsp,
            rip,
            rflags,
        ] = words;
        Self {
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rdi,
            rsi,
            rbp,
            rbx,
            rdx,
            rax,
            rcx,
            rsp,
            rip,
            rflags,
            cs,
            ss,
        }
    }
}

/// The last fault of the thread, which `mcontext_t` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Trap {
    /// Vector.
    pub number: u64,
    /// Error code.
    pub error: u64,
    /// CR2.
    pub address: u64,
}

/// What a frame is made of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The registers that sigreturn brings back.
    pub registers: &'a Registers,
    /// The signal.
    pub info: &'a SigInfo,
    /// Its disposition.
    pub action: &'a SigAction,
    /// The mask that sigreturn brings back.
    pub blocked: SignalSet,
    /// The alternate stack.
    pub stack: SignalStack,
    /// The last fault.
    pub trap: Trap,
    /// Size of the XSAVE area in standard format; 512 means FXSAVE only.
    pub xstate_size: usize,
}

/// A frame that is ready to be copied out.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Where `bytes` go: the new stack pointer.
    pub address: u64,
    /// The frame.
    pub bytes: [u8; FRAME_SIZE],
    /// Where the XSAVE area goes, `xstate_size` bytes and the trailer.
    pub xstate_address: u64,
    /// The registers with which the handler starts. The kernel also gives it
    /// fresh extended state.
    pub entry: Registers,
}

/// Why no frame can be built: the program gets SIGSEGV instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// The disposition is no function or names no restorer.
    NoRestorer,
    /// The alternate stack is too small.
    StackOverflow,
}

/// Bytes of the XSAVE area and its trailer in a frame.
pub const fn xstate_footprint(xstate_size: usize) -> usize {
    if xstate_size < XSTATE_MIN { 512 } else { xstate_size + 4 }
}

/// The least stack that one frame needs: AT_MINSIGSTKSZ.
pub const fn minimum_stack(xstate_size: usize) -> usize {
    // Alignment costs up to 63 bytes for the XSAVE area and 16 below.
    FRAME_SIZE + xstate_footprint(xstate_size) + RED_ZONE as usize + 63 + 16
}

/// Lays out the frame for a handler.
pub fn build(request: &Request<'_>) -> Result<Frame, NoFrame> {
    let action = request.action;
    let Handler::Function(handler) = action.handler else { return Err(NoFrame::NoRestorer) };
    if !action.flags.contains(ActionFlags::RESTORER) {
        return Err(NoFrame::NoRestorer);
    }
    let stack = request.stack;
    let old_sp = request.registers.rsp;
    let enters =
        action.flags.contains(ActionFlags::ONSTACK) && stack.size > 0 && !stack.contains(old_sp);
    let top =
        if enters { stack.base.wrapping_add(stack.size) } else { old_sp.wrapping_sub(RED_ZONE) };
    let xstate_address = top.wrapping_sub(xstate_footprint(request.xstate_size) as u64) & !63;
    // A function starts with its stack pointer 8 below a multiple of 16.
    let address = (xstate_address.wrapping_sub(FRAME_SIZE as u64) & !15).wrapping_sub(8);
    if (enters || stack.contains(old_sp)) && !stack.spans(address) {
        return Err(NoFrame::StackOverflow);
    }
    let mut bytes = [0; FRAME_SIZE];
    put_u64(&mut bytes, 0, action.restorer);
    put_context(&mut bytes[CONTEXT..INFO], request, xstate_address);
    put(&mut bytes, INFO, request.info.encode());
    let entry = Registers {
        rdi: u64::from(request.info.signal.number()),
        rsi: address + INFO as u64,
        rdx: address + CONTEXT as u64,
        rax: 0,
        rsp: address,
        rip: handler,
        rflags: request.registers.rflags & !(EFLAGS_TF | EFLAGS_DF | EFLAGS_RF),
        ..*request.registers
    };
    Ok(Frame { address, bytes, xstate_address, entry })
}

fn put_context(context: &mut [u8], request: &Request<'_>, xstate_address: u64) {
    let extended = if request.xstate_size < XSTATE_MIN { 0 } else { UC_FP_XSTATE };
    put_u64(context, 0, extended | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS);
    put(context, UC_STACK, request.stack.encode_for_frame());
    put_u64(context, UC_SIGMASK, request.blocked.bits());
    let machine = &mut context[UC_MCONTEXT..UC_SIGMASK];
    for (at, word) in request.registers.words().into_iter().enumerate() {
        put_u64(machine, 8 * at, word);
    }
    // cs, gs, fs, ss; gs and fs have no selectors in 64-bit programs.
    put(machine, MC_SEGMENTS, request.registers.cs.to_le_bytes());
    put(machine, MC_SEGMENTS + 6, request.registers.ss.to_le_bytes());
    put_u64(machine, MC_ERROR, request.trap.error);
    put_u64(machine, MC_TRAP, request.trap.number);
    put_u64(machine, MC_OLDMASK, request.blocked.bits());
    put_u64(machine, MC_CR2, request.trap.address);
    put_u64(machine, MC_FPSTATE, xstate_address);
}

/// What sigreturn brings back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The registers, with flags and selectors made safe.
    pub registers: Registers,
    /// The mask.
    pub blocked: SignalSet,
    /// The `stack_t`, to be given to [`SignalStack::set`], errors ignored.
    pub stack: [u8; SignalStack::SIZE],
    /// Address of the extended state; 0: initial state.
    pub xstate_address: u64,
}

/// Where rt_sigreturn(2) finds the frame: the restorer popped its own address.
pub const fn frame_address(sp: u64) -> u64 {
    sp.wrapping_sub(8)
}

/// Reads a frame back. `current` gives the flags that a program cannot change
/// and the selectors, for which the frame's are ignored: a unikernel has no
/// others for programs.
pub fn restore(bytes: &[u8; FRAME_SIZE], current: &Registers) -> Restored {
    let context = &bytes[CONTEXT..INFO];
    let machine = &context[UC_MCONTEXT..UC_SIGMASK];
    let words = core::array::from_fn(|at| u64_at(machine, 8 * at));
    let mut registers = Registers::from_words(words, current.cs, current.ss);
    registers.rflags = current.rflags & !EFLAGS_RESTORED | registers.rflags & EFLAGS_RESTORED;
    Restored {
        registers,
        blocked: SignalSet::from_bits(u64_at(context, UC_SIGMASK)).blockable(),
        stack: take(context, UC_STACK),
        xstate_address: u64_at(machine, MC_FPSTATE),
    }
}

/// Completes an XSAVE area for the frame: `area` is [`xstate_footprint`] long
/// and begins with what XSAVE wrote; `features` is the mask that was saved.
pub fn seal_xstate(area: &mut [u8], features: u64) {
    if area.len() < 512 {
        return;
    }
    area[SW_BYTES..512].fill(0);
    if area.len() < XSTATE_MIN + 4 {
        return;
    }
    let size = area.len() - 4;
    put_u32(area, SW_BYTES, FP_XSTATE_MAGIC1);
    put_u32(area, SW_BYTES + 4, area.len() as u32);
    put_u64(area, SW_BYTES + 8, features);
    put_u32(area, SW_BYTES + 16, size as u32);
    put_u32(area, size, FP_XSTATE_MAGIC2);
}

/// How to restore the extended state of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xstate {
    /// Only the legacy 512 bytes count; other features get their initial state.
    Legacy,
    /// XRSTOR of `features` from `size` bytes, whose magic must follow: check
    /// it with [`ends_xstate`], and take it as [`Xstate::Legacy`] otherwise.
    Extended { size: usize, features: u64 },
}

/// Reads the legacy part of the area: `size` is that of this machine's XSAVE
/// area, `supported` its features.
pub fn read_xstate(legacy: &[u8; 512], size: usize, supported: u64) -> Xstate {
    let total = u32_at(legacy, SW_BYTES + 4) as usize;
    let inner = u32_at(legacy, SW_BYTES + 16) as usize;
    let valid = u32_at(legacy, SW_BYTES) == FP_XSTATE_MAGIC1
        && (XSTATE_MIN..=size).contains(&inner)
        && inner <= total.saturating_sub(4);
    if !valid {
        return Xstate::Legacy;
    }
    Xstate::Extended { size: inner, features: u64_at(legacy, SW_BYTES + 8) & supported }
}

/// True for the four bytes that end an extended area.
pub fn ends_xstate(bytes: [u8; 4]) -> bool {
    u32::from_le_bytes(bytes) == FP_XSTATE_MAGIC2
}

/// Makes an XSAVE area from a program safe for XRSTOR, which faults on unknown
/// features, on the compacted format and on reserved bits of MXCSR.
/// `mxcsr_mask` is the machine's (at byte 28 of an FXSAVE area, or 0xffbf).
pub fn sanitize_xstate(area: &mut [u8], features: u64, mxcsr_mask: u32) {
    if area.len() >= 28 {
        let mxcsr = u32_at(area, 24) & mxcsr_mask;
        put_u32(area, 24, mxcsr);
    }
    if area.len() >= XSTATE_MIN {
        let present = u64_at(area, 512) & features;
        put_u64(area, 512, present);
        area[520..XSTATE_MIN].fill(0);
    }
}
