// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tables show of each kind of thing.

use std::time::Duration;

use bhojpur_api::{
    Compiler, ExposedPort, Health, Image, Instance, InstanceState, Port, Protocol, Provider,
    Snapshot, Stats, Token, Volume, VolumeAttachment,
};
use serde::Serialize;

use super::human::{ago, bytes, duration, since};
use super::table::{Cell, Colour};

/// A thing in a table.
pub(crate) trait Row {
    /// The titles of the columns.
    const TITLES: &'static [&'static str];
    /// The fields; ids in full or not.
    fn cells(&self, full: bool) -> Vec<Cell>;
    /// What `-q` shows.
    fn handle(&self) -> String;
    /// What `-q` shows when ids shall be in full.
    fn full_handle(&self) -> String {
        self.handle()
    }
    /// More fields for templates, by the names that docker gives them.
    fn extras(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// As much of an id as people need.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

fn shown(id: &str, full: bool) -> String {
    if full { id.to_owned() } else { short(id) }
}

fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

impl Row for Instance {
    const TITLES: &'static [&'static str] =
        &["INSTANCE ID", "NAME", "IMAGE", "PROVIDER", "CREATED", "STATUS", "PORTS"];

    fn cells(&self, full: bool) -> Vec<Cell> {
        let colour = match (self.state, self.health) {
            (InstanceState::Error, _) | (_, Some(Health::Unhealthy)) => Some(Colour::Bad),
            (InstanceState::Running, _) => Some(Colour::Good),
            (InstanceState::Stopped, _) => match self.exit_code {
                Some(0) => Some(Colour::Dim),
                _ => Some(Colour::Bad),
            },
            _ => Some(Colour::Waiting),
        };
        vec![
            Cell::plain(shown(&self.id, full)),
            Cell::plain(&self.name),
            Cell::plain(if self.image == self.image_id {
                shown(&self.image, full)
            } else {
                self.image.clone()
            }),
            Cell::plain(&self.provider),
            Cell::plain(ago(&self.created)),
            Cell::coloured(status(self), colour),
            Cell::plain(ports(&self.ports)),
        ]
    }

    fn handle(&self) -> String {
        short(&self.id)
    }

    fn full_handle(&self) -> String {
        self.id.clone()
    }

    fn extras(&self) -> Vec<(&'static str, String)> {
        let labels: Vec<String> = self.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let mounts: Vec<&str> = self.volumes.iter().map(|mount| mount.volume.as_str()).collect();
        vec![
            ("ID", short(&self.id)),
            ("Names", self.name.clone()),
            ("Status", status(self)),
            ("Ports", ports(&self.ports)),
            ("CreatedAt", self.created.clone()),
            ("RunningFor", ago(&self.created)),
            ("Labels", labels.join(",")),
            ("Mounts", mounts.join(",")),
            ("Command", self.args.clone().unwrap_or_default().join(" ")),
        ]
    }
}

/// `Up 3 minutes (healthy)`, `Exited (1) 2 hours ago`.
fn status(instance: &Instance) -> String {
    let passed = |time: &Option<String>| time.as_deref().and_then(since);
    let health = match instance.health {
        Some(Health::Starting) => " (health: starting)",
        Some(Health::Healthy) => " (healthy)",
        Some(Health::Unhealthy) => " (unhealthy)",
        None => "",
    };
    let up = passed(&instance.started)
        .map_or_else(|| "Up".to_owned(), |t| format!("Up {}", duration(t)));
    let end = |word: &str| {
        let code = instance.exit_code.map_or_else(|| "?".to_owned(), |code| code.to_string());
        match passed(&instance.ended) {
            Some(time) => format!("{word} ({code}) {} ago", duration(time)),
            None => format!("{word} ({code})"),
        }
    };
    match instance.state {
        InstanceState::Running => format!("{up}{health}"),
        InstanceState::Paused => format!("{up} (Paused)"),
        InstanceState::Stopped => end("Exited"),
        InstanceState::Restarting => end("Restarting"),
        InstanceState::Error => {
            format!("Error: {}", instance.error.as_deref().unwrap_or("unknown"))
        }
        other => {
            let word = word(other);
            word[..1].to_uppercase() + &word[1..]
        }
    }
}

