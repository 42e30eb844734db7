// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The directory of an instance, and what lies in it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bhojpur_provider::process::Monitor;
use bhojpur_provider::{Error, InstanceId, Plan, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// As much of the control channel's end as decides how a run ended: a panic with its frames
/// takes a few KiB.
const CONTROL_TAIL: u64 = 256 * 1024;

/// The files of one instance. All of them but the log belong to its last start.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    pub(crate) fn of(parent: &Path, id: &InstanceId) -> Self {
        Self { directory: parent.join(id.as_str()) }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The plan of the last `create` or `start`.
    fn plan_path(&self) -> PathBuf {
        self.directory.join("plan.json")
    }

    /// All that the program ever said, written by QEMU.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// Where people type: a FIFO, so that who only looks on takes nothing away.
    pub(crate) fn console(&self) -> PathBuf {
        self.directory.join("console.in")
    }

    /// The other end of QEMU's pipe; the output is in the log.
    fn console_output(&self) -> PathBuf {
        self.directory.join("console.out")
    }

    /// What QEMU's pipe is called by.
    pub(crate) fn console_stem(&self) -> PathBuf {
        self.directory.join("console")
    }

    /// QEMU's machine protocol.
    pub(crate) fn qmp(&self) -> PathBuf {
        self.directory.join("qmp.sock")
    }

    /// What the kernel said, written by QEMU.
    pub(crate) fn control(&self) -> PathBuf {
        self.directory.join("control")
    }

    /// The control channel of the run before, while another one is being started.
    fn earlier_control(&self) -> PathBuf {
        self.directory.join("control.earlier")
    }

    /// The configuration record that the guest finds.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.join("config")
    }

    /// There when the run was ended by us.
    pub(crate) fn killed(&self) -> PathBuf {
        self.directory.join("killed")
    }

    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::of(&self.directory)
    }

    pub(crate) fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// Makes the directory with its plan and an empty log. What is there already is kept.
    pub(crate) fn make(&self, plan: &Plan) -> Result<()> {
        let fail = |error| Error::io(format!("cannot make {}", self.directory.display()), error);
        let fresh = !self.exists();
        let made = fs::create_dir_all(&self.directory).and_then(|()| {
            let log = File::options().create(true).append(true).open(self.log());
            log.and_then(|_| self.write_plan(plan))
        });
        if made.is_err() && fresh {
            // Nothing is left of an instance that could not be made: no room, no rights.
            let _ = fs::remove_dir_all(&self.directory);
        }
        made.map_err(fail)
    }

    fn write_plan(&self, plan: &Plan) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(plan).map_err(io::Error::other)?;
        write_whole(&self.plan_path(), &text)
    }

    /// Keeps what a start needs, and puts away what the run before left.
    pub(crate) fn prepare_start(&self, plan: &Plan, record: &[u8]) -> Result<()> {
        let prepare = || {
            self.write_plan(plan)?;
            write_whole(&self.configuration(), record)?;
            for path in [self.killed(), self.console(), self.console_output(), self.qmp()] {
                remove_if_there(&path)?;
            }
            mknodat(CWD, self.console(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            symlink("/dev/null", self.console_output())?;
            match fs::rename(self.control(), self.earlier_control()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        };
        prepare().map_err(|error| {
            Error::io(format!("cannot prepare {}", self.directory.display()), error)
        })
    }

    /// The start came to nothing: what the run before left counts again.
    pub(crate) fn undo_start(&self) {
        let _ = fs::rename(self.earlier_control(), self.control());
    }

    /// The start succeeded.
    pub(crate) fn settle_start(&self) {
        let _ = fs::remove_file(self.earlier_control());
    }

    /// Whether it was ever started: the monitor's number is written then, or it has spoken.
    pub(crate) fn was_started(&self) -> bool {
        self.started_at().is_some() || self.control().exists() || self.earlier_control().exists()
    }

    /// When its monitor was last started: its number is written then and never changed.
    pub(crate) fn started_at(&self) -> Option<SystemTime> {
        changed(&self.directory.join("monitor.pid"))
    }

    /// The plan; nothing in a half-made directory.
    pub(crate) fn plan(&self) -> Option<Plan> {
        serde_json::from_slice(&fs::read(self.plan_path()).ok()?).ok()
    }

    /// The end of what the kernel said, from the beginning of a line on.
    pub(crate) fn control_tail(&self) -> Vec<u8> {
        tail(&self.control(), CONTROL_TAIL).unwrap_or_default()
    }

    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(format!("cannot remove {}", self.directory.display()), error))
            }
            _ => Ok(()),
        }
    }
}

/// The instances that have a directory, whatever is in it.
pub(crate) fn all(parent: &Path) -> Result<Vec<InstanceId>> {
    let fail = |error| Error::io(format!("cannot list {}", parent.display()), error);
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fail)?;
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(id.filter(|_| is_directory));
    }
    found.sort();
    Ok(found)
}

/// When a file was last changed.
pub(crate) fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Writes a file that appears whole or not at all, even when the machine is switched off.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(parent)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    if start > 0 {
        let line = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
        bytes.drain(..line);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_begins_with_a_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control");
        fs::write(&path, "@exit 1\n@log 1 info x\n@exit 2\n").unwrap();
        assert_eq!(tail(&path, 1000).unwrap(), fs::read(&path).unwrap());
        assert_eq!(tail(&path, 12).unwrap(), b"@exit 2\n");
        assert_eq!(tail(&path, 4).unwrap(), b"");
        assert!(tail(&directory.path().join("none"), 4).is_err());
    }

    #[test]
    fn only_directories_with_ids_are_instances() {
        let directory = tempfile::tempdir().unwrap();
        let parent = directory.path();
        assert_eq!(all(&parent.join("none")).unwrap(), []);
        let id = InstanceId::from_bytes(&[7; 16]);
        fs::create_dir(parent.join(id.as_str())).unwrap();
        fs::create_dir(parent.join("lost+found")).unwrap();
        fs::write(parent.join("ab".repeat(16)), "a file").unwrap();
        assert_eq!(all(parent).unwrap(), [id]);
    }

    #[test]
    fn a_failed_start_gives_the_earlier_outcome_back() {
        let directory = tempfile::tempdir().unwrap();
        let id = InstanceId::from_bytes(&[1; 16]);
        let files = Files::of(directory.path(), &id);
        assert!(!files.exists() && !files.was_started());
        let plan = crate::plan::tests::plan(directory.path());
        files.make(&plan).unwrap();
        files.make(&plan).unwrap();
        assert!(files.exists() && !files.was_started() && files.log().exists());
        assert_eq!(files.plan(), Some(plan.clone()));
        fs::write(files.control(), "@exit 3\n").unwrap();
        files.prepare_start(&plan, b"record").unwrap();
        assert!(files.was_started() && files.control_tail().is_empty());
        files.undo_start();
        assert_eq!(files.control_tail(), b"@exit 3\n");
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(!files.exists());
    }
}
