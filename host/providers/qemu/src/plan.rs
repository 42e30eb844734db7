// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a plan to a virtual machine; all that can be wrong with a plan is said here.

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

use bhojpur_abi::config::{self, OwnedConfig};
use bhojpur_abi::control::Level;
use bhojpur_formats::image::{self, KernelFile};
use bhojpur_monitor::wiring::{self, Console, Wiring};
use bhojpur_monitor::{
    Accelerator, Boot, Forward, Machine, PortError, Protocol as Transport, Size, Volume,
    VolumeError, volume,
};
use bhojpur_provider::{
    Attachment, Error, ErrorKind, InstanceId, Network, Plan, Port, Protocol, Result, StagedImage,
};

use crate::files::Files;

/// What a program gets beyond the least that its image needs, when nothing is said.
const USUAL_BESIDE: u64 = 128 << 20;
/// As many processors as the guest's kernel uses.
const CPUS_MAX: u32 = 64;
/// More than any machine has.
const MEMORY_MAX_MIB: u64 = 1 << 24;
/// `sun_path` of unix(7), without the NUL at its end.
const SOCKET_PATH_MAX: usize = 107;
/// Longest name of a network device: IFNAMSIZ of netdevice(7), without the NUL.
const DEVICE_NAME_MAX: usize = 15;

/// What QEMU is started with.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) machine: Machine,
    pub(crate) wiring: Wiring,
    /// The guest's configuration.
    pub(crate) record: Vec<u8>,
}

/// Checks a plan whole and turns it into a machine.
pub(crate) fn prepare(plan: &Plan, files: &Files, accelerator: Accelerator) -> Result<Prepared> {
    if files.qmp().as_os_str().len() > SOCKET_PATH_MAX {
        let place = files.directory().display();
        let message = format!("{place} is too long a path: sockets in it cannot have names");
        return Err(invalid(message).advise("choose a shorter home directory, with BHOJPUR_HOME"));
    }
    let image = open_image(&plan.image)?;
    check_size(plan, &image)?;
    let forwards = forwards(plan)?;
    let volumes = plan.volumes.iter().map(to_volume).collect::<Result<Vec<_>>>()?;
    volume::check_room(&volumes).map_err(volume_error)?;
    volume::check_all(&volumes).map_err(volume_error)?;
    let network = network(&plan.network, &plan.id)?;
    if plan.debug_port == Some(0) {
        return Err(invalid("a debugger cannot connect to port 0"));
    }
    let record = configuration(plan, &image)?;
    let machine = Machine {
        boot: Boot::Kernel(plan.image.locator.clone().into()),
        memory: Size::mebibytes(plan.memory_mib),
        cpus: plan.cpus,
        accelerator,
        forwards,
        volumes,
        configuration: Some(files.configuration()),
        gdb: plan.debug_port,
        extra: Vec::new(),
    };
    let wiring = Wiring {
        control: files.control(),
        console: Console::Pipe { stem: files.console_stem(), log: files.log() },
        network,
        qmp: Some(files.qmp()),
    };
    Ok(Prepared { machine, wiring, record })
}

fn invalid(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

/// What has to be known of an image.
struct Image {
    configuration: OwnedConfig,
    least_memory: Size,
}

fn open_image(image: &StagedImage) -> Result<Image> {
    let named = image.id.short();
    if image.locator.is_empty() {
        return Err(invalid(format!("image {named} has no file")));
    }
    let refused = |error: image::Error| {
        let kind = match &error {
            image::Error::Read { source, .. } | image::Error::Io(source) => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::UnexpectedEof => ErrorKind::Invalid,
                _ => ErrorKind::Failed,
            },
            _ => ErrorKind::Invalid,
        };
        let message = format!("image {named} cannot be booted: {error}");
        Error::new(kind, message).advise("build the image again")
    };
    let file = KernelFile::open(Path::new(&image.locator)).map_err(refused)?;
    let summary = file.summary().map_err(refused)?;
    let configuration = file.config().cloned().ok_or_else(|| refused(image::Error::Bare))?;
    Ok(Image { configuration, least_memory: Size(summary.memory_needed) })
}

