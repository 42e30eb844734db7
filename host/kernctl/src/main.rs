// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernctl`: the habits of docker, for unikernels.
#![forbid(unsafe_code)]

mod arguments;
mod client_config;
mod commands;
mod context;
mod embedded;
mod env_file;
mod failure;
mod output;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::{ContextKind, ErrorKind};

use arguments::{Command, Format, Kernctl};
use failure::Failure;
use session::Session;

fn main() -> ExitCode {
    let words = std::env::args_os().collect();
    let words = arguments::docker::ungrouped(words, &arguments::description());
    let words = arguments::attached::detached(words, &arguments::description());
    if let Some(code) = commands::hidden(&words) {
        return code;
    }
    let parsed = arguments::description()
        .try_get_matches_from(&words)
        .and_then(|matches| Kernctl::from_arg_matches(&matches));
    let kernctl = match parsed {
        Ok(kernctl) => kernctl,
        Err(error) => return misused(&error, &words),
    };
    let json = kernctl.global.output == Some(Format::Json);
    match execute(kernctl) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            failure.report(json);
            ExitCode::from(failure.status())
        }
    }
}

fn execute(kernctl: Kernctl) -> Result<u8, Failure> {
    let session = Session::new(kernctl.global);
    // These need nobody, and the daemon makes a runtime of its own.
    let command = match kernctl.command {
        Command::Daemon(daemon) if daemon.command.is_none() => {
            return commands::daemon::run(*daemon);
        }
        command => command,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start", &error))?;
    let result = runtime.block_on(commands::execute(&session, command));
    // A read of the terminal may still wait for a key.
    runtime.shutdown_background();
    result
}

/// `kernctl volume create` of a command line that is about that.
fn command_of(words: &[OsString]) -> String {
    let (mut path, mut known) = ("kernctl".to_owned(), arguments::description());
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        let Some(inner) = known.find_subcommand(word) else { continue };
        path = format!("{path} {word}");
        known = inner.clone();
        if known.get_subcommands().next().is_none() {
            break;
        }
    }
    path
}

/// Tells what is wrong with the command line: one message, one line of help.
fn misused(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let status = if error.use_stderr() { failure::status::USAGE } else { 0 };
        let _ = error.print();
        return ExitCode::from(status);
    }
    let text = error.to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default();
    let message: Vec<&str> = first.trim_start_matches("error: ").lines().map(str::trim).collect();
    // A verb in front names the help that fits.
    let help = format!("see `{} --help`", command_of(words));
    let stranger = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .into_iter()
        .find_map(|kind| error.get(kind))
        .filter(|_| {
            matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument)
        })
        .map(ToString::to_string);
    let tip = match stranger.as_deref().and_then(arguments::docker::instead) {
        Some(instead) => Some(instead.to_owned()),
        None => text.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned),
    };
    let advice = tip.map_or(help.clone(), |tip| format!("{tip}; {help}"));
    let json = words
        .windows(2)
        .any(|pair| (pair[0] == "-o" || pair[0] == "--output") && pair[1] == "json")
        || words
            .iter()
            .any(|word| word == "-ojson" || word == "-o=json" || word == "--output=json");
    let failure = Failure::usage(message.join(" ")).advise(advice);
    failure.report(json);
    ExitCode::from(failure.status())
}
