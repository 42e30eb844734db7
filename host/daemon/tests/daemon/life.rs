// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Lives of instances: policies, stops, logs, events, health, and a daemon that comes back.

use std::time::{Duration, Instant};

use bhojpur_provider::process::Monitor;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Test;
use crate::client::Events;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("life_states", states),
    ("life_policies", policies),
    ("life_stop", stop),
    ("life_failures_leave_nothing", failures),
    ("life_logs_and_events", logs_and_events),
    ("life_large_logs_are_cut", large_logs_are_cut),
    ("logs_that_cannot_be_read", unreadable_logs),
    ("life_health", health),
    ("life_restart_of_the_daemon", restart_of_the_daemon),
    ("life_retries_outlive_the_daemon", retries_outlive_the_daemon),
    ("life_long_waits_are_answered", long_waits_are_answered),
    ("life_idle", idle),
    ("life_two_daemons", two_daemons),
    ("life_ports_of_others", ports_of_others),
];

fn states() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let secret = json!({ "env": { "WHO": "hunter2" }, "labels": { "tier": "front" } });
        let made = world.run("one", &["forever"], secret).await;
        assert_eq!(made["state"], "running");
        assert_eq!(made["env_names"], json!(["WHO"]));
        client
            .refused(
                "POST",
                "/v1/instances",
                json!({ "image": "web", "name": "one" }),
                409,
                "conflict",
            )
            .await;
        assert_eq!(client.get("/v1/instances?label=tier=front").await.as_array().unwrap().len(), 1);
        assert_eq!(client.get("/v1/instances?label=tier=back").await, json!([]));
        assert_eq!(client.post("/v1/instances/one/pause", Value::Null).await["state"], "paused");
        client.refused("POST", "/v1/instances/one/start", Value::Null, 409, "conflict").await;
        client.refused("POST", "/v1/instances/one/input", Value::Null, 409, "conflict").await;
        assert_eq!(client.post("/v1/instances/one/resume", Value::Null).await["state"], "running");
        let typed =
            client.send("POST", "/v1/instances/one/input", b"abc\n".to_vec()).await.unwrap();
        assert_eq!(typed.status, 204, "{}", typed.text());
        client.refused("DELETE", "/v1/instances/one", Value::Null, 409, "conflict").await;
        client.post("/v1/instances/one/rename", json!({ "name": "two" })).await;
        client
            .refused(
                "POST",
                "/v1/instances/two/snapshots",
                json!({ "name": "s" }),
                501,
                "unsupported",
            )
            .await;
        let stopped = client.post("/v1/instances/two/stop?grace_s=60", Value::Null).await;
        assert_eq!(
            (stopped["state"].as_str(), stopped["exit_code"].as_u64()),
            (Some("stopped"), Some(0)),
            "{stopped}"
        );
        assert_eq!(client.get("/v1/instances").await, json!([]));
        assert_eq!(client.get("/v1/instances?all").await.as_array().unwrap().len(), 1);
        client.post("/v1/instances/two/start", Value::Null).await;
        client.post("/v1/instances/two/restart?grace_s=60", Value::Null).await;
        let killed = client.post("/v1/instances/two/kill", Value::Null).await;
        assert_eq!(killed["state"], "stopped", "{killed}");
        client.refused("POST", "/v1/instances/two/kill", Value::Null, 409, "conflict").await;
        // Nothing that anybody can ask for tells the secret, but what the program printed itself.
        for path in ["/v1/instances?all", "/v1/instances/two", "/instances", "/metrics"] {
            assert!(
                !client.ask("GET", path, Value::Null).await.text().contains("hunter2"),
                "{path}"
            );
        }
        let mut events = Events::open(client, "/v1/events?since=0").await;
        let mut actions = Vec::new();
        while actions.len() < 12 {
            let event = events.next().await.unwrap();
            assert!(!event.to_string().contains("hunter2"));
            actions.push(event["action"].as_str().unwrap().to_owned());
        }
        assert_eq!(actions[..5], ["import", "create", "start", "pause", "resume"]);
        client.delete("/v1/instances/two").await;
        world.no_violations();
        world.end().await;
    });
}

