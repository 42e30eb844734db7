// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `kernel pack`.

use std::fs::{self, File};
use std::time::Instant;

use bhojpur_build::assemble::write_advice;
use bhojpur_formats::loader::Loaders;
use bhojpur_formats::ova::Appliance;
use bhojpur_formats::pack::{self, Format, Kernel, Options};
use bhojpur_kernel_embedded::{BIOS_LOADER, UEFI_LOADER};
use bhojpur_monitor::Size;

use super::build::{check_input, check_output};
use crate::arguments::Pack;
use crate::interrupt::Interrupts;
use crate::printer::{Printer, duration};
use crate::{Failure, image};

/// Makes a bootable disk or CD image.
pub fn execute(arguments: &Pack) -> Result<(), Failure> {
    let interrupts = Interrupts::watch()?;
    interrupts.conclude(make(arguments))
}

fn make(arguments: &Pack) -> Result<(), Failure> {
    let start = Instant::now();
    let mut printer = Printer::new(arguments.quiet);
    let format = format(arguments)?;
    check_output(&arguments.output)?;
    check_input(&arguments.output, &arguments.kernel)?;
    // Only what runs is packed: the same checks as before a run.
    let inside = image::open(&arguments.kernel)?;
    if inside.configuration.is_none() {
        return Err(Failure::new(format!("{} is packed already", arguments.kernel.display()))
            .advise("give the ELF that `kernel build` made"));
    }
    let read = |error: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read {}: {error}", arguments.kernel.display()))
    };
    let file = File::open(&arguments.kernel).map_err(|error| read(&error))?;
    let kernel = Kernel::new(file).map_err(|error| read(&error))?;
    let name = arguments.output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let options = Options {
        loaders: Loaders { bios: BIOS_LOADER, uefi: UEFI_LOADER },
        command_line: "",
        appliance: Appliance {
            name: &name,
            cpus: 1,
            memory: u32::try_from(inside.usual_memory.as_mebibytes()).unwrap_or(u32::MAX),
        },
    };
    printer.step(format!("writing {}", arguments.output.display()));
    pack::write_file(&arguments.output, format, kernel, &options).map_err(|error| {
        let failure = Failure::new(format!("cannot write {}: {error}", arguments.output.display()));
        match &error {
            pack::Error::Io(source) => {
                write_advice(source).into_iter().fold(failure, Failure::advise)
            }
            _ => failure,
        }
    })?;
    printer.finish();
    let size = fs::metadata(&arguments.output).map_or(0, |metadata| metadata.len());
    printer.line(&format!(
        "{}: {} ({}) in {}",
        arguments.output.display(),
        Size(size),
        format.name(),
        duration(start.elapsed())
    ));
    Ok(())
}

fn format(arguments: &Pack) -> Result<Format, Failure> {
    arguments.format.or_else(|| Format::of_path(&arguments.output)).ok_or_else(|| {
        let known = Format::ALL.map(Format::name).join(", ");
        Failure::new(format!(
            "the name {} does not say which format it has",
            arguments.output.display()
        ))
        .advise(format!("use one of these as the extension or with --format: {known}"))
    })
}
