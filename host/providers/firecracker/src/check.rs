// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the files of a plan are what they should be.

use std::io;
use std::path::PathBuf;

use bhojpur_formats::image::KernelFile;
use bhojpur_monitor::VolumeError;
use bhojpur_monitor::volume::{Volume, check_all};
use bhojpur_provider::{Attachment, Error, ErrorKind, Plan, Result};

/// That the image is one, whole, and fits into the memory.
pub(crate) fn image(plan: &Plan) -> Result<()> {
    let path = PathBuf::from(&plan.image.locator);
    let what = format!("the image {}", plan.image.id.short());
    if plan.image.locator.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, format!("{what} is nowhere")));
    }
    path.metadata().map_err(|error| Error::io(&what, error))?;
    let refused = |reason: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Invalid, format!("{what} cannot be booted: {reason}"))
            .advise("build it again: kernctl build")
    };
    let file = KernelFile::open(&path).map_err(|error| refused(&error))?;
    let summary = file.summary().map_err(|error| refused(&error))?;
    if file.config().is_none() {
        return Err(refused(&"there is no program in it"));
    }
    let least = summary.memory_needed.div_ceil(1 << 20);
    if plan.memory_mib < least {
        let message = format!("{} MiB of memory are too few for {what}", plan.memory_mib);
        return Err(Error::new(ErrorKind::Invalid, message)
            .advise(format!("it needs {least} MiB and what its program uses")));
    }
    Ok(())
}

/// That each volume is a file system that nobody else writes to, at a place of its own.
pub(crate) fn volumes(plan: &Plan) -> Result<()> {
    let volumes = plan.volumes.iter().map(volume).collect::<Result<Vec<_>>>()?;
    check_all(&volumes).map_err(translated)
}

fn volume(attachment: &Attachment) -> Result<Volume> {
    // As the command line would read it, which is where places are checked.
    let place = format!("volume:{}", attachment.mount_point);
    let parsed: Volume = place.parse().map_err(translated)?;
    Ok(Volume {
        path: PathBuf::from(&attachment.volume.locator),
        target: parsed.target,
        read_only: attachment.read_only,
        serial: Some(attachment.volume.id.as_str()[..20].to_owned()),
    })
}

fn translated(error: VolumeError) -> Error {
    let kind = match &error {
        VolumeError::InUse(_) => ErrorKind::Conflict,
        VolumeError::Open(_, error) if error.kind() == io::ErrorKind::NotFound => {
            ErrorKind::NotFound
        }
        _ => ErrorKind::Invalid,
    };
    let advice = error.advice();
    let error = Error::new(kind, error);
    match advice {
        Some(advice) => error.advise(advice),
        None => error,
    }
}
