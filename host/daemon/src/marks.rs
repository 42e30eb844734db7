// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether volumes are what they were when an instance was saved.
//!
//! A guest that goes on from a snapshot has parts of its file systems in memory. On volumes that
//! were written since, it would read what is no more, and write over what is there. So the time
//! of the last change of each volume is kept with the snapshot. Everybody who writes to a volume
//! changes that time: guests through their monitors, and the daemon.
//!
//! Two things are done to make that exact. A time that is kept is in the past of the disk's
//! clock before the guest goes on, so that no write can have the same. And where a write may be
//! on the disk that has taken its time along into a loss of power, the time is set anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bhojpur_provider::VolumeId;
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::model::{Instance, Mount};
use crate::{Error, Result};

/// Between two looks at the disk's clock.
const INTERVAL: Duration = Duration::from_millis(5);

/// A volume in an instance, and when it was last changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    volume: VolumeId,
    name: String,
    mount_point: String,
    read_only: bool,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl Mark {
    /// Whether it is the same volume at the same place.
    fn is_of(&self, mount: &Mount) -> bool {
        self.volume == mount.volume
            && self.mount_point == mount.mount_point
            && self.read_only == mount.read_only
    }
}

/// When a file was last changed.
fn changed(path: &Path) -> io::Result<(u64, (i64, i64))> {
    let found = fs::metadata(path)?;
    Ok((found.len(), (found.mtime(), found.mtime_nsec())))
}

/// The volumes of an instance as they are now. Nobody may write to them meanwhile.
pub(crate) fn take(home: &Home, mounts: &[Mount]) -> Result<Vec<Mark>> {
    let mark = |mount: &Mount| {
        let path = home.volume(&mount.volume);
        let (size, changed) = changed(&path).map_err(|error| {
            Error::io(format!("cannot look at the volume {:?}", mount.name), &error)
        })?;
        Ok(Mark {
            volume: mount.volume.clone(),
            name: mount.name.clone(),
            mount_point: mount.mount_point.clone(),
            read_only: mount.read_only,
            size,
            changed,
        })
    };
    mounts.iter().map(mark).collect()
}

/// Waits until a write would have another time than the marks have: file systems count it in
/// steps of some milliseconds, or of a second. `scratch` is a directory on their disk.
pub(crate) async fn outlast(marks: &[Mark], scratch: &Path) -> Result<()> {
    let Some(latest) = marks.iter().map(|mark| mark.changed).max() else { return Ok(()) };
    let path = scratch.join("clock");
    let failed = |error| Error::io(format!("cannot write {}", path.display()), &error);
    loop {
        fs::write(&path, "x").map_err(failed)?;
        let (_, now) = changed(&path).map_err(failed)?;
        fs::remove_file(&path).map_err(failed)?;
        // A volume from the future, of a clock that was set back: no write comes near its time.
        let future = latest.0.saturating_sub(now.0) > 2;
        if now > latest || future {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Refuses to let an instance go on with volumes that are not those of the marks; `marks` is
/// nothing where an older version saved it.
pub(crate) fn check(home: &Home, instance: &Instance, marks: Option<&[Mark]>) -> Result<()> {
    let mounts = instance.mounts.as_slice();
    let refuse = |what: String, advice: &str| {
        let anew = format!("or start it anew: kernctl start {}", instance.name);
        Err(Error::conflict(what).advise(format!("{advice}, {anew}")))
    };
    let marks = match marks {
        Some(marks) => marks,
        None if mounts.is_empty() => return Ok(()),
        None => {
            let what = "an older version made the snapshot, and did not note how its volumes were";
            return refuse(what.to_owned(), "make another one");
        }
    };
    if marks.len() != mounts.len() || !marks.iter().all(|mark| mounts.iter().any(|m| mark.is_of(m)))
    {
        let what =
            format!("the snapshot was made with {}, and the instance has others", list(marks));
        return refuse(what, "attach and detach volumes until they are the same");
    }
    let now = take(home, mounts)?;
    match now.iter().find(|mark| !marks.contains(mark)) {
        None => Ok(()),
        Some(changed) => {
            let what = format!(
                "the volume {:?} was written after the snapshot was made: a guest that went on \
                 from there would destroy what is in it",
                changed.name
            );
            refuse(what, "put its disk.raw of that moment back, with its time (cp -p)")
        }
    }
}

/// As -v has them.
fn list(marks: &[Mark]) -> String {
    let text = |mark: &Mark| {
        let read_only = if mark.read_only { ":ro" } else { "" };
        format!("{}:{}{read_only}", mark.name, mark.mount_point)
    };
    match marks {
        [] => "no volumes".to_owned(),
        marks => marks.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}

/// Says that a volume may have been written, so that it stays said after a loss of power.
pub(crate) fn touch(disk: &Path) -> Result<()> {
    let touched = || -> io::Result<()> {
        let file = File::options().write(true).open(disk)?;
        file.set_modified(SystemTime::now())?;
        file.sync_all()
    };
    touched().map_err(|error| Error::io(format!("cannot mark {}", disk.display()), &error))
}
