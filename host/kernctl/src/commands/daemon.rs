// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl daemon`: the service itself, its tokens, its systemd unit.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bhojpur_api::{Role, TokenRequest};
use bhojpur_daemon::{Config, Ready, Tcp};

use super::console::Signals;
use super::note;
use crate::arguments::{Daemon, DaemonCommand, TokenCommand};
use crate::session::{Session, home};
use crate::{Failure, embedded};

/// The unit that is shipped.
const UNIT: &str = include_str!("../../../../packaging/systemd/kernctl.service");
/// One of our own ends when nothing needed it for so long.
const IDLE: Duration = Duration::from_secs(600);
/// How long it waits for the one before, which answers nobody any more and has not ended yet.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs the daemon until it is told to end.
pub(crate) fn run(daemon: Daemon) -> Result<u8, Failure> {
    if daemon.embedded {
        embedded::detach();
    }
    let config = config(&daemon)?;
    serve(config, daemon.embedded)?;
    Ok(0)
}

/// What the file says, and on top of it what the command line says.
fn config(daemon: &Daemon) -> Result<Config, Failure> {
    let directory = match &daemon.directory {
        Some(directory) => std::path::absolute(directory)
            .map_err(|error| Failure::io(format!("cannot use {}", directory.display()), &error))?,
        None => home()?,
    };
    let mut config = match &daemon.config {
        Some(file) => Config::new(directory).with_file(file)?,
        None => Config::load(directory)?,
    };
    if let Some(socket) = &daemon.socket {
        config.socket = Some(socket.clone());
    }
    let listen = daemon.listen.or(daemon.port.map(|port| SocketAddr::from(([0, 0, 0, 0], port))));
    if let Some(address) = listen {
        match &mut config.tcp {
            Some(tcp) => tcp.address = address,
            none => *none = Some(Tcp::new(address)),
        }
    }
    match &mut config.tcp {
        Some(tcp) => {
            if daemon.tls_cert.is_some() {
                tcp.certificate.clone_from(&daemon.tls_cert);
                tcp.key.clone_from(&daemon.tls_key);
            }
            tcp.names.extend(daemon.tls_name.iter().cloned());
        }
        None if daemon.tls_cert.is_some() || !daemon.tls_name.is_empty() => {
            return Err(Failure::usage("TLS is for TCP alone").advise("add --listen ADDRESS:PORT"));
        }
        None => {}
    }
    if daemon.trace {
        config.log.filter = "trace".to_owned();
    } else if daemon.debug {
        config.log.filter = "debug".to_owned();
    }
    if let Some(file) = &daemon.log_file {
        config.log.file = Some(file.clone());
    }
    if daemon.embedded {
        // Commands look for it there, whatever the file says about a service.
        config.socket = Some(config.directory.join(embedded::SOCKET));
        config.exit_when_idle = Some(IDLE);
        config.start_patience = PATIENCE;
    } else if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        config.log.json = false;
    }
    Ok(config)
}

fn serve(config: Config, embedded: bool) -> Result<(), Failure> {
    bhojpur_daemon::logging::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let shutdown = async move { signals.next().await };
        let ready = move |ready: Ready| {
            if !embedded {
                announce(&ready);
            }
        };
        bhojpur_daemon::run(config, shutdown, ready).await.map_err(Failure::from)
    })
}

/// What clients have to know.
fn announce(ready: &Ready) {
    if let Some(socket) = &ready.socket {
        note(&format!("ready on unix://{}", socket.display()));
    }
    if let Some(address) = &ready.tcp {
        note(&format!("ready on https://{address}"));
    }
    if let Some(fingerprint) = &ready.fingerprint {
        note(&format!("the certificate's fingerprint is {fingerprint}"));
    }
}

/// The relay of ports into machines that have none of their own, started by the daemon.
pub(crate) fn port_proxy(words: &[OsString]) -> ExitCode {
    bhojpur_daemon::port_proxy(words.iter().cloned())
}

/// Everything about the daemon but running it.
pub(crate) async fn manage(session: &Session, daemon: Daemon) -> Result<u8, Failure> {
    match daemon.command {
        Some(DaemonCommand::Token(command)) => token(session, command).await,
        Some(DaemonCommand::Install { to }) => install(session, to.as_deref()),
        Some(DaemonCommand::Stop) => stop(session).await,
        None => run(daemon),
    }
}