fn policies() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let twice = json!({ "restart": { "name": "on-failure", "max_retries": 2 } });
        world.run("failing", &["1", "7"], twice).await;
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let failing = client.get("/v1/instances/failing").await;
            if failing["restarts"] == 2 && failing["state"] == "stopped" {
                assert_eq!(failing["exit_code"], 7);
                break;
            }
            assert!(Instant::now() < deadline, "{failing}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.run("fine", &["1", "0"], json!({ "restart": { "name": "on-failure" } })).await;
        assert_eq!(client.until("fine", "stopped").await["restarts"], 0);
        world.run("always", &["forever"], json!({ "restart": { "name": "always" } })).await;
        let id = client.get("/v1/instances/always").await["id"].as_str().unwrap().to_owned();
        Monitor::of(world.home.join("instances/qemu").join(id)).signal(Signal::KILL).unwrap();
        while client.get("/v1/instances/always").await["restarts"] != 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.until("always", "running").await;
        // A person's word counts more than the policy.
        client.post("/v1/instances/always/stop?grace_s=60", Value::Null).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(client.get("/v1/instances/always").await["state"], "stopped");
        world.run("once", &["1", "0"], json!({ "remove": true })).await;
        while client.ask("GET", "/v1/instances/once", Value::Null).await.status != 404 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let both = json!({ "image": "web", "remove": true, "restart": { "name": "always" } });
        client.refused("POST", "/v1/instances", both, 422, "invalid").await;
        world.no_violations();
        world.end().await;
    });
}

fn stop() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        world.run("mule", &["stubborn"], json!({})).await;
        // It has to be far enough to hear the question, in each run.
        let runs = async |count: usize| {
            let log = "/v1/instances/mule/logs";
            while client.ask("GET", log, Value::Null).await.text().matches("hello").count() < count
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        runs(1).await;
        let start = Instant::now();
        let stopped = client.post("/v1/instances/mule/stop?grace_s=1", Value::Null).await;
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_eq!(stopped["state"], "stopped", "{stopped}");
        client.post("/v1/instances/mule/start", Value::Null).await;
        runs(2).await;
        // Somebody who is in a hurry does not wait for somebody who is not.
        let patient = tokio::spawn({
            let client = client.clone();
            async move { client.post("/v1/instances/mule/stop?grace_s=3600", Value::Null).await }
        });
        client.until("mule", "stopping").await;
        client.post("/v1/instances/mule/kill", Value::Null).await;
        assert_eq!(patient.await.unwrap()["state"], "stopped");
        client.post("/v1/instances/mule/start", Value::Null).await;
        runs(3).await;
        let patient = tokio::spawn({
            let client = client.clone();
            async move { client.ask("POST", "/v1/instances/mule/stop?grace_s=3600", Value::Null).await }
        });
        client.until("mule", "stopping").await;
        client.delete("/v1/instances/mule?force").await;
        patient.await.unwrap();
        world.no_violations();
        world.end().await;
    });
}

