// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel run`.

use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use bhojpur_abi::config::OwnedConfig;
use bhojpur_abi::control::Level;
use bhojpur_monitor::{Event, Input, Machine, Options, Outcome, Qemu, Size};

use super::symbols::Symbols;
use crate::arguments::Run;
use crate::failure::status;
use crate::image::{self, Image};
use crate::{Failure, printer};

/// The option that tells the kernel that its console is a person's terminal, which wants its
/// input echoed, and how large it is. Without it, the other ends are files or pipes.
const TERMINAL: &str = "terminal";

/// Runs an image and gives the status of its program.
pub fn execute(run: &Run) -> Result<ExitCode, Failure> {
    start(run).map(ExitCode::from)
}

/// What a program that runs machines does first: when it was started to become QEMU, which ends
/// with whoever started it, it does not come back from here but with a failure.
pub fn become_machine_if_asked() -> Option<ExitCode> {
    let error = bhojpur_monitor::leash::serve()?;
    // It is QEMU's standard error: whoever started us shows it.
    let _ = writeln!(std::io::stderr(), "it cannot be executed: {error}");
    Some(ExitCode::FAILURE)
}

/// Everything that is checked before QEMU starts; all its failures say that nothing was started.
fn prepare(run: &Run) -> Result<(Qemu, Image, Machine), Failure> {
    let image = image::open(&run.image)?;
    let qemu = Qemu::locate()?;
    let memory = memory(run, &image)?;
    bhojpur_monitor::check_ports(&run.ports)?;
    if run.gdb {
        bhojpur_monitor::check_gdb(run.gdb_port, &run.ports)?;
    }
    bhojpur_monitor::volume::check_room(&run.volumes)?;
    bhojpur_monitor::volume::check_all(&run.volumes)?;
    let (accelerator, reason) = run.accel.resolve().map_err(|why| {
        Failure::new(format!("KVM cannot be used: {why}")).advise("leave --accel away, or say tcg")
    })?;
    if let Some(reason) = reason {
        note(&format!("{reason}; the guest is emulated"));
    }
    let machine = Machine {
        boot: image.boot.clone(),
        memory,
        cpus: run.cpus,
        accelerator,
        forwards: run.ports.clone(),
        volumes: run.volumes.clone(),
        configuration: None,
        gdb: run.gdb.then_some(run.gdb_port),
        extra: run.qemu_args.clone(),
    };
    Ok((qemu, image, machine))
}

fn start(run: &Run) -> Result<u8, Failure> {
    let (qemu, image, mut machine) =
        prepare(run).map_err(|failure| failure.with_status(status::NOT_STARTED))?;
    // Open until QEMU has it.
    let input = input(&image);
    let _record = match overrides(run, &image, input)? {
        None => None,
        Some(record) => {
            let file = nameless(&record).map_err(|error| {
                Failure::new(format!(
                    "cannot write the configuration to {}: {error}",
                    std::env::temp_dir().display()
                ))
                .with_status(status::NOT_STARTED)
            })?;
            machine.configuration = Some(format!("/dev/fd/{}", file.as_raw_fd()).into());
            Some(file)
        }
    };
    if run.verbose {
        note(&shown(&qemu, &machine));
    }
    if run.gdb {
        note(&format!("waiting; in another terminal: {}", gdb_command(run)));
    }
    let options = Options { output: Box::new(std::io::stdout()), input, timeout: run.timeout };
    let symbols = Symbols::of(&run.image);
    let outcome = bhojpur_monitor::run(&qemu, &machine, options, &mut |event| {
        tell(&event, run.verbose, &symbols);
    })?;
    conclude(outcome, run, &image)
}

/// A file for QEMU to inherit. It has no name: whatever happens to us, arguments and environment
/// of a program do not stay on the disk.
fn nameless(content: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    // Where opening /dev/fd/N duplicates a descriptor, both have one position.
    file.rewind()?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file)
}

fn memory(run: &Run, image: &Image) -> Result<Size, Failure> {
    let Some(memory) = run.memory else { return Ok(image.usual_memory) };
    check_memory(memory, image, &run.image.display().to_string())?;
    Ok(memory)
}

/// Refuses an amount of memory with which the image does not start.
pub(super) fn check_memory(memory: Size, image: &Image, name: &str) -> Result<(), Failure> {
    if memory >= image.least_memory {
        return Ok(());
    }
    let least = image.least_memory;
    Err(Failure::new(format!(
        "{memory} of memory is too small for {name}: it needs at least {least}"
    ))
    .advise(format!("give it more, for example -m {}M", image.usual_memory.as_mebibytes())))
}

/// How our standard input reaches the program: an image that cannot be looked into cannot be told
/// that nobody types.
fn input(image: &Image) -> Input {
    if image.configuration.is_some() && !std::io::stdin().is_terminal() {
        Input::Stream
    } else {
        Input::Keys
    }
}

