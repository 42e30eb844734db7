// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The serial line as the console of the program.

use abi::config::Config;
use alloc::sync::Arc;
use kcore::{process, signal};
use kdevice::{InterruptHandler, InterruptLine};
use kfs_pseudo::{Console, ConsoleHost, ConsoleSettings};
use khal::console::Received;
use ksignal::{SigInfo, Signal};
use ksync::{Once, SpinLock};

use crate::stop;

const SERIAL_IRQ: u32 = 4;
/// Bytes that are taken from the line before they are given to the console.
const BATCH: usize = 64;

/// Where what is held goes on when there is room.
static RECEIVER: Once<Arc<Receiver>> = Once::new();

struct SerialLine;

impl ConsoleHost for SerialLine {
    fn write(&self, bytes: &[u8]) {
        khal::console::write(bytes);
    }

    fn hold(&self) {
        khal::console::hold_data();
    }

    fn go_on(&self) {
        khal::console::enable_receive_interrupt();
        // Not every UART interrupts for what has been waiting.
        if let Some(receiver) = RECEIVER.get() {
            receiver.handle();
        }
    }

    fn signal(&self, group: u32, number: u32) {
        use core::sync::atomic::Ordering;
        let Some(signal) = Signal::new(number) else { return };
        let all = process::all().into_iter();
        let foreground = all.filter(|p| group == 0 || p.group.load(Ordering::Relaxed) == group);
        for process in foreground {
            let _ = signal::send_to_process(&process, SigInfo::kernel(signal));
        }
    }
}

struct Receiver {
    console: Arc<Console>,
    /// Two CPUs that take from the line at once would mix up what they take.
    taking: SpinLock<()>,
}

impl InterruptHandler for Receiver {
    fn handle(&self) {
        let taking = self.taking.lock();
        let mut asked = false;
        loop {
            let (mut bytes, mut count) = ([0; BATCH], 0);
            while count < BATCH && self.console.has_room(count) {
                match khal::console::read() {
                    Some(Received::Byte(byte)) => {
                        bytes[count] = byte;
                        count += 1;
                    }
                    Some(Received::Break) => asked = true,
                    None => break,
                }
            }
            if count == 0 {
                break;
            }
            self.console.receive(&bytes[..count]);
        }
        drop(taking);
        if asked || khal::console::take_break() {
            stop::ask();
        }
    }
}

/// Rows and columns of `terminal=ROWSxCOLUMNS`, given when a person looks on.
fn terminal_size(option: &str) -> Option<(u16, u16)> {
    let (rows, columns) = option.split_once('x')?;
    Some((rows.parse().ok()?, columns.parse().ok()?))
}

/// Makes the console and lets input in.
pub(crate) fn start(config: &Config<'_>) -> Arc<Console> {
    let size = config.option("terminal").and_then(terminal_size);
    let person = size.is_some();
    let settings = ConsoleSettings {
        echo: person,
        map_newlines: person,
        size: size.unwrap_or((0, 0)),
        stream: config.option(abi::console::OPTION) == Some(abi::console::STREAM),
    };
    let console = Console::new(Arc::new(SerialLine), settings);
    let receiver = Arc::new(Receiver { console: console.clone(), taking: SpinLock::new(()) });
    // There is one line.
    let _ = RECEIVER.set(receiver.clone());
    if InterruptLine::isa(SERIAL_IRQ).connect(receiver.clone()).is_ok() {
        khal::console::enable_receive_interrupt();
        receiver.handle();
    }
    console
}
