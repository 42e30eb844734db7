// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Somebody outside asks the program to end: SIGTERM, as from `docker stop`.
//!
//! Monitors ask in the way that they have: a break on the serial line (QEMU's
//! `chardev-send-break`), or Ctrl-Alt-Del on the keyboard controller (Firecracker's
//! `SendCtrlAltDel`). A program that does not catch the signal ends with 143.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use kcore::{process, signal};
use kdevice::{InterruptHandler, InterruptLine};
use ksignal::{SigInfo, Signal};
use ksync::SpinLock;

const KEYBOARD_IRQ: u32 = 1;

/// Whether there is a program that can be asked, and whether it was asked before.
static STARTED: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);

/// Asks the program to end, now or as soon as it is there.
pub(crate) fn ask() {
    ASKED.store(true, Ordering::SeqCst);
    deliver();
}

/// The program is there.
pub(crate) fn program_started() {
    STARTED.store(true, Ordering::SeqCst);
    deliver();
}

fn deliver() {
    if !STARTED.load(Ordering::SeqCst) || !ASKED.swap(false, Ordering::SeqCst) {
        return;
    }
    let Some(terminate) = Signal::new(SIGTERM) else { return };
    kcore::info!("asked to stop: SIGTERM for the program");
    for process in process::all() {
        let _ = signal::send_to_process(&process, SigInfo::kernel(terminate));
    }
}

const SIGTERM: u32 = 15;

/// Listens for Ctrl-Alt-Del where there is a keyboard controller.
pub(crate) fn watch_keyboard() {
    if !khal::keyboard::is_present() {
        return;
    }
    let keyboard = Arc::new(Keyboard(SpinLock::new(Keys::default())));
    if InterruptLine::isa(KEYBOARD_IRQ).connect(keyboard.clone()).is_ok() {
        // What waited before would keep the line from rising again.
        keyboard.handle();
    }
}

struct Keyboard(SpinLock<Keys>);

impl InterruptHandler for Keyboard {
    fn handle(&self) {
        let mut keys = self.0.lock();
        let mut pressed = false;
        khal::keyboard::read(|code| pressed |= keys.receive(code));
        drop(keys);
        if pressed {
            ask();
        }
    }
}

/// Which of the three keys are down. A controller speaks scan code set 1 when it translates,
/// as in a PC, and set 2 when it does not, as in Firecracker.
#[derive(Debug, Default)]
struct Keys {
    control: bool,
    alt: bool,
    extended: bool,
    /// Set 2: the next code is a key that was let go.
    released: bool,
}

/// Codes of one key in the two sets, and what set 1 says when it is let go.
const CONTROL: [u8; 2] = [0x1d, 0x14];
const ALT: [u8; 2] = [0x38, 0x11];
const DELETE: [u8; 2] = [0x53, 0x71];
const EXTENDED: u8 = 0xe0;
const RELEASED: u8 = 0xf0;
const RELEASED_BIT: u8 = 0x80;

impl Keys {
    /// Takes a code; true when the three keys are down with it.
    fn receive(&mut self, code: u8) -> bool {
        match code {
            EXTENDED => self.extended = true,
            RELEASED => self.released = true,
            _ => {
                let extended = core::mem::take(&mut self.extended);
                let released = core::mem::take(&mut self.released);
                return self.key(code, extended, released);
            }
        }
        false
    }

    fn key(&mut self, code: u8, extended: bool, released: bool) -> bool {
        let is = |key: [u8; 2], code: u8| key.contains(&code);
        let down = !released && code & RELEASED_BIT == 0;
        let code = if released { code } else { code & !RELEASED_BIT };
        if is(CONTROL, code) {
            self.control = down;
        } else if is(ALT, code) {
            self.alt = down;
        } else if is(DELETE, code) {
            return down && extended && self.control && self.alt;
        }
        false
    }
}
