// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a build, an import and a filled volume send.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::json;

use crate::fake::{Answer, events};
use crate::world::World;

fn query(target: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            });
        }
        String::from_utf8(bytes).unwrap()
    };
    let (_, query) = target.split_once('?').unwrap();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(k, v)| (k.to_owned(), decode(v)))
        .collect()
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[test]
fn the_context_is_sent_without_what_is_ignored() {
    let world = World::new();
    world.file("app/go.mod", "module app\n");
    world.file("app/cmd/server/main.go", "package main\n");
    world.file("app/.git/config", "x");
    world.file("app/big.log", "x");
    world.file("app/.kernelignore", "*.log\n");
    let out = world.ok(&[
        "build",
        "-t",
        "web:2",
        "app/cmd/server",
        "--env",
        "A=1",
        "--",
        "-tags",
        "netgo",
    ]);
    assert!(out.starts_with("web:2: feedfeedfeed, 7.44 MB"), "{out}");
    let asked = world.fake.take().pop().unwrap();
    let query = query(&asked.target);
    let pairs: Vec<(&str, &str)> = query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        pairs,
        [
            ("env", "[\"A=1\"]"),
            ("flags", "[\"-tags\",\"netgo\"]"),
            ("force", "true"),
            ("name", "web:2"),
            ("path", "cmd/server")
        ]
    );
    assert_eq!(names(&asked.body), ["cmd", "cmd/server", "cmd/server/main.go", "go.mod"]);
    // The same sources are the same bytes.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.file("app/go.mod", "module app\n");
    world.ok(&["build", "-q", "-t", "web:2", "app/cmd/server"]);
    assert_eq!(world.fake.take().pop().unwrap().body, asked.body);
}

#[test]
fn the_project_file_is_honoured_and_the_command_line_wins() {
    let world = World::new();
    world.file("app/main.go", "package main\n");
    world.file(
        "app/builderfile.toml",
        "language = 'go'\npath = './cmd'\narguments = ['-v']\nincludes = ['static:/srv']\nflags = ['-a']\n[environment]\nA = 'file'\n",
    );
    world.ok(&["build", "app", "--arg", "x", "-e", "A=line", "--language", "binary"]);
    let query = query(&world.fake.take().pop().unwrap().target);
    for (key, value) in [
        ("name", "app"),
        ("path", "cmd"),
        ("language", "binary"),
        ("args", "[\"-v\",\"x\"]"),
        ("env", "[\"A=file\",\"A=line\"]"),
        ("include", "[\"static:/srv\"]"),
        ("flags", "[\"-a\"]"),
    ] {
        assert_eq!(query.get(key).map(String::as_str), Some(value), "{key}");
    }
    world.file("app/builderfile.toml", "path = '../other'\n");
    assert!(world.fails(&["build", "app"], 2).contains("outside"));
}

#[test]
fn the_project_file_says_how_the_image_runs() {
    let world = World::new();
    world.file("app/main.go", "package main\n");
    world.file(
        "app/builderfile.toml",
        "memory = '256M'\ncpus = 2\nports = ['8080:80', '127.0.0.1:5353:53/udp']\nmounts = ['tmpfs:/tmp/x', './static:/srv']\n",
    );
    world.ok(&["build", "app"]);
    let query = query(&world.fake.take().pop().unwrap().target);
    for (key, value) in [
        ("ports", "[\"80\",\"53/udp\"]"),
        ("memory_mib", "256"),
        ("cpus", "2"),
        ("mounts", "[\"tmpfs:/tmp/x\"]"),
        ("include", "[\"static:/srv\"]"),
    ] {
        assert_eq!(query.get(key).map(String::as_str), Some(value), "{key}");
    }
    world.file("app/builderfile.toml", "\nmemroy = '256M'\n");
    let error = world.fails(&["build", "app"], 2);
    assert!(error.contains(":2: ") && error.contains("nearest key is \"memory\""), "{error}");
    assert_eq!(world.ok(&["images", "-q", "-f", "dangling=true"]), "");
    assert_eq!(world.ok(&["images", "-q", "--filter", "dangling=false"]).lines().count(), 1);
    assert!(world.fails(&["images", "-f", "x=y"], 2).contains("dangling=true"));
    let listed = world.ok(&["images"]);
    assert!(listed.contains("PORTS") && listed.contains("8080/tcp, 53/udp"), "{listed}");
    assert_eq!(world.ok(&["images", "--format", "{{.Ports}}", "web:1.2"]), "8080/tcp, 53/udp\n");
    world.ok(&["run", "-d", "-P", "web"]);
    let asked = world.fake.take().pop().unwrap();
    let request: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&request["publish_all"], &request["ports"]), (&json!(true), &json!([])));
    assert_eq!(request["memory_mib"], json!(null), "the daemon knows the image's");
}

