// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The database is lost, or an older one takes its place: what it does not know is not removed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Test;
use crate::client::Client;
use crate::image;
use crate::process::Daemon;
use crate::rest::tar;
use crate::world::{block_on, no_violations};

pub(crate) const TESTS: &[Test] = &[
    ("lost_database", lost_database),
    ("lost_database_that_is_restored", restored_database),
    ("lost_names_stay_apart", names_stay_apart),
];

const DATABASE: [&str; 3] = ["state.db", "state.db-wal", "state.db-shm"];

/// A daemon's directory. The daemon is a process, which has closed its database when it has ended.
struct Place {
    directory: TempDir,
    home: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().canonicalize().unwrap().join("home");
        fs::create_dir(&home).unwrap();
        Self { directory, home }
    }

    fn start(&self) -> Daemon {
        Daemon::start(&self.home, &self.directory.path().join("log"))
    }

    /// Copies the database, or puts the copy in its place.
    fn keep(&self, name: &str) {
        copy_database(&self.home, &self.directory.path().join(name));
    }

    fn restore(&self, name: &str) {
        self.lose();
        copy_database(&self.directory.path().join(name), &self.home);
    }

    fn lose(&self) {
        DATABASE.iter().for_each(|name| drop(fs::remove_file(self.home.join(name))));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

fn copy_database(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in DATABASE.iter().filter(|name| from.join(name).exists()) {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// What was made of what was sent; its id.
async fn made(client: &Client, path: &str, content: Vec<u8>) -> String {
    let made = client.send("POST", path, content).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text());
    made.json()["id"].as_str().unwrap().to_owned()
}

/// Makes a volume with one file.
async fn volume(client: &Client, name: &str) -> String {
    made(client, &format!("/v1/volumes?name={name}"), tar("hello.txt", b"hi")).await
}

async fn has_its_file(client: &Client, volume: &str) {
    let path = format!("/v1/volumes/{volume}/files?path=/hello.txt");
    let files = client.send("GET", &path, Vec::new()).await.unwrap();
    assert_eq!(files.status, 200, "{}", files.text());
}

/// Everything that somebody made is kept, and a volume becomes one again.
fn lost_database() {
    block_on(async {
        let place = Place::new();
        let daemon = place.start();
        let id = volume(&daemon.client, "data").await;
        let elf = image::elf(0).to_vec();
        let image = made(&daemon.client, "/v1/images/import?name=web", elf).await;
        daemon.end();
        let home = &place.home;
        let disk = fs::read(home.join("volumes").join(&id).join("disk.raw")).unwrap();
        let saved = home.join("snapshots").join("ab".repeat(16));
        fs::create_dir(&saved).unwrap();
        fs::write(saved.join("file"), "x").unwrap();
        place.lose();
        let daemon = place.start();
        let lost = home.join("lost");
        let kept = lost.join("volumes").join(&id).join("disk.raw");
        assert!(fs::read(&kept).is_ok_and(|found| found == disk), "{:?}", entries(&lost));
        assert!(lost.join("images").join(image).join("kernel.elf").is_file());
        assert!(lost.join("snapshots").join("ab".repeat(16)).join("file").is_file());
        for place in ["volumes", "images", "snapshots"] {
            assert!(entries(&home.join(place)).is_empty(), "{place}");
        }
        assert_eq!(daemon.client.get("/v1/volumes").await, json!([]));
        let advice = format!("kernctl volume create NAME --from {} --raw", kept.display());
        assert!(place.log().contains(&advice), "{}", place.log());
        // What that does.
        made(&daemon.client, "/v1/volumes?name=data&raw", disk).await;
        has_its_file(&daemon.client, "data").await;
        daemon.end();
        let daemon = place.start();
        assert!(kept.is_file(), "it stays until a person removes it");
        daemon.end();
        no_violations(home);
    });
}

/// An older database does not know the newer volume, and the one that does gets it back.
fn restored_database() {
    block_on(async {
        let place = Place::new();
        let daemon = place.start();
        volume(&daemon.client, "old").await;
        daemon.end();
        place.keep("older");
        let daemon = place.start();
        let new = volume(&daemon.client, "new").await;
        daemon.end();
        place.keep("newer");
        place.restore("older");
        let daemon = place.start();
        has_its_file(&daemon.client, "old").await;
        daemon.client.refused("GET", "/v1/volumes/new", Value::Null, 404, "not_found").await;
        let lost = place.home.join("lost/volumes");
        assert_eq!(entries(&lost), [new]);
        daemon.end();
        place.restore("newer");
        let daemon = place.start();
        has_its_file(&daemon.client, "old").await;
        has_its_file(&daemon.client, "new").await;
        assert!(entries(&lost).is_empty());
        daemon.end();
        no_violations(&place.home);
    });
}

/// What was lost before is not overwritten by what is lost now.
fn names_stay_apart() {
    let place = Place::new();
    for content in ["first", "second"] {
        place.start().end();
        let stranger = place.home.join("volumes").join("ab".repeat(16));
        fs::create_dir(&stranger).unwrap();
        fs::write(stranger.join("disk.raw"), content).unwrap();
    }
    place.start().end();
    let lost = place.home.join("lost/volumes");
    let mut found: Vec<String> = entries(&lost)
        .iter()
        .map(|name| fs::read_to_string(lost.join(name).join("disk.raw")).unwrap())
        .collect();
    found.sort();
    assert_eq!(found, ["first", "second"]);
}
