// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The pages of a file, of which any may be missing.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use kmm::Frame;

/// Pages in a chunk: one look-up in the tree serves 128 KiB.
const CHUNK: u64 = 32;

#[derive(Default)]
struct Chunk {
    frames: [Option<Frame>; CHUNK as usize],
    used: u32,
}

/// From page index to frame. The small array of a chunk keeps the tree shallow,
/// and a file of a few pages costs one chunk.
#[derive(Default)]
pub(crate) struct PageMap {
    chunks: BTreeMap<u64, Box<Chunk>>,
    pages: u64,
}

impl PageMap {
    /// How many pages are there.
    pub(crate) fn len(&self) -> u64 {
        self.pages
    }

    pub(crate) fn page(&self, index: u64) -> Option<&Frame> {
        self.chunks.get(&(index / CHUNK))?.frames[(index % CHUNK) as usize].as_ref()
    }

    /// Puts a page where there is none.
    pub(crate) fn insert(&mut self, index: u64, frame: Frame) {
        let chunk = self.chunks.entry(index / CHUNK).or_default();
        if chunk.frames[(index % CHUNK) as usize].replace(frame).is_none() {
            chunk.used += 1;
            self.pages += 1;
        }
    }

    /// Takes out one page at or behind `from` and before `to`, if there is one.
    fn take_one(&mut self, from: u64, to: u64) -> Option<Frame> {
        if from >= to {
            return None;
        }
        let (key, slot) =
            self.chunks.range(from / CHUNK..=(to - 1) / CHUNK).find_map(|(&key, chunk)| {
                let base = key * CHUNK;
                let slots = from.saturating_sub(base)..(to - base).min(CHUNK);
                slots
                    .map(|s| s as usize)
                    .find(|&s| chunk.frames[s].is_some())
                    .map(|slot| (key, slot))
            })?;
        let chunk = self.chunks.get_mut(&key)?;
        let frame = chunk.frames[slot].take();
        chunk.used -= 1;
        self.pages -= 1;
        if chunk.used == 0 {
            self.chunks.remove(&key);
        }
        frame
    }

    /// Drops the pages `from..to` and says how many there were.
    pub(crate) fn remove(&mut self, from: u64, to: u64) -> u64 {
        let mut count = 0;
        while self.take_one(from, to).is_some() {
            count += 1;
        }
        count
    }

    /// The first page at or behind `from` that is there.
    pub(crate) fn next_page(&self, from: u64) -> Option<u64> {
        self.chunks.range(from / CHUNK..).find_map(|(&key, chunk)| {
            let base = key * CHUNK;
            (from.saturating_sub(base)..CHUNK)
                .find(|&s| chunk.frames[s as usize].is_some())
                .map(|s| base + s)
        })
    }
}
