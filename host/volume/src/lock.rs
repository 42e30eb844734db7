// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who may have an image open.
//!
//! Between users of this crate flock(2) decides. QEMU locks single bytes with
//! F_OFD_SETLK: byte 101 says that somebody writes ("Image locking" of its manual).

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::{Access, Error, Result};

/// Locks `file` until it is closed.
pub(crate) fn lock(path: &Path, file: &File, access: Access) -> Result<()> {
    let result = match access {
        Access::Read => file.try_lock_shared(),
        Access::Write => file.try_lock(),
    };
    match result {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::busy(path)),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => {
            return Err(Error::io(format_args!("cannot lock {}", path.display()), error));
        }
    }
    against_monitors(path, file, access)
}

#[cfg(target_os = "linux")]
fn against_monitors(path: &Path, file: &File, access: Access) -> Result<()> {
    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    const WRITES: i64 = 101;
    // A length of 0 reaches to the end.
    let range = |kind: i32, start, len| libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    let result = match access {
        Access::Write => fcntl(file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK, 0, 0))),
        Access::Read => {
            let mut found = range(libc::F_WRLCK, WRITES, 1);
            let result = fcntl(file, FcntlArg::F_OFD_GETLK(&mut found));
            if result.is_ok() && i32::from(found.l_type) != libc::F_UNLCK {
                return Err(Error::busy(path));
            }
            result
        }
    };
    match result {
        Ok(_) | Err(Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(Error::busy(path)),
        Err(error) => Err(Error::io(format_args!("cannot lock {}", path.display()), error.into())),
    }
}

#[cfg(not(target_os = "linux"))]
fn against_monitors(_path: &Path, _file: &File, _access: Access) -> Result<()> {
    Ok(())
}
