// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands about instances that exist.

use bhojpur_api::{ExposedPort, Instance, RenameRequest, SnapshotRequest};
use bhojpur_client::{Client, LogOptions, decode};

use super::console::{self, Signals, Watch};
use super::filters::{Filters, Keys};
use super::{each, note, waiting};
use crate::Failure;
use crate::arguments::{
    InstanceNames, Kill, Logs, Ps, Published, Rename, Restart, Rm, SnapshotCommand, Start, Stop,
};
use crate::output::{exposed, host_side, value};
use crate::session::Session;

pub(crate) async fn list(session: &Session, ps: &Ps) -> Result<u8, Failure> {
    let style = session.printer.style(ps.format.as_deref(), ps.quiet)?;
    let filters = Filters::parse(&ps.filter, KEYS)?;
    let labels: Vec<String> = filters.values("label").map(str::to_owned).collect();
    // Who asks for a state means also those that do not run.
    let last = ps.last.or(ps.latest.then_some(1));
    let all = ps.all || last.is_some() || filters.values("state").next().is_some();
    let mut found = session.connect().await?.instances(all, &labels).await?;
    found.retain(|instance| filters.admit(|key, value| fits(instance, key, value)));
    if let Some(last) = last {
        // RFC 3339 in UTC: the order of the texts is that of the times.
        found.sort_by(|one, other| other.created.cmp(&one.created));
        found.truncate(last);
    }
    session.printer.list(&found, ps.no_trunc, &style)?;
    Ok(0)
}

const KEYS: Keys = &[
    ("name", "name"),
    ("id", "id"),
    ("image", "image"),
    ("ancestor", "image"),
    ("state", "state"),
    ("status", "state"),
    ("provider", "provider"),
    ("health", "health"),
    ("label", "label"),
];

fn fits(instance: &Instance, key: &str, wanted: &str) -> bool {
    let word = |text: Result<serde_json::Value, Failure>| text.is_ok_and(|text| text == wanted);
    match key {
        "name" => instance.name.contains(wanted),
        "id" => instance.id.starts_with(wanted),
        "image" => {
            instance.image == wanted
                || instance.image.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
                || instance.image_id.starts_with(wanted)
        }
        // docker's word for it.
        "state" if wanted == "exited" => fits(instance, key, "stopped"),
        "state" => word(value(&instance.state)),
        "provider" => instance.provider == wanted,
        "health" => instance.health.is_some_and(|health| word(value(&health))),
        // The daemon has gone by the labels.
        _ => true,
    }
}

pub(crate) async fn logs(session: &Session, logs: &Logs) -> Result<u8, Failure> {
    let options = LogOptions { tail: tail(&logs.tail)?, offset: None };
    let name = logs.name.clone().or_else(|| logs.instance.clone()).unwrap_or_default();
    let client = session.connect().await?;
    if !logs.follow {
        let mut bytes = client.logs(&name, options).await?;
        while let Some(piece) = bytes.next().await? {
            session.printer.raw(&piece)?;
        }
        tell_reason(&client, &name).await;
        return Ok(0);
    }
    let shown = async {
        let mut chunks = client.follow(&name, options).await?;
        while let Some(chunk) = chunks.next().await? {
            session.printer.raw(&decode(&chunk)?)?;
        }
        tell_reason(&client, &name).await;
        Ok::<u8, Failure>(0)
    };
    if !logs.delete {
        return shown.await;
    }
    let mut signals = Signals::new()?;
    let result = tokio::select! {
        result = shown => result,
        () = signals.next() => Ok(0),
    };
    if result.as_ref().err().is_none_or(|failure| !failure.is_not_found()) {
        client.delete_instance(&name, true, false).await?;
    }
    result
}

/// Behind the output of one that has ended; one that is removed at its end has no more to say.
async fn tell_reason(client: &Client, name: &str) {
    if let Ok(instance) = client.instance(name).await {
        console::tell_reason(&instance);
    }
}