fn check_size(plan: &Plan, image: &Image) -> Result<()> {
    let least = image.least_memory.as_mebibytes();
    if plan.memory_mib < least {
        let usual = Size(image.least_memory.0 + USUAL_BESIDE).as_mebibytes();
        let asked = plan.memory_mib;
        let message = format!(
            "{asked} MiB of memory are too little for the image: it needs at least {least} MiB"
        );
        return Err(invalid(message).advise(format!("give it more, for example {usual} MiB")));
    }
    if plan.memory_mib > MEMORY_MAX_MIB {
        return Err(invalid(format!(
            "{} MiB of memory are more than there can be",
            plan.memory_mib
        )));
    }
    if plan.cpus == 0 || plan.cpus > CPUS_MAX {
        let message = format!("an instance cannot have {} processors", plan.cpus);
        return Err(invalid(message).advise(format!("choose 1 to {CPUS_MAX}")));
    }
    Ok(())
}

/// Ports for QEMU's network of this machine.
fn forwards(plan: &Plan) -> Result<Vec<Forward>> {
    if !plan.ports.is_empty() && plan.network != Network::Default {
        let message = "ports of the host lead into instances on QEMU's own network alone";
        let advice = "leave the ports away, or the network; on a tap device or bridge the \
                      instance has an address of its own";
        return Err(invalid(message).advise(advice));
    }
    for (index, port) in plan.ports.iter().enumerate() {
        let place = (port.host_address, port.host, port.protocol);
        let same = |other: &Port| (other.host_address, other.host, other.protocol) == place;
        if plan.ports[..index].iter().any(same) {
            let (address, host, _) = place;
            return Err(invalid(format!("port {host} of {address} is to lead to two places")));
        }
    }
    plan.ports.iter().map(to_forward).collect()
}

fn to_forward(port: &Port) -> Result<Forward> {
    let IpAddr::V4(address) = port.host_address else {
        let message = format!("QEMU does not listen on {}, an IPv6 address", port.host_address);
        return Err(invalid(message).advise("choose an IPv4 address, or 0.0.0.0 for all"));
    };
    if port.host == 0 || port.guest == 0 {
        return Err(invalid("0 is no port").advise("choose 1 to 65535"));
    }
    let protocol = match port.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    Ok(Forward { host: SocketAddrV4::new(address, port.host), guest: port.guest, protocol })
}

/// Whether the ports of the host are free now.
pub(crate) fn check_ports(machine: &Machine) -> Result<()> {
    let debugger = machine.gdb.map(|port| Forward {
        host: SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port),
        guest: port,
        protocol: Transport::Tcp,
    });
    for forward in machine.forwards.iter().chain(&debugger) {
        forward.check_free().map_err(port_error)?;
    }
    Ok(())
}

