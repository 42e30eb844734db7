// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls over a unix socket: what is asked, what comes back, what goes wrong.

use std::sync::{Arc, Mutex};

use crate::support::{Answer, unix};
use bhojpur_api::{BuildEvent, BuildQuery, Code, ImportQuery, LogChunk, RunRequest};
use bhojpur_client::{Client, Error, LogOptions, Target, Upload, decode};

const INSTANCE: &str = r#"{"id":"i1","name":"web","image":"web","image_id":"abc","provider":"qemu","state":"running",
    "created":"2026-01-01T00:00:00Z","restarts":0,"env_names":[],"labels":{},"memory_mib":64,"cpus":1,"ports":[],
    "volumes":[],"network":{"mode":"default"},"restart":{"name":"no"},"from_the_future":1}"#;

fn client(path: &std::path::Path) -> Client {
    Client::new(Target::unix(path)).unwrap()
}

#[tokio::test]
async fn requests_have_the_paths_of_the_interface() {
    let (_directory, path, log) = unix(Answer::ok(INSTANCE));
    let client = client(&path);
    let request = RunRequest { image: "web".into(), ..RunRequest::default() };
    assert_eq!(client.run(&request).await.unwrap().name, "web");
    client.instance("we b").await.unwrap();
    client.start("web").await.unwrap();
    client.stop("web", Some(3)).await.unwrap();
    client.kill("web").await.unwrap();
    client.pause("web").await.unwrap();
    client.resume("web").await.unwrap();
    client.restart("web", None).await.unwrap();
    client.restart("web", Some(3)).await.unwrap();
    client.wait("web", None).await.unwrap();
    client.delete_instance("web", true, false).await.unwrap();
    client.restore_snapshot("web", "s/1").await.unwrap();
    let log = log.lock().unwrap();
    let lines: Vec<&str> = log.iter().map(|asked| asked.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /v1/instances",
            "GET /v1/instances/we%20b",
            "POST /v1/instances/web/start",
            "POST /v1/instances/web/stop?grace_s=3",
            "POST /v1/instances/web/kill",
            "POST /v1/instances/web/pause",
            "POST /v1/instances/web/resume",
            "POST /v1/instances/web/restart",
            "POST /v1/instances/web/restart?grace_s=3",
            "GET /v1/instances/web/wait",
            "DELETE /v1/instances/web?force=true",
            "POST /v1/instances/web/snapshots/s%2F1/restore",
        ]
    );
    let sent: RunRequest = serde_json::from_slice(&log[0].body).unwrap();
    assert_eq!(sent, request);
    assert_eq!(log[0].token, None);
}

#[tokio::test]
async fn refusals_keep_what_the_daemon_said() {
    let body = r#"{"code":"conflict","message":"the name web is taken","advice":"choose another"}"#;
    let (_directory, path, _) = unix(Answer { status: 409, pieces: vec![Some(body.as_bytes())] });
    let error = client(&path).instance("web").await.unwrap_err();
    assert_eq!(error.to_string(), "the name web is taken");
    assert_eq!(
        (error.code(), error.advice().as_deref()),
        (Some(Code::Conflict), Some("choose another"))
    );
}

