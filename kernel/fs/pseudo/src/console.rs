// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The terminal on the machine's serial line: tty(4), ioctl_tty(2).

use crate::line_discipline::LineDiscipline;
use crate::termios::Termios;
use abi::console::{Decoded, Decoder};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use kio::{Errno, Events, File, FileKind, Result, Sink, Source, Stat, UserWords, WaitQueue};
use ksync::SpinLock;

const SIGWINCH: u32 = 28;

/// What the console needs of the kernel.
pub trait ConsoleHost: Send + Sync {
    /// Sends bytes down the line. Called with the console's lock held, so that
    /// output stays in order.
    fn write(&self, bytes: &[u8]);

    /// Takes nothing more from the line: there is no room. Called with the console's lock held.
    fn hold(&self);

    /// Goes on with taking. Called without locks.
    fn go_on(&self);

    /// Sends `signal` to the foreground process group, or to the session when
    /// no group was set (0). Called without locks.
    fn signal(&self, group: u32, signal: u32);
}

/// How the console starts.
#[derive(Clone, Copy, Debug)]
pub struct ConsoleSettings {
    /// Show what is typed. Off when the other end is not a person.
    pub echo: bool,
    /// Send CR before each LF. Off when the other end is a pipe.
    pub map_newlines: bool,
    /// Rows and columns; 0 when not known.
    pub size: (u16, u16),
    /// What comes in is a file or a pipe, not keys: all bytes as they are, and its end
    /// ([`abi::console::Decoder`]).
    pub stream: bool,
}

struct State {
    line: LineDiscipline,
    /// For what is not typed.
    decoder: Option<Decoder>,
    /// The line is not read for want of room.
    held: bool,
    hung_up: bool,
    group: u32,
    /// `struct winsize`: rows, columns, and pixels that nobody knows.
    size: [u16; 4],
}

/// A terminal. It is the object behind /dev/console and /dev/tty.
pub struct Console {
    host: Arc<dyn ConsoleHost>,
    state: SpinLock<State>,
    queue: WaitQueue,
}

impl Console {
    /// A terminal with empty buffers.
    pub fn new(host: Arc<dyn ConsoleHost>, settings: ConsoleSettings) -> Arc<Self> {
        let termios = match settings.stream {
            true => Termios::raw(),
            false => Termios::standard(settings.echo, settings.map_newlines),
        };
        Arc::new(Self {
            host,
            state: SpinLock::new(State {
                line: LineDiscipline::new(termios),
                decoder: settings.stream.then(Decoder::default),
                held: false,
                hung_up: false,
                group: 0,
                size: [settings.size.0, settings.size.1, 0, 0],
            }),
            queue: WaitQueue::new(),
        })
    }

    /// Bytes that came in on the line.
    pub fn receive(&self, bytes: &[u8]) {
        let mut signals = Vec::new();
        let mut state = self.state.lock();
        let mut echo = Vec::new();
        for &byte in bytes {
            let byte = match state.decoder.as_mut().map(|decoder| decoder.take(byte)) {
                None => byte,
                Some(Decoded::Byte(byte)) => byte,
                Some(Decoded::End) => {
                    state.hung_up = true;
                    continue;
                }
                Some(Decoded::Nothing) => continue,
            };
            if let Some(signal) = state.line.receive(byte, &mut echo) {
                signals.push(signal);
            }
        }
        if !echo.is_empty() {
            self.host.write(&echo);
        }
        let group = state.group;
        let hung_up = state.hung_up;
        let readable = hung_up || state.line.readable().is_some();
        drop(state);
        if readable {
            let end = if hung_up { Events::HUP } else { Events::empty() };
            self.queue.notify(Events::READABLE | end);
        }
        signals.iter().for_each(|s| self.host.signal(group, s.0));
    }

    /// Whether there is room for one byte more than the `pending` ones that are on their way to
    /// [`receive`](Self::receive). When there is none for the first one the line is held until
    /// there is.
    pub fn has_room(&self, pending: usize) -> bool {
        let mut state = self.state.lock();
        let has_room = state.line.has_room(pending + 1);
        if !has_room && pending == 0 {
            state.held = true;
            self.host.hold();
        }
        has_room
    }

    /// Lets the line go on after something was taken out of the buffer.
    fn make_room(&self) {
        let mut state = self.state.lock();
        let go_on = state.held && state.line.has_much_room();
        state.held &= !go_on;
        drop(state);
        if go_on {
            self.host.go_on();
        }
    }

    /// The line ended: readers see the end of the file.
    pub fn hang_up(&self) {
        self.state.lock().hung_up = true;
        self.queue.notify(Events::READABLE | Events::HUP);
    }

    /// The other end was resized.
    pub fn resize(&self, rows: u16, columns: u16) {
        self.set_size([rows, columns, 0, 0]);
    }

    fn set_size(&self, size: [u16; 4]) {
        let mut state = self.state.lock();
        let changed = core::mem::replace(&mut state.size, size) != size;
        let group = state.group;
        drop(state);
        if changed {
            self.host.signal(group, SIGWINCH);
        }
    }

