// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names that people give, and those that are made up.

use crate::{Error, Result, secret};

const LONGEST: usize = 128;
const ADJECTIVES: &[&str] = &[
    "able", "bold", "brave", "bright", "calm", "clever", "cosy", "deft", "eager", "early", "fair",
    "fond", "gentle", "glad", "golden", "happy", "keen", "kind", "lively", "lucky", "merry",
    "mild", "modest", "neat", "noble", "proud", "quick", "quiet", "ready", "sage", "sharp",
    "silver", "sunny", "swift", "tidy", "warm", "wise", "witty",
];
const NOUNS: &[&str] = &[
    "badger", "banyan", "crane", "delta", "dune", "egret", "falcon", "fern", "ganges", "gecko",
    "heron", "ibis", "jackal", "kite", "lagoon", "langur", "lark", "lotus", "mango", "marten",
    "monsoon", "myna", "neem", "otter", "peacock", "pine", "pipal", "raven", "reed", "river",
    "sal", "sandal", "sparrow", "stork", "teak", "tern", "tiger", "wren",
];

/// Whether a text can name an instance, a volume, a token or a snapshot: it is safe as one part
/// of a path and needs no quotes in a shell.
pub(crate) fn check(what: &str, name: &str) -> Result<()> {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= LONGEST && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name:?} cannot be the name of {what}")).advise(
        "names have 1 to 128 letters, digits, '-', '_' and '.', and begin with a letter or digit",
    ))
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// `NAME:TAG` of `NAME[:TAG]`; a name may have parts, `team/web`.
pub(crate) fn tagged(name: &str) -> Result<String> {
    let (path, tag) = match name.rsplit_once('/').map_or(name, |(_, last)| last).contains(':') {
        true => name.rsplit_once(':').unwrap_or((name, "latest")),
        false => (name, "latest"),
    };
    if name.len() > 2 * LONGEST {
        return Err(Error::invalid("the name of an image has 256 characters at most"));
    }
    for part in path.split('/').chain([tag]) {
        check("an image", part)?;
    }
    Ok(format!("{path}:{tag}"))
}

/// A name for what has none.
pub(crate) fn made_up() -> Result<String> {
    let bytes: [u8; 4] = secret::random()?;
    let pick = |words: &[&'static str], byte: u8| words[usize::from(byte) % words.len()];
    let number = u16::from_le_bytes([bytes[2], bytes[3]]) % 1000;
    Ok(format!("{}-{}-{number}", pick(ADJECTIVES, bytes[0]), pick(NOUNS, bytes[1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths() {
        for good in ["web", "a", "Web-1_x.y", &"a".repeat(128)] {
            check("an instance", good).unwrap();
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\0", &"a".repeat(129)] {
            assert!(check("an instance", bad).is_err(), "{bad:?}");
        }
        check("an instance", &made_up().unwrap()).unwrap();
    }

    #[test]
    fn images_have_tags() {
        assert_eq!(tagged("web").unwrap(), "web:latest");
        assert_eq!(tagged("team/web:1.0").unwrap(), "team/web:1.0");
        for bad in ["", ":", "web:", ":tag", "a//b", "../x:1", "a:b:c"] {
            assert!(tagged(bad).is_err(), "{bad:?}");
        }
    }
}
