// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the daemon is and can do: `providers`, `compilers`, `info`, `version`, `events`.

use bhojpur_api::Event;

use crate::Failure;
use crate::arguments::{Compilers, DescribeCompiler, Events, Info, Listing};
use crate::output::value;
use crate::session::Session;

pub(crate) async fn providers(session: &Session, listing: &Listing) -> Result<u8, Failure> {
    let style = session.printer.style(listing.format.as_deref(), listing.quiet)?;
    let providers = session.connect().await?.providers().await?;
    session.printer.list(&providers, false, &style)?;
    Ok(0)
}

pub(crate) async fn compilers(session: &Session, compilers: &Compilers) -> Result<u8, Failure> {
    let listing = &compilers.listing;
    let style = session.printer.style(listing.format.as_deref(), listing.quiet)?;
    let compilers = session.connect().await?.compilers().await?;
    session.printer.list(&compilers, false, &style)?;
    Ok(0)
}

pub(crate) async fn describe_compiler(
    session: &Session,
    describe: &DescribeCompiler,
) -> Result<u8, Failure> {
    let compilers = session.connect().await?.compilers().await?;
    let base = describe.base.as_deref().unwrap_or("bhojpur");
    let found = compilers
        .iter()
        .find(|known| known.language == describe.language && known.provider == describe.provider);
    let Some(compiler) = found else {
        return Err(Failure::not_found(format!(
            "there is no compiler {base}-{}-{}",
            describe.language, describe.provider
        ))
        .advise("`kernctl compilers` shows those that there are"));
    };
    session.printer.one(compiler, || format!("{}\n{}", compiler.name, compiler.description))?;
    Ok(0)
}

pub(crate) async fn info(session: &Session, info: &Info) -> Result<u8, Failure> {
    let style = session.printer.style(info.format.as_deref(), false)?;
    let client = session.connect().await?;
    let found = client.info().await?;
    session.printer.styled(&found, &style, || {
        let role = value(&found.role).ok().and_then(|role| role.as_str().map(str::to_owned)).unwrap_or_default();
        format!(
            "Daemon:            {}\nVersion:           {}\nProcess:           {}\nStarted:           {}\n\
             Directory:         {}\nDefault provider:  {}\nImages:            {}\nInstances:         {} ({} running)\n\
             Volumes:           {}\nYou may:           {role}",
            client.address(),
            found.version,
            found.pid,
            found.started,
            found.directory,
            found.default_provider,
            found.images,
            found.instances,
            found.running,
            found.volumes,
        )
    })?;
    Ok(0)
}

/// Our own version always; the daemon's when one runs.
pub(crate) async fn version(session: &Session, format: Option<&str>) -> Result<u8, Failure> {
    let style = session.printer.style(format, false)?;
    let own = env!("CARGO_PKG_VERSION");
    let daemon = match session.connect_if_running().await {
        Ok(Some(client)) => client.ping().await.map_err(Failure::from).map(Some),
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    };
    let (daemon, failure) = match daemon {
        Ok(daemon) => (daemon, None),
        Err(failure) => (None, Some(failure)),
    };
    let document = serde_json::json!({
        "client": { "version": own, "api": [bhojpur_api::VERSION] },
        "daemon": daemon.as_ref().map(|pong| serde_json::json!({ "version": pong.version, "api": pong.api })),
    });
    session.printer.styled(&document, &style, || {
        let daemon = match &daemon {
            Some(pong) => format!("{} (API {})", pong.version, pong.api.join(", ")),
            None if failure.is_some() => "cannot be reached".to_owned(),
            None => "does not run".to_owned(),
        };
        format!("kernctl  {own} (API {})\ndaemon   {daemon}", bhojpur_api::VERSION)
    })?;
    failure.map_or(Ok(0), Err)
}

pub(crate) async fn events(session: &Session, events: &Events) -> Result<u8, Failure> {
    let style = session.printer.style(events.format.as_deref(), false)?;
    let mut stream = session.connect().await?.events(events.since).await?;
    while let Some(event) = stream.next().await? {
        session.printer.streamed(&event, &style, || line(&event))?;
    }
    Ok(0)
}

/// `2026-01-01T00:00:00Z instance start 0123456789ab (name=web, provider=qemu)`.
fn line(event: &Event) -> String {
    let subject = value(&event.subject)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default();
    let id: String = event.subject_id.chars().take(12).collect();
    let mut more = vec![format!("name={}", event.name)];
    more.extend(event.attributes.iter().map(|(name, value)| format!("{name}={value}")));
    format!("{} {subject} {} {id} ({})", event.time, event.action, more.join(", "))
}
