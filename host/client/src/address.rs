// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where a daemon is, and how it is known to be the right one.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port that is meant when none is named; the ancestor's.
const DEFAULT_PORT: u16 = 3000;

/// Where a daemon listens: `unix:///path/to/socket`, or `HOST[:PORT]` (`https://` and `tls://`
/// may stand before it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket of this machine.
    Unix(PathBuf),
    /// TLS over TCP.
    Tls {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// HTTP without TLS.
    #[error(
        "{0:?} is not encrypted; a daemon is reached over TLS (https://) or over a unix socket"
    )]
    Plain(String),
    /// A socket has to have a path from the root.
    #[error("{0:?} names no socket; write unix:///path/to/kernctl.sock")]
    Socket(String),
    /// Something else.
    #[error(
        "{0:?} is not the address of a daemon; write HOST:PORT or unix:///path/to/kernctl.sock"
    )]
    Syntax(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || AddressError::Syntax(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` as a URL has it, `unix:/path` as curl and others take it.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') && path.len() > 1 {
                Ok(Self::Unix(PathBuf::from(path)))
            } else {
                Err(AddressError::Socket(text.to_owned()))
            };
        }
        let rest = match text.split_once("://") {
            None => text,
            Some(("https" | "tls" | "tcp", rest)) => rest,
            Some(("http", _)) => return Err(AddressError::Plain(text.to_owned())),
            Some(_) => return Err(syntax()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_port(rest).ok_or_else(syntax)?;
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(sound) {
            return Err(syntax());
        }
        Ok(Self::Tls { host: host.to_owned(), port })
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`.
fn split_port(text: &str) -> Option<(&str, u16)> {
    let port = |text: &str| text.parse().ok().filter(|&port| port != 0);
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest {
            "" => Some((host, DEFAULT_PORT)),
            rest => Some((host, port(rest.strip_prefix(':')?)?)),
        };
    }
    match text.matches(':').count() {
        0 => Some((text, DEFAULT_PORT)),
        1 => text.split_once(':').and_then(|(host, text)| Some((host, port(text)?))),
        // An IPv6 address without brackets cannot have a port.
        _ => Some((text, DEFAULT_PORT)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

/// A secret that cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes the text of a token. What cannot stand in a header is refused.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| Self(text.to_owned()))
    }

    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// What makes a certificate a good one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// An authority of this machine signed it: `SSL_CERT_FILE` or the system's bundle.
    #[default]
    System,
    /// An authority in this PEM file signed it.
    Authorities(PathBuf),
    /// It is this very certificate, by the SHA-256 digest of its DER form.
    Fingerprint([u8; 32]),
}

impl Trust {
    /// Reads a fingerprint: 64 hexadecimal digits, `:` between bytes and `sha256:` before them
    /// allowed.
    pub fn fingerprint(text: &str) -> Option<Self> {
        let digits: String = text
            .trim()
            .trim_start_matches("sha256:")
            .trim_start_matches("SHA256:")
            .chars()
            .filter(|c| *c != ':')
            .collect();
        if digits.len() != 64 || !digits.is_ascii() {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self::Fingerprint(bytes))
    }
}

/// A daemon, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it listens.
    pub address: Address,
    /// Who we are; a unix socket needs none.
    pub token: Option<Token>,
    /// How it is known; of no meaning for a unix socket.
    pub trust: Trust,
}

impl Target {
    /// A daemon of this machine.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { address: Address::Unix(path.into()), token: None, trust: Trust::System }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(host: &str, port: u16) -> Address {
        Address::Tls { host: host.to_owned(), port }
    }

    #[test]
    fn addresses_are_read_and_written() {
        for (text, address, written) in [
            ("unix:///run/k.sock", Address::Unix("/run/k.sock".into()), "unix:///run/k.sock"),
            ("unix:/k", Address::Unix("/k".into()), "unix:///k"),
            ("example.org", tls("example.org", 3000), "https://example.org:3000"),
            ("10.0.0.1:8443", tls("10.0.0.1", 8443), "https://10.0.0.1:8443"),
            ("https://h:1/", tls("h", 1), "https://h:1"),
            ("tls://[::1]:7", tls("::1", 7), "https://[::1]:7"),
            ("::1", tls("::1", 3000), "https://[::1]:3000"),
        ] {
            let parsed: Address = text.parse().unwrap();
            assert_eq!((&parsed, parsed.to_string().as_str()), (&address, written), "{text}");
            assert_eq!(written.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(
            "http://h:3000".parse::<Address>(),
            Err(AddressError::Plain("http://h:3000".into()))
        );
        assert!(matches!("unix://k".parse::<Address>(), Err(AddressError::Socket(_))));
        for text in [
            "", "h:0", "h:99999", "h:x", "ftp://h", "a b", "[::1", "[::1]x", "h/path", ":80", "u@h",
        ] {
            assert!(matches!(text.parse::<Address>(), Err(AddressError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn fingerprints_are_exact() {
        let plain = "ab".repeat(32);
        let colons = format!("sha256:{}", vec!["AB"; 32].join(":"));
        assert_eq!(Trust::fingerprint(&plain), Some(Trust::Fingerprint([0xab; 32])));
        assert_eq!(Trust::fingerprint(&colons), Trust::fingerprint(&plain));
        for text in ["", "ab", &plain[1..], &format!("{plain}0"), &"xy".repeat(32), &"é".repeat(32)]
        {
            assert_eq!(Trust::fingerprint(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_cannot_be_printed_nor_split_headers() {
        let token = Token::new(" secret\n").unwrap();
        assert!(!format!("{token:?}").contains("secret"));
        assert_eq!(token.header(), "Bearer secret");
        assert!(Token::new("a\r\nX: y").is_none() && Token::new("  ").is_none());
    }
}
