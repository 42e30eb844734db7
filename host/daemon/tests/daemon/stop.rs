// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ends that somebody wanted: what a person says counts, whatever goes on already.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Test;
use crate::client::Client;
use crate::world::{World, block_on};

pub(crate) const TESTS: &[Test] = &[
    ("stop_of_what_is_ended_for_its_health", stop_of_what_is_ended_for_its_health),
    ("stop_of_what_is_restarted", stop_of_what_is_restarted),
    ("stop_a_restart_is_no_end", a_restart_is_no_end),
    ("stop_outlives_the_daemon", stop_outlives_the_daemon),
    ("stop_that_fails_leaves_it_running", stop_that_fails_leaves_it_running),
    ("stop_of_what_does_not_hear_takes_its_time_alone", stop_of_what_does_not_hear),
    ("stop_for_its_health_is_tried_again", stop_for_its_health_is_tried_again),
];

/// Never healthy, ended for it, and started again; it does not end when it is asked.
fn sick(grace_s: u64) -> Value {
    json!({
        "restart": { "name": "always" }, "stop_grace_s": grace_s,
        "health": { "probe": { "type": "tcp", "port": 80 }, "interval_ms": 500, "timeout_ms": 1000,
            "retries": 1, "start_period_ms": 0, "restart": true },
    })
}

/// Waits until a program is far enough to hear that it shall end.
async fn listens(client: &Client, name: &str) {
    let log = format!("/v1/instances/{name}/logs");
    while !client.ask("GET", &log, Value::Null).await.text().contains("hello") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stays_stopped(client: &Client, name: &str) {
    let before = client.get(&format!("/v1/instances/{name}")).await;
    assert_eq!(before["state"], "stopped", "{before}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.get(&format!("/v1/instances/{name}")).await, before);
}

/// What a person stops stays stopped, though its health check ends it already.
fn stop_of_what_is_ended_for_its_health() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        for (name, verb, grace_s) in [("slow", "stop", 3), ("fast", "kill", 3600)] {
            world.run(name, &["stubborn"], sick(grace_s)).await;
            client.until(name, "stopping").await;
            let ended = client.post(&format!("/v1/instances/{name}/{verb}"), Value::Null).await;
            assert_eq!(ended["state"], "stopped", "{verb}: {ended}");
            stays_stopped(client, name).await;
        }
        world.no_violations();
        world.end().await;
    });
}

/// The later word counts: who is told that it is stopped finds it stopped.
fn stop_of_what_is_restarted() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        for (name, verb, grace_s) in [("slow", "stop", 3), ("fast", "kill", 3600)] {
            world.run(name, &["stubborn"], json!({})).await;
            listens(client, name).await;
            let restart = tokio::spawn({
                let (client, path) =
                    (client.clone(), format!("/v1/instances/{name}/restart?grace_s={grace_s}"));
                async move { client.ask("POST", &path, Value::Null).await }
            });
            client.until(name, "stopping").await;
            let ended = client.post(&format!("/v1/instances/{name}/{verb}"), Value::Null).await;
            assert_eq!(ended["state"], "stopped", "{verb}: {ended}");
            assert_eq!(restart.await.unwrap().status, 409, "{verb}");
            stays_stopped(client, name).await;
        }
        world.no_violations();
        world.end().await;
    });
}

/// Not for whoever waits, and not for --rm; one that fails is.
fn a_restart_is_no_end() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        world.run("one", &["forever"], json!({ "remove": true })).await;
        listens(client, "one").await;
        let wait = |name: &'static str| {
            let client = client.clone();
            tokio::spawn(async move {
                client.ask("GET", &format!("/v1/instances/{name}/wait"), Value::Null).await
            })
        };
        let waiter = wait("one");
        // Long enough between its end and its start that everybody sees what is between.
        world.fault("start", "delay 500");
        for path in ["restart", "restart?grace_s=60"] {
            let again = client.post(&format!("/v1/instances/one/{path}"), Value::Null).await;
            assert_eq!((&again["state"], &again["restarts"]), (&json!("running"), &json!(0)));
            listens(client, "one").await;
        }
        assert!(!waiter.is_finished(), "{:?}", waiter.await);
        world.run("two", &["forever"], json!({})).await;
        let lost = wait("two");
        world.fault("start", "fail 1");
        client
            .refused("POST", "/v1/instances/two/restart", Value::Null, 502, "provider_failed")
            .await;
        assert_eq!(lost.await.unwrap().json()["state"], "error");
        client.delete("/v1/instances/one?force").await;
        assert_eq!(waiter.await.unwrap().json()["state"], "deleting");
        client.delete("/v1/instances/two").await;
        world.no_violations();
        world.end().await;
    });
}

