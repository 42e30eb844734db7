// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The suite of all providers against the real QEMU.

use bhojpur_conformance::{Harness, image, run};
use bhojpur_monitor::Qemu;
use bhojpur_provider_qemu::QemuProvider;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn qemu_does_what_every_provider_does() {
    if let Err(error) = Qemu::locate() {
        // Said where nobody asked for it: a test that did not run has shown nothing.
        eprintln!("SKIPPED: {error}; {}", error.advice().unwrap_or_default());
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let image = image::build(bhojpur_kernel_embedded::KERNEL, scratch.path()).unwrap();
    let directory = scratch.path().join("instances");
    let instances = directory.clone();
    let make = move || Box::new(QemuProvider::new(&instances)) as _;
    let harness = Harness::new("qemu", scratch.path(), image, make).directory(directory);
    let report = run(harness, None).await;
    assert!(report.passed(), "\n{report}");
}
