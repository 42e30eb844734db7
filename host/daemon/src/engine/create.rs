// SPDX-License-Identifier: Apache-2.0 OR MIT
//! New instances: everything that can be known to be wrong is found before anything is made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use bhojpur_api::Code;
use bhojpur_provider::{Capabilities, InstanceId, Kind, Network, Port, Protocol};

use super::{Engine, images, names};
use crate::clock::Timestamp;
use crate::instance::{Command, spawn};
use crate::model::{Exposed, Image, Instance, Mount, Situation, Spec};
use crate::{Error, Result, Secret, secret, store};

/// More than any machine has.
const MEMORY_MAX_MIB: u64 = 16 << 20;
const CPUS_MAX: u32 = 255;

/// A volume that is asked for.
#[derive(Debug)]
pub(crate) struct WantedMount {
    pub(crate) volume: String,
    pub(crate) mount_point: String,
    pub(crate) read_only: bool,
}

/// An instance that is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) image: String,
    /// One is made up when empty.
    pub(crate) name: String,
    /// The one that has the image when empty.
    pub(crate) provider: String,
    pub(crate) memory_mib: Option<u64>,
    pub(crate) cpus: Option<u32>,
    /// Lead free ports of the host into the ports of the image.
    pub(crate) publish_all: bool,
    /// Memory and processors of it are not looked at.
    pub(crate) spec: Spec,
    pub(crate) env: Secret<Vec<(String, String)>>,
    pub(crate) mounts: Vec<WantedMount>,
    pub(crate) start: bool,
}

impl Engine {
    /// Makes an instance and, unless told otherwise, starts it. It is there when this succeeds,
    /// and nothing is left of it when not.
    pub(crate) async fn create_instance(self: &Arc<Self>, wanted: Wanted) -> Result<Arc<Instance>> {
        if wanted.image.is_empty() {
            return Err(Error::invalid("no image is named").advise("`kernctl images` lists them"));
        }
        let image = self.image(wanted.image.clone()).await?;
        let kind = self.provider_for(&image, &wanted.provider)?;
        let provider = self.providers.of(kind)?.clone();
        images::staged_for(&image, kind)?;
        check_environment(wanted.env.expose())?;
        let mut spec = wanted.spec;
        if wanted.publish_all {
            publish(&mut spec.ports, &image.about.ports);
        }
        size(&mut spec, wanted.memory_mib, wanted.cpus, &image)?;
        check_abilities(provider.capabilities(), kind, &spec, !wanted.mounts.is_empty())?;
        let mounts = self.mounts(wanted.mounts, kind).await?;
        self.choose_ports(&mut spec.ports, None)?;
        let named = !wanted.name.is_empty();
        let name = if named { wanted.name } else { names::made_up()? };
        names::check("an instance", &name)?;
        let instance = Instance {
            id: InstanceId::from_bytes(&secret::random()?),
            name,
            image: image.id,
            image_name: wanted.image,
            provider: kind,
            spec,
            env: wanted.env,
            mounts,
            created: Timestamp::now(),
            now: Situation::creating(),
            address: None,
            health: None,
        };
        let row = instance.clone();
        self.store.write(move |write| write.add_instance(&row)).await?;
        let handle = spawn(self, provider, instance);
        handle.order(Command::Create { start: wanted.start }).await
    }

    fn provider_for(&self, image: &Image, name: &str) -> Result<Kind> {
        if !name.is_empty() {
            return Ok(self.providers.named(name)?.kind());
        }
        let default = self.providers.default_kind();
        let has = |kind: Kind| image.staged.iter().any(|(staged, _)| *staged == kind);
        let other =
            image.staged.iter().map(|(kind, _)| *kind).find(|kind| self.providers.has(*kind));
        Ok(if has(default) { default } else { other.unwrap_or(default) })
    }

    async fn mounts(&self, wanted: Vec<WantedMount>, kind: Kind) -> Result<Vec<Mount>> {
        let mut mounts = Vec::with_capacity(wanted.len());
        for wanted in wanted {
            let reference = wanted.volume;
            let volume = self.store.read(move |db| store::volumes::find(db, &reference)).await?;
            super::volumes::fits(&volume, kind)?;
            if mounts.iter().any(|mount: &Mount| mount.volume == volume.id) {
                let message = format!("the volume {:?} is named twice", volume.name);
                return Err(Error::invalid(message)
                    .advise("an instance has a volume at one place; leave the other out"));
            }
            mounts.push(Mount {
                volume: volume.id,
                name: volume.name,
                mount_point: super::volumes::mount_point(&wanted.mount_point)?,
                read_only: wanted.read_only,
            });
        }
        Ok(mounts)
    }