    fn set_termios(&self, argument: &dyn UserWords, size: usize, flush: bool) -> Result<u64> {
        let mut bytes = [0; Termios::SIZE_2];
        argument.load(&mut bytes[..size])?;
        let mut state = self.state.lock();
        if flush {
            state.line.flush();
        }
        state.line.set_termios(Termios::from_bytes(&bytes));
        let readable = state.line.readable().is_some();
        drop(state);
        self.make_room();
        if readable {
            self.queue.notify(Events::READABLE);
        }
        Ok(0)
    }

    fn flush(&self, which: u64) -> Result<u64> {
        const TCIFLUSH: u64 = 0;
        const TCIOFLUSH: u64 = 2;
        match which {
            TCIFLUSH | TCIOFLUSH => {
                self.state.lock().line.flush();
                self.make_room();
            }
            // Output is not kept.
            1 => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(0)
    }
}

impl File for Console {
    fn stat(&self) -> Result<Stat> {
        let device_node = 5 << 8 | 1;
        Ok(Stat { permissions: 0o600, device_node, ..Stat::anonymous(FileKind::CharDevice) })
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        // Asking for nothing is answered at once, whatever there is.
        if sink.remaining() == 0 {
            return Ok(0);
        }
        let mut state = self.state.lock();
        let Some(mut left) = state.line.readable() else {
            return if state.hung_up { Ok(0) } else { Err(Errno::EAGAIN) };
        };
        let mut done = 0;
        while left > 0 && sink.remaining() > 0 {
            let piece = state.line.peek(left.min(sink.remaining()));
            let want = piece.len();
            match sink.put(piece) {
                Ok(n) => {
                    state.line.consume(n);
                    done += n;
                    left -= n;
                    if n < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        if left == 0 {
            state.line.finish_line();
        }
        drop(state);
        self.make_room();
        Ok(done)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        let mut buffer = [0; 256];
        let mut out = Vec::new();
        let state = self.state.lock();
        let mut done = 0;
        while source.remaining() > 0 {
            let want = source.remaining().min(buffer.len());
            match source.take(&mut buffer[..want]) {
                Ok(n) => {
                    out.clear();
                    state.line.process_output(&buffer[..n], &mut out);
                    self.host.write(&out);
                    done += n;
                    if n < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn poll(&self) -> Events {
        let state = self.state.lock();
        let mut events = Events::WRITABLE;
        if state.hung_up || state.line.available() > 0 || state.line.readable().is_some() {
            events |= Events::READABLE;
        }
        if state.hung_up {
            events |= Events::HUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, request: u32, argument: &dyn UserWords) -> Result<u64> {
        match request {
            // TCGETS and TCGETS2
            0x5401 => {
                let bytes = self.state.lock().line.termios.to_bytes();
                argument.store(&bytes[..Termios::SIZE]).map(|()| 0)
            }
            0x802c_542a => {
                let bytes = self.state.lock().line.termios.to_bytes();
                argument.store(&bytes).map(|()| 0)
            }
            // TCSETS, TCSETSW, TCSETSF, and the same with termios2
            0x5402 | 0x5403 => self.set_termios(argument, Termios::SIZE, false),
            0x5404 => self.set_termios(argument, Termios::SIZE, true),
            0x402c_542b | 0x402c_542c => self.set_termios(argument, Termios::SIZE_2, false),
            0x402c_542d => self.set_termios(argument, Termios::SIZE_2, true),
            // TCSBRK, TCXONC, TIOCEXCL, TIOCNXCL, TIOCSCTTY, TIOCNOTTY
            0x5409 | 0x540a | 0x540c | 0x540d | 0x540e | 0x5422 => Ok(0),
            // TCFLSH
            0x540b => self.flush(argument.value()),
            // TIOCGPGRP and TIOCGSID
            0x540f | 0x5429 => {
                let group = self.state.lock().group.max(1);
                argument.store(&group.to_ne_bytes()).map(|()| 0)
            }
            // TIOCSPGRP
            0x5410 => {
                let mut bytes = [0; 4];
                argument.load(&mut bytes)?;
                let group = i32::from_ne_bytes(bytes);
                self.state.lock().group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
                Ok(0)
            }
            // TIOCOUTQ and FIONREAD
            0x5411 => argument.store(&0u32.to_ne_bytes()).map(|()| 0),
            0x541b => {
                let count = self.state.lock().line.available() as u32;
                argument.store(&count.to_ne_bytes()).map(|()| 0)
            }
            // TIOCGWINSZ and TIOCSWINSZ
            0x5413 => {
                let size = self.state.lock().size;
                let mut bytes = [0; 8];
                for (at, word) in size.iter().enumerate() {
                    bytes[at * 2..at * 2 + 2].copy_from_slice(&word.to_ne_bytes());
                }
                argument.store(&bytes).map(|()| 0)
            }
            0x5414 => {
                let mut bytes = [0; 8];
                argument.load(&mut bytes)?;
                let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
                self.set_size([word(0), word(2), word(4), word(6)]);
                Ok(0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
