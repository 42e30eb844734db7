// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon as a process of its own, to be killed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bhojpur_daemon::{Config, Providers};
use bhojpur_provider::Provider;

use crate::client::Client;
use crate::fake::Fake;

/// This program, even when a build has replaced it meanwhile.
pub(crate) const MYSELF: &str = "/proc/self/exe";
/// The first argument of the daemon.
pub(crate) const DAEMON: &str = "--daemon";
/// It is ready when this is there.
const READY: &str = "ready";
const LIMIT: Duration = Duration::from_secs(120);

/// The configuration of daemons under test.
pub(crate) fn config(home: &Path) -> Config {
    let mut config = Config::load(home).unwrap();
    config.limits.reserve_bytes = 1 << 20;
    config.log.filter = "debug".to_owned();
    config
}

pub(crate) fn providers(home: &Path) -> Providers {
    let fake: Arc<dyn Provider> = Arc::new(Fake::new(home));
    Providers::new([fake], None)
}

/// Runs the daemon in this process until SIGTERM.
pub(crate) fn daemon(home: &str) -> ExitCode {
    let home = Path::new(home).canonicalize().unwrap();
    let config = config(&home);
    bhojpur_daemon::logging::install(&config.log).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ran = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate()).unwrap();
        let shutdown = async move {
            term.recv().await;
        };
        let providers = providers(&home);
        let marker = home.with_file_name(READY);
        bhojpur_daemon::run_with(config, providers, shutdown, |_| {
            std::fs::write(marker, "").unwrap();
        })
        .await
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A daemon that runs.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) client: Client,
}

impl Daemon {
    /// Starts one and waits until it answers. What it says goes to `log` beside its directory.
    pub(crate) fn start(home: &Path, log: &Path) -> Self {
        let marker = home.with_file_name(READY);
        let _ = std::fs::remove_file(&marker);
        let log = File::options().create(true).append(true).open(log).unwrap();
        // The fake stops the process of an instance that it holds, and when the daemon is killed
        // Linux sends SIGHUP to stopped processes that nobody of their session is left to continue
        // (setpgid(2)). No monitor that holds its guest is stopped, so all of ours ignore it.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .arg(DAEMON)
            .arg(home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !marker.exists() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the daemon ended: {status}");
            }
            assert!(start.elapsed() < LIMIT, "the daemon does not become ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, client: Client::new(home) }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does.
    pub(crate) fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves no daemon behind. Of one that has ended this does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
