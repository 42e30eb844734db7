// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a terminal does between the keys and the program: N_TTY of termios(3).

use crate::termios::{Termios, control, input, local, output};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// N_TTY_BUF_SIZE: more input than this is dropped.
const CAPACITY: usize = 4096;
const SIGINT: u32 = 2;
const SIGQUIT: u32 = 3;
const SIGTSTP: u32 = 20;
/// _POSIX_VDISABLE: a control character that is not set.
const DISABLED: u8 = 0;

/// Input on its way to the program, and the echo it causes.
pub(crate) struct LineDiscipline {
    pub(crate) termios: Termios,
    /// What the program can read; in canonical mode whole lines.
    ready: VecDeque<u8>,
    /// Where lines end in `ready`, counted from its start; an end of file is a
    /// line of no bytes.
    lines: VecDeque<usize>,
    /// The line that is being edited.
    edited: Vec<u8>,
    literal_next: bool,
}

/// What one key asks for besides input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal(pub(crate) u32);

impl LineDiscipline {
    pub(crate) fn new(termios: Termios) -> Self {
        Self {
            termios,
            ready: VecDeque::new(),
            lines: VecDeque::new(),
            edited: Vec::new(),
            literal_next: false,
        }
    }

    fn is(&self, byte: u8, index: usize) -> bool {
        byte != DISABLED && self.termios.characters[index] == byte
    }

