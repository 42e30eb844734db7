// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is fuzzed: each target is a function that must return whatever bytes
//! it is given, and a few good inputs to start from.

mod ext4;
pub mod mutate;
mod packet;
mod ring;
mod seeds;
mod settings;
mod take;

/// Asks a parser or a driver everything that can be asked with `data`.
pub type Target = fn(&[u8]);

/// A target by its name, with its seeds.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Also the name of the cargo-fuzz target.
    pub name: &'static str,
    /// What runs.
    pub run: Target,
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Entry] = &[
    Entry { name: "elf", run: bhojpur_formats::fuzz::elf, seeds: seeds::elf },
    Entry { name: "erofs", run: bhojpur_formats::fuzz::erofs, seeds: seeds::erofs },
    Entry { name: "config", run: bhojpur_formats::fuzz::config, seeds: seeds::config },
    Entry { name: "kernel", run: bhojpur_formats::fuzz::kernel, seeds: seeds::kernel },
    Entry { name: "control", run: bhojpur_formats::fuzz::control, seeds: seeds::control },
    Entry { name: "cmdline", run: settings::cmdline, seeds: settings::cmdline_seeds },
    Entry { name: "metadata", run: settings::metadata, seeds: settings::metadata_seeds },
    Entry { name: "stream", run: settings::stream, seeds: settings::stream_seeds },
    Entry { name: "packet", run: packet::run, seeds: packet::seeds },
    Entry { name: "ext4", run: ext4::run, seeds: ext4::seeds },
    Entry { name: "ring", run: ring::run, seeds: ring::seeds },
];

/// Runs the target called `name`.
///
/// # Panics
/// When there is none, or when the target found something.
pub fn target(name: &str, data: &[u8]) {
    let entry = TARGETS.iter().find(|t| t.name == name);
    (entry.expect("a target of this name").run)(data);
}
