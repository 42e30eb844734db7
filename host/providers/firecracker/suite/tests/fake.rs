// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The conformance suite on the fake. No right and no device of this machine is needed: the
//! guests' addresses are of the loopback network, and tap devices are directories.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bhojpur_conformance::Harness;
use bhojpur_firecracker_suite::fake::INTERFACES;
use bhojpur_provider::{
    Ended, ErrorKind, ImageId, Network, Plan, Provider as _, StagedImage, State,
};
use bhojpur_provider_firecracker::{Config, Firecracker, Host};

/// What `ip` does to our tap devices, and nothing else.
const IP: &str = r#"#!/bin/sh
cd "$(dirname "$0")/interfaces" || exit 1
echo "$*" >>../ip.log
case "$*" in
"tuntap add dev fc-"*" mode tap user "*" group "*) mkdir "$4" && echo 0x1002 >"$4/tun_flags" ;;
"address add 127.77."*"/30 dev fc-"*) test -d "$5" ;;
"link set dev fc-"*" up") test -d "$4" ;;
"link delete dev fc-"*) rm -r "$4" ;;
*) echo "ip: what is $*?" >&2; exit 255 ;;
esac
"#;

fn config(scratch: &Path) -> Config {
    let write = |name: &str, text: &str| std::fs::write(scratch.join(name), text).unwrap();
    std::fs::create_dir_all(scratch.join("interfaces")).unwrap();
    write("ip", IP);
    std::fs::set_permissions(scratch.join("ip"), PermissionsExt::from_mode(0o755)).unwrap();
    for device in ["kvm", "tun"] {
        write(device, "");
    }
    write("status", "CapEff:\t0000000000001000\n");
    write("route", "Iface\tDestination\n");
    // It gives the fake its environment, without changing ours.
    let wrapper = scratch.join("firecracker");
    let script = format!(
        "#!/bin/sh\n{INTERFACES}='{}' exec '{}' \"$@\"\n",
        scratch.join("interfaces").display(),
        env!("CARGO_BIN_EXE_fake-firecracker")
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    Config {
        binary: Some(wrapper),
        jailer: None,
        range: "127.77.0.0/16".parse().unwrap(),
        port_proxy: vec![env!("CARGO_BIN_EXE_firecracker-port-proxy").into()],
        host: Host {
            ip: scratch.join("ip"),
            interfaces: scratch.join("interfaces"),
            routes: scratch.join("route"),
            kvm: scratch.join("kvm"),
            tun: scratch.join("tun"),
            process_status: scratch.join("status"),
        },
    }
}

fn plan(id: &str, locator: String) -> Plan {
    Plan {
        id: id.parse().unwrap(),
        name: "exact".into(),
        image: StagedImage { id: ImageId::from_bytes(&[1; 32]), locator },
        args: Some(vec!["env=A".into(), "wait".into()]),
        env: vec![],
        memory_mib: 96,
        cpus: 2,
        ports: vec![],
        volumes: vec![],
        network: Network::Default,
        debug_port: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let kernel = bhojpur_kernel_embedded::KERNEL;
    let image = bhojpur_conformance::image::build(kernel, scratch.path()).unwrap();
    let directory = scratch.path().join("instances");
    let make = {
        let directory = directory.clone();
        move || -> Box<dyn bhojpur_provider::Provider> {
            Box::new(Firecracker::new(&directory, config.clone()))
        }
    };
    let mut harness = Harness::new("fake firecracker", scratch.path(), image, make)
        .directory(directory)
        .patience(Duration::from_secs(60));
    if std::net::TcpListener::bind(("127.77.0.1", 80)).is_err() {
        let reason = "the fake's guests may not listen below 1024 here";
        harness = harness.skip("ports", reason).skip("ports-taken", reason);
    }
    let filter = std::env::var("CONFORMANCE_FILTER").ok();
    let report = bhojpur_conformance::run(harness, filter.as_deref()).await;
    println!("{report}");
    assert!(report.passed(), "{report}");
    let left = std::fs::read_dir(scratch.path().join("interfaces")).unwrap().count();
    assert_eq!(left, 0, "tap devices were left behind");
}

/// A start says what this machine lacks in the words of `kernctl providers`, and leaves nothing.
#[tokio::test]
async fn what_is_missing_is_said_at_the_start() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let kernel = bhojpur_kernel_embedded::KERNEL;
    let image = bhojpur_conformance::image::build(kernel, scratch.path()).unwrap();
    let locator = image.path.display().to_string();
    let provider = Firecracker::new(scratch.path().join("instances"), config);
    let plan = plan("0000000200000000000000000000beef", locator);
    provider.create(&plan).await.unwrap();
    for (device, wanted) in [("tun", "which tap devices need"), ("kvm", "which Firecracker needs")]
    {
        std::fs::remove_file(scratch.path().join(device)).unwrap();
        let error = provider.start(&plan).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotReady, "{error}");
        assert!(error.to_string().ends_with(wanted) && error.advice().is_some(), "{error}");
        assert_eq!(provider.status(&plan.id).await.unwrap().state, State::Created);
    }
    assert!(!scratch.path().join("ip.log").exists(), "a tap device was made");
    provider.delete(&plan.id).await.unwrap();
}

