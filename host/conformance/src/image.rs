// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The image of the suite's program.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bhojpur_build::assemble::Assembly;
use bhojpur_build::shared::Trust;
use bhojpur_build::system::Needs;
use bhojpur_provider::Artifact;

use crate::program::{IMAGE_ARGS, IMAGE_ENV, NAME};

/// The program needs none of the large files of a system.
const NEEDS: Needs = Needs { certificates: false, time_zones: false };

/// Names a finished image, for machines without Go.
pub const PREBUILT: &str = "BHOJPUR_CONFORMANCE_IMAGE";

/// Makes the image in `directory`, which exists, from the bare kernel.
pub fn build(kernel: &[u8], directory: &Path) -> Result<Artifact> {
    if let Some(path) = std::env::var_os(PREBUILT).map(PathBuf::from) {
        let size = path.metadata().with_context(|| format!("{PREBUILT}: {}", path.display()))?;
        return Ok(Artifact { path, size: size.len() });
    }
    let program = directory.join(NAME);
    compile(&program)?;
    let mut assembly = Assembly::new(&program, NAME, NEEDS, Trust::Owner)?;
    assembly.config.args.extend(IMAGE_ARGS.iter().map(|argument| argument.as_bytes().to_vec()));
    for (name, value) in IMAGE_ENV {
        assembly.config.set_env(name, value);
    }
    let path = directory.join("conformance.elf");
    let sizes = assembly.write(kernel, &path)?;
    Ok(Artifact { path, size: sizes.image })
}

fn compile(output: &Path) -> Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance");
    let run = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(output)
        .arg(".")
        .current_dir(&sources)
        .env("CGO_ENABLED", "0")
        .output()
        .context(
            "cannot start go; install it, or name a finished image in BHOJPUR_CONFORMANCE_IMAGE",
        )?;
    let messages = String::from_utf8_lossy(&run.stderr);
    ensure!(run.status.success(), "go build in {} failed: {messages}", sources.display());
    Ok(())
}
