// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The compilers that make test programs, and the tool under test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::succeed;
use super::{flags::Flags, root, target};

const COMPILE_LIMIT: Duration = Duration::from_secs(900);

/// A Go toolchain.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    program: PathBuf,
    /// `go1.19.8`, as it calls itself.
    pub(crate) version: String,
}

impl Go {
    pub(crate) fn at(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("version").env("GOTOOLCHAIN", "local").env("GO111MODULE", "off");
        let said = succeed(&mut command, Duration::from_secs(60))
            .context("no Go toolchain: install golang-go")?
            .text();
        let version = said.split_whitespace().nth(2).unwrap_or("go").to_owned();
        Ok(Self { program: program.to_owned(), version })
    }

    /// The one of PATH, then those named by `--go`.
    pub(crate) fn all(flags: &Flags) -> Result<Vec<Self>> {
        let named: Result<Vec<Self>> = flags.all("go").map(|p| Self::at(Path::new(p))).collect();
        let named = named?;
        if flags.has("only-named-go") {
            return Ok(named);
        }
        let mut all = vec![Self::at(Path::new("go"))?];
        all.extend(named);
        Ok(all)
    }

    /// A command that makes static binaries for the unikernel.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("CGO_ENABLED", "0")
            .env("GOOS", "linux")
            .env("GOARCH", "amd64")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-trimpath")
            .env("GOWORK", "off");
        command
    }

    /// What makes another tool use this toolchain: it comes first in PATH.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut path = OsString::new();
        if let Some(directory) = self.program.parent().filter(|d| d.is_absolute()) {
            path.push(directory);
            path.push(":");
        }
        path.push(std::env::var_os("PATH").unwrap_or_default());
        vec![("PATH", path), ("GOTOOLCHAIN", "local".into())]
    }

    /// Builds `package` of the module in `directory` into `output`.
    pub(crate) fn build(&self, directory: &Path, package: &str, output: &Path) -> Result<()> {
        let mut command = self.command();
        command.current_dir(directory).args(["build", "-o"]).arg(output).arg(package);
        succeed(&mut command, COMPILE_LIMIT).map(drop)
    }

    pub(crate) fn goroot(&self) -> Result<PathBuf> {
        let said = succeed(self.command().args(["env", "GOROOT"]), Duration::from_secs(60))?;
        Ok(PathBuf::from(said.text().trim()))
    }
}

/// Builds one C file into a static binary with `compiler` (gcc, musl-gcc).
pub(crate) fn build_c(compiler: &str, source: &Path, extra: &[&str], output: &Path) -> Result<()> {
    let mut command = Command::new(compiler);
    command
        .args(["-static", "-pthread", "-g", "-Wall"])
        // Tests pass wrong sizes on purpose.
        .args(["-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-infinite-recursion"])
        .args(extra)
        .arg("-o")
        .arg(output)
        .arg(source)
        .arg("-lm");
    succeed(&mut command, COMPILE_LIMIT).map(drop)
}

/// The `kernel` tool: the one named by `--tool`, or built from this tree with `builder`
/// beside it.
pub(crate) fn kernel_tool(flags: &Flags) -> Result<PathBuf> {
    if let Some(path) = flags.value("tool") {
        return Ok(std::path::absolute(path)?);
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(["build", "--quiet", "--release", "--package", "bhojpur-cli"]);
    succeed(&mut command, COMPILE_LIMIT).context("the kernel tool does not build")?;
    Ok(target().join("release/kernel"))
}

/// Makes a bootable image of a finished static binary.
pub(crate) fn image(tool: &Path, binary: &Path, output: &Path) -> Result<()> {
    let mut command = Command::new(tool);
    command.arg("build").arg("-o").arg(output).arg(binary);
    succeed(&mut command, Duration::from_secs(120)).map(drop)
}

/// Whether `output` exists and is younger than everything in `inputs`.
pub(crate) fn fresh<P: AsRef<Path>>(output: &Path, inputs: impl IntoIterator<Item = P>) -> bool {
    let modified = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    let Some(made) = modified(output) else { return false };
    inputs.into_iter().all(|input| modified(input.as_ref()).is_some_and(|changed| changed < made))
}
