// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Programs in the foreground: output, status, Ctrl-C, keys.

use std::io::{BufRead as _, BufReader};

use serde_json::json;

use crate::fake::{Answer, ended, events};
use crate::world::World;

#[test]
fn the_programs_output_and_status_are_ours() {
    let world = World::new();
    let done = world.run(&["run", "--rm", "web", "--flag", "x"]);
    assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (3, "hello\n", ""));
    let asked = world.fake.take();
    let request = asked.iter().find(|asked| asked.line() == "POST /v1/instances").unwrap().json();
    assert_eq!(request["args"], json!(["--flag", "x"]));
    // Removed by us, when its output and status are known.
    assert_eq!(request["remove"], false);
    assert_eq!(
        asked.last().unwrap().line(),
        "DELETE /v1/instances/0123456789abcdef0123456789abcdef?force=true"
    );
}

#[test]
fn what_is_asked_for_reaches_the_daemon() {
    let world = World::new();
    world.file("vars", "# c\nFROM_FILE=1\nTAKEN\n");
    let mut command = world.command(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "w",
        "-p",
        "8080:80",
        "-p",
        "53/udp",
        "-v",
        "data:/data:ro",
        "-e",
        "A=b=c",
        "-e",
        "HERE",
        "--env-file",
        "vars",
        "-m",
        "1g",
        "--cpus",
        "2",
        "--restart",
        "on-failure:5",
        "--health-http",
        "80/up",
        "--health-interval",
        "1m",
        "-l",
        "tier=front",
        "--provider",
        "qemu",
        "--network",
        "bridge:br0",
        "--stop-timeout",
        "7",
        "web",
        "--",
        "-x",
    ]);
    let done = crate::world::done(command.env("HERE", "yes").env("TAKEN", "too").output().unwrap());
    assert_eq!(
        (done.status, done.out.as_str()),
        (0, "0123456789abcdef0123456789abcdef\n"),
        "{done:?}"
    );
    let request = world.fake.take().pop().unwrap().json();
    assert_eq!(
        request,
        json!({
            "image": "web", "name": "w", "provider": "qemu", "args": ["-x"],
            "env": {"A": "b=c", "FROM_FILE": "1", "HERE": "yes", "TAKEN": "too"}, "labels": {"tier": "front"},
            "memory_mib": 1024, "cpus": 2,
            "ports": [
                {"host_address": "127.0.0.1", "host": 8080, "guest": 80, "protocol": "tcp"},
                {"host_address": "127.0.0.1", "host": 0, "guest": 53, "protocol": "udp"},
            ],
            "volumes": [{"volume": "data", "mount_point": "/data", "read_only": true}],
            "network": {"mode": "bridge", "bridge": "br0"}, "restart": {"name": "on-failure", "max_retries": 5},
            "health": {
                "probe": {"type": "http", "port": 80, "path": "/up"}, "interval_ms": 60000, "timeout_ms": 2000, "retries": 3,
                "start_period_ms": 10000, "restart": false,
            },
            "publish_all": false, "remove": true, "create_only": false, "debug_port": null, "stop_grace_s": 7,
        })
    );
}

#[test]
fn what_is_wrong_with_a_command_line_is_told_before_anything_is_done() {
    let world = World::new();
    let error = world.fails(&["run", "--bogus", "web"], 2);
    assert!(error.contains("unexpected argument '--bogus'"), "{error}");
    assert!(world.fails(&["create", "-x", "web"], 2).contains("'-x'"));
    let error = world.fails(&["volume", "create", "v", "--size", "much"], 2);
    assert!(error.contains("see `kernctl volume create --help`"), "{error}");
    assert!(world.fails(&["volume", "nothing"], 2).contains("see `kernctl volume --help`"));
    assert!(world.fails(&["run", "--env-file", "nowhere", "web"], 3).contains("nowhere"));
    assert!(world.fake.take().is_empty(), "the daemon hears nothing of it");
}

