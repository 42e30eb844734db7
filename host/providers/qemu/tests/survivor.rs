// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What runs goes on, and its log is written to the end, when the process that started it is
//! killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bhojpur_conformance::image;
use bhojpur_monitor::Qemu;
use bhojpur_provider::{
    Artifact, Ended, ImageId, InstanceId, Network, Plan, Provider, Silent, State,
};
use bhojpur_provider_qemu::QemuProvider;

/// Set in the process that is to be killed: the scratch directory.
const VICTIM: &str = "BHOJPUR_TEST_VICTIM";
/// Set beside it when the process is to go through operations without an end.
const BUSY: &str = "BHOJPUR_TEST_BUSY";
const PATIENCE: Duration = Duration::from_secs(120);

fn id() -> InstanceId {
    InstanceId::from_bytes(&[0x5a; 16])
}

async fn plan(provider: &QemuProvider, scratch: &Path, steps: &[&str]) -> Plan {
    let artifact = Artifact { path: scratch.join("conformance.elf"), size: 0 };
    let image = ImageId::from_bytes(&[1; 32]);
    Plan {
        id: id(),
        name: "survivor".into(),
        image: provider.stage_image(&image, &artifact, &Silent).await.unwrap(),
        args: Some(steps.iter().map(|&step| step.to_owned()).collect()),
        env: vec![],
        memory_mib: 128,
        cpus: 1,
        ports: vec![],
        volumes: vec![],
        network: Network::Default,
        debug_port: None,
    }
}

/// Works and waits to be killed. A test of its own only in name: without the variables it does
/// nothing.
#[tokio::test]
async fn victim() {
    let Some(scratch) = std::env::var_os(VICTIM) else { return };
    let scratch = Path::new(&scratch);
    let provider = QemuProvider::new(scratch.join("instances"));
    let begin = || std::fs::write(scratch.join("started"), "").unwrap();
    if std::env::var_os(BUSY).is_some() {
        begin();
        let plan = plan(&provider, scratch, &["say=begun", "exit=11"]).await;
        loop {
            provider.create(&plan).await.unwrap();
            provider.start(&plan).await.unwrap();
            provider.wait(&plan.id, Duration::from_millis(50)).await.unwrap();
            provider.kill(&plan.id).await.unwrap();
            provider.delete(&plan.id).await.unwrap();
        }
    }
    let steps = ["say=begun", "sleep=1500", "flood=500", "say=the end", "exit=11"];
    let plan = plan(&provider, scratch, &steps).await;
    provider.create(&plan).await.unwrap();
    provider.start(&plan).await.unwrap();
    begin();
    tokio::time::sleep(PATIENCE * 2).await;
}

/// Starts the victim, and returns when it is at work.
async fn start_victim(scratch: &Path, busy: bool) -> Child {
    let _ = std::fs::remove_file(scratch.join("started"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim", "--nocapture"]).env(VICTIM, scratch).stdout(Stdio::null());
    if busy {
        command.env(BUSY, "1");
    }
    let mut victim = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !scratch.join("started").exists() {
        assert!(victim.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(Instant::now() < deadline, "nothing was started");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    victim
}

/// A directory with the image; nothing where there is no QEMU.
fn scratch() -> Option<tempfile::TempDir> {
    if let Err(error) = Qemu::locate() {
        eprintln!("SKIPPED: {error}; {}", error.advice().unwrap_or_default());
        return None;
    }
    let scratch = tempfile::tempdir().unwrap();
    let artifact = image::build(bhojpur_kernel_embedded::KERNEL, scratch.path()).unwrap();
    let here = scratch.path().join("conformance.elf");
    if artifact.path != here {
        std::fs::copy(&artifact.path, &here).unwrap();
    }
    Some(scratch)
}

#[tokio::test]
async fn an_instance_outlives_the_process_that_started_it() {
    let Some(scratch) = scratch() else { return };
    let mut victim = start_victim(scratch.path(), false).await;
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

#[tokio::test]
async fn operations_that_were_cut_short_can_be_repeated() {
    let Some(scratch) = scratch() else { return };
    let instances = scratch.path().join("instances");
    for round in 0..16_u64 {
        let mut victim = start_victim(scratch.path(), true).await;
        // Spread over a whole round of the victim's.
        tokio::time::sleep(Duration::from_millis(5 + round * 23)).await;
        assert!(victim.try_wait().unwrap().is_none(), "round {round}: it ended by itself");
        victim.kill().unwrap();
        victim.wait().unwrap();

        let provider = QemuProvider::new(&instances);
        let found = provider.list().await.unwrap();
        assert!(found.is_empty() || found == [id()], "round {round}: {found:?}");
        let plan = plan(&provider, scratch.path(), &["say=after", "exit=12"]).await;
        if round % 2 == 0 {
            provider.delete(&plan.id).await.unwrap();
        } else {
            provider.kill(&plan.id).await.unwrap();
        }
        provider.create(&plan).await.unwrap();
        provider.start(&plan).await.unwrap();
        let status = provider.wait(&plan.id, PATIENCE).await.unwrap();
        assert_eq!(status.ended, Some(Ended::Exited { code: 12 }), "round {round}: {status:?}");
        let log = std::fs::read_to_string(provider.log(&id()).path().unwrap()).unwrap();
        assert!(log.ends_with("after\n"), "round {round}: {log:?}");
        provider.delete(&plan.id).await.unwrap();
        assert!(!instances.join(id().as_str()).exists());
    }
}
