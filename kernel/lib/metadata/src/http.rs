// SPDX-License-Identifier: Apache-2.0 OR MIT
//! As much of HTTP/1.1 (RFC 9112) as a metadata service speaks.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;

/// Largest answer that is taken; MMDS has a limit of 50 KiB unless told otherwise.
pub const ANSWER_MAX: usize = 1 << 20;
/// Longest token; MMDS's have 108 characters.
const TOKEN_MAX: usize = 1024;
/// How long a token is good for, in seconds: one start.
const TOKEN_LIFETIME: u32 = 60;

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is not HTTP.
    Malformed,
    /// It is larger than [`ANSWER_MAX`].
    TooLarge,
    /// The service refuses, with this status and these words.
    Status(u16, String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the answer is not HTTP"),
            Self::TooLarge => write!(f, "the answer is larger than {ANSWER_MAX} bytes"),
            Self::Status(status, said) => write!(f, "status {status}: {}", said.trim()),
        }
    }
}

impl core::error::Error for Error {}

/// The request that starts a session.
pub fn token_request(host: Ipv4Addr) -> String {
    format!(
        "PUT /latest/api/token HTTP/1.1\r\nHost: {host}\r\n\
         X-metadata-token-ttl-seconds: {TOKEN_LIFETIME}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The request for a document of the store.
pub fn document_request(host: Ipv4Addr, token: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
         X-metadata-token: {token}\r\n\r\n"
    )
}

/// The token in the body of an answer, which goes into a header of ours.
pub fn token(body: &[u8]) -> Result<&str, Error> {
    let text = core::str::from_utf8(body).map_err(|_| Error::Malformed)?.trim();
    let good = !text.is_empty() && text.len() <= TOKEN_MAX;
    (good && text.bytes().all(|b| b.is_ascii_graphic())).then_some(text).ok_or(Error::Malformed)
}

/// Looks at what has come so far; `Ok(None)` when more has to come. An answer
/// with another status than 200 is an error.
pub fn body(received: &[u8]) -> Result<Option<&[u8]>, Error> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    if received.len() > ANSWER_MAX {
        return Err(Error::TooLarge);
    }
    let Some(end) = received.windows(HEAD_END.len()).position(|w| w == HEAD_END) else {
        return Ok(None);
    };
    let head = core::str::from_utf8(&received[..end]).map_err(|_| Error::Malformed)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).ok_or(Error::Malformed)?;
    let length = content_length(lines)?;
    if length > ANSWER_MAX {
        return Err(Error::TooLarge);
    }
    let Some(body) = received[end + HEAD_END.len()..].get(..length) else { return Ok(None) };
    if status != 200 {
        return Err(Error::Status(status, String::from_utf8_lossy(body).into_owned()));
    }
    Ok(Some(body))
}

/// The code in a status line.
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "))?;
    let code = rest.get(..3)?;
    code.bytes().all(|b| b.is_ascii_digit()).then(|| code.parse().ok()).flatten()
}

/// Bytes of the body; without the header, none (the service always sends it).
fn content_length<'a>(lines: impl Iterator<Item = &'a str>) -> Result<usize, Error> {
    let mut found: Vec<usize> = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(Error::Malformed)?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Error::Malformed);
        }
        if name.eq_ignore_ascii_case("content-length") {
            let value = value.trim();
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            found.push(value.parse().ok().filter(|_| digits).ok_or(Error::Malformed)?);
        }
    }
    match found[..] {
        [] => Ok(0),
        [length, ref others @ ..] if others.iter().all(|other| *other == length) => Ok(length),
        _ => Err(Error::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::{ANSWER_MAX, Error, body, document_request, token, token_request};
    use crate::ADDRESS;
    use std::string::ToString;

    #[test]
    fn requests_are_as_the_service_wants_them() {
        let asked = token_request(ADDRESS);
        assert!(asked.starts_with("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n"));
        assert!(asked.contains("\r\nX-metadata-token-ttl-seconds: 60\r\n"));
        let fetched = document_request(ADDRESS, "abc=", "/bhojpur");
        assert!(fetched.starts_with("GET /bhojpur HTTP/1.1\r\n"));
        assert!(fetched.contains("\r\nX-metadata-token: abc=\r\n"));
        assert!(fetched.contains("\r\nAccept: application/json\r\n"));
        assert!(asked.ends_with("\r\n\r\n") && fetched.ends_with("\r\n\r\n"));
    }

    #[test]
    fn an_answer_may_come_in_pieces() {
        let whole = b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\
            Content-Type: text/plain\r\nContent-Length: 5\r\n\r\ntoken";
        for cut in 0..whole.len() {
            assert_eq!(body(&whole[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(body(whole), Ok(Some(&b"token"[..])));
        assert_eq!(body(b"HTTP/1.0 200 OK\r\ncontent-length:0\r\n\r\n"), Ok(Some(&b""[..])));
        assert_eq!(body(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(&b""[..])));
    }

    #[test]
    fn refusals_say_why() {
        let refused = b"HTTP/1.1 404 \r\nContent-Length: 28\r\n\r\nResource not found: /bhojpur.";
        let error = body(refused).unwrap_err();
        assert_eq!(error.to_string(), "status 404: Resource not found: /bhojpur");
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bad in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(body(bad.as_bytes()), Err(Error::Malformed), "{bad:?}");
        }
        let large = std::format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", ANSWER_MAX + 1);
        assert_eq!(body(large.as_bytes()), Err(Error::TooLarge));
        assert_eq!(body(&std::vec![b'x'; ANSWER_MAX + 1]), Err(Error::TooLarge));
    }

    #[test]
    fn a_token_cannot_add_headers() {
        assert_eq!(token(b"Zm9v==\n"), Ok("Zm9v=="));
        for bad in [&b""[..], b"a b", b"a\r\nX: y", b"\xff", &[b'x'; 1025]] {
            assert_eq!(token(bad), Err(Error::Malformed));
        }
    }
}
