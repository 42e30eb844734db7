// SPDX-License-Identifier: Apache-2.0 OR MIT
//! User and group ids and capabilities, of the calling thread alone.

use super::super::Args;
use crate::credentials::{Change, Credentials, GROUPS_MAX, Ids};
use crate::sched;
use crate::thread::Thread;
use crate::user;
use alloc::vec::Vec;
use kio::{Errno, Result};
use linux_raw_sys::general as nr;

/// One of the ids of the calling thread.
pub(in super::super) fn id(thread: &Thread, of: impl Fn(&Credentials) -> u32) -> Result<u64> {
    Ok(u64::from(of(&thread.credentials.lock())))
}

/// getresuid(2), getresgid(2).
pub(in super::super) fn getresid(
    thread: &Thread,
    a: Args,
    kind: impl Fn(&Credentials) -> Ids,
) -> Result<u64> {
    let ids = kind(&thread.credentials.lock());
    let values = [ids.real, ids.effective, ids.saved];
    for (i, value) in values.into_iter().enumerate() {
        user::write_u32(a.u64(i), value)?;
    }
    Ok(0)
}

/// setuid(2), setgid(2) and their kin.
pub(in super::super) fn set_ids(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    let change = match number {
        nr::__NR_setuid | nr::__NR_setgid => Change::One(a.u32(0)),
        nr::__NR_setreuid | nr::__NR_setregid => Change::Two(a.u32(0), a.u32(1)),
        _ => Change::Three([a.u32(0), a.u32(1), a.u32(2)]),
    };
    let mut credentials = thread.credentials.lock();
    match number {
        nr::__NR_setuid | nr::__NR_setreuid | nr::__NR_setresuid => credentials.change_user(change),
        _ => credentials.change_group(change),
    }
    .map(|()| 0)
}

/// setfsuid(2).
pub(in super::super) fn setfsuid(thread: &Thread, a: Args) -> Result<u64> {
    Ok(u64::from(thread.credentials.lock().set_filesystem_user(a.u32(0))))
}

/// setfsgid(2).
pub(in super::super) fn setfsgid(thread: &Thread, a: Args) -> Result<u64> {
    Ok(u64::from(thread.credentials.lock().set_filesystem_group(a.u32(0))))
}

pub(in super::super) fn getgroups(thread: &Thread, a: Args) -> Result<u64> {
    let groups = thread.credentials.lock().groups.clone();
    let room = usize::try_from(a.i32(0)).map_err(|_| Errno::EINVAL)?;
    if room != 0 {
        if room < groups.len() {
            return Err(Errno::EINVAL);
        }
        let bytes: Vec<u8> = groups.iter().flat_map(|group| group.to_le_bytes()).collect();
        user::write(a.u64(1), &bytes)?;
    }
    Ok(groups.len() as u64)
}

pub(in super::super) fn setgroups(thread: &Thread, a: Args) -> Result<u64> {
    thread.credentials.lock().may_set_groups()?;
    let count = a.u32(0) as usize;
    if count > GROUPS_MAX {
        return Err(Errno::EINVAL);
    }
    let bytes = user::read_vec(a.u64(1), count * 4, GROUPS_MAX * 4)?;
    let mut groups = Vec::new();
    groups.try_reserve_exact(count).map_err(|_| Errno::ENOMEM)?;
    let (words, _) = bytes.as_chunks::<4>();
    groups.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
    if groups.contains(&u32::MAX) {
        return Err(Errno::EINVAL);
    }
    groups.sort_unstable();
    thread.credentials.lock().groups = groups;
    Ok(0)
}

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// Halves of 32 bits in which capabilities come with the version that the
/// header names; a version that is not known is replaced by the newest.
fn halves(header: u64) -> Result<Option<usize>> {
    match user::read_u32(header)? {
        VERSION_1 => Ok(Some(1)),
        VERSION_2 | VERSION_3 => Ok(Some(2)),
        _ => user::write_u32(header, VERSION_3).map(|()| None),
    }
}

/// capget(2).
pub(in super::super) fn capget(thread: &Thread, a: Args) -> Result<u64> {
    let Some(halves) = halves(a.u64(0))? else {
        return if a.u64(1) == 0 { Ok(0) } else { Err(Errno::EINVAL) };
    };
    let target = match user::read_u32(a.u64(0) + 4)? {
        pid if pid > i32::MAX as u32 => return Err(Errno::EINVAL),
        0 => thread.credentials.lock().clone(),
        tid => {
            let task = thread.process.thread(tid).ok_or(Errno::ESRCH)?;
            let other = sched::thread_of(&task).ok_or(Errno::ESRCH)?;
            other.credentials.lock().clone()
        }
    };
    if a.u64(1) == 0 {
        return Ok(0);
    }
    let sets = [target.effective, target.permitted, target.inheritable];
    let words = (0..halves).flat_map(|half| sets.map(|set| (set >> (32 * half)) as u32));
    let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    user::write(a.u64(1), &bytes).map(|()| 0)
}

/// capset(2).
pub(in super::super) fn capset(thread: &Thread, a: Args) -> Result<u64> {
    let halves = halves(a.u64(0))?.ok_or(Errno::EINVAL)?;
    let tid = user::read_u32(a.u64(0) + 4)?;
    if tid != 0 && tid != thread.tid() {
        return Err(Errno::EPERM);
    }
    let mut sets = [0_u64; 3];
    for half in 0..halves {
        for (i, set) in sets.iter_mut().enumerate() {
            let word = user::read_u32(a.u64(1).wrapping_add((half * 12 + i * 4) as u64))?;
            *set |= u64::from(word) << (32 * half);
        }
    }
    let [effective, permitted, inheritable] = sets;
    thread.credentials.lock().set_capabilities(effective, permitted, inheritable).map(|()| 0)
}
