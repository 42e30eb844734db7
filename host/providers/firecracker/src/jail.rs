// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where Firecracker finds its files: as they are, or below the root of a jail.
//!
//! The jailer makes devices and a copy of Firecracker below
//! `jail/<name of the executable>/<id>/root` and changes its root to there (docs/jailer.md of
//! Firecracker). Before, the files of the machine are put there: the image as a copy, because
//! others run from it too; disks as hard links, because what is written has to stay. The jail
//! is made anew at each start, since the jailer refuses devices that are there already.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bhojpur_provider::{Error, ErrorKind, Plan, Result};

use crate::config::Jailer;
use crate::files::Directory;
use crate::machine::Files;

/// Why a Firecracker cannot run in a jail, and what to do.
pub(crate) const LINKED: [&str; 2] = [
    "is linked to shared libraries, which are not in a jail",
    "take the binary of Firecracker's release, which is linked statically, or run without a jailer",
];

/// Whether a program is an ELF that needs a dynamic linker: it has a program header PT_INTERP
/// (elf(5)). Its execve(2) in a jail would fail with nothing but ENOENT.
pub(crate) fn is_linked_dynamically(program: &Path) -> bool {
    const HEADERS_MAX: usize = 64;
    const PT_INTERP: u32 = 3;
    let look = || -> Option<bool> {
        let mut file = fs::File::open(program).ok()?;
        let mut head = [0; 64];
        file.read_exact(&mut head).ok()?;
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let start = u64::from_le_bytes(head[32..40].try_into().ok()?);
        let half = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let (size, count) = (half(54), half(56).min(HEADERS_MAX));
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut headers = vec![0; size * count];
        file.read_exact(&mut headers).ok()?;
        let interpreter = PT_INTERP.to_le_bytes();
        Some(headers.chunks(size.max(4)).any(|header| header.starts_with(&interpreter)))
    };
    look().unwrap_or(false)
}

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
    fn what_needs_a_dynamic_linker_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        // An ELF header that names two program headers behind it, of which the second decides.
        let program = |kind: u8| {
            let mut bytes = vec![0; 64 + 2 * 56];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (bytes[32], bytes[54], bytes[56]) = (64, 56, 2);
            (bytes[64], bytes[64 + 56]) = (1, kind);
            bytes
        };
        for (bytes, linked) in [
            (program(3), true),
            (program(1), false),
            (program(3)[..150].to_vec(), false),
            (b"#!/bin/sh\n".to_vec(), false),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(is_linked_dynamically(&path), linked);
        }
        assert!(!is_linked_dynamically(&directory.path().join("none")));
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
