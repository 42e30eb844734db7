// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A disk that a guest has filled: what makes room can still be done.

use serde_json::{Value, json};

use crate::Test;
use crate::crash::Place;
use crate::process::Daemon;
use crate::world::block_on;

pub(crate) const TESTS: &[Test] = &[("full_disk_is_made_room_on", room_is_made)];

/// The reserve of the daemon's directory.
const RESERVE: u64 = 2 << 20;

fn room_is_made() {
    let place = Place::new();
    if !place.limited {
        return;
    }
    let reserve = || std::fs::metadata(place.home.join("reserve")).map_or(0, |found| found.len());
    let mut daemon = Daemon::start(&place.home, &place.log);
    block_on(async {
        let client = daemon.client.clone();
        let image = crate::image::elf(0).to_vec();
        let imported = client.send("POST", "/v1/images/import?name=web", image).await.unwrap();
        assert_eq!(imported.status, 201, "{}", imported.text());
        for name in ["one", "two", "three"] {
            let volume = format!("/v1/volumes?name={name}&size_bytes={}", 8 << 20);
            client.post(&volume, Value::Null).await;
            let mounts = json!([{ "volume": name, "mount_point": "/data" }]);
            let run = json!({ "image": "web", "name": name, "args": ["forever"],
                "volumes": mounts });
            client.post("/v1/instances", run).await;
        }
        place.fill();
        client.post("/v1/instances/one/stop?grace_s=30", Value::Null).await;
        assert!((1..RESERVE).contains(&reserve()), "a part of the reserve is used");
    });
    // Also by a daemon that finds the disk full.
    daemon.kill();
    daemon = Daemon::start(&place.home, &place.log);
    block_on(async {
        let client = daemon.client.clone();
        client.post("/v1/instances/two/kill", Value::Null).await;
        client.delete("/v1/instances/three?force").await;
        client.delete("/v1/volumes/three?force").await;
        client.delete("/v1/volumes/two?force").await;
        let left = client.get("/v1/volumes").await;
        assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
        place.free();
        client.delete("/v1/instances/two").await;
        assert_eq!(reserve(), RESERVE, "it is there again");
    });
    daemon.end();
}