    /// Refuses the start of an instance whose ports somebody has by now.
    pub(crate) fn check_ports(&self, instance: &Instance) -> Result<()> {
        self.choose_ports(&mut instance.spec.ports.clone(), Some(&instance.id))
    }

    /// Finds free ports where none is named, and refuses those that somebody has. An instance is in
    /// nobody's way but others'.
    fn choose_ports(&self, ports: &mut [Port], own: Option<&InstanceId>) -> Result<()> {
        let all = self.registry.all();
        let taken: Vec<(String, Port)> = all
            .iter()
            .filter(|handle| Some(&handle.id) != own)
            .map(|handle| handle.now())
            .filter(|instance| !instance.now.phase.is_at_rest())
            .flat_map(|instance| {
                let name = instance.name.clone();
                instance.spec.ports.clone().into_iter().map(move |port| (name.clone(), port))
            })
            .collect();
        for index in 0..ports.len() {
            let port = ports[index];
            if port.guest == 0 {
                return Err(Error::invalid("a port of the guest is a number from 1 to 65535"));
            }
            if port.host != 0
                && let Some((name, _)) = taken.iter().find(|(_, other)| collide(other, &port))
            {
                let refused = in_use(&port, &format!("the instance {name:?} has it"));
                return Err(match own {
                    Some(_) => refused.advise(format!("stop that one first: kernctl stop {name}")),
                    None => refused,
                });
            }
            if port.host != 0 && ports[..index].iter().any(|other| collide(other, &port)) {
                return Err(in_use(&port, "it is named twice"));
            }
            ports[index].host = probe(&port)?;
        }
        Ok(())
    }
}

fn collide(one: &Port, other: &Port) -> bool {
    let everywhere = one.host_address.is_unspecified() || other.host_address.is_unspecified();
    one.host == other.host
        && one.protocol == other.protocol
        && (everywhere || one.host_address == other.host_address)
}

/// The port, when it can be listened on now; a free one when it is 0.
fn probe(port: &Port) -> Result<u16> {
    let address = SocketAddr::new(port.host_address, port.host);
    let bound = match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).and_then(|socket| socket.local_addr()),
        Protocol::Udp => UdpSocket::bind(address).and_then(|socket| socket.local_addr()),
    };
    match bound {
        Ok(address) => Ok(address.port()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Err(in_use(port, "another program listens there"))
        }
        Err(error) => {
            let message = format!("cannot listen on {address}: {error}");
            Err(Error::new(Code::Invalid, message)
                .advise("choose an address of this machine and a port that you may use"))
        }
    }
}

fn in_use(port: &Port, who: &str) -> Error {
    let address = SocketAddr::new(port.host_address, port.host);
    Error::conflict(format!("port {address} is in use: {who}"))
        .advise("choose another port, or 0 for one that is free")
}

fn size(spec: &mut Spec, memory: Option<u64>, cpus: Option<u32>, image: &Image) -> Result<()> {
    let least = image.about.least_memory_mib;
    spec.memory_mib = memory.unwrap_or(image.about.usual_memory_mib);
    if spec.memory_mib < least {
        let message = format!(
            "the image {} does not start with {} MiB of memory",
            image.id.short(),
            spec.memory_mib
        );
        return Err(Error::invalid(message).advise(format!("give it at least {least} MiB")));
    }
    check_memory(Some(spec.memory_mib))?;
    spec.cpus = cpus.or(image.about.usual_cpus).unwrap_or(1);
    check_cpus(Some(spec.cpus))
}

