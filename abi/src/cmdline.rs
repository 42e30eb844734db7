// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel's command line, for machines that have no other way to tell a
//! guest what to do: the words as Linux splits them, and what ours mean.
//!
//! ```text
//! ip=172.16.0.2::172.16.0.1:255.255.255.0::eth0:off bhojpur.control=serial
//! bhojpur.env=MODE=production "bhojpur.env=GREETING=hello world"
//! bhojpur.mount=ext4:/dev/vda:/data:ro -- --verbose
//! ```
//!
//! What is not ours is left alone: loaders and monitors add words of their
//! own. A word of ours that cannot be understood is an error, because a kernel
//! must not run a program with half of what its user asked for. docs/firecracker.md
//! has the list for users.

#[cfg(feature = "alloc")]
mod apply;
mod network;
#[cfg(test)]
mod tests;

#[cfg(feature = "alloc")]
pub use apply::apply;
use core::fmt;
pub use network::{Autoconfiguration, NetworkWord};

/// Starts the names of our words.
pub const PREFIX: &str = "bhojpur.";
/// Name of the word that asks for the metadata service.
pub const METADATA: &str = "bhojpur.mmds";

/// A word of the line: `name` or `name=value`, without the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Up to the first equals sign.
    pub name: &'a str,
    /// Behind it.
    pub value: Option<&'a str>,
}

/// Why a line was refused: the word, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error<'a> {
    /// The word's name.
    pub name: &'a str,
    /// What is wrong.
    pub problem: &'static str,
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

impl core::error::Error for Error<'_> {}

/// The words of a line, up to `--`. Double quotes keep spaces together, around
/// a whole word or around its value (Linux, Documentation/admin-guide/kernel-parameters.rst).
pub fn words(line: &str) -> impl Iterator<Item = Word<'_>> + Clone {
    raw_words(line).take_while(|raw| *raw != "--").map(|raw| {
        let whole = unquoted(raw);
        match whole.split_once('=') {
            Some((name, value)) => Word { name, value: Some(unquoted(value)) },
            None => Word { name: whole, value: None },
        }
    })
}

/// The words behind `--`, which are for the program; `None` without `--`.
pub fn arguments(line: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    let mut raw = raw_words(line);
    raw.find(|word| *word == "--")?;
    Some(raw.map(unquoted))
}

/// Value of the last word called `name`; empty for one without a value.
pub fn option<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    words(line).filter(|word| word.name == name).last().map(|word| word.value.unwrap_or(""))
}

/// Whether the line says anything to us.
pub fn is_for_us(line: &str) -> bool {
    let ours = |word: Word<'_>| word.name == "ip" || word.name.starts_with(PREFIX);
    words(line).any(ours) || arguments(line).is_some()
}

/// Whether the line asks for control records in the console's stream.
pub fn wants_serial_control(line: &str) -> bool {
    option(line, crate::stream::OPTION) == Some(crate::stream::SERIAL)
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"');
    inner.map_or(text, |inner| inner.strip_suffix('"').unwrap_or(inner))
}

fn raw_words(line: &str) -> impl Iterator<Item = &str> + Clone {
    let mut rest = line;
    core::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        let mut quoted = false;
        let end = rest.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte.is_ascii_whitespace() && !quoted
        });
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind;
        (!word.is_empty()).then_some(word)
    })
}