async fn token(session: &Session, command: TokenCommand) -> Result<u8, Failure> {
    let client = session.connect().await?;
    match command {
        TokenCommand::Create { name, role } => {
            let role = match role.as_str() {
                "read" => Role::Read,
                "admin" => Role::Admin,
                _ => Role::Operate,
            };
            let token = client.create_token(&TokenRequest { name, role }).await?;
            session.printer.one(&token, || token.secret.clone())?;
        }
        TokenCommand::Ls(listing) => {
            let style = session.printer.style(listing.format.as_deref(), listing.quiet)?;
            session.printer.list(&client.tokens().await?, false, &style)?;
        }
        TokenCommand::Rm { name } => {
            client.delete_token(&name).await?;
            session.printer.line(&name)?;
        }
    }
    Ok(0)
}

/// The unit, with the path of this very program.
fn install(session: &Session, to: Option<&Path>) -> Result<u8, Failure> {
    let program: PathBuf = std::env::current_exe()
        .map_err(|error| Failure::io("cannot find the kernctl that runs", &error))?;
    let unit = unit(&program)?;
    let Some(path) = to else {
        session.printer.raw(unit.as_bytes())?;
        return Ok(0);
    };
    let written = write_unit(path, unit.as_bytes());
    written.map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    note(&format!("now: systemctl daemon-reload && systemctl enable --now {name}"));
    Ok(0)
}

/// The unit that starts `program`, written as systemd.service(5) reads it: quoted, with its
/// specifiers doubled. Names with quotes or backslashes it does not start at all.
fn unit(program: &Path) -> Result<String, Failure> {
    let name = program
        .to_str()
        .filter(|name| !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\'' | '\\')));
    let name = name.ok_or_else(|| {
        Failure::usage(format!("systemd does not start {program:?}"))
            .advise("move kernctl to another directory, for example /usr/local/bin")
    })?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+');
    let word = match name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('%', "%%")),
    };
    Ok(UNIT.replace("ExecStart=/usr/bin/kernctl ", &format!("ExecStart={word} ")))
}

/// Whole or not at all, and readable by everybody as units are.
fn write_unit(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    crate::client_config::write_private(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Ends the daemon of one's own, by the process that it names itself.
async fn stop(session: &Session) -> Result<u8, Failure> {
    if session.target()?.is_some() {
        return Err(Failure::unsupported("only a daemon of your own can be stopped from here")
            .advise("end the service where it runs: systemctl stop kernctl"));
    }
    let Some(client) = embedded::find(&home()?).await? else {
        return Ok(0);
    };
    let pid = client.info().await?.pid;
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::new("the daemon does not tell its process"))?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .map_err(|error| Failure::io("the daemon cannot be stopped", &error.into()))?;
    for _ in 0..600 {
        if embedded::find(&home()?).await.is_ok_and(|found| found.is_none()) {
            return Ok(0);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::new("the daemon was told to end and still answers"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether systemd takes a unit without a word, as `systemd-analyze verify` says.
    fn verify(program: &Path) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kernctl.service");
        write_unit(&path, unit(program).unwrap().as_bytes()).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output();
        let Ok(verified) = verified else {
            eprintln!(
                "SKIPPED: systemd-analyze (package systemd) is not installed; nobody has verified the unit"
            );
            return;
        };
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && said.is_empty(), "{}: {said}", program.display());
    }

    #[test]
    fn systemd_takes_the_unit_wherever_kernctl_is() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        for name in ["bin", "my tools", "100%h", "e$HOME", "a; -x", "ä"] {
            let place = directory.path().join(name);
            fs::create_dir(&place).unwrap();
            let program = place.join("kernctl");
            fs::write(&program, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            verify(&program);
        }
        for odd in ["/a\nb/kernctl", "/it's/kernctl", "/a\"b/kernctl", "/a\\b/kernctl"] {
            assert!(unit(Path::new(odd)).is_err(), "{odd}");
        }
        assert_eq!(unit(Path::new("/usr/bin/kernctl")).unwrap(), UNIT);
    }

    /// What would keep the daemon from its work: KVM, taps, its directory, machines that outlive it.
    #[test]
    fn the_unit_leaves_the_daemon_what_it_needs() {
        let has = |line: &str| UNIT.lines().any(|known| known == line);
        assert!(has("KillMode=process") && has("Type=notify") && has("StateDirectory=kernctl"));
        for key in
            ["PrivateDevices", "ProtectClock", "DevicePolicy", "PrivateNetwork", "PrivateUsers"]
        {
            assert!(!UNIT.contains(&format!("\n{key}=")), "{key} takes /dev/kvm or the taps away");
        }
    }
}
