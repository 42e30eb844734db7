// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tap devices: one for each instance, with a network of four addresses that nothing else has.
//!
//! Nothing else of this machine's network is touched: no bridge, no forwarding, no firewall. A
//! guest reaches this machine and nothing behind it, unless an administrator routes for it.
//!
//! The devices are made by iproute2. Making one is an `ioctl(2)` (TUNSETIFF), which has no safe
//! interface in Rust's standard library or rustix, and rtnetlink(7) refuses to make tap
//! devices; the tool is on every machine with a network.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use bhojpur_provider::{Error, ErrorKind, InstanceId, Network, Result};
use serde::{Deserialize, Serialize};

use crate::config::{Host, Range};

/// The only network interface of a guest.
pub const INTERFACE: &str = "eth0";

/// How an instance is connected to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The tap device.
    pub device: String,
    /// Whether we made it, and remove it.
    pub ours: bool,
    /// The first of its four addresses, when they are ours: this machine has the second of them
    /// and the guest the third.
    pub network: Option<Ipv4Addr>,
}

impl Connection {
    /// This machine's address.
    #[must_use]
    pub fn host_address(&self) -> Option<Ipv4Addr> {
        self.network.map(|network| Ipv4Addr::from(u32::from(network) + 1))
    }

    /// The guest's address.
    #[must_use]
    pub fn guest_address(&self) -> Option<Ipv4Addr> {
        self.network.map(|network| Ipv4Addr::from(u32::from(network) + 2))
    }

    /// `ip=` of the guest's command line; nothing when the image or DHCP says it.
    #[must_use]
    pub fn option(&self) -> Option<String> {
        let (host, guest) = (self.host_address()?, self.guest_address()?);
        Some(format!("ip={guest}::{host}:255.255.255.252::{INTERFACE}:off"))
    }
}

/// The name of an instance's tap device: as many digits of its id as IFNAMSIZ allows.
#[must_use]
pub fn device_name(id: &InstanceId) -> String {
    format!("fc-{}", id.short())
}

/// The guest's hardware address: locally administered (IEEE 802, 8.2), the rest from the id.
#[must_use]
pub fn hardware_address(id: &InstanceId) -> String {
    let digits: Vec<&str> = (0..5).map(|at| &id.as_str()[2 * at..2 * at + 2]).collect();
    format!("02:{}", digits.join(":"))
}

