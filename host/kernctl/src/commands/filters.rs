// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `--filter KEY=VALUE`: which things of a list are wanted.

use std::collections::BTreeMap;

use crate::Failure;

/// Words that a filter begins with, and the key that each means: docker has its own for some.
pub(crate) type Keys = &'static [(&'static str, &'static str)];

/// What a command line asks for.
#[derive(Debug)]
pub(crate) struct Filters {
    wanted: Vec<(&'static str, String)>,
}

impl Filters {
    /// Reads each `KEY=VALUE`; a key that is not known is refused with those that are.
    pub(crate) fn parse(texts: &[String], keys: Keys) -> Result<Self, Failure> {
        let one = |text: &String| {
            let (word, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("the filter {text:?} is not KEY=VALUE")).advise(known(keys))
            })?;
            let (_, key) = keys.iter().find(|(known, _)| *known == word).ok_or_else(|| {
                Failure::usage(format!("there is no filter {word:?}")).advise(known(keys))
            })?;
            Ok((*key, value.to_owned()))
        };
        Ok(Self { wanted: texts.iter().map(one).collect::<Result<_, Failure>>()? })
    }

    /// The values of a key.
    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.wanted.iter().filter(move |(own, _)| *own == key).map(|(_, value)| value.as_str())
    }

    /// Whether a thing is wanted, when `fits` says whether it has one value of a key. As docker
    /// has it, keys restrict, and so do labels; other values of one key are alternatives.
    pub(crate) fn admit(&self, fits: impl Fn(&str, &str) -> bool) -> bool {
        self.wanted.iter().all(|(key, _)| match *key {
            "label" => self.values(key).all(|value| fits(key, value)),
            _ => self.values(key).any(|value| fits(key, value)),
        })
    }
}

fn known(keys: Keys) -> String {
    let own: Vec<&str> =
        keys.iter().filter(|(word, key)| word == key).map(|(word, _)| *word).collect();
    format!("there are {}", own.join(", "))
}

/// Whether a thing has the label `NAME` or `NAME=VALUE`.
pub(crate) fn labelled(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = &[("name", "name"), ("label", "label"), ("driver", "provider")];

    #[test]
    fn values_are_alternatives_but_keys_and_labels_restrict() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".into(), "2".into())]);
        for (texts, wanted) in [
            (&[][..], true),
            (&["name=x", "name=y"], true),
            (&["name=y"], false),
            (&["label=a", "label=b=2"], true),
            (&["label=a", "label=b=3"], false),
            (&["name=x", "label=c"], false),
        ] {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let filters = Filters::parse(&texts, KEYS).unwrap();
            let admitted = filters.admit(|key, value| match key {
                "label" => labelled(&labels, value),
                _ => value == "x",
            });
            assert_eq!(admitted, wanted, "{texts:?}");
        }
        let filters = Filters::parse(&["driver=qemu".to_owned()], KEYS).unwrap();
        assert_eq!(filters.values("provider").collect::<Vec<_>>(), ["qemu"]);
    }
}
