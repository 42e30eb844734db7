// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes: made, filled, shared, taken, and such as are damaged.

use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::Test;
use crate::rest::tar;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("volumes", volumes),
    ("volumes_of_disk_images", disk_images_become_volumes),
    ("volumes_that_are_none", damage),
    ("files_of_volumes_are_looked_at", looked_at),
    ("volumes_without_room_stay_as_they_were", no_room),
    ("volumes_are_named_once", named_once),
    ("volumes_tell_what_was_left_out", left_out),
];

fn volumes() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let made = client
            .send("POST", "/v1/volumes?name=data&labels={\"a\":\"b\"}", tar("hello.txt", b"hi"))
            .await
            .unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        assert_eq!(made.json()["labels"]["a"], "b");
        let empty = format!("/v1/volumes?name=empty&size_bytes={}", 16 << 20);
        client.post(&empty, Value::Null).await;
        client.refused("POST", &empty, Value::Null, 409, "conflict").await;
        let files =
            client.send("GET", "/v1/volumes/data/files?path=/hello.txt", Vec::new()).await.unwrap();
        let mut archive = tar::Archive::new(&files.body[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        assert_eq!(text, "hi");
        let put = client.send("PUT", "/v1/volumes/empty/files", tar("x", b"y")).await.unwrap();
        assert!(put.status < 300, "{}", put.text());
        // What climbs out is refused before any of it is written.
        let mut climbs = tar("before", b"x");
        climbs.truncate(1024);
        let mut header = tar("xx/evil", b"x");
        header[..3].copy_from_slice(b"../");
        let sum: u32 = header[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        climbs.extend_from_slice(&header);
        let refused = client.send("PUT", "/v1/volumes/empty/files", climbs).await.unwrap();
        assert_eq!(refused.status, 422, "{}", refused.text());
        let gone = client.ask("GET", "/v1/volumes/empty/files?path=/before", Value::Null).await;
        assert_eq!(gone.status, 404, "{}", gone.text());
        let volumes = json!({ "volumes": [{ "volume": "data", "mount_point": "/data" }] });
        world.run("one", &["forever"], volumes.clone()).await;
        client.refused("GET", "/v1/volumes/data/files", Value::Null, 409, "conflict").await;
        client.refused("DELETE", "/v1/volumes/data", Value::Null, 409, "conflict").await;
        client.refused("DELETE", "/v1/volumes/data?force", Value::Null, 409, "conflict").await;
        let second = json!({ "image": "web", "name": "two", "volumes": volumes["volumes"] });
        let taken = client.refused("POST", "/v1/instances", second, 409, "conflict").await;
        assert!(taken["message"].as_str().unwrap().contains("one"));
        client.refused("GET", "/v1/instances/two", Value::Null, 404, "not_found").await;
        let attach = json!({ "instance": "one", "mount_point": "/more" });
        client.refused("POST", "/v1/volumes/empty/attach", attach.clone(), 409, "conflict").await;
        client.post("/v1/instances/one/stop?grace_s=30", Value::Null).await;
        client.post("/v1/volumes/empty/attach", attach).await;
        client.post("/v1/volumes/data/detach", Value::Null).await;
        client.delete("/v1/volumes/data").await;
        assert_eq!(client.get("/v1/instances/one").await["volumes"][0]["volume"], "empty");
        // Read-only everywhere is shared.
        let shared =
            json!({ "volumes": [{ "volume": "empty", "mount_point": "/r", "read_only": true }] });
        client.post("/v1/volumes/empty/detach", Value::Null).await;
        world.run("r1", &["forever"], shared.clone()).await;
        world.run("r2", &["forever"], shared).await;
        let one = |name: &str| json!({ "instance": name, "mount_point": "/r", "read_only": true });
        assert_eq!(
            client.get("/v1/volumes").await[0]["attachments"],
            json!([one("r1"), one("r2")])
        );
        client.delete("/v1/instances/r1?force").await;
        client.delete("/v1/instances/r2?force&volumes").await;
        assert_eq!(client.get("/v1/volumes").await, json!([]));
        assert_eq!(std::fs::read_dir(world.home.join("volumes")).unwrap().count(), 0);
        world.no_violations();
        world.end().await;
    });
}

