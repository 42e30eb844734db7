// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A plan as the requests that make a machine of it; a pure function.

use bhojpur_provider::{Error, ErrorKind, Plan, Result};

use crate::api::Request;
use crate::api::model::{
    BootSource, CacheType, Document, Drive, Entropy, MachineConfiguration, Metadata,
    MetadataConfiguration, NetworkInterface,
};
use crate::network::{Connection, INTERFACE, hardware_address};

/// Where the metadata service answers in the guest: Firecracker's default, said so that both
/// sides agree.
const METADATA_ADDRESS: &str = "169.254.169.254";
/// Most processors of a machine: MAX_SUPPORTED_VCPUS of Firecracker.
const CPUS_MAX: u32 = 32;
/// Most volumes of an instance: each is an interrupt line, of which Firecracker has 19.
const VOLUMES_MAX: usize = 16;
/// Longest command line: CMDLINE_MAX_SIZE of Firecracker.
const COMMAND_LINE_MAX: usize = 2048;
/// What Firecracker adds to it, ` virtio_mmio.device=4K@0xc0001000:5` for each device, and
/// ` pci=off` with a zero at the end.
const ADDED_FOR_DEVICE: usize = 40;
const ADDED: usize = 32;
/// Largest body of a request unless `--http-api-max-payload-size` says otherwise, and largest
/// store of metadata.
const PAYLOAD_USUAL: usize = 51200;
/// Largest metadata that we pass on.
const METADATA_MAX: usize = 1 << 20;

/// Files of a machine by the names that Firecracker knows them by, which are others in a jail.
#[derive(Clone, Debug)]
pub struct Files {
    /// The image.
    pub kernel: String,
    /// The disk of each volume.
    pub disks: Vec<String>,
}

/// All that a machine is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Requests in their order; what starts the machine comes after them.
    pub requests: Vec<Request>,
    /// Largest body that Firecracker has to take, when that is more than usual.
    pub payload_max: Option<usize>,
}

/// Checks what does not depend on this machine.
pub fn check(plan: &Plan) -> Result<()> {
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    if plan.cpus == 0 || plan.cpus > CPUS_MAX {
        return invalid(format!("Firecracker has 1 to {CPUS_MAX} processors, not {}", plan.cpus));
    }
    if plan.memory_mib == 0 {
        return invalid("a machine needs memory".to_owned());
    }
    if plan.volumes.len() > VOLUMES_MAX {
        return invalid(format!("Firecracker has {VOLUMES_MAX} volumes at most"));
    }
    if plan.debug_port.is_some() {
        let message = "Firecracker cannot wait for a debugger";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .advise("run the instance on the provider qemu to debug it"));
    }
    let metadata = serde_json::to_vec(&document(plan)).map_or(0, |body| body.len());
    if metadata > METADATA_MAX {
        return invalid(format!("arguments and environment are longer than {METADATA_MAX} bytes"));
    }
    for (name, value) in &plan.env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return invalid(format!("{name:?} is no name of a variable"));
        }
        if value.contains('\0') {
            return invalid(format!("the variable {name} has a zero byte in it"));
        }
    }
    if plan.args.iter().flatten().any(|argument| argument.contains('\0')) {
        return invalid("an argument has a zero byte in it".to_owned());
    }
    Ok(())
}

/// The requests for a plan.
pub fn setup(plan: &Plan, files: &Files, connection: Option<&Connection>) -> Result<Setup> {
    check(plan)?;
    let document = document(plan);
    let told = document != Document::default();
    let service = connection.is_some() && told;
    let boot_args = command_line(plan, connection, service, &document)?;
    let mut requests = vec![
        Request::put(
            "/boot-source",
            &BootSource { kernel_image_path: files.kernel.clone(), boot_args },
        ),
        Request::put(
            "/machine-config",
            &MachineConfiguration { vcpu_count: plan.cpus as u8, mem_size_mib: plan.memory_mib },
        ),
    ];
    for (index, (volume, disk)) in plan.volumes.iter().zip(&files.disks).enumerate() {
        let drive_id = format!("volume{index}");
        let drive = Drive {
            drive_id: drive_id.clone(),
            path_on_host: disk.clone(),
            is_root_device: false,
            is_read_only: volume.read_only,
            cache_type: CacheType::Writeback,
        };
        requests.push(Request::put(format!("/drives/{drive_id}"), &drive));
    }
    if let Some(connection) = connection {
        let interface = NetworkInterface {
            iface_id: INTERFACE.to_owned(),
            host_dev_name: connection.device.clone(),
            guest_mac: hardware_address(&plan.id),
        };
        requests.push(Request::put(format!("/network-interfaces/{INTERFACE}"), &interface));
    }
    if service {
        let configuration = MetadataConfiguration {
            version: "V2".to_owned(),
            network_interfaces: vec![INTERFACE.to_owned()],
            ipv4_address: METADATA_ADDRESS.to_owned(),
        };
        requests.push(Request::put("/mmds/config", &configuration));
        requests.push(Request::put("/mmds", &Metadata { bhojpur: document }));
    }
    requests.push(Request::put("/entropy", &Entropy {}));
    let largest = requests.iter().map(|request| request.body.len()).max().unwrap_or(0);
    let payload_max = (largest > PAYLOAD_USUAL).then_some(largest);
    Ok(Setup { requests, payload_max })
}