fn tail(text: &str) -> Result<Option<u64>, Failure> {
    if text == "all" {
        return Ok(None);
    }
    let lines = text.parse().map_err(|_| {
        Failure::usage(format!("{text:?} is not a number of lines"))
            .advise("write --tail 100, or --tail all")
    })?;
    Ok(Some(lines))
}

pub(crate) async fn attach(
    session: &Session,
    name: &str,
    input: bool,
    proxy: bool,
) -> Result<u8, Failure> {
    let mut signals = Signals::new()?;
    let client = session.connect().await?;
    let instance = client.instance(name).await?;
    if waiting::is_at_rest(&instance) {
        return Err(Failure::conflict(format!("the instance {:?} does not run", instance.name))
            .advise(format!("start it: kernctl start -a {}", instance.name)));
    }
    let options = LogOptions { tail: Some(0), offset: None };
    let how = Watch { options, input, ends: false, proxy };
    watch(session, &client, &instance.id, how, &mut signals).await
}

async fn watch(
    session: &Session,
    client: &Client,
    id: &str,
    how: Watch,
    signals: &mut Signals,
) -> Result<u8, Failure> {
    match console::watch(session, client, id, how, signals).await? {
        Some(instance) => Ok(console::exit_status(&instance)),
        None => Ok(0),
    }
}

pub(crate) async fn stop(session: &Session, stop: &Stop) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, &stop.instances.all(), |name| {
        let client = client.clone();
        async move {
            client.stop(&name, stop.time).await?;
            Ok(name)
        }
    })
    .await
}

pub(crate) async fn start(session: &Session, start: &Start) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let names = start.instances.all();
    if start.attach {
        let [name] = names.as_slice() else {
            return Err(Failure::usage("only one instance can be attached to at a time"));
        };
        let mut signals = Signals::new()?;
        let before = client.instance(name).await?;
        // Output of earlier starts is not wanted, and all of this one is.
        let options = to_come(&client, &before).await?;
        client.start(&before.id).await?;
        let how = Watch { options, input: start.interactive, ends: true, proxy: true };
        return watch(session, &client, &before.id, how, &mut signals).await;
    }
    each(session, &names, |name| {
        let client = client.clone();
        async move {
            client.start(&name).await?;
            Ok(name)
        }
    })
    .await
}

/// What an instance prints from now on, or from its next start.
async fn to_come(client: &Client, instance: &Instance) -> Result<LogOptions, Failure> {
    let mut offset = 0;
    if !waiting::is_at_rest(instance) {
        return Ok(LogOptions { tail: Some(0), offset: None });
    }
    let last = LogOptions { tail: Some(1), offset: None };
    let mut chunks = client.follow(&instance.id, last).await?;
    while let Some(chunk) = chunks.next().await? {
        offset = chunk.offset + decode(&chunk)?.len() as u64;
    }
    Ok(LogOptions { tail: None, offset: Some(offset) })
}

pub(crate) async fn restart(session: &Session, restart: &Restart) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, &restart.instances.all(), |name| {
        let client = client.clone();
        async move {
            client.restart(&name, restart.time).await?;
            Ok(name)
        }
    })
    .await
}

pub(crate) async fn kill(session: &Session, kill: &Kill) -> Result<u8, Failure> {
    let signal = kill.signal.to_uppercase();
    if !matches!(signal.trim_start_matches("SIG"), "KILL" | "9") {
        return Err(Failure::unsupported(format!("{} cannot be sent to an instance", kill.signal))
            .advise("`kernctl stop` asks the program to end, as SIGTERM does"));
    }
    let client = session.connect().await?;
    each(session, &kill.instances.all(), |name| {
        let client = client.clone();
        async move {
            client.kill(&name).await?;
            Ok(name)
        }
    })
    .await
}

