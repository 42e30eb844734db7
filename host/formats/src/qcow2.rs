// SPDX-License-Identifier: Apache-2.0 OR MIT
//! QEMU's qcow2, version 3 (docs/interop/qcow2.txt of QEMU), written in one pass.

use std::io::{self, Read, Seek, Write};

use crate::medium::{Medium, pad, round_up};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 or refcount table of one cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// 16-bit reference counts in a block of one cluster.
const COUNTS: u64 = CLUSTER / 2;
/// The cluster has one reference: it can be written in place.
const COPIED: u64 = 1 << 63;

/// The clusters of each part of the file, in the order in which they lie.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Layout {
    refcount_table: u64,
    refcount_blocks: u64,
    l1: u64,
    l2: u64,
    data: u64,
}

impl Layout {
    fn new(l1: u64, l2: u64, data: u64) -> Self {
        let mut layout = Self { l1, l2, data, ..Self::default() };
        // The counts count themselves: repeat until nothing changes.
        loop {
            let refcount_blocks = layout.total().div_ceil(COUNTS);
            let refcount_table = refcount_blocks.div_ceil(ENTRIES);
            let next = Self { refcount_table, refcount_blocks, ..layout };
            if next == layout {
                return layout;
            }
            layout = next;
        }
    }

    fn total(&self) -> u64 {
        1 + self.refcount_table + self.refcount_blocks + self.l1 + self.l2 + self.data
    }

    fn first_refcount_block(&self) -> u64 {
        1 + self.refcount_table
    }

    fn first_l1(&self) -> u64 {
        self.first_refcount_block() + self.refcount_blocks
    }

    fn first_l2(&self) -> u64 {
        self.first_l1() + self.l1
    }

    fn first_data(&self) -> u64 {
        self.first_l2() + self.l2
    }
}

/// Writes the medium as qcow2.
pub fn write<R: Read + Seek>(medium: &mut Medium<R>, out: &mut impl Write) -> io::Result<()> {
    let clusters = medium.length().div_ceil(CLUSTER);
    let has_data =
        |first: u64, count: u64| medium.has_data(first * CLUSTER..(first + count) * CLUSTER);
    let tables: Vec<bool> =
        (0..clusters.div_ceil(ENTRIES)).map(|table| has_data(table * ENTRIES, ENTRIES)).collect();
    let used: Vec<u64> = (0..clusters).filter(|&cluster| has_data(cluster, 1)).collect();
    let l1_entries = tables.len() as u64;
    let l2 = tables.iter().filter(|&&used| used).count() as u64;
    let layout = Layout::new((l1_entries * 8).div_ceil(CLUSTER), l2, used.len() as u64);

    out.write_all(&header(medium.length(), l1_entries, &layout))?;
    pad(out, HEADER as u64, CLUSTER)?;
    entries(
        out,
        (0..layout.refcount_blocks).map(|i| (layout.first_refcount_block() + i) * CLUSTER),
    )?;
    for _ in 0..layout.total() {
        out.write_all(&1_u16.to_be_bytes())?;
    }
    pad(out, layout.total() * 2, CLUSTER)?;
    let mut next = layout.first_l2();
    entries(
        out,
        tables.iter().map(|&used| {
            next += u64::from(used);
            if used { ((next - 1) * CLUSTER) | COPIED } else { 0 }
        }),
    )?;
    let mut next = layout.first_data();
    for table in (0..l1_entries).filter(|&table| tables[table as usize]) {
        entries(
            out,
            (table * ENTRIES..(table + 1) * ENTRIES).map(|cluster| {
                if used.binary_search(&cluster).is_err() {
                    return 0;
                }
                next += 1;
                ((next - 1) * CLUSTER) | COPIED
            }),
        )?;
    }
    for cluster in used {
        medium.copy_to(cluster * CLUSTER..(cluster + 1) * CLUSTER, out)?;
    }
    out.flush()
}

const HEADER: usize = 104;

fn header(length: u64, l1_entries: u64, layout: &Layout) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &3_u32.to_be_bytes());
    put(20, &CLUSTER_BITS.to_be_bytes());
    put(24, &round_up(length, 512).to_be_bytes());
    put(36, &(l1_entries as u32).to_be_bytes());
    put(40, &(layout.first_l1() * CLUSTER).to_be_bytes());
    put(48, &CLUSTER.to_be_bytes());
    put(56, &(layout.refcount_table as u32).to_be_bytes());
    // Reference counts of 2^4 bits.
    put(96, &4_u32.to_be_bytes());
    put(100, &(HEADER as u32).to_be_bytes());
    header
}

/// Writes a table of 64-bit entries, filled up to whole clusters.
fn entries(out: &mut impl Write, entries: impl Iterator<Item = u64>) -> io::Result<()> {
    let table: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
    out.write_all(&table)?;
    pad(out, table.len() as u64, CLUSTER).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_count_themselves() {
        for data in [0, 1, COUNTS - 5, COUNTS - 4, COUNTS, 10 * COUNTS, COUNTS * ENTRIES + 1] {
            let layout = Layout::new(1, 1, data);
            assert!(layout.refcount_blocks * COUNTS >= layout.total());
            assert!((layout.refcount_blocks - 1) * COUNTS < layout.total() + 2);
            assert!(layout.refcount_table * ENTRIES >= layout.refcount_blocks);
        }
    }
}
