// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bad input: one message, one line of help, the right status, the same as JSON.

use serde_json::{Value, json};

use crate::fake::{Answer, not_found};
use crate::world::World;

#[test]
fn wrong_words_are_usage() {
    let world = World::new();
    for (words, part) in [
        (&["bulid", "-t", "x"][..], "'bulid'"),
        (&["run"], "IMAGE"),
        (&["run", "-p", "x:y", "web"], "is not a port"),
        (&["run", "-v", "/host:/data", "web"], "volume create"),
        (&["run", "-m", "much", "web"], "is not a size"),
        (&["run", "--restart", "maybe", "web"], "policy"),
        (&["run", "--health-http", "80", "--health-tcp", "80", "web"], "cannot be used with"),
        (&["run", "--health-restart", "web"], "--health-http"),
        (&["run", "--health-interval", "1s", "web"], "--health-http"),
        (&["create", "--health-retries", "2", "web"], "--health-tcp"),
        (&["run", "--network", "host", "web"], "is not a network"),
        (&["run", "--cpus", "0", "web"], "0"),
        (&["run", "-e", "=x", "web"], "no name"),
        (&["ps", "--filter", "nonsense=1"], "there is no filter"),
        (&["ps", "--filter", "nonsense=1"], "there are name, id, image, state"),
        (&["volume", "ls", "-f", "size=1"], "there are name, label, dangling, provider"),
        (&["volume", "ls", "-f", "dangling=maybe"], "neither true nor false"),
        (&["ps", "--format", "{{.Name"], "not closed"),
        (&["logs", "--tail", "few", "web"], "number of lines"),
        // docker's words that have no meaning here lead to what has one.
        (&["exec", "-it", "web", "sh"], "without a shell"),
        (&["run", "--mount", "type=volume", "web"], "write -v VOLUME"),
        (&["run", "--cpus", "0.5", "web"], "whole ones"),
        (&["volume", "prune"], "kernctl rm $("),
        (&["logs", "--since=1m", "web"], "without times"),
        (&["-o", "xml", "ps"], "xml"),
        (&["cp", "a", "b"], "neither side is a volume"),
        (&["volume", "create", "data"], "--size"),
        (&["--host", "http://h", "ps"], "not encrypted"),
        (&["--host", "h:x", "ps"], "address of a daemon"),
        (&["target", "h", "--fingerprint", "ab"], "fingerprint"),
        (&["import", "-"], "needs a name"),
        (&["daemon", "--tls-name", "x"], "--listen"),
        (&["configure", "--provider", "qemu", "--set", "acelerator=tcg"], "accelerator"),
        (&["configure", "--provider", "qmeu"], "qemu"),
    ] {
        let error = world.fails(words, 2);
        assert!(error.contains(part), "{words:?}: {error}");
    }
    assert!(world.fake.lines().is_empty(), "nothing reaches the daemon");
}

#[test]
fn errors_are_the_same_in_json() {
    let world = World::new();
    world.fake.answer(
        "POST /v1/instances",
        Answer::json(409, &json!({"code": "conflict", "message": "the name web is taken", "advice": "choose another"})),
    );
    let done = world.run(&["run", "-d", "--name", "web", "web", "-o"]);
    assert_eq!(done.status, 4, "what follows the image is the program's: {done:?}");
    let done = world.run(&["-o", "json", "run", "-d", "--name", "web", "web"]);
    assert_eq!((done.status, done.out.as_str()), (4, ""));
    let body: Value = serde_json::from_str(&done.err).unwrap();
    assert_eq!(
        body,
        json!({"code": "conflict", "message": "the name web is taken", "advice": "choose another"})
    );
    for words in [
        &["-o", "json", "nonsense"][..],
        &["ps", "--output=json", "--what"],
        &["-ojson", "cp", "a", "b"],
    ] {
        let done = world.run(words);
        assert_eq!(done.status, 2);
        let body: Value = serde_json::from_str(&done.err).unwrap();
        assert_eq!(body["code"], "usage", "{words:?}");
    }
}

