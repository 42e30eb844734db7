// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The guest: plays the program of the suite step by step.
//!
//! A record at the end, framed in the serial line, says how it ended; then the process ends as
//! Firecracker does when its guest resets the machine.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bhojpur_abi::control::{self, Exit};
use bhojpur_abi::stream::Framer;
use bhojpur_conformance::program::{Step, UNKNOWN_STEP};
use serde::{Deserialize, Serialize};

use super::Log;
use super::boot::{Inside, Mount};

/// Status of a kernel that cannot run its program.
const CANNOT_RUN: u8 = 127;
const SIGTERM: u8 = 15;
/// What the kernel keeps of the memory, in MiB.
const KERNEL_MEMORY: usize = 10;

/// How far the program is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps that are done.
    done: usize,
    /// Counters: milliseconds between, and the last number.
    counters: Vec<(u64, u64)>,
    /// Status on SIGTERM.
    trap: Option<u8>,
    /// SIGTERM is ignored.
    ignoring: bool,
}

#[derive(Debug, Default)]
struct Control {
    held: bool,
    asked: bool,
    ended: bool,
    progress: Progress,
}

/// A running guest.
#[derive(Debug)]
pub struct Guest {
    inside: Inside,
    log: Log,
    control: Mutex<Control>,
    changed: Condvar,
}

impl Guest {
    /// Starts it.
    pub fn start(inside: Inside, progress: Progress, log: Log) -> Arc<Self> {
        let counters = 0..progress.counters.len();
        let control = Mutex::new(Control { progress, ..Control::default() });
        let guest = Arc::new(Self { inside, log, control, changed: Condvar::new() });
        for index in counters {
            guest.spawn(move |guest| guest.count(index));
        }
        guest.spawn(|guest| guest.run());
        guest.spawn(|guest| guest.answer_requests());
        guest
    }

