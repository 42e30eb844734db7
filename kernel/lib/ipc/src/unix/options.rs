// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Socket options: socket(7) and unix(7).

use super::node::{Node, Phase};
use core::sync::atomic::Ordering;
use kio::{Errno, Result};

const SOL_SOCKET: i32 = 1;
const SO_DEBUG: i32 = 1;
const SO_REUSEADDR: i32 = 2;
const SO_DONTROUTE: i32 = 5;
const SO_BROADCAST: i32 = 6;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_KEEPALIVE: i32 = 9;
const SO_PRIORITY: i32 = 12;
const SO_LINGER: i32 = 13;
const SO_REUSEPORT: i32 = 15;
const SO_PASSCRED: i32 = 16;
const SO_PEERCRED: i32 = 17;
const SO_ACCEPTCONN: i32 = 30;

/// `net.core.wmem_max`; the kernel doubles what a program asks for.
const MAX_BUFFER: usize = 212_992;
const MIN_BUFFER: usize = 4608;

fn store(value: &mut [u8], bytes: &[u8]) -> Result<usize> {
    let count = bytes.len().min(value.len());
    value[..count].copy_from_slice(&bytes[..count]);
    Ok(count)
}

pub(super) fn read(node: &Node, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let state = node.state.lock();
    let number = match name {
        SO_PEERCRED => return store(value, &state.peer_credentials.encode()),
        SO_LINGER => return store(value, &[0; 8]),
        SO_SNDBUF | SO_RCVBUF => {
            i32::try_from(node.send_buffer.load(Ordering::Relaxed)).unwrap_or(i32::MAX)
        }
        SO_PASSCRED => i32::from(state.pass_credentials),
        SO_ACCEPTCONN => i32::from(matches!(state.phase, Phase::Listening(_))),
        SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_KEEPALIVE | SO_PRIORITY
        | SO_REUSEPORT => 0,
        _ => return Err(Errno::ENOPROTOOPT),
    };
    store(value, &number.to_ne_bytes())
}

pub(super) fn write(node: &Node, level: i32, name: i32, value: &[u8]) -> Result<()> {
    if level != SOL_SOCKET {
        return Err(Errno::EOPNOTSUPP);
    }
    let bytes = value.get(..4).and_then(|v| v.try_into().ok()).ok_or(Errno::EINVAL)?;
    let number = i32::from_ne_bytes(bytes);
    match name {
        SO_PASSCRED => node.state.lock().pass_credentials = number != 0,
        SO_SNDBUF => {
            // A negative number is a huge one, as in Linux.
            let asked = (number.cast_unsigned() as usize).min(MAX_BUFFER);
            node.send_buffer.store((asked * 2).max(MIN_BUFFER), Ordering::Relaxed);
        }
        SO_PEERCRED | SO_ACCEPTCONN => return Err(Errno::ENOPROTOOPT),
        SO_DEBUG | SO_REUSEADDR | SO_DONTROUTE | SO_BROADCAST | SO_RCVBUF | SO_KEEPALIVE
        | SO_PRIORITY | SO_LINGER | SO_REUSEPORT => {}
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}
