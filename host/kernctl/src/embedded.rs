// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A daemon of one's own: started by the first command that needs one, on a socket that nobody
//! else can reach. It ends by itself when it has nothing to do.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bhojpur_client::{Client, Target};
use rustix::fs::{FlockOperation, flock};

use crate::Failure;

/// The socket in the home directory.
pub(crate) const SOCKET: &str = "kernctl.sock";
/// What it says.
pub(crate) const LOG: &str = "daemon.log";
/// Held while a daemon is being started.
const LOCK: &str = "kernctl.lock";
/// How long a start may take: it looks after what was in flight first.
const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(25);
/// As much of its log as is shown.
const MESSAGE_MAX: u64 = 8192;

/// A client of the daemon that runs, if one does.
pub(crate) async fn find(home: &Path) -> Result<Option<Client>, Failure> {
    let client = Client::new(Target::unix(home.join(SOCKET)))?;
    match client.ping().await {
        Ok(_) => Ok(Some(client)),
        Err(error) if error.is_absent() => Ok(None),
        // A daemon that is killed still takes connections for a moment, and nobody answers. Whoever
        // starts another one asks again before.
        Err(bhojpur_client::Error::Broken { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A client of the daemon, which is started when it does not run.
pub(crate) async fn connect(home: &Path) -> Result<Client, Failure> {
    if let Some(client) = find(home).await? {
        return Ok(client);
    }
    prepare(home)?;
    let deadline = Instant::now() + LIMIT;
    let _lock = lock(home, deadline).await?;
    // Somebody else may have started it meanwhile.
    if let Some(client) = find(home).await? {
        return Ok(client);
    }
    let (mut child, log_start) = spawn(home)?;
    loop {
        if let Some(client) = find(home).await? {
            return Ok(client);
        }
        match child.try_wait() {
            Ok(Some(status)) => {
                // One that was started by hand at the same time is as good.
                if let Some(client) = find(home).await? {
                    return Ok(client);
                }
                return Err(not_started(home, log_start, &format!("it ended with {status}")));
            }
            Ok(None) if Instant::now() > deadline => {
                let _ = child.kill();
                let what = format!("it is not ready after {} seconds", LIMIT.as_secs());
                return Err(not_started(home, log_start, &what));
            }
            Ok(None) => tokio::time::sleep(INTERVAL).await,
            Err(error) => return Err(Failure::io("cannot look after the daemon", &error)),
        }
    }
}

fn prepare(home: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(|error| Failure::io(format!("cannot make {}", home.display()), &error))
}

/// Waits for its turn to start the daemon.
async fn lock(home: &Path, deadline: Instant) -> Result<File, Failure> {
    let path = home.join(LOCK);
    let failed =
        |error: std::io::Error| Failure::io(format!("cannot lock {}", path.display()), &error);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                tokio::time::sleep(INTERVAL).await;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Failure::unreachable(
                    "another kernctl is starting the daemon and does not come to an end",
                ));
            }
            Err(error) => return Err(failed(error.into())),
        }
    }
}

/// Starts it, and tells where in the log its words begin.
fn spawn(home: &Path) -> Result<(Child, u64), Failure> {
    put_log_aside(home);
    let path = home.join(LOG);
    let open = || -> std::io::Result<(File, File, u64)> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok((log.try_clone()?, log.try_clone()?, log.metadata()?.len()))
    };
    let (out, err, start) =
        open().map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))?;
    let program = std::env::current_exe()
        .map_err(|error| Failure::io("cannot find the kernctl that runs", &error))?;
    let child = Command::new(&program)
        .args(["daemon", "--embedded", "--directory"])
        .arg(home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map_err(|error| Failure::io(format!("cannot start {}", program.display()), &error))?;
    Ok((child, start))
}

fn not_started(home: &Path, start: u64, what: &str) -> Failure {
    let path = home.join(LOG);
    let read = || -> std::io::Result<String> {
        let mut log = File::open(&path)?;
        let end = log.metadata()?.len();
        log.seek(SeekFrom::Start(start.max(end.saturating_sub(MESSAGE_MAX))))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let said = read().unwrap_or_default();
    // Its own last error says more than we know.
    let error = said.lines().rev().find_map(|line| line.strip_prefix("kernctl: error: "));
    let help = said.lines().rev().find_map(|line| line.strip_prefix("kernctl: help: "));
    let message = format!("the daemon could not be started: {}", error.unwrap_or(what));
    let advice = help.map_or_else(|| format!("its log is {}", path.display()), str::to_owned);
    Failure::unreachable(message).advise(advice)
}

/// Leaves the terminal and the session of whoever started us: setsid(2). That they are left
/// already is as good.
pub(crate) fn detach() {
    let _ = rustix::process::setsid();
}

/// Begins a log anew that grew over many starts. Whoever has it open already goes on writing to
/// the old one, so this comes before the daemon gets it.
fn put_log_aside(home: &Path) {
    const LOG_MAX: u64 = 16 << 20;
    let path = home.join(LOG);
    if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_MAX) {
        let _ = fs::rename(&path, home.join("daemon.log.1"));
    }
}
