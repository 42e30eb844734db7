// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Between what the daemon thinks and what goes over the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use bhojpur_api as api;
use bhojpur_provider::{Network, Port, Protocol};
use bhojpur_volume::{Entry, EntryKind};

use crate::engine::Removed;
use crate::engine::create::{Wanted, WantedMount};
use crate::instance::Sample;
use crate::model::{
    Attached, Check, Event, Exposed, Health, Image, Instance, Phase, Probe, Restart, Role,
    Snapshot, Spec, Subject, Token, Volume,
};
use crate::{Error, Result, Secret};

pub(crate) fn image(image: Image) -> api::Image {
    let staged = image
        .staged
        .into_iter()
        .map(|(kind, locator)| api::StagedAt { provider: kind.to_string(), locator });
    api::Image {
        id: image.id.to_string(),
        names: image.names,
        language: image.about.language,
        args: image.about.args,
        env: image.about.env,
        ports: image.about.ports.into_iter().map(exposed).collect(),
        size_bytes: image.size,
        least_memory_mib: image.about.least_memory_mib,
        usual_memory_mib: image.about.usual_memory_mib,
        usual_cpus: image.about.usual_cpus.unwrap_or(1),
        created: image.created.rfc3339(),
        staged: staged.collect(),
    }
}

fn exposed(port: Exposed) -> api::ExposedPort {
    let protocol = if port.udp { api::Protocol::Udp } else { api::Protocol::Tcp };
    api::ExposedPort { guest: port.guest, protocol }
}

/// `PORT[/udp]`.
pub(crate) fn wanted_exposed(text: &str) -> Result<Exposed> {
    let (number, udp) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
        Some((number, "udp")) => (number, true),
        Some((number, _)) => (number, false),
    };
    let known = matches!(text.split_once('/'), None | Some((_, "tcp" | "udp")));
    match number.parse() {
        Ok(guest) if guest != 0 && known => Ok(Exposed { guest, udp }),
        _ => Err(Error::invalid(format!("{text:?} is no port"))
            .advise("write PORT, PORT/tcp or PORT/udp, with a number from 1 to 65535")),
    }
}

fn phase(phase: Phase) -> api::InstanceState {
    use api::InstanceState as State;
    match phase {
        Phase::Creating => State::Creating,
        Phase::Created => State::Created,
        Phase::Starting => State::Starting,
        Phase::Running => State::Running,
        Phase::Paused => State::Paused,
        Phase::Stopping => State::Stopping,
        Phase::Restarting => State::Restarting,
        Phase::Stopped => State::Stopped,
        Phase::Error => State::Error,
        Phase::Deleting => State::Deleting,
    }
}

fn health(health: Health) -> api::Health {
    match health {
        Health::Starting => api::Health::Starting,
        Health::Healthy => api::Health::Healthy,
        Health::Unhealthy => api::Health::Unhealthy,
    }
}

pub(crate) fn instance(instance: &Instance) -> api::Instance {
    let (now, spec) = (&instance.now, &instance.spec);
    let mounts = instance.mounts.iter().map(|mount| api::Mount {
        volume: mount.name.clone(),
        mount_point: mount.mount_point.clone(),
        read_only: mount.read_only,
    });
    api::Instance {
        id: instance.id.to_string(),
        name: instance.name.clone(),
        image: instance.image_name.clone(),
        image_id: instance.image.to_string(),
        provider: instance.provider.to_string(),
        state: phase(now.phase),
        exit_code: now.exit_code,
        error: now.error.clone(),
        address: instance.address.map(|address| address.to_string()),
        health: instance.health.map(health),
        created: instance.created.rfc3339(),
        started: now.started.map(|time| time.rfc3339()),
        ended: now.ended.map(|time| time.rfc3339()),
        restarts: now.restarts,
        args: spec.args.clone(),
        env_names: instance.env.expose().iter().map(|(name, _)| name.clone()).collect(),
        labels: spec.labels.clone(),
        memory_mib: spec.memory_mib,
        cpus: spec.cpus,
        ports: spec.ports.iter().map(port).collect(),
        volumes: mounts.collect(),
        network: network(&spec.network),
        restart: restart(spec.restart),
        health_check: spec.health.as_ref().map(check),
    }
}

fn port(port: &Port) -> api::Port {
    api::Port {
        host_address: port.host_address.to_string(),
        host: port.host,
        guest: port.guest,
        protocol: match port.protocol {
            Protocol::Tcp => api::Protocol::Tcp,
            Protocol::Udp => api::Protocol::Udp,
        },
    }
}

