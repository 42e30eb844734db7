// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What QEMU can do beyond the suite of all providers, for real.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use bhojpur_conformance::image;
use bhojpur_monitor::{AcceleratorChoice, Qemu};
use bhojpur_provider::{
    Ended, ErrorKind, ImageId, InstanceId, Network, Plan, Port, Protocol, Provider, Silent, State,
};
use bhojpur_provider_qemu::QemuProvider;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long a machine that must not run is watched.
const HELD: Duration = Duration::from_millis(500);

/// Nothing where there is no QEMU.
async fn prepare(scratch: &Path, number: u8, steps: &[&str]) -> Option<(QemuProvider, Plan)> {
    if let Err(error) = Qemu::locate() {
        eprintln!("SKIPPED: {error}; {}", error.advice().unwrap_or_default());
        return None;
    }
    let artifact = image::build(bhojpur_kernel_embedded::KERNEL, scratch).unwrap();
    let provider =
        QemuProvider::new(scratch.join("instances")).with_accelerator(AcceleratorChoice::Tcg);
    let image = ImageId::from_bytes(&[1; 32]);
    let plan = Plan {
        id: InstanceId::from_bytes(&[number; 16]),
        name: "machine".into(),
        image: provider.stage_image(&image, &artifact, &Silent).await.unwrap(),
        args: Some(steps.iter().map(|&step| step.to_owned()).collect()),
        env: vec![],
        memory_mib: 128,
        cpus: 1,
        ports: vec![],
        volumes: vec![],
        network: Network::Default,
        debug_port: None,
    };
    Some((provider, plan))
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn log(provider: &QemuProvider, plan: &Plan) -> String {
    std::fs::read_to_string(provider.log(&plan.id).path().unwrap()).unwrap()
}

#[tokio::test]
async fn without_a_network_nothing_leads_in_or_out() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((provider, mut plan)) = prepare(scratch.path(), 1, &["say=alone"]).await else {
        return;
    };
    plan.network = Network::None;
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    let status = provider.wait(&plan.id, PATIENCE).await.unwrap();
    assert_eq!((status.ended, status.address), (Some(Ended::Exited { code: 0 }), None));
    assert_eq!(log(&provider, &plan), "alone\n");
    let host_address = Ipv4Addr::LOCALHOST.into();
    plan.ports = vec![Port { host_address, host: 8080, guest: 80, protocol: Protocol::Tcp }];
    let error = provider.start(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    // The start that was refused changes nothing.
    let status = provider.status(&plan.id).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Exited { code: 0 }));
    provider.delete(&plan.id).await.unwrap();
}

/// The remote protocol of gdb: `$data#checksum`.
async fn ask_debugger(stream: &mut TcpStream, packet: &str) -> String {
    let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
    stream.write_all(format!("${packet}#{sum:02x}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(3).any(|part| part[0] == b'#') {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "gdb's server went away");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_machine_waits_for_its_debugger() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((provider, mut plan)) = prepare(scratch.path(), 2, &["say=at last", "exit=4"]).await
    else {
        return;
    };
    let port = free_port();
    plan.debug_port = Some(port);
    provider.create(&plan).await.unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let error = provider.start(&plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(provider.status(&plan.id).await.unwrap().state, State::Created);
    drop(taken);
    provider.start(&plan).await.unwrap();
    let status = provider.wait(&plan.id, HELD).await.unwrap();
    assert_eq!(status.state, State::Running, "{status:?}");
    assert_eq!(log(&provider, &plan), "");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut debugger = TcpStream::connect(address).await.unwrap();
    assert!(ask_debugger(&mut debugger, "?").await.contains("$T05"));
    debugger.write_all(b"$c#63").await.unwrap();
    let status = provider.wait(&plan.id, PATIENCE).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Exited { code: 4 }), "{}", log(&provider, &plan));
    assert_eq!(log(&provider, &plan), "at last\n");
    provider.delete(&plan.id).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_is_lost_is_told_with_what_is_known() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((provider, plan)) = prepare(scratch.path(), 3, &["say=here", "wait"]).await else {
        return;
    };
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    let monitor = bhojpur_provider::process::Monitor::of(
        scratch.path().join("instances").join(plan.id.as_str()),
    );
    // What the system's administrator or its shutdown does.
    monitor.signal(rustix::process::Signal::TERM).unwrap();
    let status = provider.wait(&plan.id, PATIENCE).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Killed), "{status:?}");
    assert!(status.ended_at.is_some());
    provider.start(&plan).await.unwrap();
    monitor.signal(rustix::process::Signal::KILL).unwrap();
    let status = provider.wait(&plan.id, PATIENCE).await.unwrap();
    assert!(matches!(status.ended, Some(Ended::Lost { .. })), "{status:?}");
    // Not answering is not having ended.
    provider.start(&plan).await.unwrap();
    monitor.signal(rustix::process::Signal::STOP).unwrap();
    assert_eq!(provider.status(&plan.id).await.unwrap().state, State::Running);
    provider.kill(&plan.id).await.unwrap();
    let status = provider.status(&plan.id).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Killed), "{status:?}");
    provider.delete(&plan.id).await.unwrap();
}

/// QEMU holds a machine when it comes to the end with saving it, whoever wanted that.
#[tokio::test]
async fn a_machine_goes_on_whose_saving_was_cut_short() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((provider, plan)) = prepare(scratch.path(), 4, &["say=here", "wait"]).await else {
        return;
    };
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    provider.pause(&plan.id).await.unwrap();
    let directory = scratch.path().join("instances").join(plan.id.as_str());
    let save = "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"migrate\", \
                \"arguments\": {\"uri\": \"exec:sleep 2; cat > /dev/null\"}}\n";
    let mut monitor = tokio::net::UnixStream::connect(directory.join("qmp.sock")).await.unwrap();
    monitor.write_all(save.as_bytes()).await.unwrap();
    let mut said = String::new();
    while said.matches("\"return\"").count() < 2 {
        let mut piece = [0; 1024];
        let read = monitor.read(&mut piece).await.unwrap();
        said.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    drop(monitor);
    provider.resume(&plan.id).await.unwrap();
    let status = provider.wait(&plan.id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(status.state, State::Running, "{status:?}");
    provider.delete(&plan.id).await.unwrap();
}

/// A wish to end that comes before the guest's first instruction is heard when it is up.
#[tokio::test]
async fn a_stop_before_the_guest_has_begun_is_not_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let Some((provider, mut plan)) = prepare(scratch.path(), 5, &["wait"]).await else {
        return;
    };
    let port = free_port();
    plan.debug_port = Some(port);
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    provider.request_stop(&plan.id).await.unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut debugger = TcpStream::connect(address).await.unwrap();
    assert!(ask_debugger(&mut debugger, "?").await.contains("$T05"));
    debugger.write_all(b"$c#63").await.unwrap();
    let status = provider.wait(&plan.id, Duration::from_secs(30)).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Exited { code: 143 }), "{status:?}");
    provider.delete(&plan.id).await.unwrap();
}
