// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `cargo xtask`: the commands of this repository. Adding one is a line in [`COMMANDS`].

mod bench;
mod conformance;
mod crash;
mod daemon_crash;
mod demo;
mod e2e;
mod firecracker;
mod fuzz;
mod gostd;
mod guest;
mod lab;
mod ladder;
mod nested;
mod soak;
mod storm;
mod tidy;
mod web;

use std::process::ExitCode;

/// A command: its name, what it does, and its function.
type Command = (&'static str, &'static str, fn(&[String]) -> anyhow::Result<()>);

const COMMANDS: &[Command] = &[
    (
        "demo",
        "install what is missing, build the example web server, boot it, fetch a page",
        demo::run,
    ),
    ("test", "everything that CI runs", ladder::run),
    ("tidy", "check the rules of this repository", tidy::run),
    ("guest", "run the guest tests on Linux and in the unikernel", guest::run),
    ("e2e", "do with Go programs what a user does, with the built tools", e2e::run),
    ("web", "try the daemon's web page in headless Chromium", web::run),
    ("crash", "kill a machine that writes to a volume, and look what is left", crash::run),
    ("daemon-crash", "kill the daemon at random moments, and look what is left", daemon_crash::run),
    ("bench", "measure against a Linux guest under the same QEMU", bench::run),
    ("ratchet", "compare instruction counts with the committed ones", bench::ratchet::run),
    ("soak", "load the web server in the unikernel for minutes", soak::run),
    ("storm", "make random system calls, and look whether the kernel lives", storm::run),
    ("gostd", "run Go's standard library tests in the unikernel", gostd::run),
    (
        "firecracker",
        "boot unikernels in a real Firecracker, nested where there is no KVM",
        firecracker::run,
    ),
    (
        "conformance",
        "run the suite of the providers on a real QEMU or Firecracker",
        conformance::run,
    ),
    ("nested", "run a script where there is /dev/kvm, emulated if need be", nested::run),
    ("fuzz", "run the fuzz targets, --smoke for a moment on stable", fuzz::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else { return usage() };
    let Some((.., run)) = COMMANDS.iter().find(|(known, ..)| known == name) else { return usage() };
    match run(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask COMMAND [ARGUMENTS]\n\ncommands:");
    for (name, description, _) in COMMANDS {
        eprintln!("  {name:<8} {description}");
    }
    ExitCode::from(2)
}
