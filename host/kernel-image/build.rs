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

/// Names a finished kernel that is embedded in place of a new one.
const PREBUILT: &str = "BHOJPUR_KERNEL_ELF";
const PACKAGE: &str = "bhojpur-kernel-image";
/// The kernel's target, which kernel/image/freestanding.toml names.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const BINARY: &str = "bhojpur-kernel";

fn main() {
    println!("cargo::rerun-if-env-changed={PREBUILT}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let manifest =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let root = manifest.ancestors().nth(2).expect("this crate lies in host/").to_owned();
    let kernel = match env::var_os(PREBUILT) {
        Some(path) => PathBuf::from(path),
        None => build_kernel(&root, &out),
    };
    println!("cargo::rerun-if-changed={}", kernel.display());
    if let Err(error) = fs::copy(&kernel, out.join("kernel.elf")) {
        panic!("cannot copy the kernel {}: {error}", kernel.display());
    }
}

/// Builds the kernel and gives its path.
fn build_kernel(root: &Path, out: &Path) -> PathBuf {
    for sources in ["kernel", "abi"] {
        watch(&root.join(sources));
    }
    let target = out.join("kernel-target");
    let mut cargo = nested_cargo(root);
    cargo
        .args([
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            "kernel/Cargo.toml",
            "--package",
            PACKAGE,
        ])
        .args(["--config", "kernel/image/freestanding.toml", "--target-dir"])
        .arg(&target);
    let status =
        cargo.status().unwrap_or_else(|error| panic!("cannot run cargo for the kernel: {error}"));
    assert!(status.success(), "the kernel does not build; its errors stand above");
    target.join(TARGET).join("release").join(BINARY)
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
