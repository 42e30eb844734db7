// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting QEMU, and telling why it did not start.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use bhojpur_monitor::{Qemu, QemuError};
use bhojpur_provider::process::Monitor;
use bhojpur_provider::{Error, ErrorKind, Plan, Result};
use tokio::time::Instant;

use crate::files::Files;
use crate::outcome::LastWords;
use crate::plan::{self, Prepared};
use crate::qmp::{ANSWER_LIMIT, Client};

/// How long QEMU may take to be there.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(10);
/// What QEMU and its helpers need of our environment; nothing else is theirs to see.
const ENVIRONMENT: &[&str] = &["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LANG"];

/// Starts QEMU for a plan that was just prepared.
pub(crate) fn spawn(
    qemu: &Qemu,
    plan: &Plan,
    files: &Files,
    prepared: &Prepared,
    more: &[OsString],
) -> Result<()> {
    plan::check_ports(&prepared.machine)?;
    files.prepare_start(plan, &prepared.record)?;
    let mut command = Command::new(&qemu.path);
    command
        .args(prepared.machine.wired(&prepared.wiring))
        .args(more)
        .current_dir(files.directory())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    match files.monitor().spawn(&mut command) {
        Ok(_) => {
            files.settle_start();
            Ok(())
        }
        Err(error) => {
            files.undo_start();
            Err(error)
        }
    }
}

/// Ends a machine that did not come up: whoever hears of the failure looks after nothing, and may
/// use its volumes.
pub(crate) async fn or_end(files: &Files, come_up: impl Future<Output = Result<()>>) -> Result<()> {
    let outcome = come_up.await;
    if outcome.is_err() {
        // The first failure is what matters.
        let _ = files.monitor().kill().await;
    }
    outcome
}

/// Waits until QEMU has made the machine. A program that has ended by then was started as well.
pub(crate) async fn ready(files: &Files, limit: Duration) -> Result<()> {
    let monitor = files.monitor();
    let deadline = Instant::now() + limit;
    loop {
        let Err(failure) = Client::connect(&files.qmp(), ANSWER_LIMIT).await else {
            return Ok(());
        };
        if !monitor.is_running()? {
            return ended_early(files, &monitor);
        }
        if Instant::now() > deadline {
            let seconds = limit.as_secs();
            let message = format!("QEMU has not started within {seconds} seconds: {failure}");
            return Err(Error::new(ErrorKind::Failed, message)
                .advise("try again when this machine is less busy; its monitor.log may say more"));
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn ended_early(files: &Files, monitor: &Monitor) -> Result<()> {
    // The kernel has spoken: there was a machine, and it ran.
    if !files.control_tail().is_empty() {
        return Ok(());
    }
    let killed = files.killed().exists();
    if killed {
        return Err(Error::new(ErrorKind::Conflict, "the instance was ended while it started"));
    }
    Err(explain(&monitor.messages()))
}

/// Why a machine that was there has ended before it ran.
pub(crate) fn explain_end(files: &Files) -> Error {
    explain(&files.monitor().messages())
}

/// What QEMU's message means for the user.
fn explain(messages: &str) -> Error {
    let text = if messages.is_empty() { "it gave no reason" } else { messages };
    let (kind, advice) = if messages.contains("host forwarding rule")
        || messages.contains("Address already in use")
    {
        (ErrorKind::Conflict, "another program took the port; choose another one")
    } else if messages.contains("\" lock") {
        (ErrorKind::Conflict, "stop the other instance that has the volume")
    } else if messages.contains("allocate memory") || messages.contains("set up guest memory") {
        (ErrorKind::Exhausted, "give the instance less memory, or stop others")
    } else if messages.contains("No space left") {
        (ErrorKind::Exhausted, "make room on the disk of the instances")
    } else if messages.contains("/dev/kvm") || messages.contains("failed to initialize kvm") {
        (ErrorKind::NotReady, "let this user use /dev/kvm: sudo usermod -aG kvm $USER")
    } else if messages.contains("/dev/net/tun") || messages.contains("bridge helper") {
        let advice = "let this user use the device: ip tuntap add ... user $USER, or for a \
                      bridge, `allow NAME` in /etc/qemu/bridge.conf";
        (ErrorKind::NotReady, advice)
    } else {
        (ErrorKind::Failed, "the message is QEMU's own; check the arguments it complains of")
    };
    Error::new(kind, format!("QEMU could not start the machine: {text}")).advise(advice)
}

/// A QEMU that can be started.
pub(crate) fn locate() -> Result<Qemu> {
    Qemu::locate().map_err(|error: QemuError| {
        let advice = error.advice();
        let error = Error::new(ErrorKind::NotReady, error);
        match advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    })
}

/// How the last run ended, and why when the kernel said so.
pub(crate) fn outcome(files: &Files) -> (bhojpur_provider::Ended, Option<String>) {
    let mut words = LastWords::read(&files.control_tail());
    let reason = words.reason.take();
    (words.outcome(files.killed().exists(), &files.monitor().messages()), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_qemu_are_understood() {
        let kind = |text: &str| explain(text).kind();
        let taken = "-netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:80-:80'";
        assert_eq!(kind(taken), ErrorKind::Conflict);
        assert_eq!(kind("Failed to get \"write\" lock"), ErrorKind::Conflict);
        let memory = "cannot set up guest memory 'microvm.ram': Cannot allocate memory";
        assert_eq!(kind(memory), ErrorKind::Exhausted);
        assert_eq!(kind("Could not access KVM kernel module: /dev/kvm"), ErrorKind::NotReady);
        assert_eq!(kind(""), ErrorKind::Failed);
        assert!(explain("-foo: invalid option").to_string().contains("invalid option"));
    }
}