/// Another daemon goes on where the one before was: with what it was for, and with the time that
/// was given.
fn stop_outlives_the_daemon() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let hasty = json!({ "stop_grace_s": 1 });
        world.run("sick", &["stubborn"], sick(4)).await;
        world.run("stopped", &["stubborn"], hasty.clone()).await;
        let mut removed = hasty;
        removed["remove"] = json!(true);
        world.run("restarted", &["stubborn"], removed).await;
        let begin = Instant::now();
        for (name, what) in [("stopped", "stop?grace_s=6"), ("restarted", "restart?grace_s=6")] {
            listens(&world.client, name).await;
            let (client, path) = (world.client.clone(), format!("/v1/instances/{name}/{what}"));
            tokio::spawn(async move { client.send("POST", &path, Vec::new()).await });
        }
        for name in ["sick", "stopped", "restarted"] {
            world.client.until(name, "stopping").await;
        }
        world.restart().await;
        let client = &world.client;
        assert_eq!(client.until("stopped", "stopped").await["restarts"], 0);
        assert!(begin.elapsed() >= Duration::from_secs(6), "{:?}", begin.elapsed());
        client.until("restarted", "running").await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while client.get("/v1/instances/sick").await["restarts"] == 0 {
            assert!(Instant::now() < deadline, "its policy does not apply");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for name in ["sick", "stopped", "restarted"] {
            client.delete(&format!("/v1/instances/{name}?force")).await;
        }
        world.no_violations();
        world.end().await;
    });
}

/// What cannot be ended is shown as what it is, and can be ended later.
fn stop_that_fails_leaves_it_running() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        world.run("one", &["stubborn"], json!({})).await;
        world.fault("kill", "fail 1");
        let stop = "/v1/instances/one/stop?grace_s=0";
        client.refused("POST", stop, Value::Null, 502, "provider_failed").await;
        let found = client.get("/v1/instances/one").await;
        assert_eq!(found["state"], "running", "{found}");
        assert!(found["error"].as_str().unwrap().contains("cannot be ended"), "{found}");
        let stopped = client.post(stop, Value::Null).await;
        assert_eq!(stopped["state"], "stopped", "{stopped}");
        // One that is unhealthy is ended at the next look.
        world.run("sick", &["stubborn"], sick(0)).await;
        world.fault("kill", "fail 1");
        let deadline = Instant::now() + Duration::from_secs(60);
        while client.get("/v1/instances/sick").await["restarts"] == 0 {
            assert!(Instant::now() < deadline, "it is left as it is");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for name in ["one", "sick"] {
            client.delete(&format!("/v1/instances/{name}?force")).await;
        }
        world.no_violations();
        world.end().await;
    });
}

/// A monitor that answers nothing has the time of the program, and no more.
fn stop_of_what_does_not_hear() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let client = &world.client;
        world.run("deaf", &[], json!({})).await;
        world.fault("request_stop", "delay 30000");
        let start = Instant::now();
        let stopped = client.post("/v1/instances/deaf/stop?grace_s=1", Value::Null).await;
        let took = start.elapsed();
        assert_eq!(stopped["state"], "stopped", "{stopped}");
        assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(15), "{took:?}");
        world.no_violations();
        world.end().await;
    });
}

/// That it cannot be written, on a full disk for example, does not end the care.
fn stop_for_its_health_is_tried_again() {
    block_on(async {
        let mut world = World::new().await;
        world.import(0, "web").await;
        let db = rusqlite::Connection::open(world.home.join("state.db")).unwrap();
        db.execute_batch(
            "CREATE TRIGGER full BEFORE UPDATE ON instances WHEN NEW.phase = 'stopping'
             BEGIN SELECT RAISE(FAIL, 'the disk is full'); END",
        )
        .unwrap();
        let client = &world.client;
        world.run("one", &["forever"], sick(1)).await;
        let health = async || client.get("/v1/instances/one").await["health"].clone();
        while health().await != "unhealthy" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let found = client.get("/v1/instances/one").await;
        assert_eq!((&found["state"], &found["health"]), (&json!("running"), &json!("unhealthy")));
        db.execute_batch("DROP TRIGGER full").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while client.get("/v1/instances/one").await["restarts"] == 0 {
            assert!(Instant::now() < deadline, "it is left as it is");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Told once in each run.
        let mut events = crate::client::Events::open(client, "/v1/events?since=0").await;
        let mut told = 0;
        loop {
            let event = events.next().await.unwrap();
            match event["action"].as_str() {
                Some("health") => told += 1,
                Some("die") => break,
                _ => {}
            }
        }
        assert_eq!(told, 1);
        client.delete("/v1/instances/one?force").await;
        world.no_violations();
        world.end().await;
    });
}
