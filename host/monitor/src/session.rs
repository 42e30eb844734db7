// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One run of a guest, from the start of QEMU to the exit status.
//!
//! Four small threads turn what happens into messages (control channel, program output, QEMU's
//! own messages, signals of the user); the caller's thread is the only one that decides.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use bhojpur_abi::console;
use bhojpur_abi::control::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::terminal::RawMode;
use crate::{Event, Listener, Machine, Qemu, leash};

/// How long a machine that was told to end may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// What a terminal sends for the end of input.
const END_OF_TRANSMISSION: u8 = 4;
/// How long input waits for a sign of life, which a silent guest never gives.
const AWAKE: Duration = Duration::from_secs(2);

/// How a guest is run.
#[expect(missing_debug_implementations, reason = "a writer has no debug form")]
pub struct Options {
    /// Where the program's output goes.
    pub output: Box<dyn Write + Send>,
    /// How our standard input is handed to the program.
    pub input: Input,
    /// When to give up.
    pub timeout: Option<Duration>,
}

/// How our standard input is handed to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Not at all.
    None,
    /// As keys, which the guest's terminal makes lines, signals and an end of.
    Keys,
    /// As bytes, with their end. The guest's configuration has to say so ([`Input::option`]).
    Stream,
}

impl Input {
    /// The option that the guest's configuration needs for it.
    #[must_use]
    pub fn option(self) -> Option<String> {
        let (option, stream) = (console::OPTION, console::STREAM);
        (self == Self::Stream).then(|| format!("{option}={stream}"))
    }
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended.
    Exited(Exit),
    /// The kernel panicked; the event told of it.
    Panicked,
    /// The user stopped it with this signal.
    Stopped(i32),
    /// It took longer than it was given.
    TimedOut,
    /// The reader of our standard output went away.
    OutputClosed,
    /// Our standard output took no more, for this reason. That counts more than how the program
    /// ended: a part of what it said is lost.
    OutputRefused(String),
    /// QEMU ended and nobody said why.
    Lost {
        /// How QEMU ended.
        status: String,
        /// What QEMU said.
        messages: String,
        /// The last lines of the control channel.
        tail: Vec<String>,
    },
}

/// What can go wrong with the run itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// QEMU could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its path.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// QEMU refused its arguments or its files.
    #[error("QEMU could not start the machine: {0}")]
    Refused(String),
    /// The host has no pipes or threads left, or the like.
    #[error("cannot {action}: {source}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Error {
    fn host(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Host { action, source }
    }
}

/// What the threads tell.
enum Message {
    Control(Vec<u8>),
    ControlClosed,
    OutputClosed,
    Signal(i32),
}

