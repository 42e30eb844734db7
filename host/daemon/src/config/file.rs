// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads `daemon.toml`. What is not understood is an error with its line and the nearest key: a
//! typo must not be ignored.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bhojpur_provider::Kind;
use toml_edit::{Document, Item, TableLike};

use super::{Config, Tcp};
use crate::{Error, Result};

const TOP: &[&str] =
    &["default_provider", "listen", "limits", "builds", "instances", "log", "providers"];
const LISTEN: &[&str] = &["socket", "tcp", "certificate", "key", "names"];
const LIMITS: &[&str] = &[
    "upload_mib",
    "upload_entries",
    "connections",
    "requests",
    "streams",
    "request_s",
    "upload_pause_s",
    "events",
    "reserve_mib",
];
const BUILDS: &[&str] = &["at_once", "time_s", "cgo", "read"];
const INSTANCES: &[&str] = &["log_max_mib"];
const LOG: &[&str] = &["filter", "format", "file"];
/// What can be told to the providers that there are.
pub(super) const PROVIDER: &[(Kind, &[&str])] = &[
    (Kind::Qemu, &["accelerator"]),
    (Kind::Firecracker, &["binary", "range", "jailer", "jailer_uid", "jailer_gid"]),
];

/// What is wrong, and where in the text.
#[derive(Debug)]
struct Problem {
    what: String,
    advice: Option<String>,
    place: Option<Range<usize>>,
}

impl Problem {
    fn new(what: impl ToString, place: Option<Range<usize>>) -> Self {
        Self { what: what.to_string(), advice: None, place }
    }
}

type Read<T> = std::result::Result<T, Problem>;

/// On top of a configuration, what the text of a file says.
pub(super) fn apply(config: Config, name: &str, text: &str) -> Result<Config> {
    read(config, text).map_err(|problem| {
        let line = |place: Range<usize>| text[..place.start.min(text.len())].matches('\n').count();
        let place = match problem.place {
            Some(place) => format!("{name}:{}", line(place) + 1),
            None => name.to_owned(),
        };
        let error = Error::invalid(format!("{place}: {}", problem.what));
        problem.advice.into_iter().fold(error, Error::advise)
    })
}

fn read(mut config: Config, text: &str) -> Read<Config> {
    let document =
        Document::parse(text).map_err(|error| Problem::new(error.message(), error.span()))?;
    let top = document.as_table();
    known(top, TOP)?;
    if let Some(item) = top.get("default_provider") {
        let kind = parsed(item)?;
        crate::providers::available(kind).map_err(|what| Problem::new(what, item.span()))?;
        config.default_provider = Some(kind);
    }
    if let Some(section) = section(top, "listen", LISTEN)? {
        listen(&mut config, section)?;
    }
    if let Some(section) = section(top, "limits", LIMITS)? {
        limits(&mut config, section)?;
    }
    if let Some(section) = section(top, "builds", BUILDS)? {
        if let Some(item) = section.get("at_once") {
            config.builds.at_once = number(item, 1, 256)? as usize;
        }
        if let Some(item) = section.get("time_s") {
            config.builds.time = Duration::from_secs(number(item, 1, 1 << 32)?);
        }
        if let Some(item) = section.get("cgo") {
            config.builds.cgo = item.as_bool().ok_or_else(|| wrong(item, "true or false"))?;
        }
        if let Some(item) = section.get("read") {
            let paths = strings(item)?;
            config.builds.read = paths.iter().map(|path| config.directory.join(path)).collect();
        }
    }
    if let Some(section) = section(top, "instances", INSTANCES)?
        && let Some(item) = section.get("log_max_mib")
    {
        config.instance_log_max = Some(number(item, 1, 1 << 30)? << 20);
    }
    if let Some(section) = section(top, "log", LOG)? {
        log(&mut config, section)?;
    }
    if let Some(item) = top.get("providers") {
        providers(&mut config, table(item)?)?;
    }
    Ok(config)
}

