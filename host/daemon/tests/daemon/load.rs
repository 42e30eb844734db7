// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Five hundred clients at once, and such as send more than is wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::Test;
use crate::client::{Events, send};
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] =
    &[("load", load), ("limits", limits), ("load_early_answers", early_answers)];

const CLIENTS: usize = 500;
const FOLLOWERS: usize = 100;
const REQUESTS: usize = 5;

/// All are connected at the same time, some follow logs and events, and nobody gets an error.
fn load() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        world.run("one", &["forever"], json!({})).await;
        world.client.until("one", "running").await;
        let everybody = Arc::new(Barrier::new(CLIENTS));
        let answered = Arc::new(AtomicUsize::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            let (client, everybody, answered) =
                (world.client.clone(), everybody.clone(), answered.clone());
            clients.spawn(async move {
                if number < FOLLOWERS {
                    let path =
                        ["/v1/instances/one/logs?follow=true", "/v1/events?since=0"][number % 2];
                    let mut events = Events::open(&client, path).await;
                    everybody.wait().await;
                    assert!(events.next().await.is_some());
                    answered.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let mut connection = client.connect().await.unwrap();
                everybody.wait().await;
                for request in 0..REQUESTS {
                    let path = ["/v1/instances", "/v1/info", "/v1/images", "/v1/instances/one"]
                        [(number + request) % 4];
                    let answer = send(&mut connection, "GET", path, Vec::new()).await.unwrap();
                    assert_eq!(answer.status(), 200, "{path}");
                    answer.into_body().collect().await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        assert_eq!(answered.load(Ordering::Relaxed), FOLLOWERS + (CLIENTS - FOLLOWERS) * REQUESTS);
        world.client.delete("/v1/instances/one?force").await;
        world.end().await;
    });
}

/// Beyond the limits there is one clear error.
fn limits() {
    block_on(async {
        let mut world = World::with(|config| {
            config.limits.streams = 2;
            config.limits.upload_bytes = 1000;
        })
        .await;
        let first = Events::open(&world.client, "/v1/events").await;
        let second = Events::open(&world.client, "/v1/events").await;
        world.client.refused("GET", "/v1/events", Value::Null, 503, "busy").await;
        drop((first, second));
        let answer =
            world.client.send("POST", "/v1/images/import?name=a", vec![0; 2000]).await.unwrap();
        assert_eq!((answer.status, answer.json()["code"].as_str()), (413, Some("too_large")));
        let long = json!({ "image": "x".repeat(2 << 20) });
        world.client.refused("POST", "/v1/instances", long, 413, "too_large").await;
        world.end().await;
    });
}

/// A client that sends all of its request before it looks for an answer hears it, however early
/// that was clear, and can ask again on the same connection.
fn early_answers() {
    block_on(async {
        use std::io::{BufRead as _, BufReader, Read as _, Write as _};
        let mut world = World::new().await;
        let socket = world.client.socket.clone();
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut answers = BufReader::new(stream.try_clone().unwrap());
            for (path, wanted) in [
                ("/v1/volumes?name=copy&raw&size_bytes=16777216", "HTTP/1.1 422 "),
                ("/v1/volumes/none/attach", "HTTP/1.1 413 "),
                ("/v1/nowhere", "HTTP/1.1 404 "),
            ] {
                let body = vec![b' '; 16 << 20];
                let length = body.len();
                write!(
                    stream,
                    "POST {path} HTTP/1.1\r\nhost: d\r\ncontent-length: {length}\r\n\r\n"
                )
                .unwrap();
                stream.write_all(&body).expect("nobody hangs up");
                let mut line = String::new();
                answers.read_line(&mut line).unwrap();
                assert!(line.starts_with(wanted), "{path}: {line}");
                let mut length = 0;
                while line != "\r\n" {
                    line.clear();
                    answers.read_line(&mut line).unwrap();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                }
                answers.read_exact(&mut vec![0; length]).unwrap();
            }
        });
        client.await.unwrap();
        world.end().await;
    });
}