/// A run that fails leaves nothing: no row, no directory, no process.
fn failures() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        for operation in ["create", "start"] {
            world.fault(operation, "fail 1");
            let request = json!({ "image": "web", "name": "one" });
            client.refused("POST", "/v1/instances", request, 502, "provider_failed").await;
            assert_eq!(client.get("/v1/instances?all").await, json!([]));
            let left = std::fs::read_dir(world.home.join("instances/qemu")).unwrap().count();
            assert_eq!(left, 0, "{operation}");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let request = json!({ "image": "web", "ports": [{ "host": port, "guest": 80 }] });
        client.refused("POST", "/v1/instances", request, 409, "conflict").await;
        let free =
            world.run("one", &["forever"], json!({ "ports": [{ "host": 0, "guest": 80 }] })).await;
        let chosen = free["ports"][0]["host"].as_u64().unwrap();
        assert_ne!(chosen, 0);
        let same = json!({ "image": "web", "ports": [{ "host": chosen, "guest": 80 }] });
        let error = client.refused("POST", "/v1/instances", same, 409, "conflict").await;
        assert!(error["message"].as_str().unwrap().contains("one"));
        // What exists and cannot be started says why, and can be started later.
        client.post("/v1/instances/one/stop?grace_s=60", Value::Null).await;
        world.fault("start", "fail 1");
        client
            .refused("POST", "/v1/instances/one/start", Value::Null, 502, "provider_failed")
            .await;
        assert!(
            client.until("one", "error").await["error"]
                .as_str()
                .unwrap()
                .contains("as it was told")
        );
        client.post("/v1/instances/one/start", Value::Null).await;
        world.fault("delete", "fail 1");
        client
            .refused("DELETE", "/v1/instances/one?force", Value::Null, 502, "provider_failed")
            .await;
        client.delete("/v1/instances/one?force").await;
        world.fault("stage_image", "fail 1");
        let failed = client
            .send("POST", "/v1/images/import?name=x", crate::image::elf(1).to_vec())
            .await
            .unwrap();
        assert_eq!(failed.status, 502);
        assert_eq!(std::fs::read_dir(world.home.join("images")).unwrap().count(), 1);
        world.fault("stage_volume", "fail 1");
        client
            .refused(
                "POST",
                &format!("/v1/volumes?name=v&size_bytes={}", 16 << 20),
                Value::Null,
                502,
                "provider_failed",
            )
            .await;
        assert_eq!(client.get("/v1/volumes").await, json!([]));
        assert_eq!(std::fs::read_dir(world.home.join("volumes")).unwrap().count(), 0);
        world.no_violations();
        world.end().await;
    });
}

fn logs_and_events() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let mut events = Events::open(client, "/v1/events").await;
        world.run("one", &["300", "0"], json!({ "env": { "WHO": "world" } })).await;
        let mut logs = Events::open(client, "/v1/instances/one/logs?follow=true").await;
        let (mut text, mut end) = (String::new(), 0);
        while let Some(chunk) = logs.next().await {
            assert_eq!(chunk["offset"].as_u64().unwrap(), end);
            let piece = chunk["text"].as_str().unwrap();
            end += piece.len() as u64;
            text.push_str(piece);
        }
        assert_eq!(text, "hello from world\ngoodbye\n");
        let plain = client.ask("GET", "/v1/instances/one/logs", Value::Null).await;
        assert_eq!(plain.text(), text);
        let tail = client.ask("GET", "/v1/instances/one/logs?tail=1", Value::Null).await;
        assert_eq!(tail.text(), "goodbye\n");
        let rest = client.ask("GET", "/v1/instances/one/logs?offset=6", Value::Null).await;
        assert_eq!(rest.text(), text[6..]);
        let mut seen = Vec::new();
        let mut last = 0;
        while seen.last().map(String::as_str) != Some("die") {
            let event = events.next().await.unwrap();
            last = event["id"].as_u64().unwrap();
            seen.push(event["action"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, ["create", "start", "die"]);
        client.delete("/v1/instances/one").await;
        let mut rest = Events::open(client, &format!("/v1/events?since={last}")).await;
        assert_eq!(rest.next().await.unwrap()["action"], "delete");
        world.end().await;
    });
}

/// What cannot be read is an error: a status before the first byte, and no clean end after it.
fn unreadable_logs() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        world.run("one", &["0", "0"], json!({})).await;
        client.until("one", "stopped").await;
        let path = "/v1/instances/one/logs";
        world.fault("remote", "");
        let whole = client.send("GET", path, Vec::new()).await.unwrap();
        assert_eq!(whole.status, 200);
        assert!(whole.text().contains("hello"), "{}", whole.text());
        world.fault("fetch_log", "spare 1");
        let cut = client.send("GET", path, Vec::new()).await;
        assert!(cut.is_err(), "it looks whole: {cut:?}");
        world.fault("fetch_log", "spare 0");
        client.refused("GET", path, Value::Null, 502, "provider_failed").await;
        world.end().await;
    });
}

