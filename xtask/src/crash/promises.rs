// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the writer said is on the disk, and whether it is.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

const BLOCK: usize = 4096;
/// Where the bytes that follow from a block's text begin.
const STREAM: usize = 128;

/// What is known of a file that is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Small {
    /// With so many blocks.
    There(u64),
    /// It may be there, whole.
    Going(u64),
    Gone,
}

/// Everything that was said so far about one volume.
#[derive(Debug, Default)]
pub(super) struct Promises {
    logs: BTreeMap<String, u64>,
    /// Least versions, by file and block.
    tables: BTreeMap<(String, u64), u64>,
    replaced: BTreeMap<String, u64>,
    small: BTreeMap<String, Small>,
}

impl Promises {
    /// Takes in what a life said; a last line without its end was not said.
    /// Gives the number of promises.
    pub(super) fn hear(&mut self, said: &str) -> Result<u64> {
        let mut count = 0;
        for line in said.split_inclusive('\n').filter_map(|l| l.strip_suffix('\n')) {
            let words: Vec<&str> = line.trim_end_matches('\r').split(' ').collect();
            let [kind, name, a, b] = words[..] else { bail!("the writer said {line:?}") };
            let number = |text: &str| text.parse::<u64>().with_context(|| line.to_owned());
            let (name, a, b) = (name.to_owned(), number(a)?, number(b)?);
            match kind {
                "started" => continue,
                "log" => drop(self.logs.insert(name, a)),
                "table" => drop(self.tables.insert((name, a), b)),
                "replaced" => drop(self.replaced.insert(name, a)),
                "small" => drop(self.small.insert(name, Small::There(a))),
                "going" => {
                    if let Some(Small::There(blocks)) = self.small.get(&name).copied() {
                        self.small.insert(name, Small::Going(blocks));
                    }
                }
                "gone" => drop(self.small.insert(name, Small::Gone)),
                _ => bail!("the writer said {line:?}"),
            }
            count += 1;
        }
        Ok(count)
    }

    /// Whether the files in `place` are what was promised.
    pub(super) fn check(&self, place: &Path) -> Result<()> {
        let contents = |name: &str| {
            std::fs::read(place.join(name)).with_context(|| format!("{name} cannot be read"))
        };
        for (name, count) in &self.logs {
            let bytes = contents(name)?;
            for index in 0..*count {
                let found = version(&bytes, name, index);
                ensure!(found == Some(1), "{name} lost block {index} of {count}");
            }
        }
        for ((name, index), least) in &self.tables {
            let found = version(&contents(name)?, name, *index);
            ensure!(
                found.is_some_and(|found| found >= *least),
                "{name} has version {found:?} of block {index}; {least} was promised"
            );
        }
        for (name, least) in &self.replaced {
            let bytes = contents(name)?;
            let found = version(&bytes, name, 0).with_context(|| format!("{name} is broken"))?;
            let blocks = 1 + found % 7;
            let whole = (0..blocks).all(|index| version(&bytes, name, index) == Some(found));
            ensure!(
                found >= *least && whole && bytes.len() as u64 == blocks * BLOCK as u64,
                "{name} is version {found}, whole: {whole}; {least} was promised"
            );
        }
        for (name, state) in &self.small {
            let there = place.join(name).exists();
            match state {
                Small::Gone => ensure!(!there, "{name} is back"),
                Small::Going(_) if !there => {}
                Small::There(blocks) | Small::Going(blocks) => {
                    let bytes = contents(name)?;
                    let whole =
                        (0..*blocks).all(|index| version(&bytes, name, index) == Some(*blocks));
                    let size = bytes.len() as u64 == blocks * BLOCK as u64;
                    ensure!(whole && size, "{name} has other contents than promised");
                }
            }
        }
        Ok(())
    }
}

/// The version of a block, if it is what its text says; see tests/crash/writer.c.
fn version(bytes: &[u8], name: &str, index: u64) -> Option<u64> {
    let at = usize::try_from(index).ok()? * BLOCK;
    let block = bytes.get(at..at + BLOCK)?;
    let end = block.iter().position(|byte| *byte == b'\n')?;
    let text = std::str::from_utf8(&block[..end]).ok()?;
    let mut words = text.split(' ');
    let version = (words.next() == Some(name) && words.next()?.parse() == Ok(index))
        .then(|| words.next()?.parse().ok())??;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in &block[..=end] {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    for word in block[STREAM..].chunks(8) {
        hash ^= hash << 13;
        hash ^= hash >> 7;
        hash ^= hash << 17;
        if word != hash.to_le_bytes() {
            return None;
        }
    }
    block[end + 1..STREAM].iter().all(|byte| *byte == 0).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::{Promises, Small};

    #[test]
    fn half_a_line_is_no_promise() {
        let mut promises = Promises::default();
        let said =
            "started writer 1 0\nlog log0 7 0\nsmall small1-0 3 0\ngoing small1-0 0 0\nlog lo";
        assert_eq!(promises.hear(said).unwrap(), 3);
        assert_eq!(promises.logs["log0"], 7);
        assert_eq!(promises.small["small1-0"], Small::Going(3));
        assert!(promises.hear("failed write 28\n").is_err());
        let nowhere = std::env::temp_dir().join("no-such-place");
        assert!(promises.check(&nowhere).is_err());
    }
}
