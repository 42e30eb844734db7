// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the ancestor's `daemon-config.yaml`, as far as it means something here.
//!
//! The ancestor wrote one shape: providers, a list of accounts each, keys and plain values. That
//! shape is read and nothing else of YAML; the rest is an error with its line.

use bhojpur_provider::Kind;

use super::Config;
use super::file::nearest;
use crate::{Error, Result};

/// A provider of the ancestor: what its keys are, and what they are called now.
struct Provider {
    kind: Kind,
    keys: &'static [(&'static str, Option<&'static str>)],
}

const PROVIDERS: &[Provider] = &[
    Provider {
        kind: Kind::Qemu,
        keys: &[("name", None), ("no_graphic", None), ("debugger_port", None)],
    },
    Provider {
        kind: Kind::Firecracker,
        keys: &[("name", None), ("binary", Some("binary")), ("kernel", None), ("console", None)],
    },
];

/// On top of a configuration, what the text of a file says.
pub(super) fn apply(mut config: Config, name: &str, text: &str) -> Result<Config> {
    let mut provider: Option<&Provider> = None;
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        let refuse = |what: String| Error::invalid(format!("{name}:{}: {what}", index + 1));
        let content = line.split(" #").next().unwrap_or_default().trim_end();
        let word = content.trim_start();
        if word.is_empty() || word.starts_with('#') || word == "---" {
            continue;
        }
        let depth = content.len() - word.len();
        let (item, word) = match word.strip_prefix("- ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, word),
        };
        let Some((key, value)) = word.split_once(':') else {
            return Err(refuse("KEY: VALUE is wanted here".to_owned()));
        };
        let value = value.trim().trim_matches(['"', '\'']);
        if depth == 0 && !item {
            inside = key == "providers";
            if !inside && key != "version" {
                let advice = nearest(key, &["providers", "version"]);
                return Err(refuse(format!("the key {key:?} is not known")).advise(advice));
            }
        } else if !inside {
            return Err(refuse("this belongs to no provider".to_owned()));
        } else if value.is_empty() && !item {
            let kind: Kind = key.parse().map_err(|error| refuse(format!("{error}")))?;
            provider = PROVIDERS.iter().find(|known| known.kind == kind);
            if provider.is_none() {
                let what = format!("{} cannot be configured yet", kind.title());
                return Err(refuse(what).advise("take its lines out of the file for now"));
            }
        } else {
            let Some(provider) = provider else {
                return Err(refuse("this belongs to no provider".to_owned()));
            };
            let Some((_, now)) = provider.keys.iter().find(|(known, _)| *known == key) else {
                let keys: Vec<&str> = provider.keys.iter().map(|(key, _)| *key).collect();
                let error = refuse(format!("the key {key:?} is not known"));
                return Err(error.advise(nearest(key, &keys)));
            };
            config.default_provider.get_or_insert(provider.kind);
            if let Some(now) = now.filter(|_| !value.is_empty()) {
                let values = config.providers.entry(provider.kind).or_default();
                values.insert(now.to_owned(), value.to_owned());
            }
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ancestors_file_is_understood() {
        let text = "providers:\n  firecracker:\n  - name: fc\n    binary: /opt/firecracker # ours\n    \
                    kernel: /boot/vmlinux\n  qemu:\n    - name: q\n      no_graphic: true\nversion: 0.0.0\n";
        let config = apply(Config::new("/srv/kernctl"), "daemon-config.yaml", text).unwrap();
        assert_eq!(config.default_provider, Some(Kind::Firecracker));
        assert_eq!(config.providers[&Kind::Firecracker]["binary"], "/opt/firecracker");
    }

    #[test]
    fn strangers_are_named_with_their_lines() {
        for (text, what) in [
            ("provider:\n", "y:1: the key \"provider\""),
            ("providers:\n  aws:\n  - name: a\n", "y:2: Amazon EC2 cannot"),
            ("providers:\n  qemu:\n  - nme: a\n", "y:3: the key \"nme\""),
            ("providers:\n  - name: a\n", "y:2: this belongs to no provider"),
            ("providers:\n  qemu\n", "y:2: KEY: VALUE"),
        ] {
            let error = apply(Config::new("/srv/kernctl"), "y", text).unwrap_err();
            assert!(error.to_string().contains(what), "{text:?}: {error}");
        }
    }
}