    /// Takes one byte from the line; `echo` receives what is to be shown.
    pub(crate) fn receive(&mut self, byte: u8, echo: &mut Vec<u8>) -> Option<Signal> {
        let t = self.termios;
        let mut byte = if t.input & input::ISTRIP != 0 { byte & 0x7f } else { byte };
        if self.literal_next {
            self.literal_next = false;
            self.accept(byte, echo);
            return None;
        }
        match byte {
            b'\r' if t.input & input::IGNCR != 0 => return None,
            b'\r' if t.input & input::ICRNL != 0 => byte = b'\n',
            b'\n' if t.input & input::INLCR != 0 => byte = b'\r',
            _ => {}
        }
        if t.has(local::ISIG) {
            let keys =
                [(control::VINTR, SIGINT), (control::VQUIT, SIGQUIT), (control::VSUSP, SIGTSTP)];
            if let Some((_, signal)) = keys.into_iter().find(|&(index, _)| self.is(byte, index)) {
                if !t.has(local::NOFLSH) {
                    self.flush();
                }
                self.show(byte, echo);
                return Some(Signal(signal));
            }
        }
        match t.is_canonical() {
            true => self.edit(byte, echo),
            false => self.accept(byte, echo),
        }
        None
    }

    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) {
        let extended = self.termios.has(local::IEXTEN);
        if extended && self.is(byte, control::VLNEXT) {
            self.literal_next = true;
        } else if self.is(byte, control::VERASE) {
            self.erase_character(echo);
        } else if extended && self.is(byte, control::VWERASE) {
            while self.edited.last() == Some(&b' ') {
                self.erase_character(echo);
            }
            while self.edited.last().is_some_and(|&b| b != b' ') {
                self.erase_character(echo);
            }
        } else if self.is(byte, control::VKILL) {
            while !self.edited.is_empty() {
                self.erase_character(echo);
            }
        } else if self.is(byte, control::VEOF) {
            self.end_line();
        } else {
            self.accept(byte, echo);
            if byte == b'\n'
                || self.is(byte, control::VEOL)
                || (extended && self.is(byte, control::VEOL2))
            {
                self.end_line();
            }
        }
    }

    /// One character back, which in UTF-8 may be several bytes.
    fn erase_character(&mut self, echo: &mut Vec<u8>) {
        let Some(mut last) = self.edited.pop() else { return };
        let width = if last < 0x20 && self.termios.has(local::ECHOCTL) { 2 } else { 1 };
        while last & 0xc0 == 0x80 {
            match self.edited.pop() {
                Some(byte) => last = byte,
                None => break,
            }
        }
        if self.termios.has(local::ECHO) && self.termios.has(local::ECHOE) {
            (0..width).for_each(|_| echo.extend_from_slice(b"\x08 \x08"));
        }
    }

    fn end_line(&mut self) {
        self.ready.extend(self.edited.drain(..));
        self.lines.push_back(self.ready.len());
    }

    fn accept(&mut self, byte: u8, echo: &mut Vec<u8>) {
        // The end of a line always fits, so that a long line can be read.
        let room = if byte == b'\n' { CAPACITY } else { CAPACITY - 1 };
        if self.ready.len() + self.edited.len() >= room {
            return;
        }
        match self.termios.is_canonical() {
            true => self.edited.push(byte),
            false => self.ready.push_back(byte),
        }
        self.show(byte, echo);
    }

    fn show(&self, byte: u8, echo: &mut Vec<u8>) {
        let t = &self.termios;
        let newline = byte == b'\n' && t.has(local::ECHONL) && t.is_canonical();
        if !t.has(local::ECHO) && !newline {
            return;
        }
        if byte < 0x20 && byte != b'\n' && byte != b'\t' && t.has(local::ECHOCTL) {
            echo.extend_from_slice(&[b'^', byte | 0x40]);
        } else {
            self.process_output(&[byte], echo);
        }
    }

    /// Output processing (OPOST).
    pub(crate) fn process_output(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let flags = self.termios.output;
        if flags & output::OPOST == 0 {
            out.extend_from_slice(bytes);
            return;
        }
        for &byte in bytes {
            match byte {
                b'\n' if flags & output::ONLCR != 0 => out.extend_from_slice(b"\r\n"),
                b'\r' if flags & output::OCRNL != 0 => out.push(b'\n'),
                _ => out.push(byte),
            }
        }
    }

    /// Forgets all input.
    pub(crate) fn flush(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.edited.clear();
    }

    /// New settings. What was edited becomes readable when lines end to matter.
    pub(crate) fn set_termios(&mut self, termios: Termios) {
        if self.termios.is_canonical() && !termios.is_canonical() {
            self.ready.extend(self.edited.drain(..));
            self.lines.clear();
        } else if !self.termios.is_canonical() && termios.is_canonical() && !self.ready.is_empty() {
            self.lines.push_back(self.ready.len());
        }
        self.termios = termios;
    }

    /// Bytes that a read would give now; `None` when it has to wait. Zero is
    /// an end of file, or a read that asked for no bytes at least.
    pub(crate) fn readable(&self) -> Option<usize> {
        if self.termios.is_canonical() {
            return self.lines.front().copied();
        }
        let least = usize::from(self.termios.characters[control::VMIN]);
        (self.ready.len() >= least).then_some(self.ready.len())
    }

    /// Whether `count` more bytes can be taken without losing one. A line that is longer than what
    /// is kept is cut, as on Linux: nobody could read it before it ends, which any byte may be.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        let waits_for_its_end = self.termios.is_canonical() && self.lines.is_empty();
        (waits_for_its_end && count == 1)
            || self.ready.len() + self.edited.len() + count < CAPACITY - 1
    }

    /// Whether there is so much room that more may be sent.
    pub(crate) fn has_much_room(&self) -> bool {
        self.has_room(CAPACITY / 2)
    }

    /// Bytes for FIONREAD.
    pub(crate) fn available(&self) -> usize {
        match self.termios.is_canonical() {
            true => self.lines.back().copied().unwrap_or(0),
            false => self.ready.len(),
        }
    }

    /// The first piece of what is readable, without taking it.
    pub(crate) fn peek(&self, most: usize) -> &[u8] {
        let (head, tail) = self.ready.as_slices();
        let piece = if head.is_empty() { tail } else { head };
        &piece[..piece.len().min(most)]
    }

    /// Takes `count` bytes that were read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.ready.drain(..count.min(self.ready.len()));
        for end in &mut self.lines {
            *end = end.saturating_sub(count);
        }
    }

    /// The line that was being read is at its end.
    pub(crate) fn finish_line(&mut self) {
        if self.termios.is_canonical() && self.lines.front() == Some(&0) {
            self.lines.pop_front();
        }
    }
}