/// `127.0.0.1:8080->80/tcp`.
pub(crate) fn ports(ports: &[Port]) -> String {
    let shown: Vec<String> = ports
        .iter()
        .map(|port| {
            let protocol = transport(port.protocol);
            format!("{}->{}/{protocol}", host_side(port), port.guest)
        })
        .collect();
    shown.join(", ")
}

/// `127.0.0.1:8080`.
pub(crate) fn host_side(port: &Port) -> String {
    match port.host_address.contains(':') {
        true => format!("[{}]:{}", port.host_address, port.host),
        false => format!("{}:{}", port.host_address, port.host),
    }
}

/// `80/tcp, 53/udp`.
pub(crate) fn exposed(ports: &[ExposedPort]) -> String {
    let shown: Vec<String> =
        ports.iter().map(|port| format!("{}/{}", port.guest, transport(port.protocol))).collect();
    shown.join(", ")
}

fn transport(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// An image under one of its names: a line of `images`.
#[derive(Debug, Serialize)]
pub(crate) struct NamedImage {
    #[serde(flatten)]
    pub(crate) image: Image,
    #[serde(skip)]
    pub(crate) name: Option<String>,
}

impl NamedImage {
    fn name_and_tag(&self) -> (String, String) {
        match &self.name {
            None => ("<none>".to_owned(), "<none>".to_owned()),
            Some(name) => match name.rsplit_once(':') {
                Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
                _ => (name.clone(), "latest".to_owned()),
            },
        }
    }
}

impl Row for NamedImage {
    const TITLES: &'static [&'static str] =
        &["NAME", "TAG", "IMAGE ID", "LANGUAGE", "CREATED", "SIZE", "MEMORY", "PORTS"];

    fn cells(&self, full: bool) -> Vec<Cell> {
        let (name, tag) = self.name_and_tag();
        vec![
            Cell::plain(name),
            Cell::plain(tag),
            Cell::plain(shown(&self.image.id, full)),
            Cell::plain(&self.image.language),
            Cell::plain(ago(&self.image.created)),
            Cell::plain(bytes(self.image.size_bytes)),
            Cell::plain(format!("{} MiB", self.image.usual_memory_mib)),
            Cell::plain(exposed(&self.image.ports)),
        ]
    }

    fn handle(&self) -> String {
        short(&self.image.id)
    }

    fn full_handle(&self) -> String {
        self.image.id.clone()
    }

    fn extras(&self) -> Vec<(&'static str, String)> {
        let (name, tag) = self.name_and_tag();
        vec![
            ("ID", short(&self.image.id)),
            ("Name", name.clone()),
            ("Repository", name),
            ("Tag", tag),
            ("Size", bytes(self.image.size_bytes)),
            ("Ports", exposed(&self.image.ports)),
            ("CreatedAt", self.image.created.clone()),
            ("CreatedSince", ago(&self.image.created)),
        ]
    }
}

impl Row for Volume {
    const TITLES: &'static [&'static str] =
        &["NAME", "VOLUME ID", "PROVIDER", "SIZE", "CREATED", "INSTANCE", "MOUNTED ON"];

    fn cells(&self, full: bool) -> Vec<Cell> {
        let instances: Vec<&str> =
            self.attachments.iter().map(|attached| attached.instance.as_str()).collect();
        vec![
            Cell::plain(&self.name),
            Cell::plain(shown(&self.id, full)),
            Cell::plain(&self.provider),
            Cell::plain(bytes(self.size_bytes)),
            Cell::plain(ago(&self.created)),
            Cell::plain(instances.join(", ")),
            Cell::plain(mounted(&self.attachments)),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }

    fn extras(&self) -> Vec<(&'static str, String)> {
        vec![("Driver", self.provider.clone()), ("Size", bytes(self.size_bytes))]
    }
}

