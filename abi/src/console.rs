// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Standard input that nobody types: how a file or a pipe goes over the serial line, which has no
//! end of its own.

/// The option of the configuration that says how standard input comes.
pub const OPTION: &str = "input";

/// Its value for what nobody types.
pub const STREAM: &str = "stream";

/// Data link escape: what follows is said by this module.
const ESCAPE: u8 = 0x10;
/// The end of the stream.
const END: u8 = 0x04;

/// `bytes` as they go over the line.
pub fn encode(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().flat_map(|&byte| (byte == ESCAPE).then_some(ESCAPE).into_iter().chain([byte]))
}

/// The end of the stream as it goes over the line.
pub const ENDED: [u8; 2] = [ESCAPE, END];

/// What one byte of the line comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A byte of the stream.
    Byte(u8),
    /// Its end.
    End,
    /// The next byte tells.
    Nothing,
}

/// Takes the stream out of the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    escaped: bool,
}

impl Decoder {
    /// Takes the next byte of the line. What no encoder makes is taken as it is.
    pub fn take(&mut self, byte: u8) -> Decoded {
        match (core::mem::take(&mut self.escaped), byte) {
            (false, ESCAPE) => {
                self.escaped = true;
                Decoded::Nothing
            }
            (true, END) => Decoded::End,
            (_, byte) => Decoded::Byte(byte),
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_byte_comes_through_and_the_end_after_them() {
        let bytes: Vec<u8> = (0..=255).chain([ESCAPE, ESCAPE, END, ESCAPE]).collect();
        let mut decoder = Decoder::default();
        let mut came = Vec::new();
        let mut ended = false;
        for byte in encode(&bytes).chain(ENDED) {
            assert!(!ended);
            match decoder.take(byte) {
                Decoded::Byte(byte) => came.push(byte),
                Decoded::End => ended = true,
                Decoded::Nothing => {}
            }
        }
        assert!(ended);
        assert_eq!(came, bytes);
    }
}
