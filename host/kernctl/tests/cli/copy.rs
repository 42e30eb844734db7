// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files to and from volumes.

use crate::fake::{Answer, not_found};
use crate::world::World;

/// A tar as the daemon sends it: names begin with the last part of the path.
fn tar(entries: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        match content {
            None => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_size(0);
                builder.append_data(&mut header, name, std::io::empty()).unwrap();
            }
            Some(content) => {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, content.as_bytes()).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
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
fn files_come_out_by_dockers_rules() {
    let world = World::new();
    let read = |name: &str| std::fs::read_to_string(world.path().join(name)).unwrap();
    world
        .fake
        .answer("GET /v1/volumes/data/files", Answer::bytes(tar(&[("report.txt", Some("text"))])));
    world.ok(&["cp", "data:/out/report.txt", "."]);
    world.ok(&["cp", "data:/out/report.txt", "renamed.txt"]);
    assert_eq!((read("report.txt"), read("renamed.txt")), ("text".into(), "text".into()));
    assert_eq!(world.fake.lines()[0], "GET /v1/volumes/data/files?path=%2Fout%2Freport.txt");
    world.fails(&["cp", "data:/out/report.txt", "none/x.txt"], 3);
    let directory = tar(&[("out", None), ("out/a", Some("1"))]);
    world.fake.answer("GET /v1/volumes/data/files", Answer::bytes(directory.clone()));
    world.ok(&["cp", "data:/out", "new"]);
    world.ok(&["cp", "data:/out", "."]);
    assert_eq!((read("new/a"), read("out/a")), ("1".into(), "1".into()));
    let done = world.command(&["cp", "data:/out", "-"]).output().unwrap();
    assert!(done.stdout == directory);
    world.fake.answer("GET /v1/volumes/data/files", Answer::bytes(tar(&[("a", Some("root"))])));
    world.ok(&["cp", "data:/", "all"]);
    assert_eq!(read("all/a"), "root");
}

#[test]
fn files_go_in_by_dockers_rules() {
    let world = World::new();
    world.file("src/a", "1");
    world.file("one.txt", "one");
    let put = |words: &[&str]| {
        world.fake.take();
        world.ok(words);
        let asked = world.fake.take().pop().unwrap();
        (asked.target, names(&asked.body))
    };
    let stat = "GET /v1/volumes/data/files/stat";
    world.fake.answer("GET /v1/volumes/data/files?", Answer::bytes("nobody wants a copy"));
    world.fake.answer(stat, not_found("file"));
    // Nothing there: it gets that name.
    assert_eq!(
        put(&["cp", "one.txt", "data:/d/new.txt"]),
        ("/v1/volumes/data/files?path=%2Fd".into(), vec!["new.txt".into()])
    );
    assert_eq!(
        put(&["cp", "src", "data:/d"]),
        ("/v1/volumes/data/files?path=%2F".into(), vec!["d".into(), "d/a".into()])
    );
    assert_eq!(
        put(&["cp", "src/.", "data:/d"]),
        ("/v1/volumes/data/files?path=%2Fd".into(), vec!["a".into()])
    );
    assert_eq!(
        put(&["cp", "one.txt", "data:/"]),
        ("/v1/volumes/data/files?path=%2F".into(), vec!["one.txt".into()])
    );
    // A directory is there: it goes into it.
    let kind = |kind: &str| serde_json::json!({"kind": kind, "size_bytes": 0, "mode": 493});
    world.fake.answer(stat, Answer::json(200, &kind("directory")));
    assert_eq!(
        put(&["cp", "one.txt", "data:/d"]),
        ("/v1/volumes/data/files?path=%2Fd".into(), vec!["one.txt".into()])
    );
    world.ok(&["cp", "one.txt", "data:/d"]);
    assert_eq!(world.fake.lines()[0], format!("{stat}?path=%2Fd"));
    // A file is there: it is replaced.
    world.fake.answer(stat, Answer::json(200, &kind("file")));
    assert_eq!(
        put(&["cp", "one.txt", "data:/d/f"]),
        ("/v1/volumes/data/files?path=%2Fd".into(), vec!["f".into()])
    );
    let done = world.feed(&["cp", "-", "data:/d"], b"any bytes");
    assert_eq!(done.status, 0);
    assert_eq!(world.fake.take().pop().unwrap().body, b"any bytes");
    let error = world.fails(&["cp", "data:/a", "other:/b"], 8);
    assert!(error.contains("kernctl cp data:/a - | kernctl cp - other:/b"), "{error}");
}

#[test]
fn only_regular_files_are_replaced() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let world = World::new();
    let read = |name: &str| std::fs::read_to_string(world.path().join(name)).unwrap();
    let kind = |name: &str| std::fs::symlink_metadata(world.path().join(name)).unwrap().file_type();
    let file = tar(&[("report.txt", Some("text"))]);
    world.fake.answer("GET /v1/volumes/data/files", Answer::bytes(file));
    // A link is followed, also one whose file is not there yet.
    world.file("real.txt", "old");
    for (link, target) in [("link", "real.txt"), ("early", "later.txt")] {
        symlink(target, world.path().join(link)).unwrap();
        world.ok(&["cp", "data:/out/report.txt", link]);
        assert!(kind(link).is_symlink(), "{link}");
        assert_eq!(read(target), "text");
    }
    // Devices and pipes are written to.
    symlink("/dev/full", world.path().join("full")).unwrap();
    let error = world.fails(&["cp", "data:/out/report.txt", "full"], 1);
    assert!(error.contains("cannot write full: No space left"), "{error}");
    assert!(kind("full").is_symlink());
    std::fs::create_dir(world.path().join("d")).unwrap();
    for (pipe, to) in [("pipe", "pipe"), ("d/report.txt", "d")] {
        let path = world.path().join(pipe);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut child = world.spawn(&["cp", "data:/out/report.txt", to]);
        // Open for writing as well, so that this does not wait for a program that never comes.
        let mut both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(kind(pipe).is_fifo(), "{pipe}");
        let mut text = [0; 4];
        std::io::Read::read_exact(&mut both, &mut text).unwrap();
        assert_eq!(&text, b"text");
    }
    let directory = tar(&[("out", None), ("out/a", Some("1"))]);
    world.fake.answer("GET /v1/volumes/data/files", Answer::bytes(directory));
    world.fails(&["cp", "data:/out", "pipe"], 4);
    assert!(kind("pipe").is_fifo());
}

