// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds the kernel and the boot loaders, for `src/lib.rs` to embed.
//!
//! The kernel shares the host's target triple but none of its flags. So it is built by a cargo
//! of its own, with its own target directory, and nothing of this build's environment leaks in.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bhojpur_formats::pe;

/// Names a finished kernel that is embedded in place of a new one.
const PREBUILT: &str = "BHOJPUR_KERNEL_ELF";
/// The target of all three, which their configurations name.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A freestanding program of the kernel's workspace.
struct Program {
    package: &'static str,
    binary: &'static str,
    /// Its flags for the stock toolchain.
    configuration: &'static str,
}

const KERNEL: Program = Program {
    package: "bhojpur-kernel-image",
    binary: "bhojpur-kernel",
    configuration: "kernel/image/freestanding.toml",
};
const BIOS_LOADER: Program = Program {
    package: "bhojpur-boot-bios",
    binary: "bhojpur-boot-bios",
    configuration: "kernel/boot/bios/freestanding.toml",
};
const UEFI_LOADER: Program = Program {
    package: "bhojpur-boot-uefi",
    binary: "bhojpur-boot-uefi",
    configuration: "kernel/boot/uefi/freestanding.toml",
};

fn main() {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let manifest =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).expect("this crate lies in host/").to_owned();
    for sources in ["kernel", "abi"] {
        watch(&root.join(sources));
    }
    let place = place(&out);
    let kernel = match env::var_os(PREBUILT) {
        Some(path) => PathBuf::from(path),
        None => build(&KERNEL, &root, &place),
    };
    println!("cargo::rerun-if-changed={}", kernel.display());
    write(&out.join("kernel.elf"), &read(&kernel));
    let bios = pe::bios_image(&read(&build(&BIOS_LOADER, &root, &place)));
    write(&out.join("bios.bin"), &bios.expect("the BIOS loader is a flat program"));
    let uefi = pe::efi_application(&read(&build(&UEFI_LOADER, &root, &place)));
    write(&out.join("uefi.efi"), &uefi.expect("the UEFI loader is position-independent"));
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

/// Where they are built: `kernel` in cargo's target directory, beside `debug` and `release`,
/// which then share them. `OUT_DIR` is `PROFILE/build/PACKAGE-HASH/out` in it.
fn place(out: &Path) -> PathBuf {
    let above = out.ancestors().nth(4).filter(|_| out.ends_with("out"));
    above.map_or_else(|| out.to_owned(), |target| target.join("kernel"))
}

/// Builds a program and gives its path. Each has a target directory of its own: their flags
/// differ, and would push each other's libraries out.
fn build(program: &Program, root: &Path, place: &Path) -> PathBuf {
    let target = place.join(program.package);
    let mut cargo = nested_cargo(root);
    cargo
        .args(["build", "--release", "--manifest-path", "kernel/Cargo.toml"])
        .args(["--package", program.package, "--config", program.configuration, "--target-dir"])
        .arg(&target);
    let status =
        cargo.status().unwrap_or_else(|error| panic!("cannot run cargo for the kernel: {error}"));
    assert!(status.success(), "{} does not build; its errors stand above", program.package);
    target.join(TARGET).join("release").join(program.binary)
}

/// Tells cargo of all sources below a directory. Target directories of other builds are none.
fn watch(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name() != Some(OsStr::new("target")) {
                watch(&path);
            }
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// A cargo without what this build's cargo put into the environment for its children.
fn nested_cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn leaks(name: &str) -> bool {
    // What says where packages come from is the same for both.
    let shared = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    if shared.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let prefixes = ["CARGO", "DEP_"];
    let names = [
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_LINKER",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "TARGET",
        "HOST",
        "PROFILE",
        "OUT_DIR",
        "OPT_LEVEL",
        "DEBUG",
        "NUM_JOBS",
        "MAKEFLAGS",
        "MFLAGS",
        "__CARGO_DEFAULT_LIB_METADATA",
        "LD_LIBRARY_PATH",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || names.contains(&name)
}