/// Runs a machine until it ends, and tells of what the kernel says.
pub fn run(
    qemu: &Qemu,
    machine: &Machine,
    options: Options,
    events: &mut dyn FnMut(Event),
) -> Result<Outcome, Error> {
    let (control, control_writer) = io::pipe().map_err(Error::host("make a pipe"))?;
    // QEMU inherits the descriptor and opens it by this name.
    let control_path = format!("/dev/fd/{}", control_writer.as_raw_fd());
    rustix::io::fcntl_setfd(&control_writer, rustix::io::FdFlags::empty())
        .map_err(|error| Error::host("pass a pipe on")(error.into()))?;
    // A limit beyond all that the clock can tell is none.
    let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let child = leash::command(&qemu.path)
        .args(machine.command_line(Path::new(&control_path)))
        // A group of its own: Ctrl-C is ours to handle.
        .process_group(0)
        .stdin(if options.input == Input::None { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::Start { program: qemu.path.display().to_string(), source })?;
    let mut child = Running(child);
    drop(control_writer);

    let (sender, receiver) = mpsc::channel();
    let signals = watch_signals(sender.clone()).map_err(Error::host("handle signals"))?;
    let raw_mode = if options.input == Input::Keys { RawMode::enter() } else { None };
    // A serial line that the guest has not set up yet would lose what is sent to it.
    let (awake, ready) = mpsc::sync_channel(1);
    let output = copy_output(&mut child.0, options.output, sender.clone(), awake.clone());
    let messages = collect_messages(&mut child.0);
    watch_control(control, sender);
    if let Some(stdin) = child.0.stdin.take() {
        thread::spawn(move || {
            let _ = ready.recv_timeout(AWAKE);
            copy_input(stdin, options.input == Input::Stream);
        });
    }

    let mut supervisor = Supervisor {
        child,
        listener: Listener::default(),
        exit: None,
        panicked: false,
        ending: None,
        awake,
    };
    let ended = supervisor.watch(&receiver, deadline, events);
    let status = supervisor.reap().map_err(Error::host("wait for QEMU"))?;
    signals.close();
    // The output ends with QEMU; all of it is written before the status is given.
    let output = output.join().unwrap_or(Ok(()));
    drop(raw_mode);
    let messages = messages.join().unwrap_or_default();
    // A terminal that goes away refuses, too; then its signal is what counts.
    if let Err(error) = output
        && error.kind() != io::ErrorKind::BrokenPipe
        && !matches!(ended, Some(Outcome::Stopped(_)))
    {
        return Ok(Outcome::OutputRefused(error.to_string()));
    }
    supervisor.conclude(ended, status, messages)
}

/// QEMU, which ends when nobody looks after it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One whose status was taken is left alone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Owns QEMU and decides when it ends.
struct Supervisor {
    child: Running,
    listener: Listener,
    exit: Option<Exit>,
    panicked: bool,
    /// Since when the machine has been asked to end.
    ending: Option<Instant>,
    /// Told when the kernel has spoken.
    awake: SyncSender<()>,
}

impl Supervisor {
    /// Serves messages until QEMU closes the control channel; gives what we ended it for.
    fn watch(
        &mut self,
        messages: &Receiver<Message>,
        deadline: Option<Instant>,
        events: &mut dyn FnMut(Event),
    ) -> Option<Outcome> {
        let mut reason = None;
        loop {
            let limit = match (self.ending, deadline) {
                (Some(since), _) => Some(since + PATIENCE),
                (None, deadline) => deadline,
            };
            match receive(messages, limit) {
                Ok(Message::Control(bytes)) => self.hear(&bytes, events),
                Ok(Message::ControlClosed) => break,
                Ok(Message::Signal(signal)) => {
                    reason.get_or_insert(Outcome::Stopped(signal));
                    self.terminate();
                }
                Ok(Message::OutputClosed) => {
                    reason.get_or_insert(Outcome::OutputClosed);
                    self.terminate();
                }
                Err(RecvTimeoutError::Timeout) if self.ending.is_none() => {
                    reason = Some(Outcome::TimedOut);
                    self.terminate();
                }
                Err(RecvTimeoutError::Timeout) => {
                    // It ignored the request; the kernel's word on its exit still counts.
                    let _ = self.child.0.kill();
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let Self { listener, exit, panicked, .. } = self;
        listener.finish(&mut |event| note(event, exit, panicked, events));
        reason
    }

    fn hear(&mut self, bytes: &[u8], events: &mut dyn FnMut(Event)) {
        let _ = self.awake.try_send(());
        let Self { listener, exit, panicked, ending, .. } = self;
        listener.receive(bytes, &mut |event| note(event, exit, panicked, events));
        if exit.is_some() || *panicked {
            // The machine powers itself off now; it gets some time for it.
            ending.get_or_insert_with(Instant::now);
        }
    }

    /// Asks QEMU to end, and insists when asked again.
    fn terminate(&mut self) {
        if self.ending.is_some() {
            let _ = self.child.0.kill();
            return;
        }
        self.ending = Some(Instant::now());
        let pid = rustix::process::Pid::from_child(&self.child.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }

    fn reap(&mut self) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                self.child.0.kill()?;
                return self.child.0.wait();
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn conclude(
        self,
        reason: Option<Outcome>,
        status: ExitStatus,
        messages: String,
    ) -> Result<Outcome, Error> {
        if let Some(exit) = self.exit {
            return Ok(Outcome::Exited(exit));
        }
        if self.panicked {
            return Ok(Outcome::Panicked);
        }
        if let Some(reason) = reason {
            return Ok(reason);
        }
        let tail: Vec<String> = self.listener.tail().map(str::to_owned).collect();
        if status.code() == Some(1) && tail.is_empty() && !messages.trim().is_empty() {
            return Err(Error::Refused(messages.trim().to_owned()));
        }
        Ok(Outcome::Lost { status: status.to_string(), messages: messages.trim().to_owned(), tail })
    }
}

/// Keeps what decides the outcome and passes the event on.
fn note(event: Event, exit: &mut Option<Exit>, panicked: &mut bool, events: &mut dyn FnMut(Event)) {
    match &event {
        Event::Exit(status) => *exit = Some(*status),
        Event::Panic { .. } => *panicked = true,
        _ => {}
    }
    events(event);
}

fn receive(
    messages: &Receiver<Message>,
    limit: Option<Instant>,
) -> Result<Message, RecvTimeoutError> {
    match limit {
        Some(limit) => messages.recv_timeout(limit.saturating_duration_since(Instant::now())),
        None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn watch_signals(sender: Sender<Message>) -> io::Result<Handle> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(Message::Signal(signal)).is_err() {
                break;
            }
        }
    });
    Ok(handle)
}

fn watch_control(mut control: PipeReader, sender: Sender<Message>) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = control.read(&mut buffer) {
            if sender.send(Message::Control(buffer[..count].to_vec())).is_err() {
                return;
            }
        }
        let _ = sender.send(Message::ControlClosed);
    });
}

fn copy_output(
    child: &mut Child,
    mut output: Box<dyn Write + Send>,
    sender: Sender<Message>,
    awake: SyncSender<()>,
) -> thread::JoinHandle<io::Result<()>> {
    let source = child.stdout.take();
    thread::spawn(move || {
        let Some(mut source) = source else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            let _ = awake.try_send(());
            let written = output.write_all(&buffer[..count]).and_then(|()| output.flush());
            if written.is_err() {
                let _ = sender.send(Message::OutputClosed);
                return written;
            }
        }
        Ok(())
    })
}

fn collect_messages(child: &mut Child) -> thread::JoinHandle<String> {
    let source = child.stderr.take();
    thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(source) = source {
            // QEMU has little to say; a flood of the same line tells no more.
            let _ = source.take(1 << 20).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Hands our input on, and its end: that of a stream, or the character that a terminal sends for it.
fn copy_input(mut sink: ChildStdin, stream: bool) {
    let mut encoded = Vec::new();
    let mut buffer = [0; 4096];
    let mut source = io::stdin().lock();
    let mut last = b'\n';
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                last = buffer[count - 1];
                let mut bytes = &buffer[..count];
                if stream {
                    encoded.clear();
                    encoded.extend(console::encode(bytes));
                    bytes = &encoded;
                }
                if sink.write_all(bytes).and_then(|()| sink.flush()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // In the middle of a line, the first one only hands the line's beginning on (termios(3)).
    let end = [END_OF_TRANSMISSION; 2];
    let end = match (stream, last) {
        (true, _) => &console::ENDED[..],
        (false, b'\n') => &end[..1],
        (false, _) => &end[..],
    };
    let _ = sink.write_all(end).and_then(|()| sink.flush());
    // Closing the pipe would make QEMU spin on its end: it stays open for the guest's life.
    loop {
        thread::park();
    }
}