pub(super) fn check_memory(mib: Option<u64>) -> Result<()> {
    match mib {
        Some(0) => Err(Error::invalid("no instance starts without memory")),
        Some(mib) if mib > MEMORY_MAX_MIB => {
            Err(Error::invalid(format!("{mib} MiB of memory are too much")))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_cpus(cpus: Option<u32>) -> Result<()> {
    match cpus {
        Some(cpus) if cpus == 0 || cpus > CPUS_MAX => {
            Err(Error::invalid(format!("an instance has 1 to {CPUS_MAX} processors")))
        }
        _ => Ok(()),
    }
}

/// Adds the ports of an image that nothing leads into yet, each from a free one of loopback.
fn publish(ports: &mut Vec<Port>, exposed: &[Exposed]) {
    for exposed in exposed {
        let protocol = if exposed.udp { Protocol::Udp } else { Protocol::Tcp };
        let known = |port: &Port| port.guest == exposed.guest && port.protocol == protocol;
        if !ports.iter().any(known) {
            let host_address = Ipv4Addr::LOCALHOST.into();
            ports.push(Port { host_address, host: 0, guest: exposed.guest, protocol });
        }
    }
}

fn check_abilities(can: Capabilities, kind: Kind, spec: &Spec, volumes: bool) -> Result<()> {
    let host_network = matches!(spec.network, Network::Tap { .. } | Network::Bridge { .. });
    for (wanted, able, what) in [
        (!spec.ports.is_empty(), can.ports, "lead ports of the host into instances"),
        (volumes, can.volumes, "attach volumes"),
        (spec.debug_port.is_some(), can.debug, "let a debugger in"),
        (host_network, can.host_network, "put instances on a network of the host"),
    ] {
        if wanted && !able {
            let message = format!("{} cannot {what}", kind.title());
            return Err(Error::new(Code::Unsupported, message)
                .advise("`kernctl providers` shows what each provider can do"));
        }
    }
    if !spec.ports.is_empty() && spec.network == Network::None {
        return Err(Error::invalid("ports lead into an instance that has no network"));
    }
    for address in spec.ports.iter().map(|port| port.host_address) {
        if matches!(address, IpAddr::V4(v4) if v4.is_broadcast()) || address.is_multicast() {
            return Err(Error::invalid(format!("nothing can listen on {address}")));
        }
    }
    Ok(())
}

/// The values are not told: they are secrets more often than not.
fn check_environment(env: &[(String, String)]) -> Result<()> {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("{name:?} cannot be set in an environment");
            return Err(Error::invalid(message).advise(
                "names are not empty and have no '='; neither they nor values have zero bytes",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: Ipv4Addr, host: u16) -> Port {
        Port { host_address: address.into(), host, guest: 80, protocol: Protocol::Tcp }
    }

    #[test]
    fn ports_collide_on_one_address_and_everywhere() {
        let loopback = port(Ipv4Addr::LOCALHOST, 8080);
        assert!(collide(&loopback, &port(Ipv4Addr::UNSPECIFIED, 8080)));
        assert!(!collide(&loopback, &port(Ipv4Addr::new(127, 0, 0, 2), 8080)));
        assert!(!collide(&loopback, &Port { protocol: Protocol::Udp, ..loopback }));
    }

    #[test]
    fn a_port_that_somebody_has_is_a_conflict_and_a_free_one_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap().port();
        let error = probe(&port(Ipv4Addr::LOCALHOST, taken)).unwrap_err();
        assert_eq!(error.code(), Code::Conflict);
        assert!(error.to_string().contains(&taken.to_string()));
        assert_ne!(probe(&port(Ipv4Addr::LOCALHOST, 0)).unwrap(), 0);
        let elsewhere = port(Ipv4Addr::new(192, 0, 2, 1), 0);
        assert_eq!(probe(&elsewhere).unwrap_err().code(), Code::Invalid);
    }

    #[test]
    fn ports_of_an_image_are_published_once() {
        let exposed =
            [(80, false), (80, true), (53, true)].map(|(guest, udp)| Exposed { guest, udp });
        let mut ports = vec![port(Ipv4Addr::UNSPECIFIED, 8080)];
        publish(&mut ports, &exposed);
        let all: Vec<_> = ports.iter().map(|port| (port.host, port.guest, port.protocol)).collect();
        let udp = Protocol::Udp;
        assert_eq!(all, [(8080, 80, Protocol::Tcp), (0, 80, udp), (0, 53, udp)]);
    }

    #[test]
    fn values_of_an_environment_are_not_told() {
        let error = check_environment(&[("A=B".into(), "hunter2".into())]).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
        check_environment(&[("A".into(), "x=y".into())]).unwrap();
    }
}
