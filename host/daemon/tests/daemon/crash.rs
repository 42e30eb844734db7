// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kill -9` at any moment, a full disk, vanished monitors, a reboot: state and reality agree
//! again after the start, nothing that was acknowledged is lost, no orphan is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bhojpur_provider::process::Monitor;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::{Client, NoAnswer};
use crate::process::Daemon;
use crate::{Test, image, world};

pub(crate) const TESTS: &[Test] = &[("crash", crash)];

const CLIENTS: usize = 3;
/// A run that ends only when it is asked to.
const FOREVER: &str = "forever";
const SETTLE: Duration = Duration::from_secs(120);

/// Reproducible dice: splitmix64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % sides
    }
}

/// What a client was told of an instance.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    /// Exists for certain; `None` while an operation that makes or removes it was not answered.
    exists: Option<bool>,
    /// It runs for certain, or not for certain; `None` when that is open.
    runs: Option<bool>,
    /// It comes back when it ends.
    always: bool,
    /// It ends by itself: that it runs is never certain.
    ends: bool,
}

#[derive(Debug, Default)]
struct Model {
    instances: BTreeMap<String, Known>,
    volumes: BTreeMap<String, Option<bool>>,
    /// Names of images of this client.
    images: BTreeMap<String, Option<bool>>,
    refused_for_space: u64,
    done: u64,
}

fn crash() {
    let number =
        |name: &str, usual| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let rounds = number("CRASH_ROUNDS", 40);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("CRASH_SEED", clock.as_secs());
    println!("crash: {rounds} rounds, CRASH_SEED={seed}");
    let place = Place::new();
    let mut dice = Dice(seed);
    let models: Vec<_> = (0..CLIENTS).map(|_| Arc::new(Mutex::new(Model::default()))).collect();
    let mut full = 0;
    for round in 0..rounds {
        let daemon = Daemon::start(&place.home, &place.log);
        let fill = place.limited && dice.throw(4) == 0;
        full += u64::from(fill);
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| dice.throw(u64::MAX)).collect();
        let lifetime = Duration::from_millis(20 + dice.throw(900));
        let client = daemon.client.clone();
        let before = std::thread::scope(|scope| {
            for (number, (model, seed)) in models.iter().zip(seeds).enumerate() {
                let client = client.clone();
                scope.spawn(move || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(play(client, number, model.clone(), Dice(seed)));
                });
            }
            if fill {
                std::thread::sleep(lifetime / 2);
                place.fill();
            }
            std::thread::sleep(lifetime);
            daemon.kill();
            // Before anybody touches them: who runs, under which process.
            running(&place.home)
        });
        place.free();
        // Somebody else's hand, while nobody looks.
        let struck = strike(&place.home, &mut dice);
        let daemon = Daemon::start(&place.home, &place.log);
        let what = format!("round {round} of CRASH_SEED={seed}");
        check(&place.home, &daemon.client, &models, &before, &struck, fill, &what);
        // Nothing depends on how it ends.
        if dice.throw(2) == 0 { daemon.end() } else { daemon.kill() }
    }
    let (done, refused) = models.iter().fold((0, 0), |(done, refused), model| {
        let model = model.lock().unwrap();
        (done + model.done, refused + model.refused_for_space)
    });
    println!(
        "crash: {done} operations acknowledged, {full} rounds with a full disk, {refused} refusals for want of room"
    );
    assert!(done > rounds, "the daemon did nothing");
}

/// Where the daemon lives: on a small disk of its own when we may mount one.
pub(crate) struct Place {
    _directory: tempfile::TempDir,
    pub(crate) home: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) limited: bool,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().canonicalize().unwrap().join("disk");
        fs::create_dir(&disk).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"])
            .arg(&disk)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("crash: SKIPPED the full disk: a tmpfs cannot be mounted without root");
        }
        let home = disk.join("home");
        fs::create_dir(&home).unwrap();
        Self {
            log: directory.path().join("daemon.log"),
            _directory: directory,
            home,
            limited: mounted,
        }
    }

    fn ballast(&self) -> PathBuf {
        self.home.with_file_name("ballast")
    }

    /// Takes the last byte.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        let block = vec![0; 1 << 20];
        let mut size = block.len();
        while size > 0 {
            if std::io::Write::write_all(&mut file, &block[..size]).is_err() {
                size /= 2;
            }
        }
    }

    pub(crate) fn free(&self) {
        let _ = fs::remove_file(self.ballast());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for directory in instance_directories(&self.home) {
            let _ = Monitor::of(directory).signal(Signal::KILL);
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if self.limited {
            std::thread::sleep(Duration::from_millis(200));
            let disk = self.home.parent().unwrap();
            let _ = Command::new("umount").arg("-l").arg(disk).status();
        }
    }
}