#[test]
fn published_ports_are_found() {
    let world = World::new();
    assert_eq!(world.ok(&["port", "web"]), "80/tcp -> 127.0.0.1:8080\n");
    assert_eq!(world.ok(&["port", "web", "80"]), "127.0.0.1:8080\n");
    assert_eq!(world.ok(&["port", "web", "80/tcp"]), "127.0.0.1:8080\n");
    assert!(world.fails(&["port", "web", "80/udp"], 3).contains("80/udp"));
    world.fails(&["port", "web", "http"], 2);
    let found: serde_json::Value =
        serde_json::from_str(&world.ok(&["port", "web", "-o", "json"])).unwrap();
    assert_eq!(found[0]["host"], 8080);
}

#[test]
fn one_file_is_a_context_too() {
    let world = World::new();
    world.file("Main Prog.go", "package main\n");
    world.ok(&["build", "Main Prog.go"]);
    let asked = world.fake.take().pop().unwrap();
    let query = query(&asked.target);
    assert_eq!((query["name"].as_str(), query["path"].as_str()), ("main-prog", "Main Prog.go"));
    assert_eq!(names(&asked.body), ["Main Prog.go"]);
}

#[test]
fn steps_go_to_standard_error_and_failures_are_failures() {
    let world = World::new();
    world.file("app/main.go", "package main\n");
    let done = world.run(&["build", "app"]);
    assert!(done.err.contains("compiling (go)") && done.err.contains("  main.go"), "{done:?}");
    assert!(!done.out.contains("compiling"), "{done:?}");
    assert_eq!(world.run(&["build", "-q", "app"]).err, "");
    let failed = json!({"event": "failed", "error": {"code": "invalid", "message": "main.go:1: syntax error", "advice": "repair it"}});
    world.fake.answer("POST /v1/images/build", Answer::bytes(events(&[failed])));
    assert!(world.fails(&["build", "-q", "app"], 2).contains("syntax error"));
    let failed = json!({"event": "failed", "error": {"code": "build_failed", "message": "main.go:1: undefined: x"}});
    world.fake.answer("POST /v1/images/build", Answer::bytes(events(&[failed])));
    assert!(world.fails(&["build", "-q", "app"], 1).contains("undefined"));
    world.fake.answer("POST /v1/images/build", Answer::bytes(""));
    assert!(world.fails(&["build", "-q", "app"], 5).contains("ended before the build"));
}

#[test]
fn imports_send_the_file() {
    let world = World::new();
    world.file("kernel.elf", b"\x7fELF");
    assert_eq!(world.ok(&["import", "kernel.elf", "web:3"]), "feed".repeat(16) + "\n");
    let asked = world.fake.take().pop().unwrap();
    assert_eq!(
        (asked.body.as_slice(), query(&asked.target)["name"].as_str()),
        (&b"\x7fELF"[..], "web:3")
    );
    let done = world.feed(&["import", "-", "web"], b"\x7fELF from a pipe");
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(world.fake.take().pop().unwrap().body, b"\x7fELF from a pipe");
}

#[test]
fn volumes_are_filled_from_directories_with_all_that_files_have() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let path = world.file("d/sub/run.sh", "#!/bin/sh\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("sub/run.sh", world.path().join("d/link")).unwrap();
    world.file("d/.git/kept", "x");
    assert_eq!(
        world.ok(&["volume", "create", "data", "--from", "d", "--size", "64M", "-l", "a=b"]),
        "data\n"
    );
    let asked = world.fake.take().pop().unwrap();
    let query = query(&asked.target);
    assert_eq!(
        (query["size_bytes"].as_str(), query["labels"].as_str()),
        ("67108864", "{\"a\":\"b\"}")
    );
    assert_eq!(names(&asked.body), [".git", ".git/kept", "link", "sub", "sub/run.sh"]);
    let mut archive = tar::Archive::new(asked.body.as_slice());
    let mut entry = archive
        .entries()
        .unwrap()
        .map(Result::unwrap)
        .find(|e| e.path().unwrap().ends_with("run.sh"))
        .unwrap();
    assert_eq!(entry.header().mode().unwrap(), 0o750);
    assert!(entry.header().mtime().unwrap() > 1_000_000_000);
    let mut content = String::new();
    entry.read_to_string(&mut content).unwrap();
    assert_eq!(content, "#!/bin/sh\n");
}
