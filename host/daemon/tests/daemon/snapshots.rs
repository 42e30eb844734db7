// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Saved instances, and a daemon that is killed while it saves one.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bhojpur_provider::process::Monitor;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Test;
use crate::client::Client;
use crate::process::Daemon;
use crate::rest::tar;
use crate::world::{World, block_on, no_violations};

pub(crate) const TESTS: &[Test] = &[
    ("snapshot_life", life),
    ("snapshot_cut_short", cut_short),
    ("snapshot_leftovers", leftovers),
    ("snapshot_volumes_are_those_of_the_save", volumes_are_those_of_the_save),
    ("snapshot_volumes_after_a_loss_of_power", volumes_after_a_loss_of_power),
    ("snapshot_restore_cut_short", restore_cut_short),
];

const NAMED: &str = "s";

async fn save(client: &Client, instance: &str) -> Value {
    client.post(&format!("/v1/instances/{instance}/snapshots"), json!({ "name": NAMED })).await
}

async fn names(client: &Client, instance: &str) -> Value {
    let all = client.get(&format!("/v1/instances/{instance}/snapshots")).await;
    all.as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
}

async fn id(client: &Client, instance: &str) -> String {
    client.get(&format!("/v1/instances/{instance}")).await["id"].as_str().unwrap().to_owned()
}

/// What there is of an instance's snapshots on the disk.
fn files(home: &Path, id: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.join("snapshots").join(id)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn life() {
    block_on(async {
        let mut world = World::new().await;
        world.fault("snapshots", "");
        world.import(0, "web").await;
        let client = &world.client;
        world.run("one", &["forever"], json!({})).await;
        assert_eq!(save(client, "one").await["name"], NAMED);
        client.until("one", "running").await;
        let path = "/v1/instances/one/snapshots";
        client.refused("POST", path, json!({ "name": NAMED }), 409, "conflict").await;
        // One that fails leaves nothing, and the instance goes on.
        world.fault("save_snapshot", "fail 1");
        client.refused("POST", path, json!({ "name": "t" }), 502, "provider_failed").await;
        client.until("one", "running").await;
        assert_eq!(names(client, "one").await, json!([NAMED]));
        let restore = format!("{path}/{NAMED}/restore");
        client.refused("POST", &restore, Value::Null, 409, "conflict").await;
        client.post("/v1/instances/one/kill", Value::Null).await;
        client.refused("POST", &format!("{path}/t/restore"), Value::Null, 404, "not_found").await;
        assert_eq!(client.post(&restore, Value::Null).await["state"], "running");
        client.delete(&format!("{path}/{NAMED}")).await;
        let gone = format!("{path}/{NAMED}");
        client.refused("DELETE", &gone, Value::Null, 404, "not_found").await;
        assert_eq!(names(client, "one").await, json!([]));
        save(client, "one").await;
        let id = id(client, "one").await;
        client.delete("/v1/instances/one?force").await;
        assert!(!world.home.join("snapshots").join(id).exists());
        world.no_violations();
        world.end().await;
    });
}

/// What ran goes on, what was held stays so, and there is nothing of what was being saved.
fn cut_short() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().canonicalize().unwrap().join("home");
    let faults = home.join("instances/faults");
    std::fs::create_dir_all(&faults).unwrap();
    std::fs::write(faults.join("snapshots"), "").unwrap();
    let log = directory.path().join("daemon.log");
    let mut daemon = Daemon::start(&home, &log);
    let held = |id: &str| home.join("instances/qemu").join(id).join("paused").exists();
    block_on(async {
        let elf = crate::image::elf(0).to_vec();
        daemon.client.send("POST", "/v1/images/import?name=web", elf).await.unwrap();
        let mut ids = Vec::new();
        for name in ["runs", "rests"] {
            let request = json!({ "image": "web", "name": name, "args": ["forever"] });
            daemon.client.post("/v1/instances", request).await;
            ids.push(id(&daemon.client, name).await);
        }
        daemon.client.post("/v1/instances/rests/pause", Value::Null).await;
        std::fs::write(faults.join("save_snapshot"), "delay 60000").unwrap();
        let ask = |name: &'static str| {
            let client = daemon.client.clone();
            let path = format!("/v1/instances/{name}/snapshots");
            let body = json!({ "name": NAMED }).to_string().into_bytes();
            tokio::spawn(async move { client.send("POST", &path, body).await.is_err() })
        };
        let asked = [ask("runs"), ask("rests")];
        let deadline = Instant::now() + Duration::from_secs(60);
        while !held(&ids[0]) {
            assert!(Instant::now() < deadline, "it is not saved");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        daemon.kill();
        for asked in asked {
            assert!(asked.await.unwrap(), "nobody answers");
        }
        std::fs::remove_file(faults.join("save_snapshot")).unwrap();
        daemon = Daemon::start(&home, &log);
        let client = &daemon.client;
        client.until("runs", "running").await;
        client.until("rests", "paused").await;
        assert_eq!((held(&ids[0]), held(&ids[1])), (false, true));
        for (name, id) in ["runs", "rests"].into_iter().zip(&ids) {
            assert_eq!((names(client, name).await, files(&home, id)), (json!([]), vec![]));
            save(client, name).await;
            client.delete(&format!("/v1/instances/{name}?force")).await;
        }
        daemon.end();
        no_violations(&home);
    });
}

