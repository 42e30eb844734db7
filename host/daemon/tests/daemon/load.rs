// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Five hundred clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::Test;
use crate::client::{Events, send};
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[("load", load), ("limits", limits)];

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