#[test]
fn the_daemons_refusals_have_statuses() {
    let world = World::new();
    let say = |status: u16, code: &str, message: &str| {
        Answer::json(status, &json!({"code": code, "message": message, "advice": "do this"}))
    };
    for (answer, status) in [
        (say(503, "not_ready", "firecracker is not installed"), 6),
        (say(404, "not_found", "there is no image"), 3),
        (say(409, "conflict", "port 80 is in use"), 4),
        (say(401, "unauthorized", "the token is wrong"), 7),
        (say(403, "forbidden", "the role read does not allow it"), 7),
        (say(422, "invalid", "the image is for another provider"), 2),
        (say(507, "exhausted", "the disk is full"), 6),
        (say(501, "unsupported", "it cannot pause"), 8),
        (say(500, "internal", "it failed"), 1),
    ] {
        world.fake.answer("POST /v1/instances", answer);
        let error = world.fails(&["run", "-d", "web"], status);
        assert!(error.contains("kernctl: help: do this"), "{error}");
        // In the foreground a program's status must not be taken for ours.
        world.fails(&["run", "web"], 125);
    }
}

#[test]
fn several_are_done_and_the_first_failure_counts() {
    let world = World::new();
    world.fake.answer("DELETE /v1/instances/b", not_found("instance \"b\""));
    let done = world.run(&["rm", "a", "b", "c"]);
    assert_eq!((done.status, done.out.as_str()), (3, "a\nc\n"));
    assert_eq!(done.err, "kernctl: error: there is no instance \"b\"\n");
    assert_eq!(world.fake.lines().len(), 3);
}

#[test]
fn files_of_settings_have_lines_and_nearest_keys() {
    let world = World::new();
    world.file("home/client.toml", "# c\nhots = 'x'\n");
    let error = world.fails(&["ps"], 2);
    assert!(error.contains("client.toml:2: the key \"hots\" is not known"), "{error}");
    assert!(error.contains("the nearest key is \"host\""), "{error}");
    std::fs::remove_file(world.home().join("client.toml")).unwrap();
    world.file("home/daemon.toml", "\n\ndefault_provder = 'qemu'\n");
    let error = world.fails(&["daemon"], 2);
    assert!(error.contains("daemon.toml:3") && error.contains("default_provider"), "{error}");
    world.file("p/builderfile.toml", "\nlanguge = 'go'\n");
    let error = world.fails(&["build", "p"], 2);
    assert!(error.contains("builderfile.toml:2") && error.contains("languge"), "{error}");
    world.file("bad.env", "A=1\nB C=2\n");
    let error = world.fails(&["run", "--env-file", "bad.env", "web"], 2);
    assert!(error.contains("bad.env:2"), "{error}");
    world.fails(&["run", "--env-file", "none.env", "web"], 3);
}

#[test]
fn files_that_are_not_there_are_named() {
    let world = World::new();
    for words in [
        &["build", "none"][..],
        &["import", "none.elf"],
        &["volume", "create", "v", "--from", "none"],
        &["cp", "none", "v:/"],
    ] {
        let error = world.fails(words, 3);
        assert!(error.contains("none"), "{error}");
    }
    let error = world.fails(&["inspect", "none"], 3);
    assert!(error.contains("no instance, image or volume \"none\""), "{error}");
}

#[test]
fn a_daemon_elsewhere_is_never_replaced_by_one_of_our_own() {
    let world = World::new();
    let nowhere = format!("unix://{}", world.path().join("none.sock").display());
    let error = world.fails(&["--host", &nowhere, "ps"], 5);
    assert!(
        error.contains("cannot reach the daemon") && error.contains("kernctl target"),
        "{error}"
    );
    // A port that nobody listens on.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    world.fails(&["--host", &format!("127.0.0.1:{port}"), "ps"], 5);
    assert!(!world.home().join("daemon.log").exists());
}

#[test]
fn tokens_are_not_shown_and_not_given_to_strangers() {
    let world = World::new();
    world.file("token", "s3cret-token\n");
    world.ok(&["target", "example.org:3000", "--token-file", "token"]);
    let file = std::fs::read_to_string(world.home().join("client.toml")).unwrap();
    assert!(file.contains("s3cret-token"));
    let shown = world.ok(&["target", "--show", "-o", "yaml"]);
    assert!(!shown.contains("s3cret") && shown.contains("example.org"), "{shown}");
    world.file("token", "\n");
    let error = world.fails(&["target", "example.org", "--token-file", "token"], 2);
    assert!(error.contains("no token in"), "{error}");
}