fn network(network: &Network) -> api::Network {
    match network.clone() {
        Network::Default => api::Network::Default,
        Network::None => api::Network::None,
        Network::Tap { device } => api::Network::Tap { device },
        Network::Bridge { bridge } => api::Network::Bridge { bridge },
    }
}

fn restart(restart: Restart) -> api::RestartPolicy {
    match restart {
        Restart::No => api::RestartPolicy::No,
        Restart::OnFailure(max_retries) => api::RestartPolicy::OnFailure { max_retries },
        Restart::Always => api::RestartPolicy::Always,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn check(check: &Check) -> api::HealthCheck {
    api::HealthCheck {
        probe: match check.probe.clone() {
            Probe::Tcp { port } => api::Probe::Tcp { port },
            Probe::Http { port, path } => api::Probe::Http { port, path },
        },
        interval_ms: milliseconds(check.interval),
        timeout_ms: milliseconds(check.timeout),
        retries: check.retries,
        start_period_ms: milliseconds(check.start_period),
        restart: check.restart,
    }
}

/// What a person asks for, with what can be seen to be wrong refused.
pub(crate) fn wanted(request: api::RunRequest) -> Result<Wanted> {
    let mounts = request.volumes.into_iter().map(|mount| WantedMount {
        volume: mount.volume,
        mount_point: mount.mount_point,
        read_only: mount.read_only,
    });
    let grace = request.stop_grace_s.map(grace).transpose()?;
    let spec = Spec {
        args: request.args,
        labels: request.labels,
        memory_mib: 0,
        cpus: 0,
        ports: request.ports.into_iter().map(wanted_port).collect::<Result<_>>()?,
        network: match request.network {
            api::Network::Default => Network::Default,
            api::Network::None => Network::None,
            api::Network::Tap { device } => Network::Tap { device: device_name(device)? },
            api::Network::Bridge { bridge } => Network::Bridge { bridge: device_name(bridge)? },
        },
        restart: match request.restart {
            api::RestartPolicy::No => Restart::No,
            api::RestartPolicy::OnFailure { max_retries } => Restart::OnFailure(max_retries),
            api::RestartPolicy::Always => Restart::Always,
        },
        health: request.health.map(wanted_check).transpose()?,
        remove: request.remove,
        debug_port: request.debug_port,
        stop_grace: grace,
    };
    if spec.remove && spec.restart != Restart::No {
        return Err(Error::invalid("an instance cannot be restarted and removed when it ends")
            .advise("leave out --rm or --restart"));
    }
    Ok(Wanted {
        image: request.image,
        name: request.name,
        provider: request.provider,
        memory_mib: request.memory_mib,
        cpus: request.cpus,
        publish_all: request.publish_all,
        spec,
        env: Secret::new(request.env.into_iter().collect()),
        mounts: mounts.collect(),
        start: !request.create_only,
    })
}

/// Time between asking and ending.
pub(crate) fn grace(seconds: u64) -> Result<Duration> {
    if seconds > 24 * 3600 {
        return Err(Error::invalid("the time to stop is a day at most"));
    }
    Ok(Duration::from_secs(seconds))
}

fn wanted_port(port: api::Port) -> Result<Port> {
    let host_address = port.host_address.parse().map_err(|_| {
        Error::invalid(format!("{:?} is no address to listen on", port.host_address))
            .advise("give an IP address of this machine, for example 127.0.0.1 or 0.0.0.0")
    })?;
    Ok(Port {
        host_address,
        host: port.host,
        guest: port.guest,
        protocol: match port.protocol {
            api::Protocol::Tcp => Protocol::Tcp,
            api::Protocol::Udp => Protocol::Udp,
        },
    })
}

/// netdevice(7): 15 bytes, no slash, no space.
fn device_name(name: String) -> Result<String> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ',' | ':' | '%');
    if !name.is_empty() && name.len() < 16 && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(name);
    }
    Err(Error::invalid(format!("{name:?} cannot be the name of a network device")))
}

