// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machines from build to removal, in QEMU.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use crate::home::{Home, done, eventually, free_port, have, repository};

const TOOL: &str = r#"package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "exit" {
		fmt.Println(os.Getenv("MODE"), os.Args[2:])
		status, _ := strconv.Atoi(os.Args[3])
		os.Exit(status)
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("waiting")
	select {
	case <-asked:
		fmt.Println("asked to end")
		os.Exit(3)
	case <-time.After(200 * time.Second):
	}
}
"#;

fn page(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.contains("Hello from a unikernel").then_some(text)
}

#[test]
fn a_server_from_build_to_removal() {
    if !have(&["go", "qemu-system-x86_64"]) {
        return;
    }
    let home = Home::new();
    let web = repository().join("examples/web");
    home.ok(&["build", "-t", "web:1", web.to_str().unwrap()]);
    assert_eq!(home.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "web:1\n");
    let port = free_port();
    let publish = format!("{port}:8080");
    let id = home.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        &publish,
        "-l",
        "tier=front",
        "--health-http",
        "8080",
        "--health-start-period",
        "0s",
        "--health-interval",
        "1s",
        "web:1",
    ]);
    let id = id.trim();
    eventually("the page is served", || page(port).is_some());
    eventually("it is healthy", || home.ok(&["ps"]).contains("(healthy)"));
    assert_eq!(home.ok(&["ps", "-q", "--filter", "label=tier=front"]).trim(), &id[..12]);
    assert!(home.ok(&["logs", "web"]).contains("listening on"));
    assert!(home.ok(&["stats", "--no-stream", "--format", "{{.Name}}"]).contains("web"));
    let taken = home.run(&["run", "-d", "--name", "web", "web:1"]);
    assert_eq!(taken.status, 4, "the name is taken: {taken:?}");
    let taken = home.run(&["run", "-d", "--name", "second", "-p", &publish, "web:1"]);
    assert!(
        taken.status != 0 && taken.err.contains(&port.to_string()),
        "the port is in use: {taken:?}"
    );
    // A machine outlives its daemon.
    let daemon = home.daemon_pid();
    assert!(Command::new("kill").args(["-KILL", &daemon]).status().unwrap().success());
    eventually("the daemon is gone", || {
        !std::path::Path::new(&format!("/proc/{daemon}/exe")).exists()
    });
    assert_eq!(home.ok(&["ps", "--format", "{{.Name}} {{.State}}"]), "web running\n");
    assert!(page(port).is_some());
    home.ok(&["stop", &id[..4]]);
    assert_eq!(home.ok(&["ps", "-q"]), "");
    assert!(home.ok(&["ps", "-a"]).contains("Exited ("));
    home.ok(&["start", "web"]);
    eventually("the page is served again", || page(port).is_some());
    home.ok(&["rename", "web", "site"]);
    let running = home.run(&["rm", "site"]);
    assert_eq!(running.status, 4, "{running:?}");
    let document = std::fs::read_to_string(repository().join("docs/kernctl.md")).unwrap();
    assert!(document.contains(&running.err.replace("site", "web")), "{running:?}");
    home.ok(&["rm", "-f", "site"]);
    assert_eq!(home.ok(&["ps", "-aq"]), "");
    home.ok(&["rmi", "web:1"]);
    assert_eq!(home.ok(&["images", "-q"]), "");
}

#[test]
fn programs_in_the_foreground_get_words_and_give_their_status() {
    if !have(&["go", "qemu-system-x86_64"]) {
        return;
    }
    let home = Home::new();
    home.program("tool", TOOL);
    home.ok(&["build", "tool"]);
    let ended = home.run(&["run", "--rm", "-e", "MODE=test", "tool", "exit", "--flag", "7"]);
    assert_eq!((ended.status, ended.out.as_str()), (7, "test [--flag 7]\n"), "{ended:?}");
    assert_eq!(home.ok(&["ps", "-aq"]), "", "it was removed");
    let missing = home.run(&["run", "none"]);
    assert_eq!(missing.status, 125, "{missing:?}");
    // Ctrl-C asks the program.
    let mut child = home.spawn(&["run", "--name", "t", "tool"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "waiting");
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    assert_eq!(lines.next().unwrap().unwrap(), "asked to end");
    assert_eq!(done(child, &["run"]).status, 3);
    assert_eq!(home.ok(&["wait", "t"]), "3\n");
    assert_eq!(home.ok(&["logs", "t"]), "waiting\nasked to end\n");
}
