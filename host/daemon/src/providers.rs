// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The providers that this daemon has.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bhojpur_api::Code;
use bhojpur_provider::{Capabilities, Kind, Provider, Stage};
use bhojpur_provider_firecracker as firecracker;
use bhojpur_provider_qemu::QemuProvider;

use crate::home::Home;
use crate::{Config, Error, Result};

/// Providers by their kinds.
#[derive(Debug)]
pub struct Providers {
    all: BTreeMap<Kind, Arc<dyn Provider>>,
    default: Kind,
}

impl Providers {
    /// These providers; `default` is used when a request names none.
    pub fn new(all: impl IntoIterator<Item = Arc<dyn Provider>>, default: Option<Kind>) -> Self {
        let all: BTreeMap<_, _> =
            all.into_iter().map(|provider| (provider.kind(), provider)).collect();
        let first = all.keys().next().copied().unwrap_or(Kind::Qemu);
        Self { all, default: default.unwrap_or(first) }
    }

    /// The one that is used when a request names none.
    pub(crate) fn default_kind(&self) -> Kind {
        self.default
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn Provider>> {
        self.all.values()
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.all.contains_key(&kind)
    }

    pub(crate) fn of(&self, kind: Kind) -> Result<&Arc<dyn Provider>> {
        self.all.get(&kind).ok_or_else(|| match kind.stage() {
            Stage::Available => {
                Error::new(Code::NotReady, format!("{} is not set up in this daemon", kind.title()))
            }
            Stage::Planned => {
                let message = format!("there is no provider for {} yet", kind.title());
                Error::new(Code::Unsupported, message)
                    .advise("`kernctl providers` lists those that there are")
            }
        })
    }

    /// The provider that a request names, or the default.
    pub(crate) fn named(&self, name: &str) -> Result<&Arc<dyn Provider>> {
        if name.is_empty() {
            return self.of(self.default);
        }
        self.of(name.parse::<Kind>().map_err(Error::invalid)?)
    }
}

/// The providers of this machine, as the configuration says. Whether each works is asked later:
/// one that is not installed says so itself, and how to get it.
pub(crate) fn installed(config: &Config, home: &Home) -> Result<Providers> {
    let settings = |kind: Kind| config.providers.get(&kind).cloned().unwrap_or_default();
    let directory = |kind: Kind| {
        let directory = home.instances(kind);
        crate::home::make(&directory).map(|()| directory)
    };
    let qemu = qemu(directory(Kind::Qemu)?, &settings(Kind::Qemu))?;
    let firecracker = firecracker::Firecracker::new(
        directory(Kind::Firecracker)?,
        firecracker_options(&settings(Kind::Firecracker))?,
    );
    let all: [Arc<dyn Provider>; 2] = [Arc::new(qemu), Arc::new(firecracker)];
    Ok(Providers::new(all, config.default_provider))
}

/// Whether there is a provider of this kind; else which there are.
pub(crate) fn available(kind: Kind) -> std::result::Result<(), String> {
    if kind.stage() == Stage::Available {
        return Ok(());
    }
    let there: Vec<String> = Kind::all()
        .filter(|kind| kind.stage() == Stage::Available)
        .map(|kind| kind.to_string())
        .collect();
    Err(format!("there is no provider for {} yet; there are {}", kind.title(), there.join(", ")))
}

/// Whether a provider can be told this.
pub(crate) fn check(kind: Kind, settings: &BTreeMap<String, String>) -> Result<()> {
    match kind {
        Kind::Qemu => qemu(PathBuf::new(), settings).map(|_| ()),
        Kind::Firecracker => firecracker_options(settings).map(|_| ()),
        _ => Ok(()),
    }
}

fn qemu(directory: PathBuf, settings: &BTreeMap<String, String>) -> Result<QemuProvider> {
    let provider = QemuProvider::new(directory);
    match settings.get("accelerator") {
        Some(word) => Ok(provider.with_accelerator(word.parse().map_err(Error::invalid)?)),
        None => Ok(provider),
    }
}

fn firecracker_options(settings: &BTreeMap<String, String>) -> Result<firecracker::Config> {
    let number = |key: &str| {
        let wrong = || {
            Error::invalid(format!("{key} of the provider firecracker has to be a number"))
                .advise("with a jailer, give jailer_uid and jailer_gid of a user that has nothing")
        };
        settings.get(key).and_then(|text| text.parse().ok()).ok_or_else(wrong)
    };
    let mut options = firecracker::Config {
        binary: settings.get("binary").map(Into::into),
        ..firecracker::Config::default()
    };
    if let Some(range) = settings.get("range") {
        options.range = range.parse().map_err(Error::invalid)?;
    }
    if let Some(binary) = settings.get("jailer") {
        let (uid, gid) = (number("jailer_uid")?, number("jailer_gid")?);
        options.jailer = Some(firecracker::Jailer { binary: binary.into(), uid, gid });
    }
    Ok(options)
}

/// What a provider can do, in words.
pub(crate) fn words(can: Capabilities) -> Vec<&'static str> {
    [
        (can.ports, "ports"),
        (can.pause, "pause"),
        (can.snapshot, "snapshot"),
        (can.debug, "debug"),
        (can.console, "console"),
        (can.volumes, "volumes"),
        (can.host_network, "host-network"),
    ]
    .into_iter()
    .filter_map(|(can, word)| can.then_some(word))
    .collect()
}
