// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tables, JSON, YAML, templates, quiet lists.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::fake::Answer;
use crate::world::World;

#[test]
fn the_last_ones_are_listed_whatever_they_do() {
    let world = World::new();
    let made = |name: &str, time: &str| {
        let mut instance = crate::fake::ended(0);
        instance["name"] = serde_json::json!(name);
        instance["created"] = serde_json::json!(time);
        instance
    };
    let all = serde_json::json!([
        made("old", "2020-01-01T00:00:00.900Z"),
        made("new", "2021-01-01T00:00:00.000Z"),
        made("middle", "2020-01-01T00:00:01.000Z"),
    ]);
    world.fake.answer("GET /v1/instances", crate::fake::Answer::json(200, &all));
    for (words, wanted) in [
        (vec!["ps", "-l"], "new\n"),
        (vec!["ps", "-n", "2"], "new\nmiddle\n"),
        (vec!["ps", "--last", "9"], "new\nmiddle\nold\n"),
    ] {
        let mut words = words;
        words.extend(["--format", "{{.Names}}"]);
        assert_eq!(world.ok(&words), wanted, "{words:?}");
        assert!(world.fake.take().pop().unwrap().target.contains("all=true"));
    }
    world.fails(&["ps", "-l", "-n", "2"], 2);
}

#[test]
fn tables_are_for_people() {
    let world = World::new();
    let table = world.ok(&["ps"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("INSTANCE ID    NAME   IMAGE"), "{table}");
    assert!(lines[1].starts_with("0123456789ab   web    web:latest"), "{table}");
    assert!(
        lines[1].contains("(healthy)") && lines[1].ends_with("127.0.0.1:8080->80/tcp"),
        "{table}"
    );
    // Not a terminal: no colours, whatever NO_COLOR says.
    assert!(!table.contains('\x1b'));
    let images = world.ok(&["images"]);
    assert!(
        images.contains("web    latest   feedfeedfeed   go") && images.contains("7.44 MB"),
        "{images}"
    );
    assert_eq!(images.lines().count(), 3, "a line for each name: {images}");
    assert!(world.ok(&["volume", "ls"]).contains("1.07 GB"));
    assert!(world.ok(&["stats", "--no-stream"]).contains("50.00%"));
    assert!(world.ok(&["providers"]).contains("qemu"));
    assert!(world.ok(&["compilers"]).contains("bhojpur-go-qemu"));
    assert!(world.ok(&["info"]).contains("Default provider:  qemu"));
    assert!(world.ok(&["version"]).contains("daemon   9.9.9"));
    assert!(world.ok(&["events"]).contains("instance die 0123456789ab (name=web, exit_code=3)"));
    assert!(world.ok(&["daemon", "token", "ls"]).contains("operate"));
    assert_eq!(world.ok(&["daemon", "token", "create", "ci"]), "s3cret\n");
}

#[test]
fn colours_are_for_terminals_and_can_be_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    for (refusal, coloured) in [("", true), ("1", false)] {
        let master =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
                .unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let terminal = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut command = world.command(&["ps"]);
        command.env("NO_COLOR", refusal).stdout(terminal);
        assert!(command.status().unwrap().success());
        let mut text = vec![0; 4096];
        let count = rustix::io::read(&master, &mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..count]).into_owned();
        assert!(text.contains("web"), "{text}");
        assert_eq!(text.contains("\x1b[32mUp"), coloured, "{text:?}");
    }
}

#[test]
fn programs_get_json_and_yaml() {
    let world = World::new();
    let list: Value = serde_json::from_str(&world.ok(&["ps", "-o", "json"])).unwrap();
    assert_eq!(list[0]["name"], "web");
    let images: Value = serde_json::from_str(&world.ok(&["images", "-o", "json"])).unwrap();
    assert_eq!(images.as_array().unwrap().len(), 1, "an image with two names is one image");
    let inspected: Value = serde_json::from_str(&world.ok(&["inspect", "web"])).unwrap();
    assert_eq!(inspected[0]["ports"][0]["guest"], 80);
    let yaml = world.ok(&["ps", "-o", "yaml"]);
    assert!(yaml.contains("name: web") && yaml.contains("state: running"), "{yaml}");
    let event: Value = serde_json::from_str(&world.ok(&["events", "-o", "json"])).unwrap();
    assert_eq!(event["attributes"]["exit_code"], "3");
    let run: Value = serde_json::from_str(&world.ok(&["run", "-d", "web"]).replace('\n', ""))
        .unwrap_or_default();
    assert!(run.is_null() || run.is_number(), "an id alone");
    let run: Value = serde_json::from_str(&world.ok(&["-o", "json", "run", "-d", "web"])).unwrap();
    assert_eq!(run["id"], "0123456789abcdef0123456789abcdef");
}

