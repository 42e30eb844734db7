// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The client against servers that are strict, and against those that misbehave.

use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixListener;

use super::*;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, "capabilities": ["oob"]}}"#;
const PATIENT: Duration = Duration::from_secs(60);
const HASTY: Duration = Duration::from_millis(300);

/// A server that sends `first`, then for each request what the script has next; `ID` in it
/// stands for the request's id. It checks that requests are what the protocol wants, closes
/// the connection at the end of the script, and gives the commands that it saw.
struct Fake {
    path: PathBuf,
    server: tokio::task::JoinHandle<Vec<String>>,
    _directory: tempfile::TempDir,
}

fn serve(first: &'static str, script: &'static [&'static str]) -> Fake {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut commands = Vec::new();
        writer.write_all(first.as_bytes()).await.unwrap();
        writer.write_all(b"\r\n").await.unwrap();
        let mut lines = BufReader::new(reader).lines();
        for answer in script {
            let Ok(Some(line)) = lines.next_line().await else { break };
            let request: Value = serde_json::from_str(&line).unwrap();
            let fields = request.as_object().unwrap();
            let known = |name: &String| ["execute", "arguments", "id"].contains(&name.as_str());
            assert!(fields.keys().all(known), "{request}");
            commands.push(request["execute"].as_str().unwrap().to_owned());
            let answer = answer.replace("ID", &request["id"].to_string());
            // In two parts: a line may arrive in pieces.
            let (one, two) = answer.split_at(answer.len() / 2);
            for part in [one, two] {
                let _ = writer.write_all(part.as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let _ = writer.write_all(b"\r\n").await;
        }
        commands
    });
    Fake { path, server, _directory: directory }
}

/// A server that says one thing and then nothing, without closing.
fn serve_silently(first: &'static str) -> Fake {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        tokio::time::sleep(PATIENT).await;
        Vec::new()
    });
    Fake { path, server, _directory: directory }
}

async fn connect_error(fake: &Fake) -> Error {
    Client::connect(&fake.path, HASTY * 20).await.unwrap_err()
}

#[tokio::test]
async fn events_come_between_question_and_answer() {
    let fake = serve(
        GREETING,
        &[
            r#"{"return": {}, "id": ID}"#,
            "{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n\r\n\
             {\"return\": {\"running\": false, \"status\": \"paused\"}, \"id\": ID}",
        ],
    );
    let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
    assert_eq!(client.run_state().await.unwrap(), RunState::Paused);
    assert_eq!(fake.server.await.unwrap(), ["qmp_capabilities", "query-status"]);
}

#[tokio::test]
async fn a_refusal_is_told_and_the_connection_goes_on() {
    let fake = serve(
        GREETING,
        &[
            r#"{"return": {}, "id": ID}"#,
            r#"{"error": {"class": "CommandNotFound", "desc": "The command dance has not been found"}, "id": ID}"#,
            r#"{"return": {"status": "running"}, "id": ID}"#,
        ],
    );
    let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
    let error = client.execute("dance", json!({ "where": "here" })).await.unwrap_err();
    assert!(error.to_string().contains("The command dance"), "{error}");
    assert_eq!(client.run_state().await.unwrap(), RunState::Running);
}

#[tokio::test]
async fn a_refused_negotiation_is_an_error() {
    let fake =
        serve(GREETING, &[r#"{"error": {"class": "GenericError", "desc": "no"}, "id": ID}"#]);
    assert_eq!(connect_error(&fake).await.kind(), ErrorKind::Failed);
}

#[tokio::test]
async fn what_is_no_greeting_is_refused() {
    for first in [r#"{"return": {}}"#, "SSH-2.0-OpenSSH_9.2", "[]", "{\"QMP\": ", "7"] {
        let fake = serve(first, &[]);
        let error = connect_error(&fake).await;
        assert_eq!(error.kind(), ErrorKind::Failed, "{first}: {error}");
    }
}

#[tokio::test]
async fn garbage_and_answers_to_nothing_are_errors() {
    for answer in [
        "garbage",
        r#"{"return": {}}"#,
        r#"{"id": ID}"#,
        "{}",
        "\u{0}",
        r#"{"return": {}, "id": ID"#,
    ] {
        let script: &'static [&'static str] =
            Box::leak(Box::new([r#"{"return": {}, "id": ID}"#, answer]));
        let fake = serve(GREETING, script);
        let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
        let error = client.run_state().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed, "{answer}: {error}");
    }
    // A status that is none.
    let fake = serve(GREETING, &[r#"{"return": {}, "id": ID}"#, r#"{"return": 3, "id": ID}"#]);
    let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
    assert!(client.run_state().await.is_err());
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_another() {
    let fake = serve(
        GREETING,
        &[
            r#"{"return": {}, "id": ID}"#,
            "{\"return\": {\"status\": \"running\"}, \"id\": 77}\r\n\
             {\"return\": {\"status\": \"paused\"}, \"id\": ID}",
        ],
    );
    let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
    assert_eq!(client.run_state().await.unwrap(), RunState::Paused);
}

#[tokio::test]
async fn a_closed_socket_is_noticed() {
    let fake = serve(GREETING, &[r#"{"return": {}, "id": ID}"#]);
    let mut client = Client::connect(&fake.path, PATIENT).await.unwrap();
    let error = client.run_state().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
    let nobody = Client::connect(&fake.path.with_extension("none"), PATIENT).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
    let _ = fake.server.await;
    let deaf = Client::connect(&fake.path, PATIENT).await.unwrap_err();
    assert_eq!(deaf.kind(), ErrorKind::Conflict, "{deaf}");
}

#[tokio::test]
async fn silence_ends() {
    for first in ["", "{\"QMP\": {", &format!("{GREETING}\n")] {
        let fake = serve_silently(Box::leak(first.to_owned().into_boxed_str()));
        let error = Client::connect(&fake.path, HASTY).await.unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{first}: {error}");
        assert!(error.advice().is_some());
    }
}

#[tokio::test]
async fn a_line_without_end_is_not_kept() {
    let endless: &'static str = Box::leak("x".repeat(LINE_MAX * 3).into_boxed_str());
    let fake = serve(endless, &[]);
    let error = Client::connect(&fake.path, PATIENT).await.unwrap_err();
    assert!(error.to_string().contains("without an end"), "{error}");
}