fn instance_directories(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.join("instances/qemu")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The process of each instance that runs.
fn running(home: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for directory in instance_directories(home) {
        if let Some(pid) = Monitor::of(&directory).pid() {
            found.insert(directory.file_name().unwrap().to_string_lossy().into_owned(), pid);
        }
    }
    found
}

/// Kills some monitors, or all as a reboot does; gives the ids of those that it hit.
fn strike(home: &Path, dice: &mut Dice) -> BTreeSet<String> {
    let reboot = dice.throw(6) == 0;
    let mut struck = BTreeSet::new();
    for directory in instance_directories(home) {
        if !reboot && dice.throw(6) != 0 {
            continue;
        }
        let monitor = Monitor::of(&directory);
        if monitor.signal(Signal::KILL).unwrap() {
            struck.insert(directory.file_name().unwrap().to_string_lossy().into_owned());
            let start = Instant::now();
            while monitor.is_running().unwrap() {
                assert!(start.elapsed() < SETTLE);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    struck
}

/// Random operations until nobody answers any more.
async fn play(client: Client, number: usize, model: Arc<Mutex<Model>>, mut dice: Dice) {
    loop {
        let step = match dice.throw(12) {
            0..=3 => make(&client, number, &model, &mut dice).await,
            4 => act(&client, &model, &mut dice, "stop?grace_s=5", false).await,
            5 => act(&client, &model, &mut dice, "start", true).await,
            6 => act(&client, &model, &mut dice, "kill", false).await,
            7 => remove(&client, &model, &mut dice).await,
            8 => make_volume(&client, number, &model, &mut dice).await,
            9 => remove_volume(&client, &model, &mut dice).await,
            10 => import(&client, number, &model, &mut dice).await,
            _ => remove_image(&client, &model, &mut dice).await,
        };
        if step.is_err() {
            return;
        }
    }
}

fn pick<T: Clone>(
    all: &BTreeMap<String, T>,
    dice: &mut Dice,
    fits: impl Fn(&T) -> bool,
) -> Option<String> {
    let fitting: Vec<&String> =
        all.iter().filter(|(_, value)| fits(value)).map(|(name, _)| name).collect();
    if fitting.is_empty() {
        return None;
    }
    Some(fitting[dice.throw(fitting.len() as u64) as usize].clone())
}

/// Whether an answer says that it was done. What was refused was not done.
fn acknowledged(model: &Mutex<Model>, answer: &crate::client::Answer) -> bool {
    let mut model = model.lock().unwrap();
    if answer.status == 507 {
        model.refused_for_space += 1;
    }
    let done = (200..300).contains(&answer.status);
    model.done += u64::from(done);
    // Whatever goes wrong has a reason that a client is told.
    if !done {
        assert!(answer.json()["message"].is_string(), "{answer:?}");
    }
    done
}

async fn make(
    client: &Client,
    number: usize,
    model: &Mutex<Model>,
    dice: &mut Dice,
) -> Result<(), NoAnswer> {
    let Some(image) = pick(&model.lock().unwrap().images, dice, |known| *known == Some(true))
    else {
        return import(client, number, model, dice).await;
    };
    if model.lock().unwrap().instances.len() > 12 {
        return remove(client, model, dice).await;
    }
    let name = format!("c{number}-{}", dice.throw(1 << 40));
    let always = dice.throw(3) == 0;
    let ends = !always && dice.throw(4) == 0;
    let start = dice.throw(5) != 0;
    let args = if ends { json!(["50", "3"]) } else { json!([FOREVER]) };
    let restart = if always { json!({ "name": "always" }) } else { json!({ "name": "no" }) };
    let request = json!({
        "image": image, "name": name, "args": args, "restart": restart, "create_only": !start,
    });
    let open = Known { exists: None, runs: None, always, ends };
    model.lock().unwrap().instances.insert(name.clone(), open);
    let answer = client.send("POST", "/v1/instances", request.to_string().into_bytes()).await?;
    let known = Known {
        exists: Some(acknowledged(model, &answer)),
        runs: if ends { None } else { Some(start) },
        always,
        ends,
    };
    model.lock().unwrap().instances.insert(name, known);
    Ok(())
}

async fn act(
    client: &Client,
    model: &Mutex<Model>,
    dice: &mut Dice,
    what: &str,
    runs: bool,
) -> Result<(), NoAnswer> {
    let Some(name) =
        pick(&model.lock().unwrap().instances, dice, |known| known.exists == Some(true))
    else {
        return Ok(());
    };
    let set = |value: Option<bool>| {
        if let Some(known) = model.lock().unwrap().instances.get_mut(&name) {
            known.runs = value;
        }
    };
    let before = model.lock().unwrap().instances[&name].clone();
    set(None);
    let answer = client.send("POST", &format!("/v1/instances/{name}/{what}"), Vec::new()).await?;
    let done = acknowledged(model, &answer);
    match (done, runs) {
        (true, true) if before.ends => set(None),
        (true, runs) => set(Some(runs)),
        (false, _) if answer.status == 409 => set(before.runs),
        (false, _) => set(None),
    }
    Ok(())
}

async fn remove(client: &Client, model: &Mutex<Model>, dice: &mut Dice) -> Result<(), NoAnswer> {
    let Some(name) =
        pick(&model.lock().unwrap().instances, dice, |known| known.exists == Some(true))
    else {
        return Ok(());
    };
    model.lock().unwrap().instances.get_mut(&name).unwrap().exists = None;
    let answer = client.send("DELETE", &format!("/v1/instances/{name}?force"), Vec::new()).await?;
    let done = acknowledged(model, &answer);
    let mut model = model.lock().unwrap();
    let known = model.instances.get_mut(&name).unwrap();
    // What was refused for a reason like a full disk is finished later, or after a crash.
    known.exists = done.then_some(false);
    known.runs = None;
    Ok(())
}

async fn make_volume(
    client: &Client,
    number: usize,
    model: &Mutex<Model>,
    dice: &mut Dice,
) -> Result<(), NoAnswer> {
    if model.lock().unwrap().volumes.values().filter(|known| **known == Some(true)).count() > 2 {
        return remove_volume(client, model, dice).await;
    }
    let name = format!("c{number}-v{}", dice.throw(1 << 40));
    model.lock().unwrap().volumes.insert(name.clone(), None);
    let path = format!("/v1/volumes?name={name}&size_bytes={}", 8 << 20);
    let answer = client.send("POST", &path, Vec::new()).await?;
    let done = acknowledged(model, &answer);
    model.lock().unwrap().volumes.insert(name, Some(done));
    Ok(())
}

async fn remove_volume(
    client: &Client,
    model: &Mutex<Model>,
    dice: &mut Dice,
) -> Result<(), NoAnswer> {
    let Some(name) = pick(&model.lock().unwrap().volumes, dice, |known| *known == Some(true))
    else {
        return Ok(());
    };
    model.lock().unwrap().volumes.insert(name.clone(), None);
    let answer = client.send("DELETE", &format!("/v1/volumes/{name}"), Vec::new()).await?;
    let done = acknowledged(model, &answer);
    // What was refused for a reason like a full disk is finished later, or after a crash.
    let now = match answer.status {
        409 => Some(true),
        _ => done.then_some(false),
    };
    model.lock().unwrap().volumes.insert(name, now);
    Ok(())
}

async fn import(
    client: &Client,
    number: usize,
    model: &Mutex<Model>,
    dice: &mut Dice,
) -> Result<(), NoAnswer> {
    // Each client has an image of its own content, so that they do not remove each other's.
    let name = format!("c{number}-image{}:latest", dice.throw(2));
    // Open stays open; what nobody has made is not there.
    let before = model.lock().unwrap().images.insert(name.clone(), None).unwrap_or(Some(false));
    let elf = image::elf(number % image::COUNT).to_vec();
    let answer = client.send("POST", &format!("/v1/images/import?name={name}"), elf).await?;
    let done = acknowledged(model, &answer);
    model.lock().unwrap().images.insert(name, if done { Some(true) } else { before });
    Ok(())
}

async fn remove_image(
    client: &Client,
    model: &Mutex<Model>,
    dice: &mut Dice,
) -> Result<(), NoAnswer> {
    let Some(name) = pick(&model.lock().unwrap().images, dice, |known| *known == Some(true)) else {
        return Ok(());
    };
    if dice.throw(3) != 0 {
        return Ok(());
    }
    model.lock().unwrap().images.insert(name.clone(), None);
    let answer = client.send("DELETE", &format!("/v1/images/{name}"), Vec::new()).await?;
    let done = acknowledged(model, &answer);
    let now = match answer.status {
        409 => Some(true),
        _ => done.then_some(false),
    };
    model.lock().unwrap().images.insert(name, now);
    Ok(())
}

/// What is listed below `path`, once nothing is on its way any more.
async fn settled(client: &Client) -> Vec<Value> {
    let start = Instant::now();
    loop {
        let all = client.get("/v1/instances?all").await.as_array().unwrap().clone();
        let at_rest = |instance: &Value| {
            matches!(
                instance["state"].as_str(),
                Some("created" | "running" | "stopped" | "paused" | "error")
            )
        };
        // One that ends on its own soon is on its way too.
        if all.iter().all(|instance| {
            at_rest(instance) && !(instance["state"] == "running" && instance["args"][0] != FOREVER)
        }) {
            return all;
        }
        assert!(start.elapsed() < SETTLE, "something stays on its way: {all:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn check(
    home: &Path,
    client: &Client,
    models: &[Arc<Mutex<Model>>],
    before: &BTreeMap<String, u32>,
    struck: &BTreeSet<String>,
    full: bool,
    what: &str,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (instances, volumes, images) = runtime.block_on(async {
        let instances = settled(client).await;
        (instances, client.get("/v1/volumes").await, client.get("/v1/images").await)
    });
    let names = |all: &Value, key: &str| -> BTreeSet<String> {
        all.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_owned()).collect()
    };
    let all = json!(instances);
    agrees(home, &all, "instances/qemu", what);
    agrees(home, &volumes, "volumes", what);
    agrees(home, &images, "images", what);
    assert_eq!(fs::read_dir(home.join("tmp")).unwrap().count(), 0, "{what}: tmp/");
    // A crash alone makes nothing that no row knows.
    assert!(!home.join("lost").exists(), "{what}: lost/");
    let after = running(home);
    for instance in &instances {
        let (id, name) = (instance["id"].as_str().unwrap(), instance["name"].as_str().unwrap());
        let says = instance["state"] == "running";
        assert_eq!(
            says,
            after.contains_key(id),
            "{what}: {name} is said to be {}",
            instance["state"]
        );
    }
    let orphans = processes(home);
    assert_eq!(orphans.len(), after.len(), "{what}: processes {orphans:?}, monitors {after:?}");
    let (listed, image_names): (BTreeSet<String>, BTreeSet<String>) = (
        names(&all, "name"),
        images
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|image| image["names"].as_array().unwrap())
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
    );
    let volume_names = names(&volumes, "name");
    for model in models {
        let mut model = model.lock().unwrap();
        for (name, known) in &mut model.instances {
            let found = instances.iter().find(|instance| instance["name"] == name.as_str());
            if let Some(exists) = known.exists {
                assert_eq!(exists, listed.contains(name), "{what}: the instance {name}");
            }
            known.exists = Some(found.is_some());
            let Some(found) = found else { continue };
            let id = found["id"].as_str().unwrap();
            let running = found["state"] == "running";
            let was_struck = struck.contains(id);
            match known.runs {
                Some(true) if !was_struck => {
                    assert!(running, "{what}: {name} was running and is {found}");
                    if before.contains_key(id) {
                        assert_eq!(before.get(id), after.get(id), "{what}: {name} was touched");
                    }
                }
                // That a start was done may be unwritten on a full disk: then it is done again.
                Some(true) => assert!(
                    running == known.always || (running && full),
                    "{what}: {name}, struck, is {found}"
                ),
                Some(false) => assert!(!running, "{what}: {name} was stopped and runs"),
                None => {}
            }
            known.runs = (!known.ends).then_some(running);
        }
        model.instances.retain(|_, known| known.exists == Some(true));
        for (name, known) in &mut model.volumes {
            if let Some(exists) = known {
                assert_eq!(*exists, volume_names.contains(name), "{what}: the volume {name}");
            }
            *known = Some(volume_names.contains(name));
        }
        model.volumes.retain(|_, known| *known == Some(true));
        for (name, known) in &mut model.images {
            if let Some(exists) = known {
                assert_eq!(*exists, image_names.contains(name), "{what}: the image {name}");
            }
            *known = Some(image_names.contains(name));
        }
    }
    world::no_violations(home);
}

/// What is listed and what lies below a directory are the same.
fn agrees(home: &Path, listed: &Value, directory: &str, what: &str) {
    let ids: BTreeSet<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    let entries = fs::read_dir(home.join(directory)).unwrap().flatten();
    let found: BTreeSet<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(ids, found, "{what}: {directory}");
}

/// Processes of monitors of this directory.
fn processes(home: &Path) -> Vec<u32> {
    let place = home.join("instances").to_string_lossy().into_owned();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let ours = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&place)
    };
    ids.filter(ours).collect()
}
