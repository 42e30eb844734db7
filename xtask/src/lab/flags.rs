// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Command-line flags of the xtask commands: `--name value`, `--name=value`,
//! switches, and words.

use anyhow::{Context as _, Result, bail};

#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: Vec<(String, String)>,
    switches: Vec<String>,
    pub(crate) words: Vec<String>,
}

impl Flags {
    /// Sorts `arguments`; a flag that is in neither list is an error.
    pub(crate) fn parse(arguments: &[String], valued: &[&str], switches: &[&str]) -> Result<Self> {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(long) = argument.strip_prefix("--") else {
                flags.words.push(argument.clone());
                continue;
            };
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if switches.contains(&name) && inline.is_none() {
                flags.switches.push(name.to_owned());
            } else if valued.contains(&name) {
                let value = inline.or_else(|| rest.next().cloned());
                let value = value.with_context(|| format!("--{name} needs a value"))?;
                flags.values.push((name.to_owned(), value));
            } else {
                let known: Vec<_> =
                    valued.iter().chain(switches).map(|f| format!("--{f}")).collect();
                bail!("unknown flag --{name}; known are {}", known.join(" "));
            }
        }
        Ok(flags)
    }

    pub(crate) fn has(&self, switch: &str) -> bool {
        self.switches.iter().any(|s| s == switch)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The last value given to `name`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        match self.value(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .with_context(|| format!("--{name} {text}: not a number that fits")),
        }
    }

    /// A comma-separated list of numbers.
    pub(crate) fn numbers(&self, name: &str) -> Result<Option<Vec<u32>>> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let parsed: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
        Ok(Some(parsed.with_context(|| format!("--{name} {text}: not a list of numbers"))?))
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    fn parse(arguments: &[&str]) -> anyhow::Result<Flags> {
        let owned: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        Flags::parse(&owned, &["cpus", "jobs"], &["quick"])
    }

    #[test]
    fn sorts_flags_from_words() {
        let flags = parse(&["one", "--cpus=1,4", "--quick", "--jobs", "3", "two"]).unwrap();
        assert_eq!(flags.words, ["one", "two"]);
        assert!(flags.has("quick"));
        assert_eq!(flags.numbers("cpus").unwrap(), Some(vec![1, 4]));
        assert_eq!(flags.number("jobs", 2_u32).unwrap(), 3);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        assert!(parse(&["--cpu", "1"]).is_err());
        assert!(parse(&["--quick=yes"]).is_err());
        assert!(parse(&["--jobs"]).is_err());
        assert!(parse(&["--jobs", "many"]).unwrap().number("jobs", 1_u32).is_err());
    }
}