#[tokio::test]
async fn refusals_of_others_are_told_by_their_status() {
    let (_directory, path, _) =
        unix(Answer { status: 404, pieces: vec![Some(b"\n<html>nothing here</html>\n")] });
    let error = client(&path).info().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
    assert!(error.to_string().contains("404 Not Found: <html>nothing here"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_an_error() {
    let (_directory, path, _) = unix(Answer::ok("{\"version\": 3}"));
    let error = client(&path).ping().await.unwrap_err();
    assert!(matches!(error, Error::Answer(_)), "{error:?}");
}

#[tokio::test]
async fn uploads_stream_and_tell_how_far_they_are() {
    let image = r#"{"id":"a","names":[],"language":"","args":[],"env":[],"size_bytes":1,"least_memory_mib":1,
        "usual_memory_mib":1,"created":"","staged":[]}"#;
    let (directory, path, log) = unix(Answer::ok(image));
    let file = directory.path().join("kernel.elf");
    let content: Vec<u8> = (0..1_000_003_u32).map(|n| n as u8).collect();
    std::fs::write(&file, &content).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let upload = Upload::file(&file)
        .await
        .unwrap()
        .with_progress(move |sent| keep.lock().unwrap().push(sent));
    let query = ImportQuery { name: "web:1".into(), ..ImportQuery::default() };
    client(&path).import(&query, upload).await.unwrap();
    let log = log.lock().unwrap();
    assert_eq!(log[0].line, "POST /v1/images/import?name=web%3A1");
    assert_eq!(log[0].length.as_deref(), Some("1000003"));
    assert!(log[0].body == content);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 1 && seen.is_sorted() && seen.last() == Some(&1_000_003));
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_is_our_own_fault() {
    let (_directory, path, _) = unix(Answer::ok("{}"));
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    sender.send(Ok(bytes::Bytes::from_static(b"abc"))).await.unwrap();
    sender.send(Err(std::io::Error::other("secret.txt: Permission denied"))).await.unwrap();
    let query = BuildQuery { name: "web".into(), ..BuildQuery::default() };
    let error = client(&path).build(&query, Upload::channel(receiver)).await.unwrap_err();
    assert!(matches!(&error, Error::Upload(_)), "{error:?}");
    assert!(error.to_string().contains("secret.txt"), "{error}");
}

#[tokio::test]
async fn events_come_as_they_are_sent() {
    let say = Answer {
        status: 200,
        pieces: vec![
            Some(b": keep\n\ndata: {\"event\":\"step\",\"title\":\"comp"),
            Some(b"iling\"}\n"),
            Some(b"\ndata: {\"event\":\"output\",\"line\":\"x\"}\n\nevent: error\ndata: {\"code\":\"internal\","),
            Some(b"\"message\":\"no more\"}\n\n"),
        ],
    };
    let (_directory, path, _) = unix(say);
    let mut events = client(&path).build(&BuildQuery::default(), Upload::empty()).await.unwrap();
    assert_eq!(events.next().await.unwrap(), Some(BuildEvent::Step { title: "compiling".into() }));
    assert_eq!(events.next().await.unwrap(), Some(BuildEvent::Output { line: "x".into() }));
    assert_eq!(events.next().await.unwrap_err().to_string(), "no more");
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_its_end() {
    let say = Answer {
        status: 200,
        pieces: vec![Some(b"data: {\"offset\":0,\"base64\":\"/w==\"}\n\n"), None],
    };
    let (_directory, path, log) = unix(say);
    let last = LogOptions { tail: Some(2), offset: None };
    let mut chunks = client(&path).follow("web", last).await.unwrap();
    let chunk: LogChunk = chunks.next().await.unwrap().unwrap();
    assert_eq!(decode(&chunk).unwrap(), [0xff]);
    assert!(matches!(chunks.next().await, Err(Error::Broken { .. })));
    assert_eq!(log.lock().unwrap()[0].line, "GET /v1/instances/web/logs?follow=true&tail=2");
}

#[tokio::test]
async fn nobody_there_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let error = client(&path).ping().await.unwrap_err();
    assert!(error.is_absent() && error.advice().unwrap().contains("kernctl daemon"), "{error:?}");
    // A socket that nobody serves any more.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(client(&path).ping().await.unwrap_err().is_absent());
}

#[tokio::test]
async fn an_answer_in_the_middle_of_an_upload_is_heard() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("d.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for (stream, answered) in listener.incoming().flatten().zip([true, false]) {
            let mut stream = stream;
            stream.read_exact(&mut [0; 4096]).unwrap();
            let body = r#"{"code":"invalid","message":"no such name"}"#;
            if answered {
                write!(stream, "HTTP/1.1 422 X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                    .unwrap();
            }
        }
    });
    let upload = || Upload::bytes(vec![0_u8; 64 << 20]);
    let error = client(&path).build(&BuildQuery::default(), upload()).await.unwrap_err();
    assert_eq!(error.to_string(), "no such name");
    let error = client(&path).build(&BuildQuery::default(), upload()).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error:?}");
}
