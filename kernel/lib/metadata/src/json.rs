// SPDX-License-Identifier: Apache-2.0 OR MIT
//! JSON (RFC 8259), strictly: what is not in the grammar is an error, and so
//! are a name that stands twice in an object, and nesting that no document of
//! ours has.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Deepest nesting; it bounds the stack that reading takes.
const DEPTH_MAX: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as it is written.
    Number(String),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object: names and values, in order.
    Object(Vec<(String, Value)>),
}

/// Where a text is not JSON, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Bytes before the place.
    pub offset: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.problem, self.offset)
    }
}

impl core::error::Error for Error {}

/// Reads one value, which has to be all of `text`. What is allocated is
/// bounded by the length of the text.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let text = core::str::from_utf8(text)
        .map_err(|e| Error { offset: e.valid_up_to(), problem: "not UTF-8" })?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() { Err(reader.error("more than one value")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, problem: &'static str) -> Error {
        Error { offset: self.at, problem }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it is next, with the space before it.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        self.space();
        if depth > DEPTH_MAX {
            return Err(self.error("too deeply nested"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(|text| Value::Number(text.into())),
            Some(b't') => self.literal("true", Value::Boolean(true)),
            Some(b'f') => self.literal("false", Value::Boolean(false)),
            Some(b'n') => self.literal("null", Value::Null),
            Some(_) => Err(self.error("no value")),
            None => Err(self.error("the text ends early")),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("no value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        let mut members: Vec<(String, Value)> = Vec::new();
        self.at += 1;
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("no name"));
            }
            let start = self.at;
            let name = self.string()?;
            if members.iter().any(|(known, _)| *known == name) {
                return Err(Error { offset: start, problem: "a name stands twice" });
            }
            if !self.take(b':') {
                return Err(self.error("no colon behind a name"));
            }
            let value = self.value(depth + 1)?;
            members.push((name, value));
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return Err(self.error("no comma between members"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        let mut elements = Vec::new();
        self.at += 1;
        if self.take(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Value::Array(elements));
            }
            if !self.take(b',') {
                return Err(self.error("no comma between elements"));
            }
        }
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("no digit in a number")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < 0x20)
                .ok_or_else(|| self.error("a string does not end"))?;
            out.push_str(&rest[..plain]);
            self.at += plain;
            match rest.as_bytes()[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escape()?),
                _ => return Err(self.error("a control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        self.at += 1;
        let kind = self.peek().ok_or_else(|| self.error("a string does not end"))?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => {
                self.at -= 1;
                return Err(self.error("no such escape"));
            }
        })
    }

    /// `XXXX`, or `XXXX\uXXXX` for a character that UTF-16 makes of two.
    fn unicode(&mut self) -> Result<char, Error> {
        let start = self.at;
        let wrong = Error { offset: start, problem: "no such character" };
        let first = self.hex()?;
        let code = match first {
            0xd800..0xdc00 => {
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(wrong);
                }
                self.at += 2;
                let second = self.hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(wrong);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            _ => first,
        };
        char::from_u32(code).ok_or(wrong)
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let code = code.ok_or_else(|| self.error("no four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};
    use std::string::String;
    use std::vec;

    fn string(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn every_kind_of_value() {
        let text = br#" {"a":[1,-0.5e+3,true,false,null],"b":{},"c":[], "d" : "x" } "#;
        let number = |text: &str| Value::Number(text.into());
        let expected = Value::Object(vec![
            (
                "a".into(),
                Value::Array(vec![
                    number("1"),
                    number("-0.5e+3"),
                    Value::Boolean(true),
                    Value::Boolean(false),
                    Value::Null,
                ]),
            ),
            ("b".into(), Value::Object(vec![])),
            ("c".into(), Value::Array(vec![])),
            ("d".into(), string("x")),
        ]);
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn escapes() {
        let text = r#""\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00é😀""#;
        let expected = "\"\\/\u{8}\u{c}\n\r\tAé€😀é😀";
        assert_eq!(parse(text.as_bytes()), Ok(string(expected)));
        assert_eq!(parse(br#""\u0000""#), Ok(string("\0")));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "[",
            "\"",
            "}",
            "{}{}",
            "{} x",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{1:2}",
            "01",
            "-",
            "+1",
            ".5",
            "1.",
            "1e",
            "1e+",
            "0x10",
            "NaN",
            "tru",
            "True",
            "nul",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\\ud800x\"",
            "\"\\",
            "\"\\u00é\"",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "// x\n1",
            "\u{feff}1",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| {
            let text: String = (0..depth).map(|_| '[').chain((0..depth).map(|_| ']')).collect();
            parse(text.as_bytes())
        };
        assert!(nested(17).is_ok());
        assert!(nested(18).is_err());
        assert!(nested(100_000).is_err());
    }

    #[test]
    fn no_flip_of_a_byte_panics() {
        let text = br#"{"env":{"A":"\u0041\ud83d\ude00"},"args":["x",-1.5e3,null,true]}"#;
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = *text;
                damaged[at] ^= 1 << bit;
                let _ = parse(&damaged);
            }
            let _ = parse(&text[..at]);
        }
    }
}