/// A disk image is taken as it is, when guests can mount it.
fn disk_images_become_volumes() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let made = client
            .send("POST", "/v1/volumes?name=data", tar("hello.txt", b"hi"))
            .await
            .unwrap()
            .json();
        let disk = |volume: &Value| {
            let id = volume["id"].as_str().unwrap().to_owned();
            world.home.join("volumes").join(id).join("disk.raw")
        };
        let image = std::fs::read(disk(&made)).unwrap();
        let raw = "/v1/volumes?name=copy&raw";
        let mut partitioned = vec![0; 1 << 20];
        partitioned[510..512].copy_from_slice(&[0x55, 0xaa]);
        partitioned.extend_from_slice(&image);
        for wrong in
            [b"no file system".to_vec(), tar("a", b"b"), partitioned, image[..2048].to_vec()]
        {
            let refused = client.send("POST", raw, wrong).await.unwrap();
            assert_eq!(refused.status, 422, "{}", refused.text());
            let text = refused.text();
            assert!(text.contains("disk image") && !text.contains("tmp/"), "{text}");
        }
        let sized = "/v1/volumes?name=copy&raw&size_bytes=16777216";
        assert_eq!(client.send("POST", sized, image.clone()).await.unwrap().status, 422);
        assert_eq!(client.send("POST", raw, Vec::new()).await.unwrap().status, 400);
        assert_eq!(std::fs::read_dir(world.home.join("volumes")).unwrap().count(), 1);
        let copy = client.send("POST", raw, image.clone()).await.unwrap();
        assert_eq!(copy.status, 201, "{}", copy.text());
        let copy = copy.json();
        assert_eq!(copy["size_bytes"], image.len());
        assert!(std::fs::read(disk(&copy)).unwrap() == image, "as it is");
        let files =
            client.send("GET", "/v1/volumes/copy/files?path=/hello.txt", Vec::new()).await.unwrap();
        assert_eq!(files.status, 200, "{}", files.text());
        // The ancestor's way.
        let form = |part: &[u8]| {
            let mut body =
                b"--x\r\nContent-Disposition: form-data; name=\"tarfile\"; filename=\"d\"\r\n\r\n"
                    .to_vec();
            body.extend_from_slice(part);
            body.extend_from_slice(b"\r\n--x--\r\n");
            body
        };
        let old = "/volumes/old?provider=qemu&raw=true&size=0&type=ext2";
        let request = hyper::Request::post(old)
            .header("host", "localhost")
            .header("content-type", "multipart/form-data; boundary=x")
            .body(Full::new(Bytes::from(form(&image))))
            .unwrap();
        let answer = client.connect().await.unwrap().send_request(request).await.unwrap();
        assert_eq!(answer.status(), 201, "{answer:?}");
        assert_eq!(std::fs::read_dir(world.home.join("tmp")).unwrap().count(), 0);
        world.end().await;
    });
}

/// What is no tar, and a volume whose disk was destroyed, are named as the user knows them.
fn damage() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let refused =
            client.send("POST", "/v1/volumes?name=v", b"words".repeat(200)).await.unwrap();
        let error = refused.json();
        assert_eq!((refused.status, &error["code"]), (422, &json!("invalid")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("no whole tar"), "{error}");
        assert_eq!(client.get("/v1/volumes").await, json!([]));
        let made =
            client.send("POST", "/v1/volumes?name=data", tar("hello.txt", b"hi")).await.unwrap();
        let id = made.json()["id"].as_str().unwrap().to_owned();
        let disk = world.home.join("volumes").join(id).join("disk.raw");
        let length = disk.metadata().unwrap().len() as usize;
        std::fs::write(&disk, vec![0; length]).unwrap();
        let lost = client.refused("GET", "/v1/volumes/data/files", Value::Null, 500, "internal");
        let lost = lost.await;
        assert_eq!(lost["message"], "the volume \"data\" has no ext4 file system");
        assert!(lost["advice"].as_str().unwrap().contains("e2fsck"), "{lost}");
        let put = client.send("PUT", "/v1/volumes/data/files", tar("x", b"y")).await.unwrap();
        assert_eq!(put.status, 500, "{}", put.text());
        assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0), "left alone");
        client.delete("/v1/volumes/data").await;
        world.end().await;
    });
}

