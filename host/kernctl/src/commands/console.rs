// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The terminal and an instance: its output here, keys and Ctrl-C there, its status as ours.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bhojpur_api::{Instance, LogChunk};
use bhojpur_client::{Client, EventStream, LogOptions, Upload, decode};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{note, waiting};
use crate::Failure;
use crate::failure::status;
use crate::output::Printer;
use crate::session::Session;

/// How long the rest of the output may take after the end.
const DRAIN: Duration = Duration::from_secs(10);
/// Before a log is asked for again that ended while its instance goes on.
const AGAIN: Duration = Duration::from_millis(200);

/// Before it is told that nobody hears what is typed.
const UNHEARD: Duration = Duration::from_secs(2);

/// How to watch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Which part of the output that is there already is shown.
    pub(crate) options: LogOptions,
    /// Whether standard input is typed on the console.
    pub(crate) input: bool,
    /// Whether the end of an empty input is typed as well. Who attaches from a script may have no
    /// input at all, and does not mean to end that of the program.
    pub(crate) ends: bool,
    /// Whether Ctrl-C is for the program.
    pub(crate) proxy: bool,
}

/// The output of an instance from some place on, over restarts of it and of the daemon.
#[derive(Debug)]
struct Output {
    stream: Option<EventStream<LogChunk>>,
    /// What comes next.
    options: LogOptions,
}

impl Output {
    /// The next bytes; waits for ever when there is no more.
    async fn read(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.next().await {
            Ok(None) => {
                self.stream = None;
                Ok(None)
            }
            // The instance goes on without its daemon, and so does its log.
            Err(error) if waiting::is_away(&error) => {
                self.stream = None;
                Ok(None)
            }
            Err(error) => Err(error.into()),
            Ok(Some(chunk)) => {
                let bytes = decode(&chunk)?;
                self.options.offset = Some(chunk.offset + bytes.len() as u64);
                Ok(Some(bytes))
            }
        }
    }
}

/// What is typed on a console: an input, and its end as the character that a terminal has for it.
struct Typed<R> {
    input: R,
    /// In the middle of a line, one end only hands the beginning of the line on (termios(3)).
    in_line: bool,
    /// Whether there is an end to tell.
    ends: bool,
    /// What is left of it.
    end: Option<&'static [u8]>,
}

impl<R> Typed<R> {
    fn new(input: R, ends: bool) -> Self {
        Self { input, in_line: false, ends, end: None }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Typed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.end.is_none() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.input).poll_read(context, buffer))?;
            match buffer.filled().get(before..).and_then(<[u8]>::last) {
                Some(last) => {
                    self.in_line = *last != b'\n';
                    self.ends = true;
                    return Poll::Ready(Ok(()));
                }
                None => {
                    let end: &[u8] = if self.in_line { b"\x04\x04" } else { b"\x04" };
                    self.end = Some(if self.ends { end } else { b"" });
                }
            }
        }
        let left = self.end.unwrap_or_default();
        let (now, later) = left.split_at(left.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.end = Some(later);
        Poll::Ready(Ok(()))
    }
}

/// Shows the output until the instance ends, and gives it as it is then; `None` when the user
/// left it alone.
pub(crate) async fn watch(
    session: &Session,
    client: &Client,
    id: &str,
    how: Watch,
    signals: &mut Signals,
) -> Result<Option<Instance>, Failure> {
    let printer = &session.printer;
    let stream = client.follow(id, how.options).await?;
    let mut output = Output { stream: Some(stream), options: how.options };
    let mut wait = pin!(waiting::ended(session, client, id));
    let mut typing = tokio::task::JoinSet::new();
    if how.input {
        typing.spawn(feed(client.clone(), id.to_owned(), how.ends));
    }
    let mut asked = 0;
    loop {
        tokio::select! {
            // Output before everything else, so that it is complete.
            biased;
            read = output.read(), if output.stream.is_some() => {
                if let Some(bytes) = read? {
                    printer.raw(&bytes)?;
                }
            }
            ended = &mut wait => {
                let instance = ended?;
                drain(&mut output, printer).await?;
                return Ok(Some(instance));
            }
            () = signals.next() => {
                if !how.proxy {
                    return Ok(None);
                }
                asked += 1;
                end(client, id, asked);
            }
            () = tokio::time::sleep(AGAIN), if output.stream.is_none() => {
                // It ended and was started again, or is about to end for good.
                output.stream = client.follow(id, output.options).await.ok();
            }
        }
    }
}

/// Types standard input on the console.
async fn feed(client: Client, id: String, ends: bool) {
    let typed = Typed::new(tokio::io::stdin(), ends);
    if let Err(error) = client.input(&id, Upload::reader(typed)).await
        && !matches!(error, bhojpur_client::Error::Broken { .. })
    {
        // The end of the instance ends this as well, and then nobody waits for us to say so.
        tokio::time::sleep(UNHEARD).await;
        note(&format!("standard input does not reach the console: {error}"));
    }
}

/// Asks an instance to stop; the second time, ends it.
fn end(client: &Client, id: &str, asked: u32) {
    let (client, id) = (client.clone(), id.to_owned());
    if asked == 1 {
        note("stopping; Ctrl-C again ends it at once");
    }
    tokio::spawn(async move {
        let result = if asked == 1 { client.stop(&id, None).await } else { client.kill(&id).await };
        // What ended meanwhile needs no more.
        if let Err(error) = result
            && error.code() != Some(bhojpur_api::Code::Conflict)
        {
            note(&format!("it cannot be stopped: {error}"));
        }
    });
}

async fn drain(output: &mut Output, printer: &Printer) -> Result<(), Failure> {
    let rest = async {
        while output.stream.is_some() {
            if let Some(bytes) = output.read().await? {
                printer.raw(&bytes)?;
            }
        }
        Ok(())
    };
    tokio::time::timeout(DRAIN, rest).await.unwrap_or(Ok(()))
}

/// Says on standard error what the kernel in an instance said about the end of its program.
pub(crate) fn tell_reason(instance: &Instance) {
    use std::io::Write as _;
    if let (Some(_), Some(reason)) = (instance.exit_code, &instance.error) {
        // Nobody reads when this fails.
        let _ = std::io::stderr().write_all(format!("kernel: {reason}\n").as_bytes());
    }
}

/// The status that an instance that ended gives us.
pub(crate) fn exit_status(instance: &Instance) -> u8 {
    if let Some(code) = instance.exit_code {
        tell_reason(instance);
        return code;
    }
    let why = instance.error.as_deref().unwrap_or("it ended without a word");
    note(&format!("error: {}: {why}", instance.name));
    if why.contains("panic") { status::PANICKED } else { status::LOST }
}

/// Ctrl-C, and what ends a terminal or a service.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::io("cannot listen to signals", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