/// Files without a row, rows without files, and both of what was not finished.
fn leftovers() {
    block_on(async {
        let mut world = World::new().await;
        world.fault("snapshots", "");
        world.import(0, "web").await;
        world.run("one", &["forever"], json!({})).await;
        let id = id(&world.client, "one").await;
        for name in ["whole", "half", "retired", "lost"] {
            let request = json!({ "name": name });
            world.client.post("/v1/instances/one/snapshots", request).await;
        }
        world.end().await;
        let place = world.home.join("snapshots").join(&id);
        std::fs::create_dir(place.join("stranger")).unwrap();
        std::fs::remove_dir_all(place.join("lost")).unwrap();
        let db = rusqlite::Connection::open(world.home.join("state.db")).unwrap();
        for (phase, name) in [("saving", "half"), ("deleting", "retired")] {
            let set = "UPDATE snapshots SET phase = ?1 WHERE name = ?2";
            assert_eq!(db.execute(set, (phase, name)).unwrap(), 1);
        }
        drop(db);
        world.restart().await;
        let client = &world.client;
        assert_eq!(names(client, "one").await, json!(["whole"]));
        assert_eq!(files(&world.home, &id), [place.join("whole")]);
        for name in ["stranger", "half", "retired", "lost"] {
            client.post("/v1/instances/one/snapshots", json!({ "name": name })).await;
        }
        client.delete("/v1/instances/one?force").await;
        world.no_violations();
        world.end().await;
    });
}

/// Makes a volume and gives its disk.
async fn volume(world: &World, name: &str) -> PathBuf {
    let path = format!("/v1/volumes?name={name}&size_bytes={}", 16 << 20);
    let made = world.client.post(&path, Value::Null).await;
    world.home.join("volumes").join(made["id"].as_str().unwrap()).join("disk.raw")
}

fn with(volume: &str, read_only: bool) -> Value {
    let mount = json!({ "volume": volume, "mount_point": "/data", "read_only": read_only });
    json!({ "volumes": [mount] })
}

/// Tries to restore what was killed, and kills it again. Gives the message of a refusal.
async fn restore(client: &Client, instance: &str) -> Option<String> {
    client.ask("POST", &format!("/v1/instances/{instance}/kill"), Value::Null).await;
    let path = format!("/v1/instances/{instance}/snapshots/{NAMED}/restore");
    let answer = client.ask("POST", &path, Value::Null).await;
    if answer.status == 200 {
        client.post(&format!("/v1/instances/{instance}/kill"), Value::Null).await;
        return None;
    }
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.json()["advice"].as_str().unwrap().contains("kernctl start"));
    client.until(instance, "stopped").await;
    Some(answer.json()["message"].as_str().unwrap().to_owned())
}