/// What goes over the socket, byte by byte, in its order.
#[tokio::test]
async fn requests_are_exact() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let kernel = bhojpur_kernel_embedded::KERNEL;
    let image = bhojpur_conformance::image::build(kernel, scratch.path()).unwrap();
    let kernel = image.path.display().to_string();
    let provider = Firecracker::new(scratch.path().join("instances"), config);
    let plan = Plan {
        env: vec![("A".into(), "b \"c\"".into())],
        ..plan("0000000100000000000000000000beef", kernel.clone())
    };
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    provider.pause(&plan.id).await.unwrap();
    provider.resume(&plan.id).await.unwrap();
    provider.request_stop(&plan.id).await.unwrap();
    let status = provider.wait(&plan.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Exited { code: 143 }));
    let directory = scratch.path().join("instances").join(plan.id.as_str());
    let requests = std::fs::read_to_string(directory.join("requests.log")).unwrap();
    let changes: Vec<&str> = requests.lines().filter(|line| !line.contains(" GET / ")).collect();
    let expected = [
        format!(
            concat!(
                r#"204 PUT /boot-source {{"kernel_image_path":"{}","boot_args":"bhojpur.control=serial "#,
                r#"ip=127.77.0.6::127.77.0.5:255.255.255.252::eth0:off bhojpur.mmds=169.254.169.254"}}"#
            ),
            kernel
        ),
        r#"204 PUT /machine-config {"vcpu_count":2,"mem_size_mib":96}"#.into(),
        concat!(
            r#"204 PUT /network-interfaces/eth0 {"iface_id":"eth0","host_dev_name":"fc-000000010000","#,
            r#""guest_mac":"02:00:00:00:01:00"}"#
        )
        .into(),
        concat!(
            r#"204 PUT /mmds/config {"version":"V2","network_interfaces":["eth0"],"#,
            r#""ipv4_address":"169.254.169.254"}"#
        )
        .into(),
        r#"204 PUT /mmds {"bhojpur":{"args":["env=A","wait"],"env":{"A":"b \"c\""}}}"#.into(),
        "204 PUT /entropy {}".into(),
        r#"204 PUT /actions {"action_type":"InstanceStart"}"#.into(),
        r#"204 PATCH /vm {"state":"Paused"}"#.into(),
        r#"204 PATCH /vm {"state":"Resumed"}"#.into(),
        r#"204 PUT /actions {"action_type":"SendCtrlAltDel"}"#.into(),
    ];
    assert_eq!(changes, expected.each_ref().map(String::as_str));
    provider.delete(&plan.id).await.unwrap();
    let taps = std::fs::read_to_string(scratch.path().join("ip.log")).unwrap();
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let expected = format!(
        "tuntap add dev fc-000000010000 mode tap user {} group {}\n\
         address add 127.77.0.5/30 dev fc-000000010000\n\
         link set dev fc-000000010000 up\n\
         link delete dev fc-000000010000\n",
        user.as_raw(),
        group.as_raw()
    );
    assert_eq!(taps, expected);
}