/// What is at a path is told without a copy of it.
fn looked_at() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let name = "n".repeat(150);
        let made = client
            .send("POST", "/v1/volumes?name=data", tar(&format!("d/{name}/hello.txt"), b"hi"))
            .await
            .unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        let stat = async |path: &str| {
            client.get(&format!("/v1/volumes/data/files/stat?path={path}")).await
        };
        // No room is needed for it: what is copied out goes by the daemon's own directory.
        std::fs::remove_dir(world.home.join("tmp")).unwrap();
        std::fs::write(world.home.join("tmp"), "").unwrap();
        let directory = format!("/d/{name}");
        let found = stat(&directory).await;
        assert_eq!(found["kind"], "directory", "{found}");
        assert_eq!(stat("").await["kind"], "directory");
        let file = stat(&format!("{directory}/hello.txt")).await;
        assert_eq!((&file["kind"], &file["size_bytes"]), (&json!("file"), &json!(2)), "{file}");
        assert_eq!(file["mode"], 0o644);
        for (path, status, code) in [("/none", 404, "not_found"), ("/../x", 422, "invalid")] {
            let path = format!("/v1/volumes/data/files/stat?path={path}");
            client.refused("GET", &path, Value::Null, status, code).await;
        }
        client.refused("GET", "/v1/volumes/none/files/stat", Value::Null, 404, "not_found").await;
        std::fs::remove_file(world.home.join("tmp")).unwrap();
        std::fs::create_dir(world.home.join("tmp")).unwrap();
        let mounted = json!({ "volumes": [{ "volume": "data", "mount_point": "/data" }] });
        world.import(0, "web").await;
        world.run("one", &["forever"], mounted).await;
        let path = "/v1/volumes/data/files/stat?path=/d";
        client.refused("GET", path, Value::Null, 409, "conflict").await;
        world.end().await;
    });
}

/// A copy that does not fit changes nothing; one that fits because of what it replaces is made.
fn no_room() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        client.post(&format!("/v1/volumes?name=small&size_bytes={}", 24 << 20), Value::Null).await;
        let noise = |size: usize| -> Vec<u8> { (0..size).map(|at| (at % 251) as u8 + 1).collect() };
        let put = async |files: &[(&str, &[u8])]| {
            let mut all = Vec::new();
            for (name, content) in files {
                let mut one = tar(name, content);
                one.truncate(one.len() - 1024);
                all.extend_from_slice(&one);
            }
            all.resize(all.len() + 1024, 0);
            client.send("PUT", "/v1/volumes/small/files?path=/d", all).await.unwrap()
        };
        let large = noise(11 << 20);
        let stat = async |path: &str| {
            client
                .ask("GET", &format!("/v1/volumes/small/files/stat?path={path}"), Value::Null)
                .await
        };
        let done = put(&[("big", &large)]).await;
        assert!(done.status < 300, "{}", done.text());
        let refused = put(&[("a", b"a"), ("big", b"small"), ("z", &noise(20 << 20))]).await;
        assert_eq!(refused.status, 507, "{}", refused.text());
        assert!(refused.text().contains("room") || refused.text().contains("space"));
        assert_eq!(stat("/d/a").await.status, 404);
        assert_eq!(stat("/d/z").await.status, 404);
        assert_eq!(stat("/d/big").await.json()["size_bytes"], large.len());
        let done = put(&[("big", &large), ("a", b"a")]).await;
        assert!(done.status < 300, "{}", done.text());
        // What has no bytes but zeroes needs no room.
        let done = put(&[("hole", &vec![0; 32 << 20])]).await;
        assert!(done.status < 300, "{}", done.text());
        world.end().await;
    });
}

fn named_once() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        client.post(&format!("/v1/volumes?name=v1&size_bytes={}", 8 << 20), Value::Null).await;
        let mount = |place: &str| json!({ "volume": "v1", "mount_point": place });
        let twice = json!({ "image": "web", "name": "x",
            "volumes": [mount("/data"), mount("/data2")] });
        let error = client.refused("POST", "/v1/instances", twice, 422, "invalid").await;
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("\"v1\" is named twice"), "{message}");
        // A colon would be read as something else by the guest.
        let colon = json!({ "image": "web", "name": "x", "volumes": [mount("/data:ro")] });
        client.refused("POST", "/v1/instances", colon, 422, "invalid").await;
        world.end().await;
    });
}

fn left_out() {
    block_on(async {
        let mut world = World::new().await;
        let client = &world.client;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Fifo);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header.set_mode(0o644);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, "pipe", std::io::empty()).unwrap();
        let content = builder.into_inner().unwrap();
        let made = client.send("POST", "/v1/volumes?name=data", content.clone()).await.unwrap();
        assert_eq!(made.status, 201, "{}", made.text());
        let warnings = json!(["pipe was left out: a named pipe"]);
        assert_eq!(made.json()["warnings"], warnings);
        let put = client.send("PUT", "/v1/volumes/data/files", content).await.unwrap();
        assert_eq!((put.status, &put.json()["warnings"]), (200, &warnings), "{}", put.text());
        assert!(client.get("/v1/volumes/data").await.get("warnings").is_none());
        world.end().await;
    });
}
