// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The settings of a terminal, in the layout of `struct termios` of the kernel.

/// `c_iflag` bits.
pub(crate) mod input {
    pub(crate) const ISTRIP: u32 = 0o40;
    pub(crate) const INLCR: u32 = 0o100;
    pub(crate) const IGNCR: u32 = 0o200;
    pub(crate) const ICRNL: u32 = 0o400;
    pub(crate) const IXON: u32 = 0o2000;
}
/// `c_oflag` bits.
pub(crate) mod output {
    pub(crate) const OPOST: u32 = 0o1;
    pub(crate) const ONLCR: u32 = 0o4;
    pub(crate) const OCRNL: u32 = 0o10;
}
/// `c_lflag` bits.
pub(crate) mod local {
    pub(crate) const ISIG: u32 = 0o1;
    pub(crate) const ICANON: u32 = 0o2;
    pub(crate) const ECHO: u32 = 0o10;
    pub(crate) const ECHOE: u32 = 0o20;
    pub(crate) const ECHOK: u32 = 0o40;
    pub(crate) const ECHONL: u32 = 0o100;
    pub(crate) const NOFLSH: u32 = 0o200;
    pub(crate) const ECHOCTL: u32 = 0o1000;
    pub(crate) const ECHOKE: u32 = 0o4000;
    pub(crate) const IEXTEN: u32 = 0o100_000;
}
/// Indices into `c_cc`.
pub(crate) mod control {
    pub(crate) const VINTR: usize = 0;
    pub(crate) const VQUIT: usize = 1;
    pub(crate) const VERASE: usize = 2;
    pub(crate) const VKILL: usize = 3;
    pub(crate) const VEOF: usize = 4;
    pub(crate) const VMIN: usize = 6;
    pub(crate) const VSUSP: usize = 10;
    pub(crate) const VEOL: usize = 11;
    pub(crate) const VWERASE: usize = 14;
    pub(crate) const VLNEXT: usize = 15;
    pub(crate) const VEOL2: usize = 16;
}

/// B38400, CS8, CREAD, HUPCL.
const CONTROL_FLAGS: u32 = 0xbf;
/// What TCGETS2 tells of the speed, in baud.
const SPEED: u32 = 38400;

/// `struct termios`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Termios {
    pub(crate) input: u32,
    pub(crate) output: u32,
    control: u32,
    pub(crate) local: u32,
    line: u8,
    pub(crate) characters: [u8; 19],
}

impl Termios {
    /// Bytes of `struct termios`.
    pub(crate) const SIZE: usize = 36;
    /// Bytes of `struct termios2`, which has the speeds behind it.
    pub(crate) const SIZE_2: usize = 44;

    /// Linux's `tty_std_termios`, with echo and newline mapping as asked.
    pub(crate) fn standard(echo: bool, map_newlines: bool) -> Self {
        let echo_bit = if echo { local::ECHO } else { 0 };
        Self {
            input: input::ICRNL | input::IXON,
            output: if map_newlines { output::OPOST | output::ONLCR } else { 0 },
            control: CONTROL_FLAGS,
            local: local::ISIG
                | local::ICANON
                | echo_bit
                | local::ECHOE
                | local::ECHOK
                | local::ECHOCTL
                | local::ECHOKE
                | local::IEXTEN,
            line: 0,
            characters: [3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0],
        }
    }

    /// Everything that comes in is input: no lines, no keys, no echo.
    pub(crate) fn raw() -> Self {
        let standard = Self::standard(false, false);
        Self { input: 0, local: 0, ..standard }
    }

    pub(crate) fn is_canonical(&self) -> bool {
        self.local & local::ICANON != 0
    }

    pub(crate) fn has(&self, bit: u32) -> bool {
        self.local & bit != 0
    }

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE_2] {
        let mut bytes = [0; Self::SIZE_2];
        for (at, word) in [self.input, self.output, self.control, self.local].iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[16] = self.line;
        bytes[17..36].copy_from_slice(&self.characters);
        bytes[36..40].copy_from_slice(&SPEED.to_ne_bytes());
        bytes[40..44].copy_from_slice(&SPEED.to_ne_bytes());
        bytes
    }

    /// From at least [`SIZE`](Self::SIZE) bytes; the speeds do not matter.
    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE_2]) -> Self {
        let word = |at: usize| {
            u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let mut characters = [0; 19];
        characters.copy_from_slice(&bytes[17..36]);
        Self {
            input: word(0),
            output: word(4),
            control: word(8),
            local: word(12),
            line: bytes[16],
            characters,
        }
    }
}
