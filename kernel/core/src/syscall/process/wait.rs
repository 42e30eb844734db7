// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for children: wait4(2), waitid(2).

use super::super::{Args, time};
use super::pidfd;
use crate::family::{self, Ended, Kind, Which, Wish};
use crate::thread::Thread;
use crate::{user, wait};
use abi::control::Exit;
use core::sync::atomic::Ordering;
use kio::{Errno, Events, Result};
use ksignal::Signal;

const WNOHANG: u32 = 1;
/// Stopped children too; there are none.
const WUNTRACED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x100_0000;
const WNOTHREAD: u32 = 0x2000_0000;
const WALL: u32 = 0x4000_0000;
const WCLONE: u32 = 0x8000_0000;

fn kind(options: u32) -> Kind {
    match (options & WALL != 0, options & WCLONE != 0) {
        (true, _) => Kind::Both,
        (false, true) => Kind::Cloned,
        (false, false) => Kind::Forked,
    }
}

/// A child that has ended; `None` when there is none yet and `options` say not to wait.
fn wait_for(thread: &Thread, which: Which, options: u32) -> Result<Option<Ended>> {
    let wish = Wish {
        which,
        kind: kind(options),
        keep: options & WNOWAIT != 0,
        ends: options & WEXITED != 0,
    };
    let process = &thread.process;
    if options & WNOHANG != 0 {
        return match family::collect(process, &wish) {
            Ok(ended) => Ok(Some(ended)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error),
        };
    }
    let collect = || family::collect(process, &wish);
    wait::wait_on_all(&process.changed, Events::READABLE, None, collect).map(Some)
}

/// The status word of wait(2).
fn status_word(exit: Exit) -> u32 {
    match exit {
        Exit::Status(status) => u32::from(status) << 8,
        Exit::Signal(number) => u32::from(number),
    }
}

fn own_group(thread: &Thread) -> u32 {
    thread.process.group.load(Ordering::Relaxed)
}

pub(in super::super) fn wait4(thread: &Thread, a: Args) -> Result<u64> {
    let (pid, options) = (a.i32(0), a.u32(2));
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | WNOTHREAD | WALL | WCLONE) != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid {
        1.. => Which::Process(pid.unsigned_abs()),
        0 => Which::Group(own_group(thread)),
        -1 => Which::Any,
        i32::MIN => return Err(Errno::ESRCH),
        _ => Which::Group(pid.unsigned_abs()),
    };
    let Some(ended) = wait_for(thread, which, options | WEXITED)? else { return Ok(0) };
    if a.u64(1) != 0 {
        user::write_u32(a.u64(1), status_word(ended.exit))?;
    }
    if a.u64(3) != 0 {
        time::write_usage(a.u64(3), ended.cpu_time, 0)?;
    }
    Ok(u64::from(ended.pid))
}

/// What is told of a child goes out in any case: zeroes where there is none.
pub(in super::super) fn waitid(thread: &Thread, a: Args) -> Result<u64> {
    let result = wait_by_id(thread, a);
    let ended = result.as_ref().ok().and_then(Option::as_ref);
    if a.u64(2) != 0 {
        let info = ended.map(|ended| ended.info(Signal::SIGCHLD).encode());
        user::write(a.u64(2), &info.unwrap_or([0; 128])[..48])?;
    }
    if let Some(ended) = ended.filter(|_| a.u64(4) != 0) {
        time::write_usage(a.u64(4), ended.cpu_time, 0)?;
    }
    result.map(|_| 0)
}

fn wait_by_id(thread: &Thread, a: Args) -> Result<Option<Ended>> {
    const P_ALL: u32 = 0;
    const P_PID: u32 = 1;
    const P_PGID: u32 = 2;
    const P_PIDFD: u32 = 3;
    let (id, options) = (a.i32(1), a.u32(3));
    let known = WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | WNOTHREAD | WALL | WCLONE;
    if options & !known != 0 || options & (WEXITED | WUNTRACED | WCONTINUED) == 0 {
        return Err(Errno::EINVAL);
    }
    let mut patient = true;
    let which = match a.u32(0) {
        P_ALL => Which::Any,
        P_PID if id > 0 => Which::Process(id.unsigned_abs()),
        P_PGID if id > 0 => Which::Group(id.unsigned_abs()),
        P_PIDFD => {
            let (process, nonblocking) = pidfd::process_of(thread, id)?;
            patient = patient && !nonblocking;
            Which::Process(process.pid)
        }
        P_PGID if id == 0 => Which::Group(own_group(thread)),
        _ => return Err(Errno::EINVAL),
    };
    let hang = if patient { 0 } else { WNOHANG };
    let ended = wait_for(thread, which, options | hang)?;
    if ended.is_none() && !patient && options & WNOHANG == 0 {
        return Err(Errno::EAGAIN);
    }
    Ok(ended)
}