fn port_error(error: PortError) -> Error {
    let kind = match &error {
        PortError::Syntax(_) | PortError::Twice(..) => ErrorKind::Invalid,
        PortError::Taken(_) | PortError::Gdb(..) => ErrorKind::Conflict,
        PortError::Refused(_, source) => match source.kind() {
            io::ErrorKind::AddrNotAvailable => ErrorKind::Invalid,
            _ => ErrorKind::Failed,
        },
    };
    let advice = error.advice();
    let error = Error::new(kind, &error);
    match advice {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

fn to_volume(attachment: &Attachment) -> Result<Volume> {
    let Attachment { volume, mount_point, read_only } = attachment;
    // The monitor's own reader knows which directories cannot be mounted on.
    let parsed = format!("volume:{mount_point}").parse::<Volume>();
    let plain = |parsed: &Volume| parsed.target == mount_point.trim_end_matches('/');
    match parsed {
        Ok(parsed) if plain(&parsed) => Ok(Volume {
            path: PathBuf::from(&volume.locator),
            read_only: *read_only,
            serial: Some(volume.id.as_str()[..volume::SERIAL_MAX].to_owned()),
            ..parsed
        }),
        _ => {
            let message = format!("{mount_point:?} cannot be a volume's directory in the guest");
            Err(invalid(message).advise("choose an absolute path, for example /data"))
        }
    }
}

fn volume_error(error: VolumeError) -> Error {
    let kind = match &error {
        VolumeError::Open(_, source) if source.kind() == io::ErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        VolumeError::Open(..) => ErrorKind::Failed,
        VolumeError::InUse(_) => ErrorKind::Conflict,
        _ => ErrorKind::Invalid,
    };
    let advice = match &error {
        // It had one when it was made; to make another one would be the end of what it holds.
        VolumeError::NotExt4(path) => Some(format!(
            "restore the volume from a copy, or try e2fsck -f on a copy of {}",
            path.display()
        )),
        error => error.advice(),
    };
    let error = Error::new(kind, &error);
    match advice {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

fn network(network: &Network, id: &InstanceId) -> Result<wiring::Network> {
    let exists = |name: &str, below: &str, what: &str, advice: String| {
        let fits = !name.is_empty() && name.len() <= DEVICE_NAME_MAX && !name.contains('/');
        if !fits || name == "." || name == ".." {
            return Err(invalid(format!("{name:?} cannot be the name of a {what}")));
        }
        // sysfs may show another network than the one that we are in; what it does not show
        // may be right.
        let shown = Path::new("/sys/class/net").join(name);
        if has_device(name) && (shown.join(below).exists() || !shown.exists()) {
            return Ok(());
        }
        let message = format!("this machine has no {what} {name}");
        Err(Error::new(ErrorKind::NotFound, message).advise(advice))
    };
    Ok(match network {
        Network::Default => wiring::Network::User,
        Network::None => wiring::Network::None,
        Network::Tap { device } => {
            let advice = format!("make it: sudo ip tuntap add dev {device} mode tap user $USER");
            exists(device, "tun_flags", "tap device", advice)?;
            wiring::Network::Tap { device: device.clone(), address: hardware_address(id) }
        }
        Network::Bridge { bridge } => {
            let advice = format!("make it: sudo ip link add name {bridge} type bridge");
            exists(bridge, "bridge", "bridge", advice)?;
            wiring::Network::Bridge { bridge: bridge.clone(), address: hardware_address(id) }
        }
    })
}

/// Whether our network has a device of this name: proc(5), `/proc/net/dev`.
fn has_device(name: &str) -> bool {
    let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    devices.lines().any(|line| line.split_once(':').is_some_and(|(first, _)| first.trim() == name))
}

/// An address of QEMU's range, the same at each start.
fn hardware_address(id: &InstanceId) -> [u8; 6] {
    let digits = id.as_str();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or(0);
    [0x52, 0x54, 0x00, byte(0), byte(2), byte(4)]
}

/// The image's configuration with what the plan says.
fn configuration(plan: &Plan, image: &Image) -> Result<Vec<u8>> {
    let mut config = image.configuration.clone();
    for (name, value) in &plan.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(format!("{name:?} cannot be the name of a variable")));
        }
        if value.contains('\0') {
            return Err(invalid(format!("the value of {name} has a NUL in it")));
        }
        config.set_env(name, value);
    }
    if let Some(args) = &plan.args {
        if let Some(argument) = args.iter().find(|argument| argument.contains('\0')) {
            return Err(invalid(format!("the argument {argument:?} has a NUL in it")));
        }
        config.args.truncate(1);
        config.args.extend(args.iter().map(|argument| argument.as_bytes().to_vec()));
    }
    match plan.network {
        Network::Default => bhojpur_monitor::network::configure(&mut config),
        Network::None => {
            config.network = Some(config::Network::None);
            config.addresses.clear();
            config.gateways.clear();
        }
        // The guest asks for its address there, and its log tells which one it got.
        Network::Tap { .. } | Network::Bridge { .. } => {
            let level = config.log_level.unwrap_or_default();
            config.log_level = Some(level.max(Level::Info));
        }
    }
    config
        .encode()
        .map_err(|error| invalid(format!("the guest cannot be given this configuration: {error}")))
}

#[cfg(test)]
pub(crate) mod tests;