/// Logs, with records between the lines and without, stay below their limit; who follows goes on.
fn large_logs_are_cut() {
    block_on(async {
        for framed in [false, true] {
            let mut world = World::with(|config| config.instance_log_max = Some(64 << 10)).await;
            if framed {
                world.fault("framed", "");
            }
            world.import(0, "web").await;
            world.run("one", &["forever"], json!({})).await;
            let id = world.client.get("/v1/instances/one").await["id"].as_str().unwrap().to_owned();
            let log = world.home.join("instances/qemu").join(id).join("console.log");
            let write = |text: &str| {
                use std::io::Write as _;
                let file = std::fs::OpenOptions::new().append(true).open(&log);
                file.unwrap().write_all(text.as_bytes()).unwrap();
            };
            let mut logs = Events::open(&world.client, "/v1/instances/one/logs?follow=true").await;
            let mut text = String::new();
            let record = if framed { "\x1b_bhojpur;@log 3 x\x1b\\" } else { "" };
            let line = "a line of a program\n";
            const HELLO: &str = "hello from nobody\n";
            // Never as much unread as is kept, however late the follower is; what the program says
            // itself comes first.
            for lines in [0, 500, 500, 500, 500, 500, 500, 500, 500] {
                write(&format!("{record}{line}").repeat(lines));
                let printed = text.len().max(HELLO.len()) + lines * line.len();
                while text.len() < printed {
                    let next = logs.next().await.unwrap();
                    assert_eq!(next["offset"], text.len(), "framed: {framed}");
                    text.push_str(next["text"].as_str().unwrap());
                }
            }
            assert!(text == format!("{HELLO}{}", line.repeat(4000)), "{} bytes", text.len());
            let ask = async |query: &str| {
                let path = format!("/v1/instances/one/logs?{query}");
                world.client.ask("GET", &path, Value::Null).await.text()
            };
            let kept = || {
                let start = std::fs::read_to_string(log.with_extension("log.start")).ok()?;
                let (start, _) = start.split_once(' ')?;
                Some(log.metadata().unwrap().len() - start.parse::<u64>().unwrap())
            };
            let deadline = Instant::now() + Duration::from_secs(120);
            while kept().is_none_or(|kept| kept > 64 << 10) {
                assert!(Instant::now() < deadline, "it is not cut");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let left = ask("").await;
            assert!(left.len() > 10_000 && text.ends_with(&left) && left.starts_with(line));
            // Whoever knows where they were goes on there.
            write(&format!("after{record}wards\n"));
            let next = logs.next().await.unwrap();
            assert_eq!(next, json!({ "offset": text.len(), "text": "afterwards\n" }));
            for (query, wanted) in [
                (format!("offset={}", text.len()), "afterwards\n".to_owned()),
                (format!("offset={}", text.len() - 5), "gram\nafterwards\n".to_owned()),
                ("offset=1".to_owned(), format!("{left}afterwards\n")),
                ("tail=1".to_owned(), "afterwards\n".to_owned()),
            ] {
                assert_eq!(ask(&query).await, wanted, "{query}, framed: {framed}");
            }
            world.client.delete("/v1/instances/one?force").await;
            world.end().await;
        }
    });
}

fn health() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let check = json!({ "probe": { "type": "http", "port": 80, "path": "/up" }, "interval_ms": 100,
            "timeout_ms": 5000, "retries": 2, "start_period_ms": 60000, "restart": true });
        let more = json!({ "ports": [{ "host": port, "guest": 80 }], "health": check, "restart": { "name": "always" } });
        let made = world.run("one", &["forever"], more).await;
        assert_eq!(made["health"], "starting");
        let server = tokio::spawn(async move {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            loop {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        });
        while client.get("/v1/instances/one").await["health"] != "healthy" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        server.abort();
        while client.get("/v1/instances/one").await["restarts"] == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        client.delete("/v1/instances/one?force").await;
        world.no_violations();
        world.end().await;
    });
}

