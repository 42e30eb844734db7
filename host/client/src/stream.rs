// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Answers that come bit by bit.

use std::collections::VecDeque;
use std::marker::PhantomData;

use bhojpur_api::{ErrorBody, LogChunk};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::sse::Parser;
use crate::{Address, Error, Result};

/// Bytes of an answer, as they come.
#[derive(Debug)]
pub struct ByteStream {
    address: Address,
    body: Incoming,
}

impl ByteStream {
    pub(crate) fn new(address: Address, body: Incoming) -> Self {
        Self { address, body }
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| Error::Broken {
                address: self.address.clone(),
                reason: crate::transport::reason(&error),
            })?;
            match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                // Trailers say nothing to us.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Everything, up to a limit.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > limit {
                return Err(Error::Answer(format!("it is larger than {} MiB", limit >> 20)));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }
}

/// Events of an answer, as they come.
#[derive(Debug)]
pub struct EventStream<T> {
    bytes: ByteStream,
    parser: Parser,
    ready: VecDeque<crate::sse::Message>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> EventStream<T> {
    pub(crate) fn new(bytes: ByteStream) -> Self {
        Self { bytes, parser: Parser::default(), ready: VecDeque::new(), of: PhantomData }
    }

    /// The next event; `None` at the end. Safe to give up: what was read is kept.
    pub async fn next(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return decode_event(&message).map(Some);
            }
            let Some(piece) = self.bytes.next().await? else { return Ok(None) };
            let mut messages = Vec::new();
            self.parser
                .push(&piece, &mut messages)
                .map_err(|error| Error::Answer(error.to_string()))?;
            self.ready.extend(messages);
        }
    }
}

/// A stream that cannot go on says so with an event of the type `error`.
fn decode_event<T: DeserializeOwned>(message: &crate::sse::Message) -> Result<T> {
    if message.event == "error"
        && let Ok(body) = serde_json::from_str::<ErrorBody>(&message.data)
    {
        return Err(Error::Refused(body));
    }
    serde_json::from_str(&message.data).map_err(|error| Error::Answer(error.to_string()))
}

/// The bytes of a piece of output.
pub fn decode(chunk: &LogChunk) -> Result<Vec<u8>> {
    match (&chunk.text, &chunk.base64) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(text)) => {
            base64(text).ok_or_else(|| Error::Answer("a piece of the log is not base64".to_owned()))
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_the_vectors_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("/+8="), Some(vec![0xff, 0xef]));
        for text in ["A", "AAAAA", "Zm9_", "Zm 9v"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
