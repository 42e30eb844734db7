// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an instance prints, what is typed to it, and what it uses.

use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bhojpur_api as api;
use bhojpur_api::Code;
use bhojpur_provider::ErrorKind;
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::time::Instant;
use utoipa::openapi::HttpMethod;

use super::{Answer, App, Body, Doc, Gone, Pairs, Reference, Route, Tell, ok, stream, streaming};
use crate::engine::{LogReader, Piece};
use crate::instance::{Command, Handle, Reply, SAMPLE_INTERVAL};
use crate::model::Phase;
use crate::{Error, Result, wire};

/// Between two looks at a log, or for a measurement.
const LOOK: Duration = Duration::from_millis(60);
/// How long the first measurement of an instance may take.
const FIRST_SAMPLE: Duration = Duration::from_secs(20);

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route {
            method: HttpMethod::Get,
            path: "/instances/{ref}/logs",
            doc: Doc {
                summary: "What an instance printed, plain, or as it comes in server-sent LogChunks.",
                query: &[
                    ("follow", "boolean", "Go on until it does not run any more."),
                    ("tail", "integer", "Only so many of the last lines."),
                    (
                        "offset",
                        "integer",
                        "What was printed behind so many bytes: where an earlier answer ended.",
                    ),
                ],
                body: Body::Nothing,
                answer: Answer::Bytes("application/octet-stream"),
            },
            handler: get(logs),
        },
        Route {
            method: HttpMethod::Post,
            path: "/instances/{ref}/input",
            doc: Doc {
                summary: "Types to an instance, as long as the request goes on.",
                query: &[],
                body: Body::Bytes("application/octet-stream", "What is typed."),
                answer: Answer::Nothing,
            },
            handler: post(input),
        },
        Route {
            method: HttpMethod::Get,
            path: "/instances/{ref}/stats",
            doc: Doc {
                summary: "What an instance uses now, or as it goes on in server-sent Stats.",
                query: &[("stream", "boolean", "Go on until it does not run any more.")],
                body: Body::Nothing,
                answer: Answer::Json("Stats"),
            },
            handler: get(stats),
        },
        Route {
            method: HttpMethod::Get,
            path: "/instances/{ref}/stats/history",
            doc: Doc {
                summary: "What an instance used in the last ten minutes.",
                query: &[],
                body: Body::Nothing,
                answer: Answer::List("Stats"),
            },
            handler: get(history),
        },
    ]
}

/// A reader of an instance's log.
pub(crate) async fn reader(app: &App, handle: &Handle, offset: u64) -> Result<LogReader> {
    let provider = app.engine.providers.of(handle.now().provider)?.clone();
    Ok(LogReader::new(provider, handle.id.clone(), offset))
}

async fn logs(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Response> {
    let query = query.only(&["follow", "tail", "offset"])?;
    let handle = app.engine.registry.find(&name)?;
    // A browser that was cut off says where it was.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let offset = query.number("offset")?.or(last);
    let mut reader = reader(&app, &handle, offset.unwrap_or(0)).await?;
    if let (Some(lines), None) = (query.number("tail")?, offset) {
        reader.tail(lines).await?;
    }
    if query.flag("follow")? {
        return stream(&app, move |tell| follow(handle, reader, tell));
    }
    // Before the answer begins: what cannot be read at all has a status.
    let first = reader.next().await?;
    streaming(&app, "application/octet-stream", false, async move |tell| {
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Piece { bytes, .. }) if bytes.is_empty() => return Ok(()),
                Ok(Piece { bytes, .. }) => tell.raw(bytes.into()).await?,
                Err(error) => return tell.abort(&error).await,
            }
            next = reader.next().await;
        }
    })
}

/// Whether more may be printed.
pub(crate) fn prints(handle: &Handle) -> bool {
    let phase = handle.now().now.phase;
    !phase.is_at_rest() && phase != Phase::Deleting
}

async fn follow(handle: Arc<Handle>, mut reader: LogReader, tell: Tell) -> Result<(), Gone> {
    loop {
        // Asked before reading: what is printed at the very end is not missed.
        let prints = prints(&handle);
        let piece = match reader.next().await {
            Ok(piece) => piece,
            Err(error) => return tell.error(&error).await,
        };
        let whole = if prints { whole_characters(&piece.bytes) } else { piece.bytes.len() };
        if whole < piece.bytes.len() {
            reader.unread(&piece.bytes[whole..]);
        }
        if whole > 0 {
            let chunk = chunk(piece.offset, &piece.bytes[..whole]);
            tell.event(Some(reader.offset()), &chunk).await?;
        } else if prints {
            tokio::time::sleep(LOOK).await;
        } else {
            return Ok(());
        }
    }
}