fn document(plan: &Plan) -> Document {
    Document { args: plan.args.clone(), env: plan.env.iter().cloned().collect() }
}

/// The kernel's command line (docs/firecracker.md).
fn command_line(
    plan: &Plan,
    connection: Option<&Connection>,
    service: bool,
    document: &Document,
) -> Result<String> {
    let mut words = vec!["bhojpur.control=serial".to_owned()];
    match connection {
        None => words.push("ip=off".to_owned()),
        Some(connection) => match connection.option() {
            Some(option) => words.push(option),
            // The kernel says the address that it is given.
            None => words.push("bhojpur.log=info".to_owned()),
        },
    }
    for (volume, letter) in plan.volumes.iter().zip('a'..='z') {
        // By its place: the serial number that Firecracker gives a disk is made from the inode.
        let suffix = if volume.read_only { ":ro" } else { "" };
        let word = format!("bhojpur.volume=/dev/vd{letter}:{}{suffix}", volume.mount_point);
        words.push(quoted(&word, "the directory of a volume")?);
    }
    if service {
        words.push(format!("bhojpur.mmds={METADATA_ADDRESS}"));
    } else {
        for (name, value) in &document.env {
            let what = format!("the variable {name}");
            words.push(quoted(&format!("bhojpur.env={name}={value}"), &what)?);
        }
        if let Some(args) = &document.args {
            // Firecracker drops the sign when nothing stands behind it.
            if args.is_empty() {
                let message = "without a network, a program cannot be given no arguments at all";
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            words.push("--".to_owned());
            for argument in args {
                words.push(quoted(argument, "an argument")?);
            }
        }
    }
    let line = words.join(" ");
    let devices = plan.volumes.len() + 2;
    if line.len() > COMMAND_LINE_MAX - ADDED - ADDED_FOR_DEVICE * devices {
        let message = format!("the kernel's command line is too long: {} bytes", line.len());
        return Err(Error::new(ErrorKind::Invalid, message)
            .advise("with a network, arguments and environment do not go through it"));
    }
    Ok(line)
}

/// A word as the guest's kernel reads it. Firecracker takes printable ASCII alone, and there is
/// no way to write a quote.
fn quoted(word: &str, what: &str) -> Result<String> {
    if let Some(bad) = word.chars().find(|&c| !matches!(c, ' '..='~') || c == '"') {
        let message = format!("{what} has {bad:?} in it, which Firecracker's command line cannot");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let plain = !word.is_empty() && !word.contains(' ') && word != "--";
    Ok(if plain { word.to_owned() } else { format!("\"{word}\"") })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bhojpur_provider::{Attachment, ImageId, Network, StagedImage, StagedVolume, VolumeId};

    use super::*;

    fn plan() -> Plan {
        Plan {
            id: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            name: "web".into(),
            image: StagedImage { id: ImageId::from_bytes(&[1; 32]), locator: "/i/k".into() },
            args: None,
            env: vec![],
            memory_mib: 64,
            cpus: 2,
            ports: vec![],
            volumes: vec![],
            network: Network::Default,
            debug_port: None,
        }
    }

    fn connection() -> Connection {
        let network = Some(Ipv4Addr::new(172, 30, 0, 4));
        Connection { device: "fc-0123456789ab".into(), ours: true, network }
    }

    fn requests(plan: &Plan, connection: Option<&Connection>) -> Vec<String> {
        let disks = plan.volumes.iter().map(|volume| volume.volume.locator.clone()).collect();
        let files = Files { kernel: plan.image.locator.clone(), disks };
        let setup = setup(plan, &files, connection).unwrap();
        let line =
            |request: &Request| format!("{} {} {}", request.method, request.path, request.body);
        setup.requests.iter().map(line).collect()
    }

    #[test]
    fn the_smallest_machine() {
        let line = "bhojpur.control=serial ip=172.30.0.6::172.30.0.5:255.255.255.252::eth0:off";
        let expected = [
            format!(r#"PUT /boot-source {{"kernel_image_path":"/i/k","boot_args":"{line}"}}"#),
            r#"PUT /machine-config {"vcpu_count":2,"mem_size_mib":64}"#.to_owned(),
            concat!(
                r#"PUT /network-interfaces/eth0 {"iface_id":"eth0","#,
                r#""host_dev_name":"fc-0123456789ab","guest_mac":"02:01:23:45:67:89"}"#
            )
            .to_owned(),
            "PUT /entropy {}".to_owned(),
        ];
        assert_eq!(requests(&plan(), Some(&connection())), expected);
    }

    #[test]
    fn a_machine_with_everything() {
        let mut plan = plan();
        plan.args = Some(vec!["a b".into(), "\"".into()]);
        plan.env = vec![("B".into(), "ü\n".into()), ("A".into(), "1".into())];
        let volume = |byte, mount_point: &str, read_only| Attachment {
            volume: StagedVolume {
                id: VolumeId::from_bytes(&[byte; 16]),
                locator: format!("/v/{byte}"),
            },
            mount_point: mount_point.to_owned(),
            read_only,
        };
        plan.volumes = vec![volume(1, "/data", false), volume(2, "/with space", true)];
        let got = requests(&plan, Some(&connection()));
        assert!(
            got[0].contains(
                r#" bhojpur.volume=/dev/vda:/data \"bhojpur.volume=/dev/vdb:/with space:ro\" bhojpur.mmds=169.254.169.254""#
            ),
            "{}",
            got[0]
        );
        let expected = [
            r#"PUT /drives/volume0 {"drive_id":"volume0","path_on_host":"/v/1","is_root_device":false,"is_read_only":false,"cache_type":"Writeback"}"#,
            r#"PUT /drives/volume1 {"drive_id":"volume1","path_on_host":"/v/2","is_root_device":false,"is_read_only":true,"cache_type":"Writeback"}"#,
        ];
        assert_eq!(got[2..4], expected);
        let expected = [
            r#"PUT /mmds/config {"version":"V2","network_interfaces":["eth0"],"ipv4_address":"169.254.169.254"}"#,
            r#"PUT /mmds {"bhojpur":{"args":["a b","\""],"env":{"A":"1","B":"ü\n"}}}"#,
            "PUT /entropy {}",
        ];
        assert_eq!(got[5..], expected);
    }

    #[test]
    fn a_guest_that_asks_for_its_address_tells_it() {
        let network = Connection { network: None, ..connection() };
        let got = requests(&plan(), Some(&network));
        assert!(got[0].contains(r#""bhojpur.control=serial bhojpur.log=info""#), "{}", got[0]);
    }

    #[test]
    fn without_a_network_the_command_line_tells_all() {
        let mut plan = plan();
        plan.args = Some(vec![String::new(), "--".into(), "x y".into(), "z".into()]);
        plan.env = vec![("GREETING".into(), "hello world".into())];
        let got = requests(&plan, None);
        let line = got[0].split_once("boot_args\":\"").unwrap().1.replace("\\\"", "\"");
        let line = line.strip_suffix("\"}").unwrap();
        let mut config = bhojpur_abi::config::OwnedConfig::default();
        bhojpur_abi::cmdline::apply(&line.replace("bhojpur.volume", "x"), &mut config).unwrap();
        let args: Vec<_> =
            config.args[1..].iter().map(|arg| String::from_utf8_lossy(arg)).collect();
        assert_eq!(args, ["", "--", "x y", "z"]);
        assert!(line.contains("ip=off \"bhojpur.env=GREETING=hello world\" -- "), "{line}");
        assert_eq!(got.len(), 3, "{got:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let files = Files { kernel: "k".into(), disks: vec![] };
        let kind = |change: &dyn Fn(&mut Plan)| {
            let mut plan = plan();
            change(&mut plan);
            setup(&plan, &files, None).unwrap_err().kind()
        };
        assert_eq!(kind(&|plan| plan.cpus = 0), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.cpus = 33), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.memory_mib = 0), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.debug_port = Some(1)), ErrorKind::Unsupported);
        assert_eq!(kind(&|plan| plan.env = vec![("A".into(), "\"".into())]), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.env = vec![("A=".into(), "".into())]), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.args = Some(vec!["é".into()])), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.args = Some(vec![])), ErrorKind::Invalid);
        assert_eq!(kind(&|plan| plan.args = Some(vec!["x".repeat(2000)])), ErrorKind::Invalid);
        let mut large = plan();
        large.env = vec![("A".into(), "x".repeat(60_000))];
        let setup = setup(&large, &files, Some(&connection())).unwrap();
        assert!(setup.payload_max.unwrap() > 60_000);
        large.env[0].1 = "x".repeat(METADATA_MAX);
        assert_eq!(check(&large).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
