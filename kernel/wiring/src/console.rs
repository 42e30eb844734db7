// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The serial line as the console of the program.

use abi::config::Config;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kcore::{process, signal};
use kdevice::{InterruptHandler, InterruptLine};
use kfs_pseudo::{Console, ConsoleHost, ConsoleSettings};
use khal::console::Received;
use ksignal::{SigInfo, Signal};

use crate::stop;

const SERIAL_IRQ: u32 = 4;

struct SerialLine;

impl ConsoleHost for SerialLine {
    fn write(&self, bytes: &[u8]) {
        khal::console::write(bytes);
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

struct Receiver(Arc<Console>);

impl InterruptHandler for Receiver {
    fn handle(&self) {
        let mut bytes = Vec::new();
        let mut asked = false;
        while let Some(received) = khal::console::read() {
            match received {
                Received::Byte(byte) => bytes.push(byte),
                Received::Break => asked = true,
            }
        }
        if !bytes.is_empty() {
            self.0.receive(&bytes);
        }
        if asked {
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
    let settings =
        ConsoleSettings { echo: person, map_newlines: person, size: size.unwrap_or((0, 0)) };
    let console = Console::new(Arc::new(SerialLine), settings);
    let receiver = Arc::new(Receiver(console.clone()));
    if InterruptLine::isa(SERIAL_IRQ).connect(receiver.clone()).is_ok() {
        khal::console::enable_receive_interrupt();
        receiver.handle();
    }
    console
}
