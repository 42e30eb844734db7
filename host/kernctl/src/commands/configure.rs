// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl configure`: writes `daemon.toml`, from flags or from answers.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use bhojpur_daemon::{Config, FILE_NAME};

use super::note;
use crate::arguments::Configure;
use crate::session::home;
use crate::{Failure, client_config};

/// What the file shall say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    provider: Option<String>,
    settings: Vec<(String, String)>,
    listen: Option<String>,
}

/// What can be set about each provider that is there.
const PROVIDERS: &[(&str, &[(&str, &str)])] = &[
    ("qemu", &[("accelerator", "Accelerator: auto, kvm or tcg")]),
    (
        "firecracker",
        &[
            ("binary", "Path of firecracker"),
            ("jailer", "Path of the jailer"),
            ("jailer_uid", "Number of a user that has nothing, for the jailer"),
            ("jailer_gid", "Number of a group that has nothing, for the jailer"),
        ],
    ),
];

pub(crate) fn execute(configure: &Configure) -> Result<u8, Failure> {
    let home = home()?;
    let path = configure.file.clone().unwrap_or_else(|| home.join(FILE_NAME));
    let asked = configure.provider.is_some() || configure.listen.is_some();
    if path.exists() && !configure.force {
        return Err(Failure::usage(format!("{} is there already", path.display()))
            .advise("edit it, or replace it with --force"));
    }
    let answers = if asked {
        Answers {
            provider: configure.provider.clone(),
            settings: configure.set.clone(),
            listen: configure.listen.map(|address| address.to_string()),
        }
    } else {
        ask(&mut io::stdin().lock())?
    };
    let text = render(&answers);
    write(&home, &path, &text)?;
    note(&format!("wrote {}; it counts from the next start of the daemon", path.display()));
    Ok(0)
}

/// The daemon itself has to understand it before it is put in place.
fn write(home: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent)
        .map_err(|error| Failure::io(format!("cannot make {}", parent.display()), &error))?;
    let failed = |error: &io::Error| Failure::io(format!("cannot write {}", path.display()), error);
    let scratch = tempfile::Builder::new()
        .prefix(".daemon-")
        .suffix(".toml")
        .tempfile_in(parent)
        .map_err(|error| failed(&error))?;
    fs::write(scratch.path(), text).map_err(|error| failed(&error))?;
    Config::new(home).with_file(scratch.path()).map_err(|error| {
        let failure = Failure::usage(format!(
            "this makes no configuration: {}",
            plain(&error.to_string(), scratch.path())
        ));
        error.advice().into_iter().fold(failure, |failure, advice| failure.advise(advice))
    })?;
    client_config::write_private(path, text.as_bytes()).map_err(|error| failed(&error))
}

/// Nobody knows the file under its temporary name.
fn plain(message: &str, scratch: &Path) -> String {
    message.replace(&scratch.display().to_string(), FILE_NAME)
}

fn render(answers: &Answers) -> String {
    let quoted = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
    let mut text = String::from("# The daemon of kernctl; docs/kernctl.md lists all keys.\n");
    if let Some(provider) = &answers.provider {
        text.push_str(&format!("default_provider = {}\n", quoted(provider)));
    }
    if let Some(listen) = &answers.listen {
        text.push_str(&format!("\n[listen]\ntcp = {}\n", quoted(listen)));
    }
    if let (Some(provider), false) = (&answers.provider, answers.settings.is_empty()) {
        text.push_str(&format!("\n[providers.{}]\n", quoted(provider)));
        for (key, value) in &answers.settings {
            text.push_str(&format!("{} = {}\n", quoted(key), quoted(value)));
        }
    }
    text
}

/// Asks line by line; an empty answer takes what stands in brackets.
fn ask(input: &mut impl io::BufRead) -> Result<Answers, Failure> {
    let names: Vec<&str> = PROVIDERS.iter().map(|(name, _)| *name).collect();
    let provider = loop {
        let answer = question(input, &format!("Provider ({}) [qemu]", names.join(", ")))?;
        let answer = if answer.is_empty() { "qemu".to_owned() } else { answer };
        if names.contains(&answer.as_str()) {
            break answer;
        }
        note(&format!("there is no {answer:?} here"));
    };
    let mut settings = Vec::new();
    for (key, what) in
        PROVIDERS.iter().filter(|(name, _)| *name == provider).flat_map(|(_, keys)| *keys)
    {
        let jailed = settings.iter().any(|(known, _): &(String, String)| known == "jailer");
        if key.starts_with("jailer_") && !jailed {
            continue;
        }
        let usual = if *key == "jailer" { "none" } else { "found by itself" };
        let usual = if key.starts_with("jailer_") { "" } else { &format!(" [{usual}]") };
        let answer = question(input, &format!("{what}{usual}"))?;
        if !answer.is_empty() {
            settings.push(((*key).to_owned(), answer));
        }
    }
    let listen = question(input, "Listen on TCP as well, with TLS and tokens, ADDRESS:PORT [no]")?;
    let listen = (!listen.is_empty() && listen != "no" && listen != "n").then_some(listen);
    Ok(Answers { provider: Some(provider), settings, listen })
}

fn question(input: &mut impl io::BufRead, text: &str) -> Result<String, Failure> {
    let mut out = io::stderr();
    let _ = write!(out, "{text}: ").and_then(|()| out.flush());
    let mut line = String::new();
    let count = input
        .read_line(&mut line)
        .map_err(|error| Failure::io("cannot read the answer", &error))?;
    if count == 0 {
        return Err(Failure::usage("the answers end before the questions do")
            .advise("answer them all, or use flags: kernctl configure --provider qemu"));
    }
    if !io::stdin().is_terminal() {
        let _ = writeln!(out);
    }
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_a_file() {
        let mut input = io::Cursor::new("wrong\nqemu\ntcg\n127.0.0.1:3000\n");
        let answers = ask(&mut input).unwrap();
        let text = render(&answers);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.toml");
        write(directory.path(), &path, &text).unwrap();
        let config = Config::load(directory.path()).unwrap();
        assert_eq!(config.tcp.unwrap().address, "127.0.0.1:3000".parse().unwrap());
        assert!(ask(&mut io::Cursor::new("qemu\n")).is_err());
        // Whatever is asked about is something that the daemon knows.
        let mut input = io::Cursor::new("firecracker\n/opt/\"f\"\n/opt/jailer\n123\n456\nno\n");
        write(directory.path(), &path, &render(&ask(&mut input).unwrap())).unwrap();
    }

    #[test]
    fn what_the_daemon_does_not_understand_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.toml");
        let answers = Answers {
            provider: Some("qemu".into()),
            settings: vec![("acelerator".into(), "tcg".into())],
            listen: None,
        };
        let failure = write(directory.path(), &path, &render(&answers)).unwrap_err();
        assert!(format!("{failure:?}").contains("accelerator"), "{failure:?}");
        // What it knows and cannot use is told with its line as well.
        for (provider, key, value) in
            [("qemu", "accelerator", "warp"), ("firecracker", "jailer", "/opt/jailer")]
        {
            let settings = vec![(key.to_owned(), value.to_owned())];
            let answers = Answers { provider: Some(provider.into()), settings, listen: None };
            let failure = write(directory.path(), &path, &render(&answers)).unwrap_err();
            assert!(format!("{failure:?}").contains("daemon.toml:5: "), "{failure:?}");
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