    fn spawn(self: &Arc<Self>, work: impl FnOnce(Arc<Self>) + Send + 'static) {
        let guest = self.clone();
        std::thread::spawn(move || work(guest));
    }

    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Holds it or lets it go on.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.changed.notify_all();
    }

    /// Control, Alt and Delete: SIGTERM for the program.
    pub fn interrupt(&self) {
        self.lock().asked = true;
        self.changed.notify_all();
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.lock().progress.clone()
    }

    /// The control, while the machine is not held and not over.
    fn going(&self) -> MutexGuard<'_, Control> {
        let mut control = self.lock();
        while control.held || control.ended {
            control = self.changed.wait(control).unwrap_or_else(|poison| poison.into_inner());
        }
        control
    }

    fn answer_requests(&self) {
        loop {
            let mut control = self.going();
            if !control.asked {
                let waited = self.changed.wait(control);
                drop(waited.unwrap_or_else(|poison| poison.into_inner()));
                continue;
            }
            control.asked = false;
            if control.progress.ignoring {
                continue;
            }
            match control.progress.trap {
                Some(code) => {
                    print("goodbye\n");
                    self.end(&mut control, Exit::Status(code));
                }
                None => self.end(&mut control, Exit::Signal(SIGTERM)),
            }
        }
    }

    fn say(&self, line: &str) {
        let _control = self.going();
        print(&format!("{line}\n"));
    }

    /// Ends the machine, and with it the process.
    fn end(&self, control: &mut Control, exit: Exit) {
        control.ended = true;
        if self.inside.records {
            let mut record = String::new();
            let _ = control::exit(&mut Framer::new(&mut record, false), exit);
            print(&record);
        }
        self.log.line("Vmm is stopping.");
        self.log.line("Firecracker exiting successfully. exit_code=0");
        super::exit();
    }

    fn run(self: &Arc<Self>) {
        if let Some(why) = &self.inside.failure {
            let mut record = String::new();
            let _ = control::fatal(&mut Framer::new(&mut record, false), format_args!("{why}"));
            let mut control = self.going();
            print(&record);
            return self.end(&mut control, Exit::Status(CANNOT_RUN));
        }
        let first = self.lock().progress.done;
        for (index, argument) in self.inside.args.iter().enumerate().skip(first) {
            let Some(step) = Step::parse(argument) else {
                return self.end(&mut self.going(), Exit::Status(UNKNOWN_STEP));
            };
            self.play(&step);
            self.going().progress.done = index + 1;
        }
        self.end(&mut self.going(), Exit::Status(0));
    }

    fn play(self: &Arc<Self>, step: &Step) {
        match step {
            Step::Say(text) => self.say(text),
            Step::Args => {
                for (index, argument) in self.inside.args.iter().enumerate() {
                    self.say(&format!("arg {}={argument}", index + 1));
                }
            }
            Step::Env(name) => self.say(&self.variable(name)),
            Step::Machine => {
                self.say(&format!("cpus={}", self.inside.cpus));
                self.say(&format!("memory={}", self.inside.memory_mib - KERNEL_MEMORY));
            }
            Step::Exit(code) => self.end(&mut self.going(), Exit::Status(*code)),
            Step::Signal(number) => self.end(&mut self.going(), Exit::Signal(*number)),
            Step::Trap(code) => {
                self.going().progress.trap = Some(*code);
                self.say("trapping");
            }
            Step::Ignore => {
                self.going().progress.ignoring = true;
                self.say("ignoring");
            }
            Step::Sleep(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
            Step::Tcp(port) => self.listen(*port),
            Step::Udp(port) => self.receive(*port),
            Step::Count(interval) => {
                let index = {
                    let mut control = self.going();
                    control.progress.counters.push((*interval, 0));
                    control.progress.counters.len() - 1
                };
                self.spawn(move |guest| guest.count(index));
            }
            Step::Flood(lines) => {
                for line in 1..=*lines {
                    self.say(&format!("line {line} of a flood that fills the log"));
                }
            }
            Step::Read => {
                let line = read_line();
                self.say(&format!("read {line}"));
            }
            Step::Write(path, text) => self.say(&match self.write(path, text) {
                Ok(()) => format!("wrote {path}"),
                Err(why) => format!("cannot write {path}: {why}"),
            }),
            Step::Cat(path) => self.say(&match self.read(path) {
                Ok(text) => format!("{path} holds {text}"),
                Err(why) => format!("cannot read {path}: {why}"),
            }),
            Step::Wait => loop {
                std::thread::park();
            },
        }
    }

    fn variable(&self, name: &str) -> String {
        let value = |variable: &String| {
            variable.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned())
        };
        match self.inside.env.iter().find_map(value) {
            Some(value) => format!("env {name}={value}"),
            None => format!("env {name} unset"),
        }
    }

    fn count(&self, index: usize) {
        loop {
            let interval = self.lock().progress.counters[index].0;
            {
                let mut control = self.going();
                let number = &mut control.progress.counters[index].1;
                *number += 1;
                let mut line = String::new();
                let _ = writeln!(line, "count {number}");
                print(&line);
            }
            std::thread::sleep(Duration::from_millis(interval));
        }
    }

    /// Where the program listens: its address is one of this machine's loopback.
    fn address(&self) -> Ipv4Addr {
        self.inside.address.unwrap_or(Ipv4Addr::LOCALHOST)
    }

    fn listen(self: &Arc<Self>, port: u16) {
        match TcpListener::bind((self.address(), port)) {
            Ok(listener) => {
                self.say(&format!("listening tcp {port}"));
                self.spawn(move |guest| {
                    for stream in listener.incoming().flatten() {
                        guest.spawn(move |guest| guest.echo(&stream));
                    }
                });
            }
            Err(error) => self.say(&format!("cannot listen tcp {port}: {error}")),
        }
    }

    fn echo(&self, mut stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            drop(self.going());
            if stream.write_all(format!("echo {line}").as_bytes()).is_err() {
                return;
            }
            line.clear();
        }
    }

    fn receive(self: &Arc<Self>, port: u16) {
        match UdpSocket::bind((self.address(), port)) {
            Ok(socket) => {
                self.say(&format!("listening udp {port}"));
                self.spawn(move |guest| {
                    let mut packet = vec![0; 1 << 16];
                    while let Ok((length, from)) = socket.recv_from(&mut packet) {
                        drop(guest.going());
                        let answer = [b"echo ", &packet[..length]].concat();
                        let _ = socket.send_to(&answer, from);
                    }
                });
            }
            Err(error) => self.say(&format!("cannot listen udp {port}: {error}")),
        }
    }

    /// The mount of a path, and the path in its file system.
    fn mounted<'a>(&self, path: &'a str) -> Option<(&Mount, &'a str)> {
        let below = |mount: &&Mount| {
            path.strip_prefix(mount.target.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        let mount = self.inside.mounts.iter().rfind(below)?;
        Some((mount, &path[mount.target.len()..]))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let (mount, name) = self.mounted(path).ok_or("no such file or directory")?;
        let disk = &self.inside.disks[mount.disk];
        if mount.read_only || disk.read_only {
            return Err("read-only file system".to_owned());
        }
        let mut file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        file.write_all(text.as_bytes()).map_err(|error| error.to_string())?;
        // An earlier file of this name is in the way, and a new one is not.
        let _ = debugfs(&["-w", "-R", &format!("rm {name}"), &disk.path]);
        let write = format!("write {} {name}", file.path().display());
        debugfs(&["-w", "-R", &write, &disk.path]).map(drop)
    }

    fn read(&self, path: &str) -> Result<String, String> {
        let none = "no such file or directory";
        let (mount, name) = self.mounted(path).ok_or(none)?;
        let disk = &self.inside.disks[mount.disk];
        let (text, said) = debugfs(&["-R", &format!("cat {name}"), &disk.path])?;
        if said.contains("not found") { Err(none.to_owned()) } else { Ok(text) }
    }
}

/// What a run of debugfs said on its outputs.
fn debugfs(words: &[&str]) -> Result<(String, String), String> {
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let run = Command::new("debugfs").args(words).env("PATH", search).stdin(Stdio::null()).output();
    let run = run.map_err(|error| format!("debugfs: {error}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if run.status.success() {
        Ok((text(run.stdout), text(run.stderr)))
    } else {
        Err(text(run.stderr))
    }
}

fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    // A disk that is full loses output; the guest does not see it.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// A line of the serial line's input, which never ends.
fn read_line() -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut input = std::io::stdin().lock();
    loop {
        match input.read(&mut byte) {
            Ok(1) if byte[0] == b'\n' || byte[0] == b'\r' => break,
            Ok(1) => line.push(byte[0]),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    String::from_utf8_lossy(&line).into_owned()
}