/// The record that replaces the one in the image: what this run asks for, and what this
/// machine is like. `None` for images that cannot be looked into.
fn overrides(run: &Run, image: &Image, input: Input) -> Result<Option<Vec<u8>>, Failure> {
    let refused = |what: &str| Failure::new(what).with_status(status::NOT_STARTED);
    let Some(mut config) = image.configuration.clone() else {
        if run.env.is_empty() && run.args.is_empty() {
            return Ok(None);
        }
        return Err(refused(
            "the environment and arguments of an ISO or disk image cannot be changed",
        )
        .advise("give them to `kernel build`, or run the ELF"));
    };
    set_env(&mut config, &run.env);
    if !run.args.is_empty() {
        config.args.truncate(1);
        config.args.extend(run.args.iter().map(|argument| argument.as_bytes().to_vec()));
    }
    if run.verbose {
        config.log_level = Some(Level::Debug);
    }
    bhojpur_monitor::network::configure(&mut config);
    if let Some((rows, columns)) = bhojpur_monitor::terminal_size() {
        config.options.push(format!("{TERMINAL}={rows}x{columns}"));
    }
    config.options.extend(input.option());
    let record = config.encode();
    record
        .map(Some)
        .map_err(|error| refused(&format!("the configuration cannot be changed: {error}")))
}

/// Sets `NAME=VALUE` words.
pub(super) fn set_env(config: &mut OwnedConfig, variables: &[String]) {
    for (name, value) in variables.iter().filter_map(|variable| variable.split_once('=')) {
        config.set_env(name, value);
    }
}

fn gdb_command(run: &Run) -> String {
    format!(
        "gdb {} -ex 'target remote 127.0.0.1:{}' -ex continue",
        run.image.display(),
        run.gdb_port
    )
}

/// The command line as a shell would take it.
fn shown(qemu: &Qemu, machine: &Machine) -> String {
    let words = machine.command_line(Path::new("/dev/null"));
    let quoted = words.iter().map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,./:+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{word}'")
        }
    });
    format!("{} {}", qemu.path.display(), quoted.collect::<Vec<_>>().join(" "))
}

pub(super) fn tell(event: &Event, verbose: bool, symbols: &Symbols) {
    match event {
        Event::Panic { cpu, message, frames } => {
            let mut text = format!("kernel panic on CPU {cpu}: {message}");
            for (index, frame) in frames.iter().enumerate() {
                text.push_str(&format!("\n  {index:2}: {}", symbols.describe(*frame)));
            }
            note(&text);
        }
        Event::Fatal(text) => note(text),
        Event::Log { level: Level::Error | Level::Warn, text, .. } if !verbose => note(text),
        Event::Log { time_ns, level, text } if verbose => {
            note(&format!("{} {level:5} {text}", stamp(*time_ns)));
        }
        Event::Boot { time_ns, stage } if verbose => {
            note(&format!("{} boot  {stage}", stamp(*time_ns)));
        }
        Event::Other(text) if verbose => note(text),
        Event::Exit(_) | Event::Log { .. } | Event::Boot { .. } | Event::Other(_) => {}
    }
}

fn stamp(time_ns: u64) -> String {
    format!("[{:5}.{:06}]", time_ns / 1_000_000_000, time_ns / 1000 % 1_000_000)
}

pub(crate) fn note(text: &str) {
    // One write a message; nobody reads it when it fails.
    let _ = std::io::stderr().write_all(format!("kernel: {text}\n").as_bytes());
}

fn conclude(outcome: Outcome, run: &Run, image: &Image) -> Result<u8, Failure> {
    match outcome {
        Outcome::Exited(exit) => Ok(exit.code()),
        Outcome::Stopped(signal) => {
            Ok(u8::try_from(signal).map_or(status::FAILED, |signal| 128 + signal))
        }
        // As a program that writes to a closed pipe: SIGPIPE.
        Outcome::OutputClosed => Ok(128 + 13),
        Outcome::OutputRefused(reason) => {
            Err(Failure::new(format!("cannot write to standard output: {reason}"))
                .advise("the guest was stopped; make room, or send its output elsewhere")
                .with_status(status::NOT_STARTED))
        }
        Outcome::Panicked => Ok(status::PANICKED),
        Outcome::TimedOut => {
            let limit = run.timeout.map(printer::duration).unwrap_or_default();
            Err(Failure::new(format!("the guest was stopped after {limit}"))
                .with_status(status::TIMED_OUT))
        }
        Outcome::Lost { status: qemu, messages, tail } => {
            Err(lost(&qemu, &messages, &tail, run, image))
        }
    }
}

fn lost(qemu: &str, messages: &str, tail: &[String], run: &Run, image: &Image) -> Failure {
    let mut text = format!("the guest ended without an exit status (QEMU: {qemu})");
    for (title, lines) in [
        ("QEMU said", messages.to_owned()),
        ("the last lines of the kernel's log", tail.join("\n")),
    ] {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}:\n  {}", lines.replace('\n', "\n  ")));
        }
    }
    let advice = if run.memory.is_some_and(|memory| memory < image.usual_memory) {
        format!("it may need more memory: try -m {}M", image.usual_memory.as_mebibytes())
    } else {
        "run it again with --verbose to see the whole log".to_owned()
    };
    Failure::new(text).advise(advice).with_status(status::LOST)
}
