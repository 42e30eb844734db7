// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Repeatable damage to inputs.

/// xorshift64*: the same seed gives the same run on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator; any seed will do.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() >> 16).checked_rem(bound as u64).unwrap_or(0) as usize
    }
}

/// Values at which arithmetic goes wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 47,
    i64::MAX as u64,
    u64::MAX,
];
/// Inputs do not grow beyond this.
const LONGEST: usize = 1 << 16;

/// Damages `input` in one to eight places; `other` is an input to take parts of.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        let at = random.below(input.len());
        match random.below(9) {
            _ if input.is_empty() => input.push(random.draw() as u8),
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.draw() as u8,
            2 | 3 => edge(input, at, random),
            // Rare: most of what is to be found lies behind the front.
            4 if random.below(16) == 0 => input.truncate(at),
            4 | 5 => {
                let count = random.below((input.len() - at).min(16) + 1);
                input.drain(at..at + count);
            }
            6 => insert(input, at, random),
            7 => {
                let from = random.below(other.len());
                let part = &other[from..other.len().min(from + 1 + random.below(256))];
                let end = input.len().min(at + part.len());
                input[at..end].copy_from_slice(&part[..end - at]);
            }
            _ => {
                let count = random.below((input.len() - at).min(512) + 1);
                let part = input[at..at + count].to_vec();
                let to = random.below(input.len());
                input.splice(to..to, part);
            }
        }
    }
    input.truncate(LONGEST);
}

fn edge(input: &mut [u8], at: usize, random: &mut Random) {
    let value = EDGES[random.below(EDGES.len())];
    let bytes = if random.below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
    let width = 1 << random.below(4);
    let start = if random.below(2) == 0 { 0 } else { 8 - width };
    let end = input.len().min(at + width);
    input[at..end].copy_from_slice(&bytes[start..start + (end - at)]);
}

fn insert(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let count = 1 + random.below(32);
    let bytes: Vec<u8> = (0..count).map(|_| random.draw() as u8).collect();
    input.splice(at..at, bytes);
}