fn restart_of_the_daemon() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        world.run("runs", &["forever"], json!({})).await;
        world.run("ends", &["1500", "5"], json!({})).await;
        world.run("held", &["forever"], json!({})).await;
        world.client.post("/v1/instances/held/pause", Value::Null).await;
        world.run("made", &["forever"], json!({ "create_only": true })).await;
        let before = world.client.get("/v1/instances/runs").await;
        world.end().await;
        // What no row knows and nobody misses.
        let strangers =
            ["instances/qemu", "tmp"].map(|place| world.home.join(place).join("ab".repeat(16)));
        for stranger in &strangers {
            std::fs::create_dir(stranger).unwrap();
            std::fs::write(stranger.join("file"), "x").unwrap();
        }
        // It ends while nobody looks.
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.restart().await;
        for stranger in &strangers {
            assert!(!stranger.exists(), "{}", stranger.display());
        }
        let client = &world.client;
        let after = client.get("/v1/instances/runs").await;
        assert_eq!(before, after);
        let ended = client.until("ends", "stopped").await;
        assert_eq!(ended["exit_code"], 5);
        client.until("held", "paused").await;
        client.until("made", "created").await;
        for name in ["runs", "ends", "held", "made"] {
            client.delete(&format!("/v1/instances/{name}?force")).await;
        }
        world.no_violations();
        world.end().await;
    });
}

/// Failures are counted in a row, whoever looks.
fn retries_outlive_the_daemon() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let thrice = json!({ "restart": { "name": "on-failure", "max_retries": 3 } });
        world.run("failing", &["300", "7"], thrice).await;
        for seen in 1..=3 {
            let deadline = Instant::now() + Duration::from_secs(120);
            while world.client.get("/v1/instances/failing").await["restarts"] != seen {
                assert!(Instant::now() < deadline, "no restart {seen}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            world.restart().await;
        }
        let failing = world.client.until("failing", "stopped").await;
        assert_eq!((&failing["restarts"], &failing["exit_code"]), (&json!(3), &json!(7)));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(world.client.get("/v1/instances/failing").await["restarts"], 3);
        world.no_violations();
        world.end().await;
    });
}

/// A wait is answered in any case, and the answer tells that it was no end.
fn long_waits_are_answered() {
    block_on(async {
        let mut world = World::with(|config| config.limits.wait = Duration::from_millis(200)).await;
        world.import(0, "web").await;
        world.run("one", &["forever"], json!({})).await;
        for limit in ["", "?limit_s=3600"] {
            let path = format!("/v1/instances/one/wait{limit}");
            assert_eq!(world.client.get(&path).await["state"], "running");
        }
        world.client.delete("/v1/instances/one?force").await;
        world.end().await;
    });
}

/// An embedded daemon goes when nobody needs it, and stays as long as something runs.
fn idle() {
    block_on(async {
        let mut world =
            World::with(|config| config.exit_when_idle = Some(Duration::from_millis(300))).await;
        world.import(0, "web").await;
        world.run("one", &["1000", "0"], json!({})).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.ended().await;
        assert!(!world.home.join("kernctl.sock").exists());
        world.restart().await;
        assert_eq!(world.client.get("/v1/instances/one").await["exit_code"], 0);
        world.end().await;
    });
}

fn two_daemons() {
    block_on(async {
        let mut world = World::new().await;
        let home = world.home.clone();
        let second = bhojpur_daemon::run_with(
            crate::process::config(&home),
            crate::process::providers(&home),
            std::future::pending(),
            |_| (),
        )
        .await
        .unwrap_err();
        assert_eq!(second.code(), bhojpur_api::Code::Conflict);
        assert!(second.advice().is_some());
        // The first one is none the worse.
        world.client.get("/v1/ping").await;
        world.end().await;
    });
}

/// A start whose port another instance has is refused, and changes nothing.
fn ports_of_others() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        let ports = |host: u64| json!({ "ports": [{ "host": host, "guest": 80 }] });
        let made = world.run("w8", &["forever"], ports(0)).await;
        let port = made["ports"][0]["host"].as_u64().unwrap();
        client.post("/v1/instances/w8/stop?grace_s=30", Value::Null).await;
        world.run("w9", &["forever"], ports(port)).await;
        for verb in ["start", "restart"] {
            let path = format!("/v1/instances/w8/{verb}");
            let error = client.refused("POST", &path, Value::Null, 409, "conflict").await;
            assert!(error["message"].as_str().unwrap().contains("\"w9\""), "{error}");
            assert_eq!(client.get("/v1/instances/w8").await["state"], "stopped");
        }
        client.post("/v1/instances/w9/stop?grace_s=30", Value::Null).await;
        client.post("/v1/instances/w8/start", Value::Null).await;
        client.delete("/v1/instances/w8?force").await;
        world.no_violations();
        world.end().await;
    });
}
