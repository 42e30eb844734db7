// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Carries targets out.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use bhojpur_formats::pack::Format;

use super::arguments::{COMPLETIONS, Command, completions};
use super::{Builder, BuilderFile, Step, plan};
use crate::arguments::{Build, Pack, Run, Test};
use crate::interrupt::Relay;
use crate::{Failure, commands, image};

/// The targets that every project has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// The image.
    Kernel,
    /// Run it.
    Qemu,
    /// Run it under a debugger.
    QemuDebug,
    /// Pack it as an ISO.
    Iso,
    /// Pack it in all formats of the project file.
    Images,
    /// Run the tests.
    Test,
    /// Remove what was made.
    Clean,
    /// List the targets.
    List,
}

/// Names and descriptions.
pub(super) const BUILT_IN: &[(&str, BuiltIn, &str)] = &[
    ("kernel", BuiltIn::Kernel, "build the image"),
    ("qemu", BuiltIn::Qemu, "build it and run it"),
    ("qemu-debug", BuiltIn::QemuDebug, "build it, run it, and wait for gdb"),
    ("iso", BuiltIn::Iso, "pack it as an ISO"),
    ("images", BuiltIn::Images, "pack it in every format of the project file"),
    ("test", BuiltIn::Test, "run the tests inside the unikernel"),
    ("clean", BuiltIn::Clean, "remove what the other targets made"),
    ("list", BuiltIn::List, "list all targets"),
];

impl BuiltIn {
    /// What comes before.
    pub(super) fn dependencies(self) -> &'static [&'static str] {
        match self {
            Self::Qemu | Self::Iso | Self::Images => &["kernel"],
            // Debugging wants an image of its own, with symbols.
            Self::Kernel | Self::QemuDebug | Self::Test | Self::Clean | Self::List => &[],
        }
    }
}

/// Whether a name is taken.
pub(super) fn is_built_in(name: &str) -> bool {
    name == COMPLETIONS || BUILT_IN.iter().any(|(known, ..)| *known == name)
}

/// Makes a target and all that it depends on.
pub fn execute(builder: &Builder) -> Result<ExitCode, Failure> {
    if let Some(Command::Completions { shell }) = builder.command {
        return commands::print(&completions(shell)).map(|()| ExitCode::SUCCESS);
    }
    env::set_current_dir(&builder.directory).map_err(|error| {
        Failure::new(format!(
            "cannot work in the directory {}: {error}",
            builder.directory.display()
        ))
    })?;
    let file = BuilderFile::read(Path::new("."))?;
    let project = Project { file: &file, builder };
    let mut status = ExitCode::SUCCESS;
    for step in plan(&file, &builder.target)? {
        status = match step {
            Step::BuiltIn(target) => project.built_in(target)?,
            Step::User(name) => project.user(name)?,
        };
        if status != ExitCode::SUCCESS {
            break;
        }
    }
    Ok(status)
}

struct Project<'a> {
    file: &'a BuilderFile,
    builder: &'a Builder,
}