#[test]
fn how_a_program_ended_is_told_when_it_has_no_status() {
    let world = World::new();
    let mut lost = ended(0);
    lost.as_object_mut().unwrap().remove("exit_code");
    for (why, status) in
        [("the monitor was killed", 126), ("the kernel panicked: out of frames", 127)]
    {
        lost["error"] = json!(why);
        world.fake.answer(
            "GET /v1/instances/0123456789abcdef0123456789abcdef/wait",
            Answer::json(200, &lost),
        );
        let done = world.run(&["run", "web"]);
        assert_eq!(done.status, status, "{done:?}");
        assert!(done.err.contains(why), "{done:?}");
    }
}

/// The daemon answers after an hour in any case, and can be started anew meanwhile.
#[test]
fn an_answer_before_the_end_is_no_end() {
    let world = World::new();
    let id = "0123456789abcdef0123456789abcdef";
    let busy = json!({"code": "busy", "message": "the daemon is ending", "advice": "wait again"});
    let mut restarting = crate::fake::instance();
    restarting["state"] = json!("restarting");
    let before = [
        Answer::json(200, &crate::fake::instance()),
        Answer::json(503, &busy),
        Answer::none(),
        Answer::json(200, &restarting),
    ];
    for words in [&["run", "--rm", "web"][..], &["attach", "web"], &["start", "-a", "web"]] {
        for answer in &before {
            let wait = format!("GET /v1/instances/{id}/wait");
            world.fake.answer(&wait, answer.clone().once());
            world.fake.take();
            let done = world.run(words);
            assert_eq!((done.status, done.err.as_str()), (3, ""), "{words:?}: {done:?}");
            let asked = world.fake.lines();
            let waits = asked.iter().filter(|line| line.contains("/wait")).count();
            assert_eq!(waits, 2, "{asked:?}");
            let removed = asked.iter().position(|line| line.starts_with("DELETE"));
            assert_eq!(removed, (words[0] == "run").then_some(asked.len() - 1), "{asked:?}");
        }
    }
    for answer in before {
        world.fake.answer("GET /v1/instances/web/wait", answer.once());
        assert_eq!(world.ok(&["wait", "web"]), "3\n");
    }
}

/// Its output goes on where it was.
#[test]
fn output_goes_on_behind_a_daemon_that_was_started_anew() {
    let world = World::new();
    let id = "0123456789abcdef0123456789abcdef";
    let logs = format!("GET /v1/instances/{id}/logs?follow=true");
    let more = events(&[json!({"offset": 6, "text": "world\n"})]);
    world.fake.answer(&format!("{logs}&offset=6"), Answer::bytes(more).once());
    // It broke off in the middle.
    let cut =
        Answer { cut: true, ..Answer::bytes(events(&[json!({"offset": 0, "text": "hello\n"})])) };
    world.fake.answer(&logs, cut.once());
    let wait = Answer::json(200, &ended(0)).when("&offset=12");
    world.fake.answer(&format!("GET /v1/instances/{id}/wait"), wait);
    let done = world.run(&["run", "web"]);
    assert_eq!((done.status, done.out.as_str()), (0, "hello\nworld\n"), "{done:?}");
}