/// How many bytes come before a character that is cut at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn chunk(offset: u64, bytes: &[u8]) -> api::LogChunk {
    match std::str::from_utf8(bytes) {
        Ok(text) => api::LogChunk { offset, text: Some(text.to_owned()), base64: None },
        Err(_) => api::LogChunk { offset, text: None, base64: Some(base64(bytes)) },
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            if index <= group.len() {
                let digit = bits >> (18 - 6 * index) & 63;
                text.push(char::from(DIGITS[digit as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

async fn input(
    State(app): State<App>,
    Reference(name): Reference,
    body: axum::body::Body,
) -> Result<Response> {
    let handle = app.engine.registry.find(&name)?;
    let Reply::Console(path) = handle.ask(Command::Console).await? else {
        return Err(Error::internal("the instance has no console"));
    };
    let mut console = open_console(&path).await.map_err(|error| {
        Error::new(Code::ProviderFailed, format!("cannot reach the console: {error}"))
    })?;
    let mut stream = body.into_data_stream();
    let (mut state, mut closing) = (handle.watch(), app.engine.closing());
    let ended = async {
        let _ = state.wait_for(|instance| instance.now.phase.is_at_rest()).await;
    };
    let typed = async {
        while let Some(piece) = stream.next().await {
            let broken =
                |error| Error::new(Code::BadRequest, format!("the request broke off: {error}"));
            let piece = piece.map_err(broken)?;
            let failed = |error| Error::conflict(format!("the instance takes no input: {error}"));
            console.write_all(&piece).await.map_err(failed)?;
            console.flush().await.map_err(failed)?;
        }
        Ok::<(), Error>(())
    };
    tokio::select! {
        typed = typed => typed?,
        () = ended => return Err(Error::conflict("the instance has ended")),
        _ = closing.wait_for(|closing| *closing) => {}
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn open_console(path: &Path) -> std::io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    if std::fs::metadata(path)?.file_type().is_fifo() {
        return Ok(Box::new(pipe::OpenOptions::new().open_sender(path)?));
    }
    let (mut said, typed) = UnixStream::connect(path).await?.into_split();
    // What it says back is in the log; left unread it would stop the monitor.
    tokio::spawn(async move {
        let mut thrown_away = [0; 4096];
        while said.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {}
    });
    Ok(Box::new(typed))
}

async fn stats(
    State(app): State<App>,
    Reference(name): Reference,
    query: Pairs,
) -> Result<Response> {
    let going_on = query.only(&["stream"])?.flag("stream")?;
    let handle = app.engine.registry.find(&name)?;
    let memory = handle.now().spec.memory_mib;
    if going_on {
        return stream(&app, async move |tell| {
            let mut told = None;
            while prints(&handle) {
                if let Some(sample) =
                    handle.last_sample().filter(|sample| Some(sample.time) != told)
                {
                    told = Some(sample.time);
                    tell.event(None, &wire::stats(&sample, memory)).await?;
                }
                tokio::time::sleep(SAMPLE_INTERVAL / 4).await;
            }
            Ok(())
        });
    }
    if handle.last_sample().is_none()
        && let Err(error) = app.engine.providers.of(handle.now().provider)?.usage(&handle.id).await
        && error.kind() == ErrorKind::Unsupported
    {
        return Err(error.into());
    }
    // One that was just started is measured soon.
    let deadline = Instant::now() + FIRST_SAMPLE;
    loop {
        if !handle.now().now.phase.is_live() {
            let name = &handle.now().name;
            let message = format!("the instance {name:?} does not run");
            return Err(
                Error::conflict(message).advise(format!("start it first: kernctl start {name}"))
            );
        }
        if let Some(sample) = handle.last_sample() {
            return ok(wire::stats(&sample, memory));
        }
        if Instant::now() > deadline {
            let message = format!("the instance {:?} could not be measured", handle.now().name);
            return Err(Error::new(Code::Busy, message).advise("try again"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn history(State(app): State<App>, Reference(name): Reference) -> Result<Response> {
    let handle = app.engine.registry.find(&name)?;
    let memory = handle.now().spec.memory_mib;
    let all: Vec<_> = handle.samples().iter().map(|sample| wire::stats(sample, memory)).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(all)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xff, 0xfe]), "//4=");
    }

    #[test]
    fn characters_stay_whole_and_other_bytes_come_as_they_are() {
        let euro = "a€".as_bytes();
        assert_eq!(whole_characters(euro), 4);
        assert_eq!(whole_characters(&euro[..3]), 1);
        assert_eq!(whole_characters(&[b'a', 0xff, b'b']), 3);
        assert_eq!(chunk(7, b"hi").text.as_deref(), Some("hi"));
        assert_eq!(chunk(7, &[0xff]).base64.as_deref(), Some("/w=="));
    }
}
