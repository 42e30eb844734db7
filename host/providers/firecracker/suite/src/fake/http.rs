// SPDX-License-Identifier: Apache-2.0 OR MIT
//! As much of HTTP/1.1 as Firecracker's micro_http understands: no chunks, no pipelining.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// `/drives/x`.
    pub path: String,
    /// Nothing when there is none.
    pub body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// 200.
    pub status: u16,
    /// JSON, or nothing.
    pub body: String,
}

impl Response {
    /// Done, and nothing to say.
    #[must_use]
    pub fn no_content() -> Self {
        Self { status: 204, body: String::new() }
    }

    /// An answer.
    #[must_use]
    pub fn ok(body: &impl serde::Serialize) -> Self {
        Self { status: 200, body: serde_json::to_string(body).unwrap_or_default() }
    }

    /// A refusal.
    #[must_use]
    pub fn fault(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "fault_message": message }).to_string();
        Self { status, body }
    }
}

/// Serves one connection to its end.
pub fn serve(
    stream: &UnixStream,
    payload_max: usize,
    handle: &mut dyn FnMut(Request) -> Response,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let response = match read(&line, &mut reader, payload_max)? {
            Ok(request) => handle(request),
            Err(refused) => {
                write(stream, &refused)?;
                return Ok(());
            }
        };
        write(stream, &response)?;
    }
}

fn read(
    line: &str,
    reader: &mut BufReader<&UnixStream>,
    payload_max: usize,
) -> io::Result<Result<Request, Response>> {
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    let [method, path, "HTTP/1.1" | "HTTP/1.0"] = words[..] else {
        return Ok(Err(Response::fault(400, "Invalid HTTP Version.")));
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            return Ok(Err(Response::fault(400, "Invalid header.")));
        };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => match value.parse() {
                Ok(number) => length = number,
                Err(_) => return Ok(Err(Response::fault(400, "Invalid content length."))),
            },
            ("transfer-encoding", value) if value != "identity" => {
                return Ok(Err(Response::fault(400, "Unsupported transfer encoding.")));
            }
            ("content-type" | "accept", value)
                if !["application/json", "text/plain", "*/*"].contains(&value) =>
            {
                return Ok(Err(Response::fault(400, "Unsupported media type.")));
            }
            _ => {}
        }
    }
    if length > payload_max {
        // What is not read would reset the connection, and with it the answer.
        io::copy(&mut reader.take(length as u64), &mut io::sink())?;
        return Ok(Err(Response::fault(413, "The request payload is too large.")));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = (length > 0).then_some(body);
    Ok(Ok(Request { method: method.to_owned(), path: path.to_owned(), body }))
}

fn write(mut stream: &UnixStream, response: &Response) -> io::Result<()> {
    let reason = match response.status {
        200 => "OK",
        204 => "No Content",
        413 => "Payload Too Large",
        _ => "Bad Request",
    };
    let mut text = format!(
        "HTTP/1.1 {} {reason}\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n",
        response.status
    );
    if response.status != 204 {
        let length = response.body.len();
        text += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    text += "\r\n";
    text += &response.body;
    stream.write_all(text.as_bytes())
}
