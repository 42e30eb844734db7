// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bootable ELFs to import; nobody boots them here.

use std::path::Path;
use std::sync::OnceLock;

use bhojpur_abi::config::{OwnedConfig, Port};
use bhojpur_formats::erofs::{self, Attributes, Plan, Tree};
use bhojpur_formats::image::{Assembly, Root};
use bhojpur_kernel_embedded::KERNEL;

/// How many there are.
pub(crate) const COUNT: usize = 3;

/// A whole image; each number another one.
pub(crate) fn elf(number: usize) -> &'static [u8] {
    static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    &ALL.get_or_init(|| (0..COUNT).map(make).collect())[number]
}

fn make(number: usize) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.add_bytes(
        "/app/program",
        format!("program {number}").into_bytes(),
        Attributes::EXECUTABLE,
    )
    .unwrap();
    let mut config = OwnedConfig { args: vec![b"/app/program".to_vec()], ..OwnedConfig::default() };
    config.set_env("NUMBER", &number.to_string());
    if number == 2 {
        // One with a project file that says how it is run.
        config.ports = [(80, false), (53, true)].map(|(number, udp)| Port { number, udp }).to_vec();
        config.memory_usual = Some(512 << 20);
        config.cpus_usual = Some(2);
    }
    let plan = Plan::new(&tree, &erofs::Options::default()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel.elf");
    Assembly::new(KERNEL, &config, Root::Tree(&plan))
        .unwrap()
        .write_file(Path::new(&path))
        .unwrap();
    std::fs::read(path).unwrap()
}
