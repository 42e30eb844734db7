// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the suite of all providers against the real QEMU: `[FILTER]`.

use std::process::ExitCode;

use bhojpur_conformance::{Harness, image, run};
use bhojpur_provider_qemu::QemuProvider;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let filter = std::env::args().nth(1);
    let scratch = tempfile::tempdir()?;
    let image = image::build(bhojpur_kernel_embedded::KERNEL, scratch.path())?;
    let directory = scratch.path().join("instances");
    let instances = directory.clone();
    let make = move || Box::new(QemuProvider::new(&instances)) as _;
    let harness = Harness::new("qemu", scratch.path(), image, make).directory(directory);
    let report = run(harness, filter.as_deref()).await;
    println!("{report}");
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
