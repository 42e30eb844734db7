// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where Firecracker finds its files: as they are, or below the root of a jail.
//!
//! The jailer makes devices and a copy of Firecracker below
//! `jail/<name of the executable>/<id>/root` and changes its root to there (docs/jailer.md of
//! Firecracker). Before, the files of the machine are put there: the image as a copy, because
//! others run from it too; disks as hard links, because what is written has to stay. The jail
//! is made anew at each start, since the jailer refuses devices that are there already.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bhojpur_provider::{Error, ErrorKind, Plan, Result};

use crate::config::Jailer;
use crate::files::Directory;
use crate::machine::Files;

/// Firecracker of one instance, started one way or the other.
#[derive(Clone, Debug)]
pub(crate) struct Launch<'a> {
    directory: &'a Directory,
    binary: &'a Path,
    jailer: Option<&'a Jailer>,
}

impl<'a> Launch<'a> {
    /// How `binary` is started for the instance of a directory.
    pub(crate) fn new(
        directory: &'a Directory,
        binary: &'a Path,
        jailer: Option<&'a Jailer>,
    ) -> Self {
        Self { directory, binary, jailer }
    }

    fn id(&self) -> &std::ffi::OsStr {
        self.directory.path().file_name().unwrap_or_default()
    }

    /// The root of the jail, as it is seen from outside.
    fn root(&self) -> PathBuf {
        let name = self.binary.file_name().unwrap_or_default();
        self.directory.jail().join(name).join(self.id()).join("root")
    }

    /// Puts the files where Firecracker finds them, and answers with their names there.
    pub(crate) fn prepare(&self, plan: &Plan) -> Result<Files> {
        let locators = plan.volumes.iter().map(|volume| volume.volume.locator.clone());
        let Some(jailer) = self.jailer else {
            return Ok(Files { kernel: plan.image.locator.clone(), disks: locators.collect() });
        };
        let failed = |error| self.directory.failed(error);
        match fs::remove_dir_all(self.directory.jail()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let root = self.root();
        fs::create_dir_all(&root).map_err(failed)?;
        let own = |path: &Path| chown(path, Some(jailer.uid), Some(jailer.gid)).map_err(failed);
        let kernel = root.join("kernel.elf");
        fs::copy(&plan.image.locator, &kernel).map_err(failed)?;
        fs::set_permissions(&kernel, fs::Permissions::from_mode(0o400)).map_err(failed)?;
        own(&kernel)?;
        let mut disks = Vec::new();
        for (index, locator) in locators.enumerate() {
            let name = format!("/volume{index}.raw");
            self.link(Path::new(&locator), &name)?;
            own(Path::new(&locator))?;
            disks.push(name);
        }
        // Under the name that it has outside, by which the process is known to be ours.
        let log = self.directory.log();
        OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        own(&log)?;
        let inside = root.join(self.directory.path().strip_prefix("/").unwrap_or(&root));
        fs::create_dir_all(inside).map_err(failed)?;
        self.link(&log, &log.to_string_lossy())?;
        Ok(Files { kernel: "/kernel.elf".into(), disks })
    }

    /// Makes a file of this machine a file of the jail.
    pub(crate) fn link(&self, path: &Path, name: &str) -> Result<()> {
        let inside = self.root().join(name.trim_start_matches('/'));
        fs::hard_link(path, &inside).map_err(|error| {
            let message = format!("cannot put {} into the jail", path.display());
            let error = Error::io(message, error).with_kind(ErrorKind::Failed);
            error.advise(
                "images, volumes and instances have to be on one file system for the jailer",
            )
        })
    }

    /// A file that Firecracker makes: its name for Firecracker, and its path for us.
    pub(crate) fn made(&self, name: &str, unjailed: &Path) -> (String, PathBuf) {
        match self.jailer {
            None => (unjailed.to_string_lossy().into_owned(), unjailed.to_owned()),
            Some(_) => (format!("/{name}"), self.root().join(name)),
        }
    }

    /// A file that Firecracker reads: its name for Firecracker.
    pub(crate) fn given(&self, name: &str, path: &Path) -> Result<String> {
        let Some(jailer) = self.jailer else { return Ok(path.to_string_lossy().into_owned()) };
        self.link(path, name)?;
        chown(path, Some(jailer.uid), Some(jailer.gid))
            .map_err(|error| self.directory.failed(error))?;
        Ok(format!("/{name}"))
    }

    /// The socket of the API, for us.
    pub(crate) fn socket(&self) -> PathBuf {
        self.made("api.sock", &self.directory.socket()).1
    }

    /// Who opens the tap device.
    pub(crate) fn owner(&self) -> (u32, u32) {
        let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        self.jailer.map_or_else(own, |jailer| (jailer.uid, jailer.gid))
    }

    /// The command. Paths may be longer than an address of a socket, so that is relative to the
    /// directory, in which the command runs; the log names the directory.
    pub(crate) fn command(&self, payload_max: Option<usize>) -> Command {
        let mut command = match self.jailer {
            None => {
                let mut command = Command::new(self.binary);
                command.arg("--id").arg(self.id()).args(["--api-sock", "api.sock"]);
                command
            }
            Some(jailer) => {
                let mut command = Command::new(&jailer.binary);
                command.arg("--id").arg(self.id()).arg("--exec-file").arg(self.binary);
                command.args(["--uid", &jailer.uid.to_string()]);
                command.args(["--gid", &jailer.gid.to_string()]);
                command.arg("--chroot-base-dir").arg(self.directory.jail());
                command.args(["--", "--api-sock", "/api.sock"]);
                command
            }
        };
        command.arg("--log-path").arg(self.directory.log()).args(["--level", "Info"]);
        if let Some(bytes) = payload_max {
            command.args(["--http-api-max-payload-size", &bytes.to_string()]);
        }
        command.current_dir(self.directory.path());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> String {
        let program = command.get_program().to_string_lossy().into_owned();
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        std::iter::once(program).chain(words).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn commands() {
        let id = "0123456789abcdef0123456789abcdef";
        let directory = Directory::of(Path::new("/instances"), &id.parse().unwrap());
        let binary = Path::new("/opt/firecracker-v1.12");
        let free = Launch::new(&directory, binary, None);
        assert_eq!(
            words(&free.command(None)),
            format!(
                "/opt/firecracker-v1.12 --id {id} --api-sock api.sock \
                 --log-path /instances/{id}/firecracker.log --level Info"
            )
        );
        let jailer = Jailer { binary: "/opt/jailer".into(), uid: 123, gid: 100 };
        let jailed = Launch::new(&directory, binary, Some(&jailer));
        assert_eq!(
            words(&jailed.command(Some(60000))),
            format!(
                "/opt/jailer --id {id} --exec-file /opt/firecracker-v1.12 --uid 123 --gid 100 \
                 --chroot-base-dir /instances/{id}/jail -- --api-sock /api.sock \
                 --log-path /instances/{id}/firecracker.log --level Info \
                 --http-api-max-payload-size 60000"
            )
        );
        let root = format!("/instances/{id}/jail/firecracker-v1.12/{id}/root");
        assert_eq!(jailed.socket(), Path::new(&root).join("api.sock"));
        assert_eq!((free.socket(), jailed.owner()), (directory.socket(), (123, 100)));
    }
}