/// Chooses how an instance is connected; makes nothing. `taken` are the networks of other
/// instances, `earlier` is what this one had the last time and gets again when that is free.
pub fn choose(
    id: &InstanceId,
    network: &Network,
    range: Range,
    host: &Host,
    taken: &[Ipv4Addr],
    earlier: Option<Ipv4Addr>,
) -> Result<Option<Connection>> {
    let device = device_name(id);
    match network {
        Network::None => Ok(None),
        Network::Tap { device } => {
            let directory = interface(host, device)?;
            if !directory.join("tun_flags").exists() {
                let message = format!("{device} is not a tap device");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            Ok(Some(Connection { device: device.clone(), ours: false, network: None }))
        }
        Network::Bridge { bridge } => {
            if !interface(host, bridge)?.join("bridge").exists() {
                let message = format!("{bridge} is not a bridge");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            Ok(Some(Connection { device, ours: true, network: None }))
        }
        Network::Default => {
            let routes = std::fs::read_to_string(&host.routes).unwrap_or_default();
            let routes = parse_routes(&routes, &device);
            let free = |network: &Ipv4Addr| {
                !taken.contains(network) && !routes.iter().any(|route| route.meets(*network))
            };
            // Starting at a place of the id's own keeps daemons that do not know each other
            // from choosing the same network at the same time.
            let start = u32::from_str_radix(&id.as_str()[..8], 16).unwrap_or(0);
            let all = (0..range.networks()).map(|step| range.network(start.wrapping_add(step)));
            let network = earlier.into_iter().chain(all).find(free).ok_or_else(|| {
                let message = format!("no network of four addresses is free in {range}");
                Error::new(ErrorKind::Exhausted, message).advise(
                    "routes of this machine or other instances have them all (see ip route); \
                     choose another range in the daemon's configuration",
                )
            })?;
            Ok(Some(Connection { device, ours: true, network: Some(network) }))
        }
    }
}

fn interface(host: &Host, name: &str) -> Result<std::path::PathBuf> {
    let sane = !name.is_empty() && name.len() < 16 && !name.contains('/') && name != "..";
    let path = host.interfaces.join(name);
    if sane && path.exists() {
        return Ok(path);
    }
    let message = format!("there is no network device {name:?} on this machine");
    Err(Error::new(ErrorKind::Invalid, message).advise("see: ip link"))
}

struct Route {
    destination: u32,
    mask: u32,
}

impl Route {
    /// Whether it has an address of a network of four.
    fn meets(&self, network: Ipv4Addr) -> bool {
        let mask = self.mask & !3;
        u32::from(network) & mask == self.destination & mask
    }
}

/// Routes through other devices, but for the default one, which everything would meet.
fn parse_routes(table: &str, own: &str) -> Vec<Route> {
    let route = |line: &str| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        let mut hex = |at: usize| u32::from_str_radix(fields.nth(at)?, 16).ok();
        // proc(5): in the byte order of the network, read as this machine's.
        let (destination, mask) = (hex(0)?.swap_bytes(), hex(5)?.swap_bytes());
        (device != own && mask != 0).then_some(Route { destination, mask })
    };
    table.lines().skip(1).filter_map(route).collect()
}

/// Makes the device and gives it its address, for `owner` to open. A device of the same name is
/// left over from an earlier run, and goes first.
pub fn make(
    connection: &Connection,
    network: &Network,
    host: &Host,
    owner: (u32, u32),
) -> Result<()> {
    if !connection.ours {
        return Ok(());
    }
    remove(connection, host)?;
    let device = &*connection.device;
    let (user, group) = (owner.0.to_string(), owner.1.to_string());
    let add = ["tuntap", "add", "dev", device, "mode", "tap", "user", &user, "group", &group];
    let set_up = || {
        run(host, &add)?;
        if let Some(address) = connection.host_address() {
            run(host, &["address", "add", &format!("{address}/30"), "dev", device])?;
        }
        if let Network::Bridge { bridge } = network {
            run(host, &["link", "set", "dev", device, "master", bridge])?;
        }
        run(host, &["link", "set", "dev", device, "up"])
    };
    let outcome = set_up();
    if outcome.is_err() {
        let _ = remove(connection, host);
    }
    outcome
}

/// Takes the device away, when it is ours and there.
pub fn remove(connection: &Connection, host: &Host) -> Result<()> {
    if !connection.ours || !host.interfaces.join(&connection.device).exists() {
        return Ok(());
    }
    match run(host, &["link", "delete", "dev", &connection.device]) {
        // Somebody else was faster.
        Err(_) if !host.interfaces.join(&connection.device).exists() => Ok(()),
        done => done,
    }
}

/// Not asynchronous: each takes a few milliseconds, and an operation that is given up half-way
/// must not leave a process behind that makes a device when nobody expects one any more.
fn run(host: &Host, words: &[&str]) -> Result<()> {
    let program = host.ip.display();
    let output = Command::new(&host.ip).args(words).output().map_err(|error| {
        Error::io(format!("cannot run {program}"), error)
            .with_kind(ErrorKind::NotReady)
            .advise("install iproute2: apt-get install iproute2")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = format!("{program} {} failed: {}", words.join(" "), said.trim());
    let forbidden = said.contains("Operation not permitted") || said.contains("Permission denied");
    if forbidden {
        return Err(Error::new(ErrorKind::NotReady, message).advise(RIGHTS));
    }
    Err(Error::new(ErrorKind::Failed, message))
}

/// What to do when tap devices cannot be made.
pub const RIGHTS: &str = "run the daemon as root, or give it the capability CAP_NET_ADMIN: \
                          AmbientCapabilities=CAP_NET_ADMIN in its systemd unit";

/// Bytes that an instance has received and sent, from its device's counters: what this machine
/// sends the guest receives.
#[must_use]
pub fn counters(device: &str, host: &Host) -> (Option<u64>, Option<u64>) {
    let directory = host.interfaces.join(device).join("statistics");
    let read = |name: &str| read_number(&directory.join(name));
    (read("tx_bytes"), read("rx_bytes"))
}

fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t00001EAC\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
fc-000000010000\t04011EAC\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0
vpn\t00FE1EAC\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0
";

    fn id(start: &str) -> InstanceId {
        format!("{start:0<32}").parse().unwrap()
    }

    fn host(directory: &Path, table: &str) -> Host {
        let routes = directory.join("route");
        std::fs::write(&routes, table).unwrap();
        let interfaces = directory.to_owned();
        Host { ip: "/bin/false".into(), interfaces, routes, ..Host::default() }
    }

    fn chosen(table: &str, taken: &[Ipv4Addr], earlier: Option<Ipv4Addr>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), table);
        let (id, range) = (id("00000000"), "172.30.0.0/22".parse().unwrap());
        let connection = choose(&id, &Network::Default, range, &host, taken, earlier);
        connection.map_or_else(
            |error| format!("{:?}", error.kind()),
            |connection| connection.unwrap().option().unwrap(),
        )
    }

    #[test]
    fn networks_avoid_routes_and_other_instances() {
        let option = |a: u8, host: u8| {
            format!("ip=172.30.{a}.{}::172.30.{a}.{host}:255.255.255.252::eth0:off", host + 1)
        };
        assert_eq!(chosen("", &[], None), option(0, 1));
        // 172.30.0.0/24 is eth0's, 172.30.1.4/30 another instance's device.
        assert_eq!(chosen(TABLE, &[], None), option(1, 1));
        let taken = [Ipv4Addr::new(172, 30, 1, 0)];
        assert_eq!(chosen(TABLE, &taken, None), option(1, 9));
        let earlier = Some(Ipv4Addr::new(172, 30, 2, 16));
        assert_eq!(chosen(TABLE, &taken, earlier), option(2, 17));
        let earlier = Some(Ipv4Addr::new(172, 30, 0, 16));
        assert_eq!(chosen(TABLE, &taken, earlier), option(1, 9));
        let everything = "Iface\nvpn\t00001EAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        assert_eq!(chosen(everything, &[], None), "Exhausted");
    }

    #[test]
    fn names_fit() {
        let id = id("0123456789abcdef");
        assert_eq!(device_name(&id), "fc-0123456789ab");
        assert_eq!(hardware_address(&id), "02:01:23:45:67:89");
        assert!(device_name(&id).len() < 16);
    }

    #[test]
    fn devices_of_the_user_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "");
        let tap = Network::Tap { device: "tap7".into() };
        let bridge = Network::Bridge { bridge: "br0".into() };
        let choose = |network| choose(&id("0"), network, Range::default(), &host, &[], None);
        assert_eq!(choose(&tap).unwrap_err().kind(), ErrorKind::Invalid);
        std::fs::create_dir_all(host.interfaces.join("tap7")).unwrap();
        assert_eq!(choose(&tap).unwrap_err().kind(), ErrorKind::Invalid);
        std::fs::write(host.interfaces.join("tap7/tun_flags"), "0x1002").unwrap();
        let connection = choose(&tap).unwrap().unwrap();
        assert!(!connection.ours && connection.option().is_none());
        std::fs::create_dir_all(host.interfaces.join("br0/bridge")).unwrap();
        assert_eq!(choose(&bridge).unwrap().unwrap().device, "fc-000000000000");
        assert_eq!(choose(&Network::None).unwrap(), None);
        let escape = Network::Tap { device: "../x".into() };
        assert_eq!(choose(&escape).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn what_cannot_be_made_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path(), "");
        let connection = choose(&id("1"), &Network::Default, Range::default(), &host, &[], None);
        let connection = connection.unwrap().unwrap();
        let error = make(&connection, &Network::Default, &host, (0, 0)).unwrap_err();
        assert!(error.to_string().contains("tuntap add dev fc-100000000000"), "{error}");
        let nothing = Host { ip: "/nonexistent/ip".into(), ..host };
        let error = make(&connection, &Network::Default, &nothing, (0, 0)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady);
        assert!(error.advice().unwrap().contains("iproute2"));
    }
}
