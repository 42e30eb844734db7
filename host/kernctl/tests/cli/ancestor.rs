// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Each verb and flag of the ancestor asks the daemon for the same as the new form.

use crate::world::World;

/// The ancestor's words, and ours for the same.
const PAIRS: &[(&str, &str)] = &[
    ("instances", "ps -a"),
    ("describe-instance --instance web", "inspect --type instance web"),
    ("delete-instance --instance web", "rm web"),
    ("delete-instance --instance web --force", "rm -f web"),
    ("rm --instance web --force", "rm -f web"),
    ("start --instance web", "start web"),
    ("stop --instance web", "stop web"),
    ("logs --instance web", "logs web"),
    ("logs --instance web --follow", "logs -f web"),
    ("describe-image --image web", "inspect --type image web"),
    ("delete-image --image web", "rmi web"),
    ("delete-image --image web --force", "rmi -f web"),
    ("rmi --image web --force", "rmi -f web"),
    ("run --instanceName i --imageName web", "run --name i web"),
    (
        "run --instanceName i --imageName web --vol data:/data --vol d2:/d2 --env A=1 --env B=2 --instanceMemory 256 --no-cleanup",
        "run --name i -v data:/data -v d2:/d2 -e A=1 -e B=2 -m 256M web",
    ),
    ("run --instanceName i --imageName web --debug-mode", "run --name i --debug web"),
    (
        "run --instanceName i --imageName web --debug-mode --debug-port 3002",
        "run --name i --debug --debug-port 3002 web",
    ),
    (
        "create-volume --name data --provider qemu --size 10",
        "volume create data --provider qemu --size 10M",
    ),
    (
        "create-volume --name data --provider qemu --size 10 --type ext2 --no-cleanup",
        "volume create data --provider qemu -s 10M",
    ),
    (
        "create-volume --name data --provider qemu --data dir",
        "volume create data --provider qemu --from dir",
    ),
    ("volumes", "volume ls"),
    (
        "attach-volume --volume data --instance web --mountPoint /data",
        "volume attach data web /data",
    ),
    (
        "attach-volume --volume data --instance web --mountPoint /data --force",
        "volume attach data web /data",
    ),
    ("attach --volume data --instance web --mountPoint /data", "volume attach data web /data"),
    ("detach-volume --volume data", "volume detach data"),
    ("detach --volume data", "volume detach data"),
    ("delete-volume --volume data", "volume rm data"),
    ("delete-volume --volume data --force", "volume rm -f data"),
    ("rmv --volume data", "volume rm data"),
    (
        "build --name web --path dir --base rump --language go --provider qemu --args '-v x' --mountpoint /data --force --no-cleanup",
        "build -t web --language go --provider qemu --arg=-v --arg x dir",
    ),
    ("describe-compiler --base rump --language go --provider qemu", "compilers"),
];

#[test]
fn a_raw_volume_is_the_image_as_it_is() {
    let world = World::new();
    world.file("disk.img", b"an image");
    for line in [
        "create-volume --name old --provider qemu --data disk.img --raw --size 10 --type ext2",
        "volume create old --provider qemu --from disk.img --raw",
    ] {
        assert_eq!(world.ok(&line.split(' ').collect::<Vec<_>>()), "data\n");
        let asked = world.fake.take().pop().unwrap();
        assert_eq!(asked.body, b"an image", "{line}");
        let (path, query) = asked.target.split_once('?').unwrap();
        let mut query: Vec<&str> = query.split('&').collect();
        query.sort_unstable();
        assert_eq!((path, query), ("/v1/volumes", vec!["name=old", "provider=qemu", "raw=true"]));
    }
    world.file("dir/file", b"x");
    assert!(
        world.fails(&["volume", "create", "v", "--from", "dir", "--raw"], 2).contains("directory")
    );
    world.fails(&["volume", "create", "v", "--from", "disk.img", "--raw", "--size", "1G"], 2);
}

