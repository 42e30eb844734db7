// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The symbol hash tables: DT_HASH of the System V ABI and DT_GNU_HASH.

use alloc::vec::Vec;

const GNU_BUCKETS: u32 = 4;
const BLOOM_SHIFT: u32 = 6;

/// The hash of the System V ABI, also used by version definitions.
pub(crate) fn sysv(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ high >> 24) & !high
    })
}

fn gnu(name: &str) -> u32 {
    name.bytes().fold(5381, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

/// The bucket of DT_GNU_HASH, by which the symbols have to be sorted.
pub(crate) fn gnu_bucket(name: &str) -> u32 {
    gnu(name) % GNU_BUCKETS
}

/// DT_HASH with one bucket; symbol 0 is the null symbol and has no name here.
pub(crate) fn sysv_table(names: &[&str]) -> Vec<u32> {
    // One chain through all symbols: with ten of them, as good as any.
    let count = names.len() as u32;
    let mut words = Vec::from([1, count + 1, 1, 0]);
    words.extend((1..=count).map(|at| if at == count { 0 } else { at + 1 }));
    words
}

/// DT_GNU_HASH of `names`, symbols 1 and up, sorted by [`gnu_bucket`].
pub(crate) fn gnu_table(names: &[&str]) -> Vec<u32> {
    let hashes: Vec<u32> = names.iter().map(|n| gnu(n)).collect();
    let bloom = hashes
        .iter()
        .fold(0u64, |bloom, hash| bloom | 1 << (hash % 64) | 1 << ((hash >> BLOOM_SHIFT) % 64));
    let mut words = Vec::from([GNU_BUCKETS, 1, 1, BLOOM_SHIFT, bloom as u32, (bloom >> 32) as u32]);
    for bucket in 0..GNU_BUCKETS {
        let first = hashes.iter().position(|hash| hash % GNU_BUCKETS == bucket);
        words.push(first.map_or(0, |at| at as u32 + 1));
    }
    for (at, hash) in hashes.iter().enumerate() {
        let next = hashes.get(at + 1).map(|next| next % GNU_BUCKETS);
        let last = next != Some(hash % GNU_BUCKETS);
        words.push(hash & !1 | u32::from(last));
    }
    words
}