#[test]
fn templates_are_those_of_docker() {
    let world = World::new();
    assert_eq!(
        world.ok(&["ps", "--format", "{{.ID}} {{.Names}} {{.Ports}}"]),
        "0123456789ab web 127.0.0.1:8080->80/tcp\n"
    );
    assert_eq!(
        world.ok(&["ps", "--format", "table {{.ID}}\t{{.Names}}"]),
        "ID             NAMES\n0123456789ab   web\n"
    );
    assert_eq!(
        world.ok(&["inspect", "-f", "{{.State}} {{json .EnvNames}}", "web"]),
        "running [\"MODE\"]\n"
    );
    assert_eq!(
        world.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]),
        "web:latest\nweb:1.2\n"
    );
    assert_eq!(world.ok(&["volume", "ls", "--format", "{{.Name}}"]), "data\n");
    let json: Value = serde_json::from_str(&world.ok(&["ps", "--format", "json"])).unwrap();
    assert_eq!(json[0]["id"], "0123456789abcdef0123456789abcdef");
}

#[test]
fn quiet_lists_name_and_nothing_else() {
    let world = World::new();
    assert_eq!(world.ok(&["ps", "-q"]), "0123456789ab\n");
    assert_eq!(world.ok(&["ps", "-q", "--no-trunc"]), "0123456789abcdef0123456789abcdef\n");
    assert_eq!(world.ok(&["images", "-q"]), "feedfeedfeed\n");
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "data\n");
}

#[test]
fn filters_are_those_of_docker() {
    let world = World::new();
    assert_eq!(
        world.ok(&["ps", "-q", "--filter", "name=we", "--filter", "state=running"]),
        "0123456789ab\n"
    );
    assert_eq!(world.ok(&["ps", "-q", "--filter", "status=exited"]), "");
    assert_eq!(
        world.ok(&["ps", "-q", "--filter", "name=x", "--filter", "name=web"]),
        "0123456789ab\n"
    );
    world.ok(&["ps", "-f", "label=tier=front", "-f", "label=x"]);
    assert_eq!(world.fake.lines().last().unwrap(), "GET /v1/instances?label=tier%3Dfront&label=x");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let world = World::new();
    let long = "x".repeat(100) + "\n";
    world
        .fake
        .answer("GET /v1/instances/web/logs", crate::fake::Answer::bytes(long.repeat(100_000)));
    let mut child = world.spawn(&["logs", "web"]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    let done = crate::world::done(child.wait_with_output().unwrap());
    assert_eq!((done.status, done.err.as_str()), (0, ""));
}

#[test]
fn completions_know_the_commands() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = world.ok(&["completions", shell]);
        assert!(script.contains("kernctl") && script.contains("volume"), "{shell}");
    }
    world.fails(&["completions", "cmd.exe"], 2);
}

#[test]
fn every_command_explains_itself() {
    let world = World::new();
    let help = world.ok(&["--help"]);
    let commands = help
        .lines()
        .filter(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next());
    let known: Vec<&str> = commands
        .take_while(|word| *word != "kernctl")
        .filter(|word| !word.starts_with('-'))
        .collect();
    assert!(known.len() > 35, "{known:?}");
    for command in known.iter().take(36) {
        assert!(world.ok(&[command, "--help"]).contains("Usage: kernctl"), "{command}");
    }
    assert!(world.ok(&["--version"]).starts_with("kernctl "));
    let done = world.run(&[]);
    assert!(done.status == 2 && done.err.contains("Usage"), "{done:?}");
}

#[test]
fn the_unit_names_this_program() {
    let world = World::new();
    let unit = world.ok(&["daemon", "install"]);
    assert!(
        unit.contains("KillMode=process") && unit.contains(env!("CARGO_BIN_EXE_kernctl")),
        "{unit}"
    );
    world.ok(&["daemon", "install", "--to", "k.service"]);
    assert_eq!(std::fs::read_to_string(world.path().join("k.service")).unwrap(), unit);
}

#[test]
fn wizards_write_what_was_answered() {
    let world = World::new();
    let done = world.feed(&["configure"], b"qemu\ntcg\n\n");
    assert_eq!(done.status, 0, "{done:?}");
    let text = std::fs::read_to_string(world.home().join("daemon.toml")).unwrap();
    assert!(
        text.contains("default_provider = \"qemu\"") && text.contains("\"accelerator\" = \"tcg\""),
        "{text}"
    );
    world.fails(&["configure", "--provider", "qemu"], 2);
    world.ok(&["configure", "--provider", "qemu", "--force"]);
}

#[test]
fn volumes_are_listed_by_filters() {
    let world = World::new();
    let volume = |name: &str, labels: Value, attachments: Value| {
        json!({
            "id": name, "name": name, "provider": "qemu", "size_bytes": 1, "labels": labels,
            "attachments": attachments, "created": "2026-01-01T00:00:00Z",
        })
    };
    let used = json!([{"instance": "web", "mount_point": "/d", "read_only": false}]);
    let volumes = json!([
        volume("data", json!({"tier": "front"}), used),
        volume("dusty", json!({"tier": "back"}), json!([])),
    ]);
    world.fake.answer("GET /v1/volumes", Answer::json(200, &volumes));
    for (filters, listed) in [
        (&["name=d"][..], "data\ndusty\n"),
        (&["name=ust"], "dusty\n"),
        (&["label=tier=front"], "data\n"),
        (&["label=tier", "dangling=true"], "dusty\n"),
        (&["dangling=0"], "data\n"),
        (&["driver=firecracker"], ""),
    ] {
        let mut words = vec!["volume", "ls", "-q"];
        words.extend(filters.iter().flat_map(|filter| ["-f", *filter]));
        assert_eq!(world.ok(&words), listed, "{filters:?}");
    }
}