pub(crate) async fn pause(session: &Session, names: &InstanceNames) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, &names.all(), |name| {
        let client = client.clone();
        async move {
            client.pause(&name).await?;
            Ok(name)
        }
    })
    .await
}

pub(crate) async fn unpause(session: &Session, names: &InstanceNames) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, &names.all(), |name| {
        let client = client.clone();
        async move {
            client.resume(&name).await?;
            Ok(name)
        }
    })
    .await
}

pub(crate) async fn remove(session: &Session, rm: &Rm) -> Result<u8, Failure> {
    if rm.volumes && !rm.with_volumes {
        // docker keeps volumes that have names, and all of ours have.
        note(
            "volumes stay: -v means those without a name, and here all have one; --with-volumes removes them",
        );
    }
    let client = session.connect().await?;
    each(session, &rm.instances.all(), |name| {
        let client = client.clone();
        async move {
            client.delete_instance(&name, rm.force, rm.with_volumes).await?;
            Ok(name)
        }
    })
    .await
}

/// As docker shows them: `8080/tcp -> 127.0.0.1:49153`, or the right side of one alone.
pub(crate) async fn port(session: &Session, published: &Published) -> Result<u8, Failure> {
    let instance = session.connect().await?.instance(&published.instance).await?;
    let mut ports = instance.ports;
    if let Some(wanted) = published.port {
        ports.retain(|port| port.guest == wanted.guest && port.protocol == wanted.protocol);
        if ports.is_empty() {
            let shown = exposed(&[wanted]);
            let message = format!("nothing leads into port {shown} of {:?}", instance.name);
            return Err(Failure::not_found(message)
                .advise("`kernctl port` without a port lists all; run -p and -P publish them"));
        }
    }
    let lines = || {
        let lines = ports.iter().map(|port| {
            let side = exposed(&[ExposedPort { guest: port.guest, protocol: port.protocol }]);
            match published.port {
                Some(_) => host_side(port),
                None => format!("{side} -> {}", host_side(port)),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    if !ports.is_empty() || session.printer.format.is_some() {
        session.printer.one(&ports, lines)?;
    }
    Ok(0)
}

pub(crate) async fn rename(session: &Session, rename: &Rename) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let request = RenameRequest { name: rename.name.clone() };
    let instance = client.rename(&rename.instance, &request).await?;
    if session.printer.format.is_some() {
        session.printer.one(&instance, String::new)?;
    }
    Ok(0)
}

pub(crate) async fn wait(session: &Session, names: &InstanceNames) -> Result<u8, Failure> {
    let client = session.connect().await?;
    each(session, &names.all(), |name| {
        let client = client.clone();
        async move {
            let instance = waiting::ended(session, &client, &name).await?;
            match instance.exit_code {
                Some(code) => Ok(code.to_string()),
                None => {
                    let why =
                        instance.error.unwrap_or_else(|| "it ended without a word".to_owned());
                    Err(Failure::new(format!("{name} has no status: {why}")))
                }
            }
        }
    })
    .await
}

pub(crate) async fn snapshot(session: &Session, command: SnapshotCommand) -> Result<u8, Failure> {
    let client = session.connect().await?;
    match command {
        SnapshotCommand::Create { instance, name } => {
            let snapshot = client.create_snapshot(&instance, &SnapshotRequest { name }).await?;
            session.printer.one(&snapshot, || snapshot.name.clone())?;
        }
        SnapshotCommand::Ls { instance, quiet, format } => {
            let style = session.printer.style(format.as_deref(), quiet)?;
            session.printer.list(&client.snapshots(&instance).await?, false, &style)?;
        }
        SnapshotCommand::Restore { instance, name } => {
            let restored = client.restore_snapshot(&instance, &name).await?;
            session.printer.one(&restored, || instance.clone())?;
        }
        SnapshotCommand::Rm { instance, name } => {
            client.delete_snapshot(&instance, &name).await?;
            session.printer.line(&name)?;
        }
    }
    Ok(0)
}