#[test]
fn a_directory_does_not_replace_a_file() {
    let world = World::new();
    world.file("src/a", "1");
    let kind = |kind: &str| serde_json::json!({"kind": kind, "size_bytes": 0, "mode": 493});
    let stat = "GET /v1/volumes/data/files/stat";
    world.fake.answer(stat, Answer::json(200, &kind("file")));
    let error = world.fails(&["cp", "src", "data:/renamed"], 4);
    assert!(error.contains("a directory to a file") && error.contains("/renamed"), "{error}");
    // In a directory there may be a file of its name.
    world.fake.answer(&format!("{stat}?path=%2Fd"), Answer::json(200, &kind("directory")));
    world.fake.answer(&format!("{stat}?path=%2Fd%2Fsrc"), Answer::json(200, &kind("file")));
    let error = world.fails(&["cp", "src", "data:/d"], 4);
    assert!(error.contains("/d/src"), "{error}");
    let asked = world.fake.lines();
    assert!(asked.iter().all(|line| line.starts_with("GET ")), "{asked:?}");
}

#[test]
fn what_is_left_out_is_named_and_hard_links_stay() {
    let world = World::new();
    world.file("src/a", "1");
    std::fs::hard_link(world.path().join("src/a"), world.path().join("src/b")).unwrap();
    let pipe = world.path().join("src/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    world.fake.answer("GET /v1/volumes/data/files/stat", not_found("file"));
    for words in [&["cp", "src", "data:/"][..], &["volume", "create", "data", "--from", "src"]] {
        world.fake.take();
        let done = world.run(words);
        assert_eq!(done.status, 0, "{done:?}");
        assert!(done.err.contains("src/pipe was left out: it is a named pipe"), "{done:?}");
        let body = world.fake.take().pop().unwrap().body;
        let mut archive = tar::Archive::new(&body[..]);
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let link = entry.link_name().unwrap().map(|link| link.display().to_string());
                (entry.path().unwrap().display().to_string(), link)
            })
            .collect();
        let prefix = if words[0] == "cp" { "src/" } else { "" };
        let name = |name: &str| format!("{prefix}{name}");
        assert!(entries.contains(&(name("a"), None)), "{entries:?}");
        assert!(entries.contains(&(name("b"), Some(name("a")))), "{entries:?}");
        assert!(!entries.iter().any(|(found, _)| found.contains("pipe")), "{entries:?}");
    }
    world.fake.take();
    let error = world.fails(&["cp", "src/pipe", "data:/"], 2);
    assert!(error.contains("src/pipe is a named pipe"), "{error}");
    assert!(!world.fake.lines().iter().any(|line| line.starts_with("PUT")));
    // What the daemon leaves out of a tar.
    let left = serde_json::json!({"warnings": ["dev/x was left out: a device"]});
    world.fake.answer("PUT /v1/volumes/data/files", Answer::json(200, &left));
    let done = world.feed(&["cp", "-", "data:/d"], b"any bytes");
    assert!(done.status == 0 && done.err.contains("dev/x was left out"), "{done:?}");
    let mut volume = crate::fake::volume();
    volume["warnings"] = left["warnings"].clone();
    world.fake.answer("POST /v1/volumes", Answer::json(201, &volume));
    let done = world.feed(&["volume", "create", "data", "--from", "-"], b"any bytes");
    assert!(done.status == 0 && done.err.contains("dev/x was left out"), "{done:?}");
}
