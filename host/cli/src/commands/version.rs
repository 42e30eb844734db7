// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel version`.

use std::process::Command;

use bhojpur_monitor::Qemu;

use crate::Failure;

/// Prints what there is: the tool, its kernel, and the programs that it uses.
pub fn execute() -> Result<(), Failure> {
    let qemu = Qemu::locate().map(|qemu| first_line(Command::new(qemu.path).arg("--version")));
    let go = first_line(Command::new("go").arg("version"));
    let text = format!(
        "kernel {}\nlibrary OS: x86-64\nqemu: {}\ngo: {}\n",
        env!("CARGO_PKG_VERSION"),
        qemu.ok().flatten().as_deref().unwrap_or("not installed"),
        go.as_deref().unwrap_or("not installed"),
    );
    super::print(text.as_bytes())
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}
