// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The conformance suite on the fake. No right and no device of this machine is needed: the
//! guests' addresses are of the loopback network, and tap devices are directories.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use bhojpur_conformance::Harness;
use bhojpur_firecracker_suite::fake::INTERFACES;
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
    Config {
        binary: Some(env!("CARGO_BIN_EXE_fake-firecracker").into()),
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

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let kernel = bhojpur_kernel_embedded::KERNEL;
    let image = bhojpur_conformance::image::build(kernel, scratch.path()).unwrap();
    let directory = scratch.path().join("instances");
    // The wrapper gives the fake its environment, without changing ours.
    let wrapper = scratch.path().join("firecracker");
    let script = format!(
        "#!/bin/sh\n{INTERFACES}='{}' exec '{}' \"$@\"\n",
        config.host.interfaces.display(),
        env!("CARGO_BIN_EXE_fake-firecracker")
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755)).unwrap();
    let config = Config { binary: Some(wrapper), ..config };
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