impl Project<'_> {
    fn built_in(&self, target: BuiltIn) -> Result<ExitCode, Failure> {
        match target {
            BuiltIn::Kernel => commands::build::execute(&self.build(false)).map(|_| ()),
            BuiltIn::Qemu => return commands::run::execute(&self.run(false)),
            BuiltIn::QemuDebug => {
                commands::build::execute(&self.build(true))?;
                return commands::run::execute(&self.run(true));
            }
            BuiltIn::Iso => self.pack(Format::Iso),
            BuiltIn::Images => self.images(),
            BuiltIn::Test => return commands::test::execute(&self.test()),
            BuiltIn::Clean => self.clean(),
            BuiltIn::List => self.list(),
        }
        .map(|()| ExitCode::SUCCESS)
    }

    fn user(&self, name: &str) -> Result<ExitCode, Failure> {
        let relay = Relay::watch()?;
        for command in self.file.targets.get(name).into_iter().flat_map(|target| &target.commands) {
            if self.builder.verbose {
                note(command);
            }
            let mut shell = process::Command::new("sh");
            let status = relay.run(shell.args(["-e", "-c", command]))?.map_err(|error| {
                Failure::new(format!("cannot run the shell for {name:?}: {error}"))
            })?;
            if !status.success() {
                return Err(Failure::new(format!(
                    "the target {name:?} failed: {command:?} ended with {status}"
                )));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn build(&self, debug: bool) -> Build {
        let file = self.file;
        Build {
            output: file.output.clone(),
            language: file.language.clone(),
            env: file.environment.clone(),
            args: file.arguments.clone(),
            mounts: file.mounts.clone(),
            includes: file.includes.clone(),
            debug,
            quiet: false,
            directory: file.path.clone(),
            flags: file.flags.clone(),
        }
    }

    fn run(&self, gdb: bool) -> Run {
        Run {
            volumes: Vec::new(),
            ports: self.file.ports.clone(),
            memory: self.file.memory,
            cpus: self.file.cpus,
            env: Vec::new(),
            accel: self.builder.accel,
            monitor: "qemu".to_owned(),
            verbose: self.builder.verbose,
            gdb,
            gdb_port: 1234,
            timeout: None,
            qemu_args: Vec::new(),
            image: self.file.output.clone(),
            args: Vec::new(),
        }
    }

    fn test(&self) -> Test {
        // The project says what its program needs; tests get no less than without it.
        let usual = commands::test::USUAL_MEMORY;
        Test {
            memory: self.file.memory.filter(|memory| *memory > usual),
            cpus: self.file.cpus,
            env: self.file.environment.clone(),
            toolchain: false,
            includes: self.file.includes.clone(),
            accel: self.builder.accel,
            verbose: self.builder.verbose,
            packages: vec!["./...".to_owned()],
            flags: self.file.flags.to_vec(),
        }
    }

    fn packed(&self, format: Format) -> PathBuf {
        self.file.output.with_extension(format.name())
    }

    fn pack(&self, format: Format) -> Result<(), Failure> {
        commands::pack::execute(&Pack {
            output: self.packed(format),
            kernel: self.file.output.clone(),
            format: Some(format),
            quiet: false,
        })
    }

    fn images(&self) -> Result<(), Failure> {
        if self.file.formats.is_empty() {
            return Err(Failure::new("the project file names no formats")
                .advise("add for example: formats = [\"iso\"]"));
        }
        self.file.formats.iter().try_for_each(|format| self.pack(*format))
    }

    /// Removes what the other targets make: the image, its ISO, and the formats of the project
    /// file. A file under one of these names that is no image was made by somebody else.
    fn clean(&self) -> Result<(), Failure> {
        let formats = Format::ALL.into_iter();
        let made = formats.filter(|f| *f == Format::Iso || self.file.formats.contains(f));
        let packed = made.map(|format| self.packed(format));
        for path in std::iter::once(self.file.output.clone()).chain(packed) {
            let removed = match image::is_ours(&path) {
                Ok(true) => fs::remove_file(&path),
                Ok(false) => {
                    note(&format!("kept {}: it is no image", path.display()));
                    continue;
                }
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => note(&format!("removed {}", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Failure::new(format!("cannot remove {}: {error}", path.display())));
                }
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<(), Failure> {
        let mut text = String::new();
        for (name, _, description) in BUILT_IN {
            text.push_str(&format!("{name:<12} {description}\n"));
        }
        for (name, target) in &self.file.targets {
            let description =
                target.description.clone().unwrap_or_else(|| target.commands.join("; "));
            text.push_str(&format!("{name:<12} {description}\n"));
        }
        // A reader that went away has seen enough.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(())
    }
}

/// Something to know, on standard error.
fn note(text: &str) {
    // One write a message; nobody reads it when it fails.
    let _ = io::stderr().write_all(format!("builder: {text}\n").as_bytes());
}
