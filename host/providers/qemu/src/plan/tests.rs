// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plans that are wrong, and what becomes of those that are right.

use std::net::Ipv4Addr;

use bhojpur_provider::{ImageId, StagedVolume, VolumeId};

use super::*;

/// A plan whose image is not there.
pub(crate) fn plan(directory: &Path) -> Plan {
    Plan {
        id: InstanceId::from_bytes(&[0xc3; 16]),
        name: "test".into(),
        image: StagedImage {
            id: ImageId::from_bytes(&[1; 32]),
            locator: directory.join("kernel.elf").display().to_string(),
        },
        args: None,
        env: vec![],
        memory_mib: 128,
        cpus: 1,
        ports: vec![],
        volumes: vec![],
        network: Network::Default,
        debug_port: None,
    }
}

fn image() -> Image {
    let mut configuration =
        OwnedConfig { args: vec![b"/app/x".to_vec(), b"old".to_vec()], ..OwnedConfig::default() };
    configuration.set_env("A", "1");
    Image { configuration, least_memory: Size::mebibytes(20) }
}

fn port(host: u16, protocol: Protocol) -> Port {
    Port { host_address: Ipv4Addr::LOCALHOST.into(), host, guest: 80, protocol }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn arguments_replace_and_variables_are_added() {
    let mut plan = plan(Path::new("/x"));
    plan.args = Some(vec!["new".into(), "two words".into()]);
    plan.env = vec![("B".into(), "2=3".into())];
    let record = configuration(&plan, &image()).unwrap();
    let config = OwnedConfig::from(&config::Config::parse(&record).unwrap());
    assert_eq!(config.args, [&b"/app/x"[..], b"new", b"two words"]);
    assert_eq!(config.env, [&b"A=1"[..], b"B=2=3"]);
    assert_eq!(config.network, Some(config::Network::Static));
    plan.args = None;
    plan.network = Network::None;
    let record = configuration(&plan, &image()).unwrap();
    let config = OwnedConfig::from(&config::Config::parse(&record).unwrap());
    assert_eq!(config.args, [&b"/app/x"[..], b"old"]);
    assert_eq!((config.network, config.addresses.len()), (Some(config::Network::None), 0));
    plan.network = Network::Tap { device: "tap0".into() };
    let record = configuration(&plan, &image()).unwrap();
    assert_eq!(config::Config::parse(&record).unwrap().log_level(), Level::Info);
}

#[test]
fn names_and_values_that_a_program_cannot_have_are_refused() {
    for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")] {
        let mut plan = plan(Path::new("/x"));
        plan.env = vec![(name.into(), value.into())];
        assert_eq!(kind(configuration(&plan, &image())), Some(ErrorKind::Invalid), "{name:?}");
    }
    let mut plan = plan(Path::new("/x"));
    plan.args = Some(vec!["x".repeat(config::MAX_LEN)]);
    assert_eq!(kind(configuration(&plan, &image())), Some(ErrorKind::Invalid));
}

#[test]
fn sizes_are_checked_and_the_least_is_told() {
    let mut plan = plan(Path::new("/x"));
    for (memory, cpus, good) in
        [(20, 1, true), (19, 1, false), (u64::MAX, 1, false), (20, 0, false), (20, 65, false)]
    {
        (plan.memory_mib, plan.cpus) = (memory, cpus);
        assert_eq!(check_size(&plan, &image()).is_ok(), good, "{memory} {cpus}");
    }
    plan.memory_mib = 0;
    let error = check_size(&plan, &image()).unwrap_err();
    assert!(error.to_string().contains("20 MiB"), "{error}");
    assert!(error.advice().unwrap().contains("148 MiB"));
}

#[test]
fn ports_lead_to_one_place_each() {
    let mut plan = plan(Path::new("/x"));
    plan.ports = vec![port(80, Protocol::Tcp), port(80, Protocol::Udp), port(81, Protocol::Tcp)];
    assert_eq!(forwards(&plan).unwrap().len(), 3);
    plan.ports.push(port(81, Protocol::Tcp));
    assert_eq!(kind(forwards(&plan)), Some(ErrorKind::Invalid));
    for wrong in [
        port(0, Protocol::Tcp),
        Port { guest: 0, ..port(80, Protocol::Tcp) },
        Port { host_address: "::1".parse().unwrap(), ..port(80, Protocol::Tcp) },
    ] {
        plan.ports = vec![wrong];
        assert_eq!(kind(forwards(&plan)), Some(ErrorKind::Invalid), "{wrong:?}");
    }
    plan.ports = vec![port(80, Protocol::Tcp)];
    plan.network = Network::Tap { device: "tap0".into() };
    assert_eq!(kind(forwards(&plan)), Some(ErrorKind::Invalid));
}

#[test]
fn mount_points_are_taken_as_they_stand() {
    let attachment = |mount_point: &str| Attachment {
        volume: StagedVolume {
            id: VolumeId::from_bytes(&[0xd4; 16]),
            locator: "/v:1/d.raw".into(),
        },
        mount_point: mount_point.into(),
        read_only: true,
    };
    let volume = to_volume(&attachment("/srv/data/")).unwrap();
    assert_eq!((volume.path.to_str(), volume.target.as_str()), (Some("/v:1/d.raw"), "/srv/data"));
    assert_eq!((volume.serial.as_deref(), volume.read_only), (Some("d4d4d4d4d4d4d4d4d4d4"), true));
    for wrong in ["", "/", "data", "/data:ro", "/proc", "/a/../b", "/a\nb"] {
        assert_eq!(kind(to_volume(&attachment(wrong))), Some(ErrorKind::Invalid), "{wrong:?}");
    }
}

#[test]
fn devices_that_are_not_there_are_named() {
    let id = InstanceId::from_bytes(&[0xab; 16]);
    assert_eq!(hardware_address(&id), [0x52, 0x54, 0, 0xab, 0xab, 0xab]);
    let tap = |device: &str| network(&Network::Tap { device: device.into() }, &id);
    let error = tap("tap-none").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.advice().unwrap().contains("tap-none"));
    // The loopback is there, and no tap device.
    assert_eq!(kind(tap("lo")), Some(ErrorKind::NotFound));
    for wrong in ["", "..", "a/b", "a-name-that-is-too-long"] {
        assert_eq!(kind(tap(wrong)), Some(ErrorKind::Invalid), "{wrong:?}");
    }
}

#[test]
fn images_are_looked_into() {
    let directory = tempfile::tempdir().unwrap();
    let mut plan = plan(directory.path());
    assert_eq!(kind(open_image(&plan.image)), Some(ErrorKind::NotFound));
    for text in ["", "text", "\x7fELF"] {
        std::fs::write(&plan.image.locator, text).unwrap();
        assert_eq!(kind(open_image(&plan.image)), Some(ErrorKind::Invalid), "{text:?}");
    }
    plan.image.locator.clear();
    assert_eq!(kind(open_image(&plan.image)), Some(ErrorKind::Invalid));
}

#[test]
fn a_directory_that_is_too_deep_is_refused() {
    let deep = PathBuf::from("/").join("d".repeat(90));
    let plan = plan(&deep);
    let error = prepare(&plan, &Files::of(&deep, &plan.id), Accelerator::Tcg).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("too long"), "{error}");
}

#[test]
fn taken_ports_are_conflicts_with_advice() {
    let error = port_error(PortError::Taken("127.0.0.1:80".parse().unwrap()));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.advice().is_some());
    let away = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let error = port_error(PortError::Refused("192.0.2.1:80".parse().unwrap(), away));
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
