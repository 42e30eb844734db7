// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What becomes of machines that do not come up.

use std::process::Command;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

use super::*;

/// An instance whose monitor runs and is no QEMU.
struct Impostor {
    provider: QemuProvider,
    plan: Plan,
    files: Files,
    _directory: tempfile::TempDir,
}

impl Impostor {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut provider = QemuProvider::new(directory.path());
        provider.start_limit = Duration::from_millis(100);
        let plan = crate::plan::tests::plan(directory.path());
        let files = provider.files(&plan.id);
        files.make(&plan).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do sleep 0.1; done"]).arg(files.directory());
        command.stdout(std::process::Stdio::null());
        files.monitor().spawn(&mut command).unwrap();
        assert!(files.monitor().is_running().unwrap());
        Self { provider, plan, files, _directory: directory }
    }

    fn is_running(&self) -> bool {
        self.files.monitor().is_running().unwrap()
    }
}

#[tokio::test]
async fn a_start_that_takes_too_long_leaves_nothing_running() {
    let impostor = Impostor::new();
    let error = impostor.provider.start(&impostor.plan).await.unwrap_err();
    assert!(error.to_string().contains("start"), "{error}");
    assert!(!impostor.is_running());
}

#[tokio::test]
async fn a_machine_that_cannot_go_on_is_ended() {
    let impostor = Impostor::new();
    let listener = UnixListener::bind(impostor.files.qmp()).unwrap();
    tokio::spawn(async move {
        // All is well until it is told to go on.
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let _ = writer.write_all(b"{\"QMP\": {}}\r\n").await;
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let request: Value = serde_json::from_str(&line).unwrap();
                let id = &request["id"];
                let answer = match request["execute"].as_str() {
                    Some("cont") => {
                        json!({ "error": { "class": "GenericError", "desc": "no" }, "id": id })
                    }
                    _ => json!({ "return": { "status": "paused" }, "id": id }),
                };
                let _ = writer.write_all(format!("{answer}\r\n").as_bytes()).await;
            }
        }
    });
    let files = &impostor.files;
    let restored = start::or_end(files, impostor.provider.go_on(&impostor.plan.id, files)).await;
    assert!(restored.unwrap_err().to_string().contains("no"));
    assert!(!impostor.is_running());
}
