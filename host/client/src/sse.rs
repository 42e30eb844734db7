// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Server-sent events, as the HTML standard defines them (section 9.2.6, "Interpreting an event
//! stream"). Bytes come in pieces that are cut anywhere.

/// What one event may take; a daemon that sends more is not ours.
const EVENT_MAX: usize = 64 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its type; `message` when it has none.
    pub(crate) event: String,
    /// Its lines, with line feeds between them.
    pub(crate) data: String,
}

/// An event that is too large, or not text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("an event is larger than {} MiB", EVENT_MAX >> 20)]
    TooLarge,
    #[error("an event is not UTF-8")]
    Encoding,
}

/// Makes events from bytes.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return, so that a line feed belongs to it.
    returned: bool,
    /// Something was read, so that a byte order mark cannot come any more.
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Takes a piece and appends the events that it completes.
    pub(crate) fn push(&mut self, piece: &[u8], out: &mut Vec<Message>) -> Result<(), Malformed> {
        let mut rest = piece;
        while !rest.is_empty() {
            if std::mem::take(&mut self.returned) && rest.first() == Some(&b'\n') {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
                self.line.extend_from_slice(rest);
                break;
            };
            self.line.extend_from_slice(&rest[..end]);
            self.returned = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.finish_line(&line, out)?;
            // The space of the line is used again.
            self.line = line;
            self.line.clear();
        }
        if self.line.len() + self.data.len() > EVENT_MAX {
            return Err(Malformed::TooLarge);
        }
        Ok(())
    }

    fn finish_line(&mut self, line: &[u8], out: &mut Vec<Message>) -> Result<(), Malformed> {
        let mut line = std::str::from_utf8(line).map_err(|_| Malformed::Encoding)?;
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(out);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event),
            // An empty field is a comment, which keeps connections alive; `id` and `retry` are
            // for browsers.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, out: &mut Vec<Message>) {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            out.push(Message { event, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\ndata: one\n\ndata:two\r\ndata:  three\r\nid: 7\r\n\r\nevent: error\rdata\r\r\
                          event: lost\n\nretry: 5\ndata: ä€😀\nunknown: x\n\ndata: unfinished";

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    fn expected() -> Vec<Message> {
        vec![
            message("message", "one"),
            message("message", "two\n three"),
            message("error", ""),
            message("message", "ä€😀"),
        ]
    }

    #[test]
    fn events_do_not_depend_on_how_they_are_cut() {
        let bytes = STREAM.as_bytes();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (mut parser, mut out) = (Parser::default(), Vec::new());
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    parser.push(piece, &mut out).unwrap();
                }
                assert_eq!(out, expected(), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn one_byte_at_a_time_is_the_same() {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for byte in STREAM.bytes() {
            parser.push(&[byte], &mut out).unwrap();
        }
        assert_eq!(out, expected());
    }

    #[test]
    fn what_is_no_text_or_never_ends_is_refused() {
        let mut out = Vec::new();
        assert_eq!(Parser::default().push(b"data: \xff\n", &mut out), Err(Malformed::Encoding));
        let (mut parser, piece) = (Parser::default(), vec![b'a'; 1 << 20]);
        let ended = (0..=64).map(|_| parser.push(&piece, &mut out)).find(Result::is_err);
        assert_eq!(ended, Some(Err(Malformed::TooLarge)));
    }
}