fn listen(config: &mut Config, section: &dyn TableLike) -> Read<()> {
    if let Some(item) = section.get("socket") {
        let text = string(item)?;
        config.socket = (!text.is_empty()).then(|| config.directory.join(text));
    }
    if let Some(item) = section.get("tcp") {
        config.tcp = Some(Tcp::new(parsed(item)?));
    }
    let directory = config.directory.clone();
    for key in ["certificate", "key", "names"] {
        let Some(item) = section.get(key) else { continue };
        let Some(tcp) = &mut config.tcp else {
            let problem =
                Problem::new(format!("{key:?} says nothing without \"tcp\""), item.span());
            return Err(Problem {
                advice: Some("add tcp = \"ADDRESS:PORT\"".to_owned()),
                ..problem
            });
        };
        match key {
            "certificate" => tcp.certificate = Some(directory.join(string(item)?)),
            "key" => tcp.key = Some(directory.join(string(item)?)),
            _ => tcp.names = strings(item)?,
        }
    }
    if let Some(tcp) = &config.tcp
        && tcp.certificate.is_some() != tcp.key.is_some()
    {
        let place = section.get("tcp").and_then(Item::span);
        return Err(Problem::new("\"certificate\" and \"key\" belong together", place));
    }
    Ok(())
}

fn limits(config: &mut Config, section: &dyn TableLike) -> Read<()> {
    let limits = &mut config.limits;
    for (key, item) in section.iter() {
        let value = number(item, 1, 1 << 40)?;
        let count = usize::try_from(value).unwrap_or(usize::MAX).min(1 << 20);
        match key {
            "upload_mib" => limits.upload_bytes = value << 20,
            "upload_entries" => limits.upload_entries = value,
            "connections" => limits.connections = count,
            "requests" => limits.requests = count,
            "streams" => limits.streams = count,
            "request_s" => limits.request_time = Duration::from_secs(value),
            "upload_pause_s" => limits.upload_pause = Duration::from_secs(value),
            "events" => limits.events = value,
            _ => limits.reserve_bytes = value << 20,
        }
    }
    Ok(())
}

fn log(config: &mut Config, section: &dyn TableLike) -> Read<()> {
    if let Some(item) = section.get("filter") {
        config.log.filter = string(item)?;
    }
    if let Some(item) = section.get("format") {
        config.log.json = match string(item)?.as_str() {
            "json" => true,
            "text" => false,
            _ => return Err(wrong(item, "\"json\" or \"text\"")),
        };
    }
    if let Some(item) = section.get("file") {
        config.log.file = Some(config.directory.join(string(item)?));
    }
    Ok(())
}

fn providers(config: &mut Config, section: &dyn TableLike) -> Read<()> {
    let names: Vec<&str> = Kind::all().map(Kind::name).collect();
    known(section, &names)?;
    for (name, item) in section.iter() {
        let kind: Kind = name.parse().map_err(|error| Problem::new(error, item.span()))?;
        let Some((_, keys)) = PROVIDER.iter().find(|(known, _)| *known == kind) else {
            let what = format!("there is nothing to set about {} yet", kind.title());
            return Err(Problem::new(what, item.span()));
        };
        let values = table(item)?;
        known(values, keys)?;
        let mut settings = BTreeMap::new();
        for (key, item) in values.iter() {
            let value = match item.as_integer() {
                Some(number) => number.to_string(),
                None => string(item)?,
            };
            settings.insert(key.to_owned(), value);
        }
        crate::providers::check(kind, &settings).map_err(|error| {
            let what = error.to_string();
            let named = |text: &str| !text.is_empty() && what.contains(text);
            let place = values
                .iter()
                .find(|(key, item)| named(key) || item.as_str().is_some_and(named))
                .map_or(item.span(), |(_, item)| item.span());
            Problem { what, advice: error.advice().map(str::to_owned), place }
        })?;
        config.providers.insert(kind, settings);
    }
    Ok(())
}

fn section<'a>(
    top: &'a toml_edit::Table,
    name: &str,
    keys: &[&str],
) -> Read<Option<&'a dyn TableLike>> {
    let Some(item) = top.get(name) else { return Ok(None) };
    let section = table(item)?;
    known(section, keys)?;
    Ok(Some(section))
}

fn known(table: &dyn TableLike, keys: &[&str]) -> Read<()> {
    let Some((stranger, _)) = table.iter().find(|(key, _)| !keys.contains(key)) else {
        return Ok(());
    };
    let place = table.key(stranger).and_then(toml_edit::Key::span);
    let problem = Problem::new(format!("the key {stranger:?} is not known"), place);
    Err(Problem { advice: Some(nearest(stranger, keys)), ..problem })
}

