// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that are told to end while they make files leave nothing behind.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{End, Lab, tiny_image};

/// Enough to be written for a while.
const LARGE: u64 = 1 << 30;
/// A Go that never finishes, and leaves a directory where its own builds lie.
const GO: &str = "#!/bin/sh\ncase $1 in\nversion) echo go version go1.22.0 linux/amd64 ;;\n\
    list) printf 'main\\tapp\\n' ;;\nbuild) mkdir \"${GOTMPDIR:-$TMPDIR}/go-build7\"; : > ready; sleep 1000 ;;\nesac\n";

/// Starts a command, sends it a signal as soon as `ready`, and gives its status.
fn interrupted(command: &Command, signal: &str, ready: impl Fn() -> bool) -> Option<i32> {
    let mut child = heeding(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !ready() {
        let early = child.try_wait().unwrap();
        assert!(early.is_none(), "it ended before it was told to: {early:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "it does not get ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    support::interrupt(&child, signal);
    child.wait().unwrap().code()
}

/// The command, which heeds signals even if we were started to ignore them (`cargo test &`).
fn heeding(command: &Command) -> Command {
    let mut heeding = Command::new("env");
    heeding.arg("--default-signal=INT,HUP").arg(command.get_program()).args(command.get_args());
    heeding.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => heeding.env(name, value),
            None => heeding.env_remove(name),
        };
    }
    heeding
}

fn temporary(lab: &Lab) -> std::path::PathBuf {
    let path = lab.path().join("tmp");
    fs::create_dir_all(&path).unwrap();
    path
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

fn half_written(lab: &Lab) -> bool {
    lab.listing().iter().any(|name| name.ends_with(".part"))
}

#[test]
fn a_build_that_is_interrupted_ends_its_tools_and_leaves_nothing() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let lab = Lab::new();
        lab.file("app/go.mod", "module app\n");
        let go = lab.file("go", GO);
        fs::set_permissions(&go, fs::Permissions::from_mode(0o755)).unwrap();
        let place = temporary(&lab);
        let mut build = lab.kernel(&["build", "app"]);
        // Where Go has a place of its own, that counts for it.
        let variable = if signal == "INT" { "TMPDIR" } else { "GOTMPDIR" };
        build.env("KERNEL_GO", &go).env(variable, &place);
        let ready = || lab.path().join("app/ready").exists();
        assert_eq!(interrupted(&build, signal, ready), Some(status), "{signal}");
        assert!(is_empty(&place), "{signal}");
        assert_eq!(lab.listing(), ["app", "go", "tmp"]);
    }
}

#[test]
fn an_image_that_is_interrupted_leaves_nothing() {
    let lab = Lab::new();
    fs::copy(std::env::current_exe().unwrap(), lab.path().join("program")).unwrap();
    File::create(lab.path().join("large")).unwrap().set_len(LARGE).unwrap();
    let place = temporary(&lab);
    let mut build = lab.kernel(&["build", "--include", "large:/large", "program"]);
    build.env("TMPDIR", &place);
    assert_eq!(interrupted(&build, "TERM", || half_written(&lab)), Some(143));
    assert!(is_empty(&place));
    assert_eq!(lab.listing(), ["large", "program", "tmp"]);
}

#[test]
fn a_pack_that_is_interrupted_leaves_nothing() {
    let lab = Lab::new();
    let image = lab.path().join("k.elf");
    tiny_image(&image, "", "", End::PowerOff);
    File::options().write(true).open(&image).unwrap().set_len(LARGE).unwrap();
    // What is no image would not be replaced at all.
    lab.file("k.iso", "\x7fELF, the old one");
    let mut pack = lab.kernel(&["pack", "-o", "k.iso"]);
    pack.arg("-kk.elf");
    assert_eq!(interrupted(&pack, "INT", || half_written(&lab)), Some(130));
    assert_eq!(lab.listing(), ["k.elf", "k.iso"]);
    assert_eq!(fs::read(lab.path().join("k.iso")).unwrap(), b"\x7fELF, the old one");
}

#[test]
fn a_builder_that_is_interrupted_ends_the_command_of_a_target() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let lab = Lab::new();
        let command = "sh -c 'echo $$ > pid; exec sleep 1000'; true";
        lab.file("builderfile.toml", format!("[targets.wait]\ncommands = [\"{command}\"]\n"));
        let pid = || fs::read_to_string(lab.path().join("pid")).unwrap_or_default();
        let ready = || pid().ends_with('\n');
        assert_eq!(interrupted(&lab.builder(&["wait"]), signal, ready), Some(status), "{signal}");
        let stat = Path::new("/proc").join(pid().trim()).join("stat");
        // Its parent is gone; whoever is that now takes its status.
        let ended = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let start = Instant::now();
        while !ended() {
            assert!(start.elapsed() < Duration::from_secs(30), "{signal}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