/// `/data`, `/data (read-only), /srv (read-only)`; once when it is the same everywhere.
fn mounted(attachments: &[VolumeAttachment]) -> String {
    let mut places: Vec<String> = attachments
        .iter()
        .map(|attached| match attached.read_only {
            true => format!("{} (read-only)", attached.mount_point),
            false => attached.mount_point.clone(),
        })
        .collect();
    if places.windows(2).all(|pair| pair[0] == pair[1]) {
        places.truncate(1);
    }
    places.join(", ")
}

impl Row for Provider {
    const TITLES: &'static [&'static str] = &["NAME", "TITLE", "READY", "STATUS", "NEEDS"];

    fn cells(&self, _full: bool) -> Vec<Cell> {
        let (ready, colour) = match (self.ready, self.available) {
            (true, _) => ("yes", Colour::Good),
            (false, true) => ("no", Colour::Bad),
            (false, false) => ("later", Colour::Dim),
        };
        vec![
            Cell::plain(&self.name),
            Cell::plain(&self.title),
            Cell::coloured(ready, colour),
            Cell::plain(&self.status),
            // What is ready needs no more.
            Cell::plain(if self.ready { "" } else { &self.needs }),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

impl Row for Compiler {
    const TITLES: &'static [&'static str] =
        &["NAME", "LANGUAGE", "PROVIDER", "READY", "DESCRIPTION"];

    fn cells(&self, _full: bool) -> Vec<Cell> {
        let (ready, colour) = if self.ready { ("yes", Colour::Good) } else { ("no", Colour::Dim) };
        vec![
            Cell::plain(&self.name),
            Cell::plain(&self.language),
            Cell::plain(&self.provider),
            Cell::coloured(ready, colour),
            Cell::plain(&self.description),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

impl Row for Token {
    const TITLES: &'static [&'static str] = &["NAME", "ROLE", "CREATED"];

    fn cells(&self, _full: bool) -> Vec<Cell> {
        vec![Cell::plain(&self.name), Cell::plain(word(self.role)), Cell::plain(ago(&self.created))]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

impl Row for Snapshot {
    const TITLES: &'static [&'static str] = &["NAME", "CREATED", "SIZE"];

    fn cells(&self, _full: bool) -> Vec<Cell> {
        vec![
            Cell::plain(&self.name),
            Cell::plain(ago(&self.created)),
            Cell::plain(bytes(self.size_bytes)),
        ]
    }

    fn handle(&self) -> String {
        self.name.clone()
    }
}

/// What one instance uses.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) stats: Stats,
}

impl Row for Used {
    const TITLES: &'static [&'static str] =
        &["INSTANCE ID", "NAME", "CPU %", "CPU TIME", "MEM USAGE / LIMIT", "MEM %", "NET I/O"];

    fn cells(&self, full: bool) -> Vec<Cell> {
        let mut cells = vec![Cell::plain(shown(&self.id, full)), Cell::plain(&self.name)];
        cells.extend(self.extras().into_iter().skip(1).map(|(_, text)| Cell::plain(text)));
        cells
    }

    fn handle(&self) -> String {
        short(&self.id)
    }

    fn extras(&self) -> Vec<(&'static str, String)> {
        let stats = &self.stats;
        let share = stats.memory_bytes as f64 / stats.memory_limit_bytes.max(1) as f64;
        let net = match (stats.network_received_bytes, stats.network_sent_bytes) {
            (Some(received), Some(sent)) => format!("{} / {}", bytes(received), bytes(sent)),
            _ => "-".to_owned(),
        };
        let time = Duration::from_nanos(stats.cpu_time_ns);
        vec![
            ("ID", short(&self.id)),
            ("CPUPerc", format!("{:.2}%", stats.cpu * 100.0)),
            ("CPUTime", format!("{:.1} s", time.as_secs_f64())),
            (
                "MemUsage",
                format!("{} / {}", bytes(stats.memory_bytes), bytes(stats.memory_limit_bytes)),
            ),
            ("MemPerc", format!("{:.2}%", share * 100.0)),
            ("NetIO", net),
        ]
    }
}
