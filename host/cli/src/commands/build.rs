// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel build`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bhojpur_build::assemble::{Assembly, Sizes};
use bhojpur_build::language::{self, Program, Source};
use bhojpur_build::shared::Trust;
use bhojpur_build::tools::{Stop, Tools};
use bhojpur_kernel_embedded::KERNEL;
use bhojpur_monitor::Size;

use crate::arguments::{Build, Pair};
use crate::interrupt::Interrupts;
use crate::printer::{Printer, duration};
use crate::{Failure, commands::run, image};

/// The variable with the time of the sources.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Builds an image and gives its path.
pub fn execute(build: &Build) -> Result<PathBuf, Failure> {
    let interrupts = Interrupts::watch()?;
    interrupts.conclude(make(build, interrupts.stop()))
}

fn make(build: &Build, stop: Stop) -> Result<PathBuf, Failure> {
    let start = Instant::now();
    let mut printer = Printer::new(build.quiet);
    check_output(&build.output)?;
    check_input(&build.output, &build.directory)?;
    let scratch = tempfile::tempdir_in(temporary())
        .map_err(|error| Failure::new(format!("cannot make a temporary directory: {error}")))?;
    let language = match &build.language {
        Some(name) => language::by_name(name)?,
        None => language::detect(&build.directory)?,
    };
    printer.step(format!("compiling {} ({})", build.directory.display(), language.name()));
    let program = language.build(&Source {
        path: &build.directory,
        flags: &build.flags,
        scratch: scratch.path(),
        debug: build.debug,
        tools: &tools(scratch.path(), stop),
    })?;
    printer.step("collecting files");
    let assembly = assemble(build, &program)?;
    for missing in &assembly.missing {
        printer.warn(&missing.to_string());
    }
    for path in assembly.tree.left_out() {
        printer.warn(&format!("{} was left out: it is a socket", path.display()));
    }
    printer.step(format!("writing {}", build.output.display()));
    let sizes = assembly.write(KERNEL, &build.output)?;
    printer.finish();
    printer.line(&summary(build, &program, &assembly, sizes, start));
    Ok(build.output.clone())
}

/// What tells tools where their temporary files go; the first one Go alone, and before the other.
const TEMPORARY: [&str; 2] = ["GOTMPDIR", "TMPDIR"];

/// Where the user wants the temporary files of a build.
fn temporary() -> PathBuf {
    let named = env::var_os(TEMPORARY[0]).filter(|place| !place.is_empty());
    named.map_or_else(env::temp_dir, PathBuf::from)
}

/// Tools that end when we are told to, and leave their own temporary files in our directory.
fn tools(scratch: &Path, stop: Stop) -> Tools {
    let ours = TEMPORARY.map(|name| (OsString::from(name), scratch.as_os_str().to_owned()));
    let others = env::vars_os().filter(|(name, _)| TEMPORARY.iter().all(|ours| name != ours));
    let environment = others.chain(ours).collect();
    Tools { environment: Some(environment), stop: Some(stop), sandbox: None }
}

fn assemble(build: &Build, program: &Program) -> Result<Assembly, Failure> {
    let mut assembly =
        Assembly::new(&program.executable, &program.name, program.needs, Trust::Owner)?;
    assembly.time = source_date_epoch(env::var_os(SOURCE_DATE_EPOCH))?;
    include(&mut assembly, &build.includes)?;
    for Pair { host, guest } in &build.mounts {
        assembly.mount(host, guest)?;
    }
    run::set_env(&mut assembly.config, &build.env);
    assembly.config.args.extend(build.args.iter().map(|argument| argument.as_bytes().to_vec()));
    Ok(assembly)
}

/// The time of the image's files, in seconds since 1970, as
/// <https://reproducible-builds.org/specs/source-date-epoch/> has it; 0 when it is not given.
fn source_date_epoch(value: Option<OsString>) -> Result<u64, Failure> {
    let Some(value) = value else { return Ok(0) };
    value.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::new(format!("{SOURCE_DATE_EPOCH}={} is no time", value.display())).advise(
            "it is a number of seconds since 1970, for example that of the last commit: \
             SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
        )
    })
}

/// Puts files of the host into the image.
pub(super) fn include(assembly: &mut Assembly, includes: &[Pair]) -> Result<(), Failure> {
    for Pair { host, guest } in includes {
        assembly.include(Path::new(host), guest)?;
    }
    Ok(())
}

/// What can be known about the output before an expensive build.
pub(super) fn check_output(output: &Path) -> Result<(), Failure> {
    if fs::metadata(output).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(Failure::new(format!(
            "cannot write {}: it is not a regular file",
            output.display()
        ))
        .advise("an image appears whole or not at all, which only a file can; give another -o"));
    }
    if output.is_dir() {
        return Err(Failure::new(format!("cannot write {}: it is a directory", output.display()))
            .advise(format!(
                "name a file, for example -o {}",
                output.join("kernel.elf").display()
            )));
    }
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if parent.is_dir() {
        return Ok(image::check_replaceable(output)?);
    }
    Err(Failure::new(format!(
        "cannot write {}: the directory {} does not exist",
        output.display(),
        parent.display()
    ))
    .advise(format!("make it first: mkdir -p {}", parent.display())))
}

/// Refuses an output that is what it is made from.
pub(super) fn check_input(output: &Path, input: &Path) -> Result<(), Failure> {
    let same = |(a, b): (PathBuf, PathBuf)| a == b;
    if !output.canonicalize().ok().zip(input.canonicalize().ok()).is_some_and(same) {
        return Ok(());
    }
    let (output, input) = (output.display(), input.display());
    Err(Failure::new(format!("{output} is not replaced: it is made from {input}, the same file"))
        .advise("give another name with -o"))
}

fn summary(
    build: &Build,
    program: &Program,
    assembly: &Assembly,
    sizes: Sizes,
    start: Instant,
) -> String {
    let size = |path: &Path| Size(fs::metadata(path).map_or(0, |metadata| metadata.len()));
    let libraries = match assembly.libraries.len() {
        0 => String::new(),
        count => format!(", {count} shared libraries"),
    };
    format!(
        "{}: {} (kernel {}, program {} {}{libraries}, root image {}) with {} in {}",
        build.output.display(),
        Size(sizes.image),
        // Without what a debugger wants of it, which stays out of the image.
        Size(sizes.image.saturating_sub(sizes.root)),
        program.name,
        size(&program.executable),
        Size(sizes.root),
        program.toolchain,
        duration(start.elapsed()),
    )
}

#[cfg(test)]
mod tests {
    use super::source_date_epoch;

    #[test]
    fn the_time_of_files_is_that_of_the_sources() {
        let of = |text: &str| source_date_epoch(Some(text.into()));
        assert_eq!(source_date_epoch(None).unwrap(), 0);
        assert_eq!(of("1764547200").unwrap(), 1_764_547_200);
        for wrong in ["", "-1", "1.5", "yesterday", " 1"] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