fn wanted_check(check: api::HealthCheck) -> Result<Check> {
    let day = 24 * 3600 * 1000;
    let all = [check.interval_ms, check.timeout_ms, check.start_period_ms];
    if all.iter().any(|time| *time > day) || check.interval_ms < 100 || check.timeout_ms == 0 {
        return Err(Error::invalid("the times of a health check make no sense").advise(
            "the interval is 100 ms at least, the timeout more than 0, all a day at most",
        ));
    }
    let probe = match check.probe {
        api::Probe::Tcp { port } => Probe::Tcp { port },
        api::Probe::Http { port, path } => {
            if path.chars().any(|c| c.is_control() || c == ' ')
                || !(path.is_empty() || path.starts_with('/'))
            {
                return Err(Error::invalid(
                    "the path of a health check begins with / and has no spaces",
                ));
            }
            Probe::Http { port, path }
        }
    };
    Ok(Check {
        probe,
        interval: Duration::from_millis(check.interval_ms),
        timeout: Duration::from_millis(check.timeout_ms),
        retries: check.retries.max(1),
        start_period: Duration::from_millis(check.start_period_ms),
        restart: check.restart,
    })
}

pub(crate) fn stats(sample: &Sample, memory_mib: u64) -> api::Stats {
    api::Stats {
        time: sample.time.rfc3339(),
        cpu: sample.cpu,
        cpu_time_ns: sample.usage.cpu_time_ns,
        memory_bytes: sample.usage.memory_bytes,
        memory_limit_bytes: memory_mib << 20,
        network_received_bytes: sample.usage.network_received_bytes,
        network_sent_bytes: sample.usage.network_sent_bytes,
    }
}

pub(crate) fn snapshot(snapshot: Snapshot) -> api::Snapshot {
    api::Snapshot {
        name: snapshot.name,
        created: snapshot.created.rfc3339(),
        size_bytes: snapshot.size,
    }
}

pub(crate) fn image_removal(removed: Removed) -> api::ImageRemoval {
    api::ImageRemoval {
        untagged: removed.names,
        deleted: removed.image.map(|id| id.to_string()),
        instances: removed.instances,
    }
}

pub(crate) fn volume(volume: Volume) -> api::Volume {
    let attachment = |attached: Attached| api::VolumeAttachment {
        instance: attached.instance_name,
        mount_point: attached.mount_point,
        read_only: attached.read_only,
    };
    api::Volume {
        id: volume.id.to_string(),
        name: volume.name,
        provider: volume.provider.to_string(),
        size_bytes: volume.size,
        attachments: volume.attachments.into_iter().map(attachment).collect(),
        labels: volume.labels,
        created: volume.created.rfc3339(),
        warnings: Vec::new(),
    }
}

pub(crate) fn file_stat(found: &Entry) -> api::FileStat {
    api::FileStat {
        kind: match found.kind {
            EntryKind::File => api::FileKind::File,
            EntryKind::Directory => api::FileKind::Directory,
            // Links were followed.
            EntryKind::Symlink | EntryKind::Special => api::FileKind::Special,
        },
        size_bytes: found.size,
        mode: found.mode.into(),
    }
}

pub(crate) fn event(event: &Event) -> api::Event {
    api::Event {
        id: event.id,
        time: event.time.rfc3339(),
        subject: match event.subject {
            Subject::Image => api::Subject::Image,
            Subject::Instance => api::Subject::Instance,
            Subject::Volume => api::Subject::Volume,
            Subject::Daemon => api::Subject::Daemon,
        },
        subject_id: event.subject_id.clone(),
        name: event.name.clone(),
        action: event.action.clone(),
        attributes: event.attributes.clone(),
    }
}

pub(crate) fn role(role: Role) -> api::Role {
    match role {
        Role::Read => api::Role::Read,
        Role::Operate => api::Role::Operate,
        Role::Admin => api::Role::Admin,
    }
}

pub(crate) fn wanted_role(role: api::Role) -> Role {
    match role {
        api::Role::Read => Role::Read,
        api::Role::Operate => Role::Operate,
        api::Role::Admin => Role::Admin,
    }
}

pub(crate) fn token(token: Token) -> api::Token {
    api::Token { name: token.name, role: role(token.role), created: token.created.rfc3339() }
}

/// A list in a query, as JSON; nothing when it is empty.
pub(crate) fn list(what: &str, text: &str) -> Result<Vec<String>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text)
        .map_err(|_| Error::invalid(format!("{what} has to be a JSON array of strings")))
}

/// A map in a query, as JSON; nothing when it is empty.
pub(crate) fn map(what: &str, text: &str) -> Result<BTreeMap<String, String>> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_str(text)
        .map_err(|_| Error::invalid(format!("{what} has to be a JSON object of strings")))
}
