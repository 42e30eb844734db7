// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel test`: the tests of Go packages, inside the unikernel, reported as `go test` does.

mod flags;
mod profiles;
mod report;
mod table;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use bhojpur_build::assemble::Assembly;
use bhojpur_build::language::{Error, Go, Package};
use bhojpur_build::shared::Trust;
use bhojpur_build::system::Needs;
use bhojpur_kernel_embedded::KERNEL;
use bhojpur_monitor::{Accelerator, Boot, Input, Machine, Options, Outcome, Qemu, Size};

use super::{build, run};
use crate::arguments::Test;
use crate::{Failure, image};
use flags::Flags;
use profiles::Outbox;
use report::{Lines, Report, Show};

/// Builds and runs the tests of all packages.
pub fn execute(test: &Test) -> Result<ExitCode, Failure> {
    let flags = Flags::parse(&test.flags, Go::explicit_cgo()).map_err(Failure::new)?;
    let qemu = Qemu::locate()?;
    let (accelerator, reason) =
        test.accel.resolve().map_err(|why| Failure::new(format!("KVM cannot be used: {why}")))?;
    if let Some(reason) = reason {
        run::note(&format!("{reason}; the guest is emulated"));
    }
    let directory = std::env::current_dir()
        .map_err(|error| Failure::new(format!("the current directory cannot be found: {error}")))?;
    let here = [".".to_owned()];
    let patterns = if test.packages.is_empty() { &here[..] } else { &test.packages };
    let packages = Go::packages(&directory, patterns, &flags.build)?;
    if packages.is_empty() {
        return Err(Failure::new("no packages to test")
            .advise("name packages as for `go test`, for example ./..."));
    }
    if let Some(flag) = flags.files.of_one_package().filter(|_| packages.len() > 1) {
        return Err(Failure::new(format!("cannot use -{flag} flag with multiple packages"))
            .advise("name one package"));
    }
    flags.files.begin(flags.cover_mode())?;
    let goroot = Go::root()?;
    let runner = Runner { test, flags: &flags, qemu, accelerator, directory, goroot };
    Ok(if runner.run_all(&packages)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What tests get beside their image when the user says nothing.
pub(crate) const USUAL_MEMORY: Size = Size::mebibytes(1024);
/// What compilers and their results take beside the tests, in bytes.
const COMPILER_MEMORY: u64 = 1 << 30;

struct Runner<'a> {
    test: &'a Test,
    flags: &'a Flags,
    qemu: Qemu,
    accelerator: Accelerator,
    directory: PathBuf,
    goroot: PathBuf,
}

/// Where links in a directory lead to: distributions keep parts of the installation elsewhere.
fn linked_places(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    links.filter_map(|link| link.path().canonicalize().ok()).collect()
}

/// What the build of a package's tests came to.
enum Built {
    /// An image to run.
    Image { file: tempfile::NamedTempFile, memory: Size },
    /// There is nothing to run.
    NoTests,
    /// The compiler refused them.
    Broken(String),
}

impl Runner<'_> {
    /// Whether all tests passed. The next package is compiled while one runs.
    fn run_all(&self, packages: &[Package]) -> Result<bool, Failure> {
        let mut report = Report::new(self.flags.json || self.is_local());
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(1);
            scope.spawn(move || {
                for package in packages {
                    if sender.send((package, self.build(package))).is_err() {
                        break;
                    }
                }
            });
            for (package, built) in receiver {
                match built? {
                    Built::NoTests => report.no_tests(package, self.lines(package)?),
                    Built::Broken(output) => report.broken(package, &output, self.lines(package)?),
                    Built::Image { file, memory } => {
                        self.run(package, file.path(), memory, &mut report)?;
                    }
                }
            }
            Ok::<(), Failure>(())
        })?;
        Ok(report.finish())
    }

    fn build(&self, package: &Package) -> Result<Built, Failure> {
        if !package.has_tests {
            return Ok(Built::NoTests);
        }
        let scratch = |error| Failure::new(format!("cannot make a temporary file: {error}"));
        let directory = tempfile::tempdir().map_err(scratch)?;
        let name = package.import_path.rsplit('/').next().unwrap_or("package");
        let executable = directory.path().join(format!("{name}.test"));
        let flags = [&self.flags.build[..], &self.flags.compile].concat();
        let version = match Go::build_test(&self.directory, package, &flags, &executable) {
            Ok(Some(version)) => version,
            Ok(None) => return Ok(Built::NoTests),
            Err(Error::Compile { output, .. }) => return Ok(Built::Broken(output)),
            Err(error) => return Err(error.into()),
        };
        if self.flags.files.want_program() {
            let kept = self.directory.join(format!("{name}.test"));
            std::fs::copy(&executable, &kept).map_err(|error| profiles::unwritten(&kept, error))?;
        }
        let mut assembly = self.assemble(package, &executable, name)?;
        let words = self.flags.program(&version);
        assembly.config.args.extend(words.iter().map(|flag| flag.as_bytes().to_vec()));
        let file = tempfile::Builder::new().suffix(".elf").tempfile().map_err(scratch)?;
        let sizes = assembly.write(KERNEL, file.path())?;
        let memory = self.memory(package, file.path(), sizes.image)?;
        Ok(Built::Image { file, memory })
    }

    /// What the machine gets: what the user says, if the image starts with it.
    fn memory(&self, package: &Package, file: &Path, size: u64) -> Result<Size, Failure> {
        let Some(memory) = self.test.memory else {
            let compiling = if self.test.toolchain { COMPILER_MEMORY } else { 0 };
            return Ok(Size(USUAL_MEMORY.0 + compiling + size));
        };
        let name = format!("the tests of {}", package.import_path);
        run::check_memory(memory, &image::open(file)?, &name)?;
        Ok(memory)
    }

    /// The test program with the package's directory at the same path as here.
    fn assemble(
        &self,
        package: &Package,
        executable: &Path,
        name: &str,
    ) -> Result<Assembly, Failure> {
        let mut assembly =
            Assembly::new(executable, &format!("{name}.test"), Needs::ALL, Trust::Owner)?;
        for directory in self.directories(package) {
            assembly.include(&directory, &directory.to_string_lossy())?;
        }
        if self.test.toolchain {
            self.include_toolchain(&mut assembly)?;
        } else if package.standard {
            self.include_goroot(&mut assembly)?;
        }
        build::include(&mut assembly, &self.test.includes)?;
        let config = &mut assembly.config;
        config.cwd = Some(package.directory.as_os_str().as_bytes().to_vec());
        config.set_env("PWD", &package.directory.to_string_lossy());
        run::set_env(config, &self.test.env);
        bhojpur_monitor::network::configure(config);
        Ok(assembly)
    }

    /// The package's own directory, and `testdata` of those above it, which tests reach as `../testdata`.
    fn directories(&self, package: &Package) -> Vec<PathBuf> {
        let root = package
            .directory
            .ancestors()
            .find(|directory| directory.join("go.mod").is_file())
            .unwrap_or(&package.directory)
            .to_owned();
        let above = package
            .directory
            .ancestors()
            .skip(1)
            .take_while(|directory| directory.starts_with(&root));
        let testdata = above
            .map(|directory| directory.join("testdata"))
            .filter(|directory| directory.is_dir());
        std::iter::once(package.directory.clone()).chain(testdata).collect()
    }

    /// What tests of the standard library read of the installation.
    fn include_goroot(&self, assembly: &mut Assembly) -> Result<(), Failure> {
        for part in ["VERSION", "lib/time", "go.env"] {
            let path = self.goroot.join(part);
            if path.exists() {
                assembly.include(&path, &path.to_string_lossy())?;
            }
        }
        assembly.config.set_env("GOROOT", &self.goroot.to_string_lossy());
        Ok(())
    }

    /// The whole installation, where the tests find it as they would here.
    fn include_toolchain(&self, assembly: &mut Assembly) -> Result<(), Failure> {
        let unreadable = |error| {
            let place = self.goroot.display();
            Failure::new(format!("the Go installation {place} cannot be read: {error}"))
        };
        for part in std::fs::read_dir(&self.goroot).map_err(unreadable)? {
            let path = part.map_err(unreadable)?.path();
            assembly.include(&path, &path.to_string_lossy())?;
            for place in linked_places(&path) {
                assembly.include(&place, &place.to_string_lossy())?;
            }
        }
        let binaries = self.goroot.join("bin");
        assembly.include(&binaries.join("go"), &binaries.join("go").to_string_lossy())?;
        let search = format!("{}:/usr/local/bin:/usr/bin:/bin", binaries.display());
        let config = &mut assembly.config;
        config.set_env("GOROOT", &self.goroot.to_string_lossy());
        config.set_env("PATH", &search);
        config.set_env("GOCACHE", "/tmp/go-build");
        Ok(())
    }

    /// Whether no package was named: `go help test` calls that the local directory mode.
    fn is_local(&self) -> bool {
        self.test.packages.is_empty()
    }

    /// Where all that is said about a package goes.
    fn lines(&self, package: &Package) -> Result<Lines, Failure> {
        let json = self.flags.json;
        let converter = json.then(|| Go::test2json(&self.directory, package)).transpose()?;
        let how = if self.is_local() {
            Show::Through
        } else if self.flags.verbose || json {
            Show::Live
        } else {
            Show::Failed
        };
        Lines::new(how, converter)
    }

    fn run(
        &self,
        package: &Package,
        image: &Path,
        memory: Size,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let outbox = self.flags.files.outbox()?;
        let machine = Machine {
            boot: Boot::Kernel(image.to_owned()),
            memory,
            cpus: self.test.cpus,
            accelerator: self.accelerator,
            forwards: Vec::new(),
            configuration: None,
            gdb: None,
            volumes: outbox.iter().map(Outbox::disk).collect(),
            extra: Vec::<OsString>::new(),
        };
        let lines = self.lines(package)?;
        let options = Options {
            output: Box::new(lines.clone()),
            input: Input::None,
            timeout: Some(self.flags.host_timeout()),
        };
        let start = Instant::now();
        let symbols = super::symbols::Symbols::of(image);
        let outcome = bhojpur_monitor::run(&self.qemu, &machine, options, &mut |event| {
            run::tell(&event, self.test.verbose, &symbols);
        })?;
        let interrupted = matches!(outcome, Outcome::Stopped(_));
        report.ran(package, &outcome, lines, start.elapsed());
        outbox.map_or(Ok(()), Outbox::empty)?;
        if interrupted { Err(Failure::new("interrupted").with_status(130)) } else { Ok(()) }
    }
}
