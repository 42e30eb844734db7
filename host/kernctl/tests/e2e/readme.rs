// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs each line of "First five minutes with kernctl" in the README, and looks for the output
//! that stands below it there.

use crate::home::{Home, done, free_port, have, repository};

const TITLE: &str = "## First five minutes with kernctl";

/// The console lines below the title: commands, and what each shall print.
fn lines() -> Vec<(String, Vec<String>)> {
    let text = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = text.split_once(TITLE).expect("the README has this section");
    let section = section.split("\n## ").next().unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in section.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```console",
            Some(command) if inside => commands.push((command.to_owned(), Vec::new())),
            None if inside => commands.last_mut().unwrap().1.push(line.to_owned()),
            _ => {}
        }
    }
    commands
}

#[test]
fn each_line_does_what_the_readme_says() {
    let commands = lines();
    assert!(commands.len() >= 12, "{commands:?}");
    if !have(&["go", "qemu-system-x86_64", "curl"]) {
        return;
    }
    let home = Home::new();
    std::os::unix::fs::symlink(repository().join("examples"), home.path().join("examples"))
        .unwrap();
    // Somebody may use the README's port on this machine.
    let port = free_port();
    for (command, expected) in commands {
        let line = command
            .replace("8080:8080", &format!("{port}:8080"))
            .replace("localhost:8080", &format!("localhost:{port}"));
        let done = done(home.command("sh").args(["-c", &line]).spawn().unwrap(), &[&line]);
        assert_eq!(done.status, 0, "{line}: {done:?}\n{}", home.log());
        for expected in expected {
            assert!(
                done.out.lines().any(|line| line == expected),
                "{line} does not print {expected:?}: {done:?}"
            );
        }
    }
    assert_eq!(
        home.ok(&["ps", "-aq"]) + &home.ok(&["volume", "ls", "-q"]) + &home.ok(&["images", "-q"]),
        "",
        "nothing is left"
    );
}