#[test]
fn a_shared_volume_shows_all_that_have_it() {
    let world = World::new();
    let mut volume = crate::fake::volume();
    let at = |name: &str, place: &str| serde_json::json!({"instance": name, "mount_point": place, "read_only": true});
    volume["attachments"] =
        serde_json::json!([at("one", "/a"), at("two", "/a"), at("three", "/b")]);
    world
        .fake
        .answer("GET /v1/volumes", crate::fake::Answer::json(200, &serde_json::json!([volume])));
    let listed = world.ok(&["volume", "ls"]);
    let all = listed.contains("one, two, three");
    assert!(all && listed.contains("/a (read-only), /a (read-only), /b (read-only)"), "{listed}");
}

#[test]
fn the_ancestors_words_ask_for_the_same() {
    let world = World::new();
    world.file("dir/main.go", "package main\nfunc main() {}\n");
    for (old, new) in PAIRS {
        let split = |line: &str| -> Vec<String> {
            // Only one line has quotes, and only one pair of them.
            match line.split_once('\'') {
                None => line.split(' ').map(str::to_owned).collect(),
                Some((before, rest)) => {
                    let (quoted, after) = rest.split_once('\'').unwrap();
                    let mut words: Vec<String> =
                        before.split_whitespace().map(str::to_owned).collect();
                    words.push(quoted.to_owned());
                    words.extend(after.split_whitespace().map(str::to_owned));
                    words
                }
            }
        };
        let ask = |line: &str| {
            let words = split(line);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let done = world.run(&words);
            // In the foreground the status is the program's, which is 3 here.
            let expected = if line.starts_with("run") { 3 } else { 0 };
            assert_eq!(done.status, expected, "{line}: {done:?}");
            let mut asked = world.fake.take();
            // The end of a log may be asked for once more while the instance is waited for.
            asked
                .retain(|asked| !asked.target.contains("/logs?follow") || !line.starts_with("run"));
            asked.sort_by_key(crate::fake::Asked::line);
            assert!(!asked.is_empty(), "{line}");
            asked
        };
        assert_eq!(ask(old), ask(new), "{old} is not {new}");
    }
}

#[test]
fn what_needs_no_daemon_is_accepted_as_well() {
    let world = World::new();
    world.file("old.yaml", "host: \"unix:///nowhere/k.sock\"\n");
    let target = world.ok(&["target", "--show", "--client-config", "old.yaml", "-o", "json"]);
    assert!(target.contains("unix:///nowhere/k.sock"), "{target}");
    world.ok(&["target", "--host", "example.org", "--port", "3000"]);
    assert_eq!(world.ok(&["target", "--show"]), "https://example.org:3000\n");
    world.ok(&["target", "--clear"]);
    world.ok(&["configure", "--provider", "qemu", "--f", "made.toml"]);
    for verb in ["providers", "compilers", "images"] {
        world.ok(&[verb, "--hub-config", "hub.yaml"]);
    }
}

#[test]
fn the_ancestors_target_counts_until_another_is_chosen() {
    let world = World::new();
    world.file("home/client-config.yaml", "host: \"old.example:3000\"\n");
    let done = world.run(&["target", "--show"]);
    assert_eq!((done.status, done.out.as_str()), (0, "https://old.example:3000\n"), "{done:?}");
    assert!(done.err.contains("client-config.yaml names"), "{done:?}");
    world.ok(&["target", "new.example:1"]);
    let done = world.run(&["target", "--show"]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("https://new.example:1\n", ""));
    world.ok(&["target", "--clear"]);
    world.file("home/client-config.yaml", "host: h:3000\nhots: x\n");
    let error = world.fails(&["target", "--show"], 2);
    assert!(error.contains("client-config.yaml:2: the key \"hots\" is not known"), "{error}");
}

#[test]
fn the_hub_is_visible_and_comes_later() {
    let world = World::new();
    let help = world.ok(&["--help"]);
    assert!(help.contains("Hub (comes with a later version):\n  push "), "{help}");
    for line in [
        "push --image web",
        "pull --image web --provider qemu --force",
        "search --imageName web",
        "search",
        "login",
        "logout",
        "remote-delete --image web",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let error = world.fails(&words, 8);
        assert!(error.contains("there is no hub yet"), "{error}");
    }
    assert!(world.fake.take().is_empty());
}
