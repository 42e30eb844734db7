// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `client.toml`: which daemon is used. Whatever is not understood is an error with its line.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bhojpur_client::{Address, Target, Token, Trust};
use toml_edit::{Document, Item};

use crate::Failure;

/// The name of the file in the home directory.
pub(crate) const FILE_NAME: &str = "client.toml";

/// The name of the ancestor's file in the same place.
pub(crate) const ANCESTOR_FILE_NAME: &str = "client-config.yaml";

const KEYS: &[&str] = &["host", "token", "ca", "fingerprint"];

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientConfig {
    /// The daemon.
    pub(crate) host: Option<Address>,
    /// Who we are.
    pub(crate) token: Option<Token>,
    /// The authority that signed the daemon's certificate.
    pub(crate) ca: Option<PathBuf>,
    /// The digest of the daemon's certificate.
    pub(crate) fingerprint: Option<Trust>,
}

impl ClientConfig {
    /// Reads a file; one that is not there says nothing.
    pub(crate) fn read(path: &Path, required: bool) -> Result<Self, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(Failure::io(format!("cannot read {}", path.display()), &error));
            }
        };
        let ancestor =
            path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let parsed = if ancestor { Self::parse_ancestor(&text) } else { Self::parse(&text) };
        parsed.map_err(|(line, what, advice)| {
            let place = line.map_or_else(String::new, |line| format!(":{line}"));
            let failure = Failure::usage(format!("{}{place}: {what}", path.display()));
            advice.into_iter().fold(failure, Failure::advise)
        })
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let line = |place: Option<std::ops::Range<usize>>| {
            place.map(|place| text[..place.start.min(text.len())].matches('\n').count() + 1)
        };
        let document = Document::parse(text)
            .map_err(|error| (line(error.span()), error.message().to_owned(), None))?;
        let mut config = Self::default();
        for (key, item) in document.as_table().iter() {
            if !KEYS.contains(&key) {
                let place = document.as_table().key(key).and_then(toml_edit::Key::span);
                return Err((line(place), format!("the key {key:?} is not known"), nearest(key)));
            }
            let at = line(item.span());
            let value =
                string(item).ok_or_else(|| (at, "a string is wanted here".to_owned(), None))?;
            config.set(key, value).map_err(|what| (at, what, None))?;
        }
        Ok(config)
    }

    /// The ancestor's file has one line, `host: "HOST:PORT"`.
    fn parse_ancestor(text: &str) -> Result<Self, Problem> {
        let mut config = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() || line == "---" {
                continue;
            }
            let at = Some(number + 1);
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| (at, "KEY: VALUE is wanted here".to_owned(), None))?;
            if key.trim() != "host" {
                return Err((
                    at,
                    format!("the key {:?} is not known", key.trim()),
                    Some("known is host".to_owned()),
                ));
            }
            let value = value.trim().trim_matches(['"', '\'']);
            config.set("host", value).map_err(|what| (at, what, None))?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "host" => self.host = Some(value.parse().map_err(|error| format!("{error}"))?),
            "token" => self.token = Some(Token::new(value).ok_or("this cannot be a token")?),
            "ca" => self.ca = Some(value.into()),
            _ => {
                let trust = Trust::fingerprint(value);
                self.fingerprint = Some(trust.ok_or("a fingerprint has 64 hexadecimal digits")?);
            }
        }
        Ok(())
    }

    /// The daemon of the file.
    pub(crate) fn target(&self) -> Option<Target> {
        let address = self.host.clone()?;
        Some(Target { address, token: self.token.clone(), trust: self.trust() })
    }

    fn trust(&self) -> Trust {
        match (&self.fingerprint, &self.ca) {
            (Some(trust), _) => trust.clone(),
            (None, Some(path)) => Trust::Authorities(path.clone()),
            (None, None) => Trust::System,
        }
    }
}

/// Line, what is wrong, what to do.
type Problem = (Option<usize>, String, Option<String>);

fn string(item: &Item) -> Option<&str> {
    item.as_str()
}

fn nearest(key: &str) -> Option<String> {
    let nearest = KEYS.iter().min_by_key(|known| strsim::damerau_levenshtein(key, known))?;
    Some(format!("the nearest key is {nearest:?}; known are {}", KEYS.join(", ")))
}

/// Writes the file whole, for its owner alone: it may hold a token.
pub(crate) fn write(path: &Path, entries: &[(&str, String)]) -> Result<(), Failure> {
    let mut text = String::from("# Which daemon kernctl uses; written by `kernctl target`.\n");
    for (key, value) in entries {
        // A JSON string is a TOML basic string: both escape alike.
        let value = serde_json::Value::String(value.clone());
        text.push_str(&format!("{key} = {value}\n"));
    }
    write_private(path, text.as_bytes())
        .map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))
}

/// Writes a file that appears whole or not at all, and that others cannot read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        assert_eq!(ClientConfig::read(&path, false).unwrap(), ClientConfig::default());
        assert!(ClientConfig::read(&path, true).is_err());
        let entries = [
            ("host", "h:1".to_owned()),
            ("token", "s3".to_owned()),
            ("ca", "/a \"b\\c".to_owned()),
        ];
        write(&path, &entries).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let config = ClientConfig::read(&path, true).unwrap();
        assert_eq!(config.target().unwrap().trust, Trust::Authorities("/a \"b\\c".into()));
        assert_eq!(config.token, Token::new("s3"));
    }

    #[test]
    fn errors_have_lines_and_the_nearest_key() {
        for (text, line, part) in [
            ("\nhots = 'x'\n", Some(2), "\"hots\" is not known"),
            ("host = 3", Some(1), "a string"),
            ("host = 'http://x'", Some(1), "not encrypted"),
            ("\n\nfingerprint = 'ab'", Some(3), "64"),
            ("host = ", Some(1), ""),
            ("token = 'a b'", Some(1), "token"),
        ] {
            let (at, what, _) = ClientConfig::parse(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(what.contains(part), "{text}: {what}");
        }
        let (_, _, advice) = ClientConfig::parse("hots = 'x'").unwrap_err();
        assert!(advice.unwrap().contains("nearest key is \"host\""));
    }

    #[test]
    fn the_ancestors_file_is_read() {
        let config = ClientConfig::parse_ancestor("# c\nhost: \"h:3000\"\n").unwrap();
        assert_eq!(config.host, Some("h:3000".parse().unwrap()));
        assert_eq!(ClientConfig::parse_ancestor("\nport: 1").unwrap_err().0, Some(2));
    }
}
