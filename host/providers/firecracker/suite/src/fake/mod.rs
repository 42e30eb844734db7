// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The fake: arguments, log, and the API on its socket.

pub mod boot;
pub mod guest;
pub mod http;
pub mod machine;
pub mod model;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use machine::Machine;

/// The version that is played.
pub const VERSION: &str = "1.17.0-fake";
/// Where tap devices are looked for, instead of opening them.
pub const INTERFACES: &str = "FAKE_FIRECRACKER_INTERFACES";
/// FcExitCode::ArgParsing.
const BAD_ARGUMENTS: u8 = 153;
/// FcExitCode::GenericError.
const GENERIC: u8 = 1;

/// Firecracker's own log.
#[derive(Clone, Debug)]
pub struct Log {
    id: String,
    file: Arc<Mutex<Option<File>>>,
}

impl Log {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), file: Arc::default() }
    }

    /// Writes into another file.
    pub fn redirect(&self, path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        *self.file.lock().unwrap_or_else(|poison| poison.into_inner()) = Some(file);
        Ok(())
    }

    /// Writes a line; to standard output, where the serial line is, when there is no file.
    pub fn line(&self, text: &str) {
        let line = format!("2026-01-01T00:00:00.000000000 [{}:main] {text}\n", self.id);
        let mut file = self.file.lock().unwrap_or_else(|poison| poison.into_inner());
        // As the real one, it goes on when its log cannot be written.
        let _ = match file.as_mut() {
            Some(file) => file.write_all(line.as_bytes()),
            None => io::stdout().write_all(line.as_bytes()),
        };
    }
}

#[derive(Debug, Default)]
struct Arguments {
    api_sock: Option<PathBuf>,
    id: Option<String>,
    log_path: Option<PathBuf>,
    payload_max: Option<usize>,
    version: bool,
}

fn parse(words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut words = words.peekable();
    let mut arguments = Arguments::default();
    let mut seen = Vec::new();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").ok_or(format!("UnexpectedArgument({word:?})"))?;
        if seen.contains(&name.to_owned()) {
            return Err(format!("DuplicateArgument({name:?})"));
        }
        seen.push(name.to_owned());
        if ["version", "show-level", "show-log-origin", "boot-timer", "no-seccomp"].contains(&name)
        {
            arguments.version |= name == "version";
            continue;
        }
        let known = [
            "api-sock",
            "id",
            "log-path",
            "level",
            "module",
            "http-api-max-payload-size",
            "mmds-size-limit",
            "metrics-path",
            "start-time-us",
            "start-time-cpu-us",
            "parent-cpu-time-us",
        ];
        if !known.contains(&name) {
            return Err(format!("UnexpectedArgument({name:?})"));
        }
        let value = words.next_if(|value| !value.starts_with("--"));
        let value = value.ok_or(format!("MissingValue({name:?})"))?;
        match name {
            "api-sock" => arguments.api_sock = Some(value.into()),
            "id" => arguments.id = Some(value),
            "log-path" => arguments.log_path = Some(value.into()),
            "http-api-max-payload-size" => {
                arguments.payload_max = Some(value.parse().map_err(|_| "not a number")?);
            }
            "level" => {
                let levels = ["off", "trace", "debug", "info", "warn", "warning", "error"];
                if !levels.contains(&value.to_ascii_lowercase().as_str()) {
                    return Err(format!("InvalidLogLevel({value:?})"));
                }
            }
            _ => {}
        }
    }
    Ok(arguments)
}

/// Runs the fake.
#[must_use]
pub fn main(words: impl Iterator<Item = String>) -> ExitCode {
    let arguments = match parse(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("Error: ParseArguments({error})");
            return ExitCode::from(BAD_ARGUMENTS);
        }
    };
    if arguments.version {
        println!("Firecracker v{VERSION}\n");
        return ExitCode::SUCCESS;
    }
    let id = arguments.id.as_deref().unwrap_or("anonymous-instance");
    let sane = (1..=64).contains(&id.len()) && id.chars().all(|c| c == '-' || c.is_alphanumeric());
    if !sane {
        eprintln!("Invalid instance ID: {id:?}");
        return ExitCode::from(GENERIC);
    }
    let log = Log::new(id);
    let served = || -> io::Result<()> {
        if let Some(path) = &arguments.log_path {
            log.redirect(path)?;
        }
        log.line(&format!("Running Firecracker v{VERSION}"));
        let path = arguments.api_sock.clone();
        let path = path.unwrap_or_else(|| "/run/firecracker.socket".into());
        let listener = UnixListener::bind(path)?;
        log.line("API server started.");
        serve(&listener, id, &log, arguments.payload_max.unwrap_or(51200))
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: RunWithApi(FailedToBindAndRunHttpServer(IOError({error:?})))");
            ExitCode::from(GENERIC)
        }
    }
}

/// Held from a request to its line in the list.
static ANSWERING: Mutex<()> = Mutex::new(());

/// Ends the process, as the machine ends; not between a request that ends it and its line in
/// the list. One that waits for the machine at this moment has none.
pub fn exit() -> ! {
    let patience = Instant::now() + Duration::from_millis(500);
    while ANSWERING.try_lock().is_err() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::exit(0)
}

/// One connection after the other, as the API's one thread does.
fn serve(listener: &UnixListener, id: &str, log: &Log, payload_max: usize) -> io::Result<()> {
    let interfaces = std::env::var_os(INTERFACES).map(PathBuf::from);
    let mut machine = Machine::new(id, log.clone(), interfaces, payload_max);
    let mut requests = OpenOptions::new().create(true).append(true).open("requests.log")?;
    loop {
        let (stream, _) = listener.accept()?;
        let _ = http::serve(&stream, payload_max, &mut |request| {
            let body = request.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let _whole = ANSWERING.lock().unwrap_or_else(|poison| poison.into_inner());
            let response = machine.handle(&request);
            let (method, path, status) = (&request.method, &request.path, response.status);
            let _ = writeln!(requests, "{status} {method} {path} {body}");
            response
        });
    }
}
