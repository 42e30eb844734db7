// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Clients that leave before they are answered: what they asked for is done, or was never begun.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::Test;
use crate::client::Events;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("leave_while_a_volume_is_made", while_a_volume_is_made),
    ("leave_in_the_middle_of_an_upload", in_the_middle_of_an_upload),
];

const LIMIT: Duration = Duration::from_secs(30);

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends the beginning of a request.
async fn begin(world: &World, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(&world.client.socket).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// A volume whose maker left is one that can be used, not one that is being made for ever.
fn while_a_volume_is_made() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        world.fault("stage_volume", "delay 1000");
        let request = format!(
            "POST /v1/volumes?name=left&size_bytes={} HTTP/1.1\r\nHost: x\r\n\r\n",
            8 << 20
        );
        let mut events = Events::open(&world.client, "/v1/events?since=0").await;
        let client = begin(&world, &request).await;
        until("the volume has a row", async || world.client.get("/v1/volumes").await != json!([]))
            .await;
        drop(client);
        let made =
            async { while events.next().await.is_some_and(|event| event["action"] != "create") {} };
        tokio::time::timeout(LIMIT, made).await.expect("the volume is not finished");
        let volumes = json!({ "volumes": [{ "volume": "left", "mount_point": "/data" }] });
        world.run("one", &["forever"], volumes).await;
        world.client.delete("/v1/instances/one?force&volumes").await;
        world.no_violations();
        world.end().await;
    });
}

/// Half a file is not a whole one, whether its length was told or not.
fn in_the_middle_of_an_upload() {
    block_on(async {
        let mut world = World::new().await;
        let tmp = world.home.join("tmp");
        let count = || std::fs::read_dir(&tmp).unwrap().count();
        for length in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let request = format!(
                "POST /v1/volumes?name=half HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n400\r\n{}\r\n",
                "\0".repeat(1024)
            );
            let client = begin(&world, &request).await;
            until("the upload has begun", async || count() > 0).await;
            drop(client);
            until("the upload is thrown away", async || count() == 0).await;
            assert_eq!(world.client.get("/v1/volumes").await, json!([]), "{length}");
        }
        world.end().await;
    });
}
