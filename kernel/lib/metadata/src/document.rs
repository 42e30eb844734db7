// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The document about the program, and what it changes in the configuration.
//!
//! ```json
//! {
//!   "args": ["--verbose"],
//!   "env": {"MODE": "production"},
//!   "cwd": "/srv",
//!   "hostname": "web-1",
//!   "mounts": [{"kind": "ext4", "source": "/dev/vda", "target": "/data", "read_only": true}]
//! }
//! ```
//!
//! Every member may be left out; one that is not known is an error. `args` are
//! all arguments behind the program's name; `env` adds to the environment of
//! the image and replaces values in it; `mounts` come behind those of the image.

use crate::json::{self, Value};
use abi::config::{OwnedConfig, OwnedMount};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not JSON.
    Json(json::Error),
    /// A member has a value that it cannot have.
    Value {
        /// The member, `env.NAME` for one below another.
        member: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not JSON: {error}"),
            Self::Value { member, problem } => write!(f, "{member}: {problem}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<json::Error> for Error {
    fn from(error: json::Error) -> Self {
        Self::Json(error)
    }
}

fn wrong(member: &str, problem: &'static str) -> Error {
    Error::Value { member: member.to_owned(), problem }
}

/// Changes `config` by what the document says.
pub fn apply(text: &[u8], config: &mut OwnedConfig) -> Result<(), Error> {
    for (name, value) in object("the document", json::parse(text)?)? {
        match name.as_str() {
            "args" => {
                let given = array(&name, value)?;
                config.args.truncate(1);
                if config.args.is_empty() {
                    config.args.push(config.program.clone().unwrap_or_default());
                }
                for argument in given {
                    config.args.push(string(&name, argument)?.into_bytes());
                }
            }
            "env" => object(&name, value)?.into_iter().try_for_each(|(key, value)| {
                let member = alloc::format!("env.{key}");
                if key.is_empty() || key.contains('=') || key.contains('\0') {
                    return Err(wrong(&member, "no name of a variable"));
                }
                config.set_env(&key, &string(&member, value)?);
                Ok(())
            })?,
            "cwd" => config.cwd = Some(path(&name, value)?),
            "hostname" => config.hostname = Some(string(&name, value)?),
            "mounts" => {
                for entry in array(&name, value)? {
                    config.mounts.push(mount(entry)?);
                }
            }
            _ => return Err(wrong(&name, "no such member")),
        }
    }
    Ok(())
}

fn mount(value: Value) -> Result<OwnedMount, Error> {
    let (mut kind, mut source, mut target) = (None, None, None);
    let mut read_only = false;
    for (name, value) in object("mounts", value)? {
        let member = alloc::format!("mounts.{name}");
        match name.as_str() {
            "kind" => kind = Some(string(&member, value)?),
            "source" => source = Some(string(&member, value)?.into_bytes()),
            "target" => target = Some(path(&member, value)?),
            "read_only" => match value {
                Value::Boolean(flag) => read_only = flag,
                _ => return Err(wrong(&member, "neither true nor false")),
            },
            _ => return Err(wrong(&member, "no such member")),
        }
    }
    let missing = |name| wrong(name, "is missing");
    Ok(OwnedMount {
        kind: kind.unwrap_or_else(|| String::from("auto")),
        source: source.ok_or_else(|| missing("mounts.source"))?,
        target: target.ok_or_else(|| missing("mounts.target"))?,
        read_only,
    })
}

fn object(member: &str, value: Value) -> Result<Vec<(String, Value)>, Error> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(wrong(member, "not an object")),
    }
}

fn array(member: &str, value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(elements) => Ok(elements),
        _ => Err(wrong(member, "not an array")),
    }
}

/// A string that a program can get: without zeroes.
fn string(member: &str, value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) if text.contains('\0') => Err(wrong(member, "has a zero in it")),
        Value::String(text) => Ok(text),
        _ => Err(wrong(member, "not a string")),
    }
}

fn path(member: &str, value: Value) -> Result<Vec<u8>, Error> {
    let text = string(member, value)?;
    if text.starts_with('/') {
        Ok(text.into_bytes())
    } else {
        Err(wrong(member, "not an absolute path"))
    }
}

#[cfg(test)]
mod tests {
    use super::apply;
    use abi::config::OwnedConfig;
    use std::string::{String, ToString};
    use std::vec;

    fn base() -> OwnedConfig {
        OwnedConfig {
            args: vec![b"/app/web".to_vec(), b"old".to_vec()],
            env: vec![b"PATH=/bin".to_vec(), b"MODE=built".to_vec()],
            ..OwnedConfig::default()
        }
    }

    #[test]
    fn every_member_has_its_effect() {
        let mut config = base();
        let text = r#"{"args":["--deep","two words",""],"env":{"MODE":"run","A":"x=y","E":""},
            "cwd":"/srv","hostname":"web-1","mounts":[{"source":"LABEL=data","target":"/data"},
            {"kind":"ext4","source":"/dev/vdb","target":"/more","read_only":true}]}"#;
        apply(text.as_bytes(), &mut config).unwrap();
        assert_eq!(config.args, [&b"/app/web"[..], b"--deep", b"two words", b""]);
        assert_eq!(config.env, [&b"PATH=/bin"[..], b"MODE=run", b"A=x=y", b"E="]);
        assert_eq!(config.cwd.as_deref(), Some(&b"/srv"[..]));
        assert_eq!(config.hostname.as_deref(), Some("web-1"));
        let kinds: vec::Vec<_> =
            config.mounts.iter().map(|m| (m.kind.as_str(), m.read_only)).collect();
        assert_eq!(kinds, [("auto", false), ("ext4", true)]);
        assert!(config.encode().is_ok());
    }

    #[test]
    fn what_is_left_out_stays() {
        let mut config = base();
        apply(b"{}", &mut config).unwrap();
        assert_eq!(config, base());
        apply(br#"{"args":[]}"#, &mut config).unwrap();
        assert_eq!(config.args, [b"/app/web"]);
    }

    #[test]
    fn wrong_documents_are_named() {
        for (bad, said) in [
            ("[]", "the document: not an object"),
            (r#"{"envs":{}}"#, "envs: no such member"),
            (r#"{"env":[]}"#, "env: not an object"),
            (r#"{"env":{"PORT":8080}}"#, "env.PORT: not a string"),
            (r#"{"env":{"A=B":"x"}}"#, "env.A=B: no name of a variable"),
            (r#"{"env":{"":"x"}}"#, "env.: no name of a variable"),
            (r#"{"args":"x"}"#, "args: not an array"),
            (r#"{"args":["\u0000"]}"#, "args: has a zero in it"),
            (r#"{"cwd":"srv"}"#, "cwd: not an absolute path"),
            (r#"{"mounts":[{"source":"x"}]}"#, "mounts.target: is missing"),
            (
                r#"{"mounts":[{"source":"x","target":"/y","read_only":"no"}]}"#,
                "mounts.read_only: neither true nor false",
            ),
            (r#"{"mounts":[{"path":"/x"}]}"#, "mounts.path: no such member"),
            ("", "not JSON: the text ends early at byte 0"),
        ] {
            let error = apply(bad.as_bytes(), &mut base()).map_err(|e| e.to_string());
            assert_eq!(error, Err(String::from(said)));
        }
    }
}
