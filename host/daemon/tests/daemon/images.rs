// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images and their names: what goes with a name, and what goes with the last one.

use serde_json::{Value, json};

use crate::Test;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[("names_of_images", names)];

/// A name that goes takes nothing along while there is another; the last one takes the image.
fn names() {
    block_on(async {
        let mut world = World::new().await;
        let image = world.import(0, "web").await;
        let client = &world.client;
        let remove = async |path: &str| {
            let answer = client.ask("DELETE", path, Value::Null).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            answer.json()
        };
        client.post("/v1/images/web/tag", json!({ "name": "web:old" })).await;
        client.post("/v1/images/web/tag", json!({ "name": "web:older" })).await;
        world.run("one", &["forever"], json!({})).await;
        let gone = remove("/v1/images/web:old?force").await;
        assert_eq!(gone, json!({ "untagged": ["web:old"], "instances": [] }));
        assert_eq!(client.get("/v1/instances/one").await["state"], "running");
        let gone = remove("/v1/images/web:older").await;
        assert_eq!(gone, json!({ "untagged": ["web:older"], "instances": [] }));
        assert_eq!(client.get("/v1/images").await[0]["names"], json!(["web:latest"]));
        let used = client.refused("DELETE", "/v1/images/web", Value::Null, 409, "conflict").await;
        assert!(used["message"].as_str().unwrap().contains("one"), "{used}");
        assert_eq!(client.get("/v1/images").await[0]["names"], json!(["web:latest"]));
        let gone = remove("/v1/images/web?force").await;
        let id = &image["id"];
        assert_eq!(
            gone,
            json!({ "untagged": ["web:latest"], "deleted": id, "instances": ["one"] })
        );
        client.refused("GET", "/v1/instances/one", Value::Null, 404, "not_found").await;
        assert_eq!(client.get("/v1/images").await, json!([]));
        // By its id all of its names are meant.
        let image = world.import(0, "web").await;
        client.post("/v1/images/web/tag", json!({ "name": "web:old" })).await;
        let id = image["id"].as_str().unwrap();
        let gone = remove(&format!("/v1/images/{id}?force")).await;
        assert_eq!(
            gone,
            json!({ "untagged": ["web:latest", "web:old"], "deleted": id, "instances": [] })
        );
        assert_eq!(std::fs::read_dir(world.home.join("images")).unwrap().count(), 0);
        world.no_violations();
        world.end().await;
    });
}