/// A guest that went on with others would destroy them.
fn volumes_are_those_of_the_save() {
    block_on(async {
        let mut world = World::new().await;
        world.fault("snapshots", "");
        world.import(0, "web").await;
        let client = &world.client;
        let disk = volume(&world, "data").await;
        world.run("one", &["forever"], with("data", false)).await;
        save(client, "one").await;
        assert_eq!(restore(client, "one").await, None, "nobody wrote to it");
        let then = std::fs::metadata(&disk).unwrap().modified().unwrap();
        let write = || {
            use std::os::unix::fs::FileExt as _;
            let file = std::fs::File::options().write(true).open(&disk).unwrap();
            file.write_all_at(&[1], (16 << 20) - 1).unwrap();
            file
        };
        let file = write();
        let refusal = restore(client, "one").await.unwrap();
        assert!(refusal.contains("\"data\" was written"), "{refusal}");
        file.set_modified(then).unwrap();
        assert_eq!(restore(client, "one").await, None, "it was put back");
        let put = client.send("PUT", "/v1/volumes/data/files", tar("x", b"y")).await.unwrap();
        assert_eq!(put.status, 200, "{}", put.text());
        assert!(restore(client, "one").await.is_some(), "files were copied into it");
        // The moment of the save counts to the last write before it.
        client.post("/v1/instances/one/start", Value::Null).await;
        client.delete(&format!("/v1/instances/one/snapshots/{NAMED}")).await;
        write();
        save(client, "one").await;
        write();
        assert!(restore(client, "one").await.is_some());
        client.delete("/v1/instances/one").await;
        // Who only reads has it in its memory as well.
        world.run("two", &["forever"], with("data", true)).await;
        save(client, "two").await;
        assert_eq!(restore(client, "two").await, None);
        client.post("/v1/volumes/data/detach", Value::Null).await;
        let refusal = restore(client, "two").await.unwrap();
        assert!(refusal.contains("data:/data:ro"), "{refusal}");
        client.delete("/v1/instances/two").await;
        world.no_violations();
        world.end().await;
    });
}

/// The time of a write can be lost with the power, and the write be there.
fn volumes_after_a_loss_of_power() {
    block_on(async {
        let mut world = World::new().await;
        world.fault("snapshots", "");
        world.import(0, "web").await;
        let mut monitors = Vec::new();
        for name in ["runs", "rests"] {
            volume(&world, name).await;
            world.run(name, &["forever"], with(name, false)).await;
            if name == "rests" {
                world.client.post("/v1/instances/rests/pause", Value::Null).await;
            }
            save(&world.client, name).await;
            let id = id(&world.client, name).await;
            monitors.push(Monitor::of(world.home.join("instances/qemu").join(id)));
        }
        world.end().await;
        for monitor in &monitors {
            monitor.signal(Signal::KILL).unwrap();
            while monitor.is_running().unwrap() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        world.restart().await;
        let client = &world.client;
        assert!(restore(client, "runs").await.is_some(), "it may have written");
        assert_eq!(restore(client, "rests").await, None, "it was held");
        world.no_violations();
        world.end().await;
    });
}

/// A restore that the daemon did not get to the end of is undone, and is no start from nothing.
fn restore_cut_short() {
    block_on(async {
        let mut world = World::new().await;
        world.fault("snapshots", "");
        world.import(0, "web").await;
        world.run("one", &["forever"], json!({})).await;
        save(&world.client, "one").await;
        world.client.post("/v1/instances/one/stop?grace_s=0", Value::Null).await;
        world.end().await;
        let db = rusqlite::Connection::open(world.home.join("state.db")).unwrap();
        db.execute_batch("UPDATE instances SET phase = 'starting', restoring = 1").unwrap();
        drop(db);
        world.restart().await;
        let client = &world.client;
        let found = client.until("one", "stopped").await;
        assert!(found["error"].as_str().unwrap().contains("while it was restored"), "{found}");
        assert_eq!(restore(client, "one").await, None);
        client.delete("/v1/instances/one?force").await;
        world.no_violations();
        world.end().await;
    });
}
