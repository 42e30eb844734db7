// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon of one's own, and one over TLS. No machine is started here.

use std::io::{BufRead as _, BufReader};
use std::process::Command;

use crate::home::{Home, done, eventually};

#[test]
fn many_commands_at_once_start_one_daemon() {
    let home = Home::new();
    let children: Vec<_> = (0..8).map(|_| home.spawn(&["info", "--format", "{{.PID}}"])).collect();
    let mut pids: Vec<String> = children
        .into_iter()
        .map(|child| {
            let done = done(child, &["info"]);
            assert_eq!(done.status, 0, "{done:?}\n{}", home.log());
            done.out
        })
        .collect();
    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    // It is nobody's child and in nobody's session.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pids[0].trim())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[3], pids[0].trim(), "the session is its own");
}

#[test]
fn a_daemon_that_was_killed_is_replaced() {
    let home = Home::new();
    home.ok(&["volume", "create", "data", "--size", "16M"]);
    let first = home.daemon_pid();
    assert!(Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    eventually("it is gone", || !std::path::Path::new(&format!("/proc/{first}/exe")).exists());
    assert_eq!(home.ok(&["volume", "ls", "-q"]), "data\n");
    assert_ne!(home.daemon_pid(), first);
    home.ok(&["daemon", "stop"]);
    home.ok(&["daemon", "stop"]);
    assert!(home.ok(&["version"]).contains("does not run"));
}

#[test]
fn why_a_daemon_cannot_start_is_told() {
    let home = Home::new();
    std::fs::create_dir(home.home()).unwrap();
    let file = home.home().join("daemon.toml");
    std::fs::write(&file, "\ndefault_provder = 'qemu'\n").unwrap();
    let done = home.run(&["ps"]);
    assert_eq!(done.status, 5, "{done:?}");
    assert!(
        done.err.contains("daemon.toml:2") && done.err.contains("\"default_provider\""),
        "{done:?}"
    );
    std::fs::remove_file(file).unwrap();
    home.ok(&["ps"]);
}

#[test]
fn a_daemon_that_is_still_ending_is_waited_for() {
    use rustix::fs::{FlockOperation, flock};
    let home = Home::new();
    std::fs::create_dir(home.home()).unwrap();
    // One that ends has left its socket, and finishes what it was asked: the lock stays with it.
    let ending = std::fs::File::create(home.home().join("daemon.lock")).unwrap();
    flock(&ending, FlockOperation::LockExclusive).unwrap();
    let child = home.spawn(&["info"]);
    eventually("a daemon is started", || !home.log().is_empty() || has_child(child.id()));
    std::thread::sleep(std::time::Duration::from_secs(2));
    drop(ending);
    let done = done(child, &["info"]);
    assert_eq!(done.status, 0, "{done:?}\n{}", home.log());
}

fn has_child(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .is_ok_and(|children| !children.trim().is_empty())
}

#[test]
fn a_log_that_has_grown_is_put_aside_and_a_new_one_begun() {
    let home = Home::new();
    std::fs::create_dir(home.home()).unwrap();
    let (log, old) = (home.home().join("daemon.log"), home.home().join("daemon.log.1"));
    let grown = 17 << 20;
    std::fs::File::create(&log).unwrap().set_len(grown).unwrap();
    home.ok(&["info"]);
    assert_eq!(std::fs::metadata(&old).unwrap().len(), grown, "nothing is written to it any more");
    assert!(home.log().contains("ready"), "{}", home.log());
}

#[test]
fn files_go_into_volumes_and_come_back() {
    let home = Home::new();
    let source = home.path().join("source/sub");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("a.txt"), "from here\n").unwrap();
    home.ok(&["volume", "create", "data", "--from", "source"]);
    home.ok(&["cp", "data:/sub/a.txt", "back.txt"]);
    assert_eq!(std::fs::read_to_string(home.path().join("back.txt")).unwrap(), "from here\n");
    home.ok(&["cp", "back.txt", "data:/sub"]);
    home.ok(&["cp", "back.txt", "data:/new.txt"]);
    home.ok(&["cp", "data:/", "all"]);
    for name in ["sub/a.txt", "sub/back.txt", "new.txt"] {
        assert_eq!(
            std::fs::read_to_string(home.path().join("all").join(name)).unwrap(),
            "from here\n",
            "{name}"
        );
    }
    let done = home.run(&["volume", "create", "data", "--size", "16M"]);
    assert_eq!(done.status, 4, "the name is taken: {done:?}");
    let done = home.run(&["cp", "data:/none", "."]);
    assert_eq!(done.status, 3, "{done:?}");
    let id = home.ok(&["volume", "inspect", "-f", "{{.ID}}", "data"]);
    assert_eq!(
        home.ok(&["volume", "inspect", "-f", "{{.Name}}", &id[..6]]),
        "data\n",
        "by the beginning of its id"
    );
    home.ok(&["volume", "rm", "data"]);
    assert_eq!(home.ok(&["volume", "ls", "-q"]), "");
}

#[test]
fn over_tcp_there_is_tls_and_a_token() {
    let home = Home::new();
    let mut daemon = home.spawn(&["daemon", "--listen", "127.0.0.1:0"]);
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let mut find = |what: &str| -> String {
        lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once(what).map(|(_, rest)| rest.to_owned()))
            .unwrap()
    };
    let address = find("ready on https://");
    let fingerprint = find("fingerprint is ");
    // The socket of this daemon needs no token.
    let secret = home.ok(&["daemon", "token", "create", "ci", "--role", "read"]);
    assert!(secret.trim().len() >= 16, "{secret}");
    std::fs::write(home.path().join("token"), &secret).unwrap();
    let away = Home::new();
    std::fs::write(away.path().join("token"), &secret).unwrap();
    let target = |words: &[&str]| {
        let all: Vec<&str> = ["target", address.as_str()].iter().chain(words).copied().collect();
        away.ok(&all);
    };
    target(&["--fingerprint", &fingerprint, "--token-file", "token"]);
    assert_eq!(away.ok(&["info", "--format", "{{.Role}}"]), "read\n");
    let done = away.run(&["volume", "create", "x", "--size", "16M"]);
    assert_eq!(done.status, 7, "the role does not allow it: {done:?}");
    std::fs::write(away.path().join("token"), "wrong-wrong-wrong-wrong").unwrap();
    target(&["--fingerprint", &fingerprint, "--token-file", "token"]);
    let done = away.run(&["ps"]);
    assert_eq!(done.status, 7, "{done:?}");
    target(&["--fingerprint", &"ab".repeat(32)]);
    let done = away.run(&["ps"]);
    assert!(done.status == 5 && done.err.contains("not trusted"), "{done:?}");
    away.ok(&["target", "--clear"]);
    assert!(
        Command::new("kill").args(["-TERM", &daemon.id().to_string()]).status().unwrap().success()
    );
    assert!(daemon.wait().unwrap().success());
}
