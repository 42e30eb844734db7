// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The conformance suite on the real Firecracker; `cargo xtask conformance firecracker` brings
//! it to where that runs. Arguments: the scratch directory, then a part of the cases' names; or
//! `--image` and the directory in which the image is made.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bhojpur_conformance::Harness;
use bhojpur_provider_firecracker::{Config, Firecracker, Jailer};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let mut first = arguments.next();
    let image_only = first.as_deref() == Some("--image");
    if image_only {
        first = arguments.next();
    }
    let scratch = PathBuf::from(first.context("the scratch directory is missing")?);
    let filter = arguments.next();
    std::fs::create_dir_all(&scratch)?;
    let kernel = bhojpur_kernel_embedded::KERNEL;
    let image = bhojpur_conformance::image::build(kernel, &scratch)?;
    if image_only {
        return Ok(true);
    }
    let own = std::env::current_exe()?;
    let config = Config {
        port_proxy: vec![own.with_file_name("firecracker-port-proxy").into()],
        jailer: jailer()?,
        ..Config::default()
    };
    let directory = scratch.join("instances");
    let make = {
        let directory = directory.clone();
        move || -> Box<dyn bhojpur_provider::Provider> {
            Box::new(Firecracker::new(&directory, config.clone()))
        }
    };
    let harness = Harness::new("firecracker", &scratch, image, make)
        .directory(directory)
        .patience(Duration::from_secs(240));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(bhojpur_conformance::run(harness, filter.as_deref()));
    println!("{report}");
    Ok(report.passed())
}

/// `JAILER`, and the user and group of `JAILER_USER`, 123:100 when nothing is said.
fn jailer() -> Result<Option<Jailer>> {
    let Some(binary) = std::env::var_os("JAILER").map(PathBuf::from) else { return Ok(None) };
    let user = std::env::var("JAILER_USER").unwrap_or_else(|_| "123:100".into());
    let (uid, gid) = user.split_once(':').context("JAILER_USER is not UID:GID")?;
    Ok(Some(Jailer { binary, uid: uid.parse()?, gid: gid.parse()? }))
}
