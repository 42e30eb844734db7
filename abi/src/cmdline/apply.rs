// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the words change in the configuration.

use super::{Autoconfiguration, Error, METADATA, NetworkWord, PREFIX, Word, arguments, words};
use crate::config::{Address, Network, OwnedConfig, OwnedMount};
use crate::control::Level;
use crate::stream;
use alloc::borrow::ToOwned;
use core::net::IpAddr;

/// The one network interface that the configuration is about.
const DEVICE: &str = "eth0";

/// Changes `config` by what the line says; true when something was changed.
pub fn apply<'a>(line: &'a str, config: &mut OwnedConfig) -> Result<bool, Error<'a>> {
    let mut changed = false;
    for word in words(line) {
        let outcome = match word.name {
            "ip" => network(word, config),
            name => match name.strip_prefix(PREFIX) {
                Some(option) => ours(option, word, config),
                None => continue,
            },
        };
        outcome.map_err(|problem| Error { name: word.name, problem })?;
        changed = true;
    }
    if let Some(given) = arguments(line) {
        // The first one is the program's name.
        config.args.truncate(1);
        if config.args.is_empty() {
            config.args.push(config.program.clone().unwrap_or_default());
        }
        config.args.extend(given.map(|text| text.as_bytes().to_vec()));
        changed = true;
    }
    Ok(changed)
}

fn ours(option: &str, word: Word<'_>, config: &mut OwnedConfig) -> Result<(), &'static str> {
    if word.name == METADATA {
        // Without a value, the usual address; the kernel looks at it itself.
        let address = word.value.map_or(Ok(()), |text| text.parse::<IpAddr>().map(drop));
        return address.map_err(|_| "not an address");
    }
    let value = word.value.filter(|value| !value.is_empty()).ok_or("needs a value")?;
    match option {
        "env" => {
            let (name, value) = value.split_once('=').ok_or("is not NAME=VALUE")?;
            if name.is_empty() {
                return Err("has no name");
            }
            config.set_env(name, value);
        }
        "cwd" if value.starts_with('/') => config.cwd = Some(value.as_bytes().to_vec()),
        "cwd" => return Err("is not an absolute path"),
        "hostname" => config.hostname = Some(value.to_owned()),
        "log" => config.log_level = Some(Level::from_name(value).ok_or("no such level")?),
        "mount" => config.mounts.push(mount(value)?),
        "volume" => config.mounts.push(volume(value)?),
        "option" => config.options.push(value.to_owned()),
        "control" if value == stream::SERIAL => {}
        "control" => return Err("no such channel; known is serial"),
        _ => return Err("no such option"),
    }
    Ok(())
}

/// `KIND:SOURCE:TARGET[:ro]`. A source may have colons in it (LABEL=a:b).
fn mount(value: &str) -> Result<OwnedMount, &'static str> {
    const FORM: &str = "is not KIND:SOURCE:TARGET[:ro]";
    let (rest, read_only) = match value.strip_suffix(":ro") {
        Some(rest) => (rest, true),
        None => (value.strip_suffix(":rw").unwrap_or(value), false),
    };
    let (kind, rest) = rest.split_once(':').ok_or(FORM)?;
    let (source, target) = rest.rsplit_once(':').ok_or(FORM)?;
    if kind.is_empty() || source.is_empty() || !target.starts_with('/') {
        return Err(FORM);
    }
    Ok(OwnedMount {
        kind: kind.to_owned(),
        source: source.as_bytes().to_vec(),
        target: target.as_bytes().to_vec(),
        read_only,
    })
}

/// `SOURCE:TARGET[:ro]`, ext4.
fn volume(value: &str) -> Result<OwnedMount, &'static str> {
    let known = mount(&alloc::format!("ext4:{value}"));
    known.map_err(|_| "is not SOURCE:TARGET[:ro]")
}

fn network(word: Word<'_>, config: &mut OwnedConfig) -> Result<(), &'static str> {
    let parsed = NetworkWord::parse(word.value.unwrap_or(""))?;
    if parsed.device.is_some_and(|device| device != DEVICE) {
        return Err("is about a device other than eth0");
    }
    config.network = Some(match (parsed.address, parsed.autoconfiguration) {
        (_, Autoconfiguration::Dhcp) => Network::Dhcp,
        (Some(_), Autoconfiguration::Off) => Network::Static,
        (None, Autoconfiguration::Off) => Network::None,
    });
    config.addresses.clear();
    config.gateways.clear();
    if let Some(address) = parsed.address {
        config.addresses.push(Address { address: address.into(), prefix: parsed.prefix });
    }
    config.gateways.extend(parsed.gateway.map(IpAddr::V4));
    let servers = parsed.name_servers.into_iter().flatten().map(IpAddr::V4);
    if parsed.name_servers != [None; 2] {
        config.name_servers = servers.collect();
    }
    if let Some(name) = parsed.hostname {
        config.hostname = Some(name.to_owned());
    }
    Ok(())
}
