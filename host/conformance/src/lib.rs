// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The suite that every provider passes.
//!
//! A [`Harness`] says how a provider is made and what is under it; [`run`] runs every case and
//! gives a [`Report`]. A case is a fact that the contract of [`bhojpur_provider::Provider`]
//! promises, shown with one small program (see [`program`]) whose behaviour is documented well
//! enough for the fake of a hypervisor to play it. What a provider cannot do, or a fake cannot
//! show, is skipped with its reason, never passed in silence.
//!
//! ```ignore
//! let image = bhojpur_conformance::image::build(kernel, scratch)?;
//! let directory = scratch.join("instances");
//! let harness = Harness::new("qemu", scratch, image, {
//!     let directory = directory.clone();
//!     move || Box::new(QemuProvider::new(&directory))
//! })
//! .directory(directory);
//! let report = bhojpur_conformance::run(harness, None).await;
//! println!("{report}");
//! assert!(report.passed());
//! ```
#![forbid(unsafe_code)]

mod bench;
mod cases;
mod harness;
pub mod image;
pub mod program;
mod report;
mod volume;

pub use bench::Bench;
pub use harness::{Harness, guest_address, host_port};
pub use report::{Report, Row, Verdict};

use std::time::Instant;

/// Whether a name contains the filter; with `!` before it, whether it does not.
fn is_meant(filter: &str, name: &str) -> bool {
    match filter.strip_prefix('!') {
        Some(others) => !name.contains(others),
        None => name.contains(filter),
    }
}

/// Runs the cases whose names contain `filter`, or do not when `!` stands before it, one after
/// the other.
pub async fn run(harness: Harness, filter: Option<&str>) -> Report {
    let name = harness.name.clone();
    let mut report = Report::new(name);
    let mut bench = match Bench::new(harness).await {
        Ok(bench) => bench,
        Err(error) => {
            report.add("preparation", Verdict::Failed(format!("{error:#}")), Instant::now());
            return report;
        }
    };
    for case in cases::ALL {
        if filter.is_some_and(|filter| !is_meant(filter, case.name)) {
            continue;
        }
        let start = Instant::now();
        let verdict = bench.judge(case).await;
        report.add(case.name, verdict, start);
    }
    report
}

/// Every case's name, in the order in which they run.
pub fn case_names() -> impl Iterator<Item = &'static str> {
    cases::ALL.iter().map(|case| case.name)
}
