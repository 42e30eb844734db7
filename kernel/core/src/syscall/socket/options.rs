// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Socket options: those of every socket here, the rest are the socket's own.

use super::socket_of;
use crate::files::OpenFile;
use crate::syscall::Args;
use crate::syscall::fd::usable;
use crate::thread::Thread;
use crate::user;
use core::time::Duration;
use kio::{Errno, Result, Socket};

const SOL_SOCKET: i32 = 1;
const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_RCVTIMEO_OLD: i32 = 20;
const SO_SNDTIMEO_OLD: i32 = 21;
const SO_ACCEPTCONN: i32 = 30;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const SO_RCVTIMEO_NEW: i32 = 66;
const SO_SNDTIMEO_NEW: i32 = 67;
/// Longest value that a socket looks at.
const VALUE_MAX: usize = 512;
/// Bytes of `struct timeval`.
const TIMEVAL_SIZE: usize = 16;

/// Whether an option is a timeout, and of which direction.
fn timeout_direction(name: i32) -> Option<bool> {
    match name {
        SO_RCVTIMEO_OLD | SO_RCVTIMEO_NEW => Some(false),
        SO_SNDTIMEO_OLD | SO_SNDTIMEO_NEW => Some(true),
        _ => None,
    }
}

fn set_timeout(open: &OpenFile, send: bool, value: &[u8]) -> Result<()> {
    let bytes: &[u8; TIMEVAL_SIZE] = value.first_chunk().ok_or(Errno::EINVAL)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        i64::from_ne_bytes(word)
    };
    let (seconds, micros) = (word(0), word(8));
    if !(0..1_000_000).contains(&micros) {
        return Err(Errno::EDOM);
    }
    let timeout = match (seconds, micros) {
        (0, 0) => None,
        // Linux: a time that is over before it began.
        (..0, _) => Some(Duration::ZERO),
        _ => Some(Duration::new(seconds as u64, micros as u32 * 1000)),
    };
    open.socket.set_timeout(send, timeout);
    Ok(())
}

pub(in crate::syscall) fn setsockopt(thread: &Thread, a: Args) -> Result<u64> {
    let (level, name) = (a.i32(1), a.i32(2));
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let len = usize::try_from(a.i32(4)).map_err(|_| Errno::EINVAL)?;
    let mut value = [0; VALUE_MAX];
    let value = &mut value[..len.min(VALUE_MAX)];
    user::read(a.u64(3), value)?;
    if level == SOL_SOCKET {
        if let Some(send) = timeout_direction(name) {
            set_timeout(&open, send, value)?;
            return Ok(0);
        }
        if matches!(name, SO_TYPE | SO_ERROR | SO_ACCEPTCONN | SO_PROTOCOL | SO_DOMAIN) {
            return Err(Errno::ENOPROTOOPT);
        }
    }
    socket.set_option(level, name, value)?;
    Ok(0)
}

/// The options of SOL_SOCKET that need no help from the socket's family.
fn common(open: &OpenFile, socket: &dyn Socket, name: i32, value: &mut [u8]) -> Option<usize> {
    let number = match name {
        SO_TYPE => i32::from(socket.socket_type()),
        SO_DOMAIN => i32::from(socket.domain()),
        SO_PROTOCOL => i32::from(socket.protocol()),
        SO_ERROR => socket.take_error().map_or(0, |error| i32::from(error.number())),
        _ => return timeout_direction(name).map(|send| timeout(open, send, value)),
    };
    Some(copy(&number.to_ne_bytes(), value))
}

fn timeout(open: &OpenFile, send: bool, value: &mut [u8]) -> usize {
    let timeout = open.socket.timeout(send).unwrap_or(Duration::ZERO);
    let mut bytes = [0; TIMEVAL_SIZE];
    bytes[..8].copy_from_slice(&timeout.as_secs().to_ne_bytes());
    bytes[8..].copy_from_slice(&u64::from(timeout.subsec_micros()).to_ne_bytes());
    copy(&bytes, value)
}

fn copy(bytes: &[u8], value: &mut [u8]) -> usize {
    let count = bytes.len().min(value.len());
    value[..count].copy_from_slice(&bytes[..count]);
    count
}

fn read_option(
    open: &OpenFile,
    socket: &dyn Socket,
    level: i32,
    name: i32,
    value: &mut [u8],
) -> Result<usize> {
    let known = (level == SOL_SOCKET).then(|| common(open, socket, name, value)).flatten();
    if let Some(count) = known {
        return Ok(count);
    }
    match socket.option(level, name, value) {
        // A family without listeners.
        Err(Errno::ENOPROTOOPT) if (level, name) == (SOL_SOCKET, SO_ACCEPTCONN) => {
            Ok(copy(&0i32.to_ne_bytes(), value))
        }
        result => result,
    }
}

pub(in crate::syscall) fn getsockopt(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    let socket = socket_of(&open)?;
    let len = user::read_u32(a.u64(4))?.cast_signed();
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let mut value = [0; VALUE_MAX];
    let value = &mut value[..len.min(VALUE_MAX)];
    let count = read_option(&open, socket, a.i32(1), a.i32(2), value)?.min(value.len());
    user::write(a.u64(3), &value[..count])?;
    user::write_u32(a.u64(4), count as u32)?;
    Ok(0)
}
