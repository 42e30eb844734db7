// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances on a tap device and on a bridge, in a network of their own, with a DHCP server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bhojpur_conformance::image;
use bhojpur_monitor::Qemu;
use bhojpur_provider::{ImageId, InstanceId, Network, Plan, Provider, Silent};
use bhojpur_provider_qemu::QemuProvider;

/// Set inside of the network of its own: the scratch directory.
const INSIDE: &str = "BHOJPUR_TEST_NETWORK";
const PATIENCE: Duration = Duration::from_secs(120);

/// Says which of the two.
const BRIDGE: &str = "BHOJPUR_TEST_BRIDGE";

/// What allows the bridge to QEMU's helper: an /etc of our own.
const ALLOW: &str = "mkdir upper work && \
     mount -t overlay -o lowerdir=/etc,upperdir=$PWD/upper,workdir=$PWD/work none /etc && \
     mkdir -p /etc/qemu && echo allow br-test >/etc/qemu/bridge.conf";

/// Makes the device and the server; the arguments are the scratch directory and the test.
const SCRIPT: &str = r#"
set -e
cd "$1"
ip link set lo up
if [ "$BHOJPUR_TEST_BRIDGE" ]; then
    ip link add name br-test type bridge
    device=br-test
else
    ip tuntap add dev tap-test mode tap
    device=tap-test
fi
ip address add 10.77.0.1/24 dev $device
ip link set $device up
cat >udhcpd.conf <<END
start 10.77.0.40
end 10.77.0.49
interface $device
option subnet 255.255.255.0
option router 10.77.0.1
lease_file $1/leases
pidfile $1/udhcpd.pid
END
touch leases
busybox udhcpd -f udhcpd.conf >udhcpd.log 2>&1 &
server=$!
status=0
"$2" --exact inside --nocapture || status=$?
kill $server
exit $status
"#;

/// A test of its own only in name: without the variable it does nothing.
#[tokio::test]
async fn inside() {
    let Some(scratch) = std::env::var_os(INSIDE) else { return };
    let scratch = Path::new(&scratch);
    let artifact = image::build(bhojpur_kernel_embedded::KERNEL, scratch).unwrap();
    let provider = QemuProvider::new(scratch.join("instances"));
    let image = ImageId::from_bytes(&[1; 32]);
    let steps = ["tcp=80", "say=ready", "wait"];
    let plan = Plan {
        id: InstanceId::from_bytes(&[0x7a; 16]),
        name: "tap".into(),
        image: provider.stage_image(&image, &artifact, &Silent).await.unwrap(),
        args: Some(steps.map(str::to_owned).to_vec()),
        env: vec![],
        memory_mib: 128,
        cpus: 1,
        ports: vec![],
        volumes: vec![],
        network: match std::env::var_os(BRIDGE) {
            Some(_) => Network::Bridge { bridge: "br-test".into() },
            None => Network::Tap { device: "tap-test".into() },
        },
        debug_port: None,
    };
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    let address = loop {
        let status = provider.status(&plan.id).await.unwrap();
        if let Some(address) = status.address {
            break address;
        }
        assert!(Instant::now() < deadline, "it has no address: {status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(address.to_string().starts_with("10.77.0.4"), "{address}");
    let log = provider.log(&plan.id);
    while !std::fs::read_to_string(log.path().unwrap()).unwrap().contains("ready") {
        assert!(Instant::now() < deadline, "it does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut stream = TcpStream::connect((address, 80)).unwrap();
    stream.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert_eq!(line, "echo hello\n");
    provider.delete(&plan.id).await.unwrap();
    println!("the instance answered at {address}");
}

/// Why this user cannot do in a network of its own what the script does.
fn obstacle(script: &str) -> Option<String> {
    if let Err(error) = Qemu::locate() {
        return Some(error.to_string());
    }
    let scratch = tempfile::tempdir().unwrap();
    match unshare(script).current_dir(scratch.path()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare cannot be started: {error}")),
    }
}

/// A shell in a network of its own.
fn unshare(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c", script, "sh"]);
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    command.env("PATH", search).stdin(Stdio::null());
    command
}

fn show(script: &str, bridge: bool) {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = unshare(script);
    command.current_dir(scratch.path()).arg(scratch.path()).arg(std::env::current_exe().unwrap());
    if bridge {
        command.env(BRIDGE, "1");
    }
    let output = command.env(INSIDE, scratch.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    assert!(said.contains("the instance answered at 10.77.0.4"), "{said}\n{complained}");
}

#[test]
fn an_instance_on_a_tap_device_gets_an_address() {
    let probe = "ip tuntap add dev tap-test mode tap && busybox udhcpd --help";
    match obstacle(probe) {
        Some(obstacle) => eprintln!("SKIPPED: no tap device in a network of its own: {obstacle}"),
        None => show(SCRIPT, false),
    }
}

#[test]
fn an_instance_on_a_bridge_gets_an_address() {
    let probe = format!("ip link add name br-test type bridge && busybox udhcpd --help && {ALLOW}");
    match obstacle(&probe) {
        Some(obstacle) => eprintln!("SKIPPED: no bridge in a network of its own: {obstacle}"),
        None => show(&format!("{ALLOW}\n{SCRIPT}"), true),
    }
}
