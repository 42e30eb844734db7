// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tools of a language may touch when they work on somebody else's sources.
//!
//! Compilers read the files that sources name: `#include` in assembler and C, `//go:embed` of a
//! module that go.mod replaces by a directory elsewhere. So they get a Landlock domain
//! (landlock(7)) in which there are the system's programs, libraries and headers, the language's
//! own installation, and the directories of the build. The kernel passes it on to all that they
//! start, which can neither leave it nor trace or signal anything outside of it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

/// What programs read wherever they run: themselves, their libraries, and how to reach the
/// network. Nothing of it is a secret of the machine.
const SYSTEM: &[&str] = &[
    "/bin",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/sbin",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
    "/usr",
];
/// Devices without a state of their own.
const DEVICES: &[&str] = &["/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// The files and directories that tools find, beside what programs need anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// What may be read and executed, with all below it; what is not there is left out.
    pub read: Vec<PathBuf>,
    /// What may be changed as well.
    pub write: Vec<PathBuf>,
}

impl Sandbox {
    /// Starts a command that finds nothing else. Where the kernel knows no Landlock it is started
    /// all the same: see [`is_enforced`].
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // The domain is a thread's, and is passed on to what it starts.
        confined(|| {
            enter(self)?;
            command.spawn()
        })
    }

    fn readable(&self) -> impl Iterator<Item = &Path> {
        SYSTEM.iter().map(Path::new).chain(self.read.iter().map(PathBuf::as_path))
    }

    fn writable(&self) -> impl Iterator<Item = &Path> {
        DEVICES.iter().map(Path::new).chain(self.write.iter().map(PathBuf::as_path))
    }
}

/// Whether the kernel of this machine holds tools in a sandbox.
#[must_use]
pub fn is_enforced() -> bool {
    confined(|| enter(&Sandbox::default())).unwrap_or(false)
}

/// Does it on a thread of its own.
fn confined<T: Send>(what: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("sandbox".to_owned()).spawn_scoped(scope, what)?;
        thread.join().map_err(|_| io::Error::other("the sandbox's thread ended too early"))?
    })
}

/// Confines the calling thread; says whether the kernel does so at all.
#[cfg(target_os = "linux")]
fn enter(sandbox: &Sandbox) -> io::Result<bool> {
    use landlock::{
        ABI, Access as _, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
        RulesetError, RulesetStatus, Scope, path_beneath_rules,
    };

    // What an older kernel does not know of it is left out.
    const NEWEST: ABI = ABI::V6;
    let restrict = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(sandbox.readable(), AccessFs::from_read(NEWEST)))?
            .add_rules(path_beneath_rules(sandbox.writable(), AccessFs::from_all(NEWEST)))?
            .restrict_self()
    };
    let status = restrict().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(not(target_os = "linux"))]
fn enter(_: &Sandbox) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Output, Stdio};

    use super::*;

    fn shell(sandbox: &Sandbox, script: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        sandbox.spawn(&mut command).unwrap().wait_with_output().unwrap()
    }

    #[test]
    fn tools_find_what_they_were_given_and_nothing_else() {
        if !is_enforced() {
            eprintln!("sandbox: SKIPPED: this kernel has no Landlock");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        for name in ["open", "given", "secret"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), name).unwrap();
        }
        let sandbox = Sandbox { read: vec![path("given")], write: vec![path("open")] };
        let at = place.path().display();
        let read = shell(&sandbox, &format!("cat {at}/open/file {at}/given/file"));
        assert_eq!(read.stdout, b"opengiven");
        for script in [
            format!("cat {at}/secret/file"),
            format!("ls {at}/secret"),
            format!("ln -s ../secret {at}/open/link; cat {at}/open/link/file"),
            format!("echo x > {at}/given/file"),
            format!("mv {at}/given/file {at}/open/moved"),
            "cat /etc/passwd".to_owned(),
            "cat /proc/self/environ".to_owned(),
            format!("kill -0 {}", std::process::id()),
        ] {
            let refused = shell(&sandbox, &script);
            assert!(!refused.status.success(), "{script}");
            assert!(refused.stdout.is_empty(), "{script}");
        }
        let written = shell(
            &sandbox,
            &format!(
                "echo x > {at}/open/new && mv {at}/open/new {at}/open/newer && echo x > /dev/null"
            ),
        );
        assert!(written.status.success(), "{written:?}");
        // We ourselves stay free.
        assert_eq!(fs::read(path("secret").join("file")).unwrap(), b"secret");
        assert_eq!(fs::read(path("given").join("file")).unwrap(), b"given");
    }
}