#[test]
fn ctrl_c_asks_once_and_ends_the_second_time() {
    let world = World::new();
    let chunk = json!({"offset": 0, "text": "ready\n"});
    world.fake.answer(
        "GET /v1/instances/0123456789abcdef0123456789abcdef/logs",
        Answer::bytes(events(&[chunk])),
    );
    world.fake.answer(
        "GET /v1/instances/0123456789abcdef0123456789abcdef/wait",
        Answer::json(200, &ended(137)).when("/kill"),
    );
    let mut child = world.spawn(&["run", "web"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    for answer in ["/stop", "/kill"] {
        let pid = child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success()
        );
        world.fake.heard(answer);
    }
    let done = crate::world::done(child.wait_with_output().unwrap());
    assert_eq!(done.status, 137, "{done:?}");
    let asked = world.fake.lines();
    let stop = asked.iter().position(|line| line.ends_with("/stop")).unwrap();
    let kill = asked.iter().position(|line| line.ends_with("/kill")).unwrap();
    assert!(stop < kill, "{asked:?}");
}

#[test]
fn keys_reach_the_console() {
    let world = World::new();
    let done = world.feed(&["run", "-i", "web"], b"typed\n");
    assert_eq!((done.status, done.out.as_str()), (3, "hello\n"));
    let asked = world.fake.take();
    let input = asked.iter().find(|asked| asked.target.ends_with("/input")).unwrap();
    // Its end is what a terminal sends for it.
    assert_eq!(input.body, b"typed\n\x04");
    world.feed(&["run", "-i", "web"], b"no line");
    let asked = world.fake.take();
    let input = asked.iter().find(|asked| asked.target.ends_with("/input")).unwrap();
    assert_eq!(input.body, b"no line\x04\x04");
}

#[test]
fn the_end_of_a_program_is_no_failure_of_the_keys() {
    let world = World::new();
    let ended = json!({"code": "conflict", "message": "the instance has ended"});
    let id = "0123456789abcdef0123456789abcdef";
    world.fake.answer(&format!("POST /v1/instances/{id}/input"), Answer::json(409, &ended));
    let done = world.feed(&["run", "-i", "web"], b"");
    assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (3, "hello\n", ""));
    // It goes on and does not hear.
    let wait = Answer::json(200, &crate::fake::ended(0)).when("/stop");
    world.fake.answer(&format!("GET /v1/instances/{id}/wait"), wait);
    let mut child = world.spawn(&["run", "-i", "web"]);
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(told.next().unwrap().unwrap().contains("does not reach the console"));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn logs_end_where_they_end() {
    let world = World::new();
    assert_eq!(world.ok(&["logs", "--tail", "2", "web"]), "hello\nworld\n");
    // Behind its output: why it ended, if its kernel has said that.
    let asked = ["GET /v1/instances/web/logs?tail=2", "GET /v1/instances/web"];
    assert_eq!(world.fake.lines(), asked);
    assert_eq!(world.ok(&["logs", "-f", "web"]), "hello\n");
    world.fake.take();
    // The ancestor's: gone when nobody follows any more.
    assert_eq!(world.ok(&["logs", "--instance", "web", "--follow", "--delete"]), "hello\n");
    assert_eq!(world.fake.lines().last().unwrap(), "DELETE /v1/instances/web?force=true");
    assert_eq!(world.ok(&["wait", "web"]), "3\n");
}

#[test]
fn attached_output_is_that_of_this_start() {
    let world = World::new();
    let id = "0123456789abcdef0123456789abcdef";
    // Where it ended before tells where this start begins, though the log was cut.
    let logs = format!("GET /v1/instances/{id}/logs?follow=true");
    let earlier = [json!({"offset": 1000, "text": "before\n"})];
    world.fake.answer(&format!("{logs}&tail=1"), Answer::bytes(events(&earlier)));
    let chunks = [json!({"offset": 1007, "text": "no"}), json!({"offset": 1009, "text": "w\n"})];
    world.fake.answer(&format!("{logs}&offset=1007"), Answer::bytes(events(&chunks)));
    world.fake.answer("GET /v1/instances/web", Answer::json(200, &ended(0)));
    let done = world.run(&["start", "-a", "web"]);
    assert_eq!((done.status, done.out.as_str()), (3, "now\n"), "{done:?}");
    let error = world.fails(&["attach", "web"], 4);
    assert!(error.contains("does not run"), "{error}");
}

/// The daemon knows that it is no end, for --rm and for whoever waits; two commands would be one.
#[test]
fn a_restart_is_one_request() {
    let world = World::new();
    assert_eq!(world.ok(&["restart", "-t", "7", "web"]), "web\n");
    assert_eq!(world.fake.lines(), ["POST /v1/instances/web/restart?grace_s=7"]);
    assert_eq!(world.ok(&["restart", "web"]), "web\n");
    assert_eq!(world.fake.lines(), ["POST /v1/instances/web/restart"]);
}