/// Which key was meant, and which there are.
pub(super) fn nearest(stranger: &str, keys: &[&str]) -> String {
    let distance = |key: &&&str| strsim::damerau_levenshtein(stranger, key);
    let all = keys.join(", ");
    match keys.iter().min_by_key(distance) {
        Some(nearest) => format!("the nearest key is {nearest:?}; known are {all}"),
        None => "no key is known here".to_owned(),
    }
}

fn wrong(item: &Item, wanted: &str) -> Problem {
    Problem::new(format!("{wanted} is wanted here"), item.span())
}

fn table(item: &Item) -> Read<&dyn TableLike> {
    item.as_table_like().ok_or_else(|| wrong(item, "a table"))
}

fn string(item: &Item) -> Read<String> {
    item.as_str().map(str::to_owned).ok_or_else(|| wrong(item, "a string"))
}

fn strings(item: &Item) -> Read<Vec<String>> {
    let list = item.as_array().ok_or_else(|| wrong(item, "a list of strings"))?;
    let text = |value: &toml_edit::Value| value.as_str().map(str::to_owned);
    list.iter().map(|value| text(value).ok_or_else(|| wrong(item, "a list of strings"))).collect()
}

fn parsed<T: std::str::FromStr<Err: ToString>>(item: &Item) -> Read<T> {
    string(item)?.parse().map_err(|error: T::Err| Problem::new(error, item.span()))
}

fn number(item: &Item, least: u64, most: u64) -> Read<u64> {
    let value = item.as_integer().and_then(|value| u64::try_from(value).ok());
    value.filter(|value| (least..=most).contains(value)).ok_or_else(|| {
        Problem::new(format!("a number from {least} to {most} is wanted here"), item.span())
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn applied(text: &str) -> Result<Config> {
        apply(Config::new("/srv/kernctl"), "daemon.toml", text)
    }

    #[test]
    fn everything_can_be_set() {
        let config = applied(
            r#"
            default_provider = "firecracker"
            [listen]
            socket = ""
            tcp = "[::1]:7450"
            certificate = "tls/own.pem"
            key = "/etc/key.pem"
            names = ["a.example"]
            [limits]
            upload_mib = 5
            requests = 7
            [builds]
            at_once = 3
            cgo = true
            read = ["mirror", "/opt/go"]
            [instances]
            log_max_mib = 10
            [log]
            filter = "debug"
            format = "text"
            file = "daemon.log"
            [providers.qemu]
            accelerator = "tcg"
            "#,
        )
        .unwrap();
        assert_eq!(config.default_provider, Some(Kind::Firecracker));
        assert_eq!(config.socket, None);
        let tcp = config.tcp.unwrap();
        assert_eq!(tcp.certificate.unwrap(), PathBuf::from("/srv/kernctl/tls/own.pem"));
        assert_eq!(tcp.key.unwrap(), PathBuf::from("/etc/key.pem"));
        assert_eq!((config.limits.upload_bytes, config.limits.requests), (5 << 20, 7));
        assert!(config.builds.cgo && !config.log.json);
        assert_eq!(config.builds.read, [Path::new("/srv/kernctl/mirror"), Path::new("/opt/go")]);
        assert_eq!(config.instance_log_max, Some(10 << 20));
        assert_eq!(config.providers[&Kind::Qemu]["accelerator"], "tcg");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, what, advice) in [
            ("\n[listen]\ntpc = 1\n", "daemon.toml:3: the key \"tpc\"", "\"tcp\""),
            ("[limit]\n", "daemon.toml:1: the key \"limit\"", "\"limits\""),
            ("[listen]\ntcp = \"here\"", "daemon.toml:2: ", ""),
            ("[listen]\nkey = \"k\"", "daemon.toml:2: \"key\" says nothing", "add tcp"),
            ("[listen]\ntcp = \"[::]:1\"\nkey = \"k\"", "belong together", ""),
            ("[builds]\nat_once = 0", "daemon.toml:2: a number from 1", ""),
            ("[providers.xen]\na = 1", "nothing to set about Xen", ""),
            ("[providers.qmu]\na = 1", "the key \"qmu\"", "\"qemu\""),
            (
                "default_provider = \"xen\"",
                "daemon.toml:1: there is no provider for Xen yet; there are qemu, firecracker",
                "",
            ),
            ("= 1", "daemon.toml:1: ", ""),
        ] {
            let error = applied(text).unwrap_err();
            assert!(error.to_string().contains(what), "{text:?}: {error}");
            assert!(error.advice().unwrap_or_default().contains(advice), "{text:?}");
        }
    }
}
