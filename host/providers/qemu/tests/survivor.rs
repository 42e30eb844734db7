// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs goes on, and its log is written to the end, when the process that started it is
//! killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bhojpur_conformance::image;
use bhojpur_monitor::Qemu;
use bhojpur_provider::{
    Artifact, Ended, ImageId, InstanceId, Network, Plan, Provider, Silent, State,
};
use bhojpur_provider_qemu::QemuProvider;

/// Set in the process that is to be killed: the scratch directory.
const VICTIM: &str = "BHOJPUR_TEST_VICTIM";
const PATIENCE: Duration = Duration::from_secs(120);

fn id() -> InstanceId {
    InstanceId::from_bytes(&[0x5a; 16])
}

/// Starts an instance and waits to be killed. A test of its own only in name: without the
/// variable it does nothing.
#[tokio::test]
async fn victim() {
    let Some(scratch) = std::env::var_os(VICTIM) else { return };
    let scratch = Path::new(&scratch);
    let provider = QemuProvider::new(scratch.join("instances"));
    let artifact = Artifact { path: scratch.join("conformance.elf"), size: 0 };
    let image = ImageId::from_bytes(&[1; 32]);
    let steps = ["say=begun", "sleep=1500", "flood=500", "say=the end", "exit=11"];
    let plan = Plan {
        id: id(),
        name: "survivor".into(),
        image: provider.stage_image(&image, &artifact, &Silent).await.unwrap(),
        args: Some(steps.map(str::to_owned).to_vec()),
        env: vec![],
        memory_mib: 128,
        cpus: 1,
        ports: vec![],
        volumes: vec![],
        network: Network::Default,
        debug_port: None,
    };
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    std::fs::write(scratch.join("started"), "").unwrap();
    tokio::time::sleep(PATIENCE * 2).await;
}

#[tokio::test]
async fn an_instance_outlives_the_process_that_started_it() {
    if let Err(error) = Qemu::locate() {
        eprintln!("SKIPPED: {error}; {}", error.advice().unwrap_or_default());
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let artifact = image::build(bhojpur_kernel_embedded::KERNEL, scratch.path()).unwrap();
    let here = scratch.path().join("conformance.elf");
    if artifact.path != here {
        std::fs::copy(&artifact.path, &here).unwrap();
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, scratch.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !scratch.path().join("started").exists() {
        assert!(victim.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(Instant::now() < deadline, "nothing was started");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // SIGKILL: nothing of it can clean up.
    victim.kill().unwrap();
    victim.wait().unwrap();

    let provider = QemuProvider::new(scratch.path().join("instances"));
    assert_eq!(provider.list().await.unwrap(), [id()]);
    assert_eq!(provider.status(&id()).await.unwrap().state, State::Running);
    let status = provider.wait(&id(), PATIENCE).await.unwrap();
    assert_eq!(status.ended, Some(Ended::Exited { code: 11 }), "{status:?}");
    let log = std::fs::read_to_string(provider.log(&id()).path().unwrap()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[501]), (502, "begun", "the end"), "{log}");
    provider.delete(&id()).await.unwrap();
    assert!(provider.list().await.unwrap().is_empty());
}
