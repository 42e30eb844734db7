// SPDX-License-Identifier: Apache-2.0 OR MIT
//! arch_prctl(2) and prctl(2).

use super::super::Args;
use crate::thread::{NAME_SIZE, Thread};
use crate::user;
use core::sync::atomic::Ordering;
use khal::{USER_END, tasks};
use kio::{Errno, Result};

/// The stack pointer with which the running thread entered the kernel.
pub(in super::super) fn user_stack_pointer() -> u64 {
    tasks::user_stack_pointer()
}

pub(in super::super) fn arch_prctl(a: Args) -> Result<u64> {
    const SET_GS: u32 = 0x1001;
    const SET_FS: u32 = 0x1002;
    const GET_FS: u32 = 0x1003;
    const GET_GS: u32 = 0x1004;
    let (code, value) = (a.u32(0), a.u64(1));
    let task = tasks::current();
    match code {
        SET_FS | SET_GS if value >= USER_END => return Err(Errno::EPERM),
        SET_FS => task.set_fs_base(value),
        SET_GS => task.set_gs_base(value),
        GET_FS => user::write_u64(value, task.fs_base())?,
        GET_GS => user::write_u64(value, task.gs_base())?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

pub(in super::super) fn prctl(thread: &Thread, a: Args) -> Result<u64> {
    const SIGNAL_MAX: u64 = 64;
    const SET_PDEATHSIG: u32 = 1;
    const GET_PDEATHSIG: u32 = 2;
    const GET_DUMPABLE: u32 = 3;
    const SET_DUMPABLE: u32 = 4;
    const GET_KEEPCAPS: u32 = 7;
    const SET_KEEPCAPS: u32 = 8;
    const SET_NAME: u32 = 15;
    const GET_NAME: u32 = 16;
    const GET_SECCOMP: u32 = 21;
    const CAPBSET_READ: u32 = 23;
    const SET_TIMERSLACK: u32 = 29;
    const GET_TIMERSLACK: u32 = 30;
    const SET_CHILD_SUBREAPER: u32 = 36;
    const GET_CHILD_SUBREAPER: u32 = 37;
    const SET_NO_NEW_PRIVS: u32 = 38;
    const GET_NO_NEW_PRIVS: u32 = 39;
    const SET_THP_DISABLE: u32 = 41;
    const GET_THP_DISABLE: u32 = 42;
    match a.u32(0) {
        SET_NAME => {
            let mut bytes = [0; NAME_SIZE];
            read_name(a.u64(1), &mut bytes)?;
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(NAME_SIZE - 1);
            *thread.name.lock() = bytes[..end].to_vec();
            Ok(0)
        }
        GET_NAME => {
            let mut bytes = [0; NAME_SIZE];
            let name = thread.name.lock().clone();
            bytes[..name.len()].copy_from_slice(&name);
            user::write(a.u64(1), &bytes).map(|()| 0)
        }
        SET_PDEATHSIG if a.u64(1) > SIGNAL_MAX => Err(Errno::EINVAL),
        SET_PDEATHSIG => {
            thread.process.family.death_signal.store(a.u32(1), Ordering::Relaxed);
            Ok(0)
        }
        GET_PDEATHSIG => {
            let signal = thread.process.family.death_signal.load(Ordering::Relaxed);
            user::write_u32(a.u64(1), signal).map(|()| 0)
        }
        SET_CHILD_SUBREAPER => {
            thread.process.family.reaps.store(a.u64(1) != 0, Ordering::Relaxed);
            Ok(0)
        }
        GET_CHILD_SUBREAPER => {
            let reaps = thread.process.family.reaps.load(Ordering::Relaxed);
            user::write_u32(a.u64(1), u32::from(reaps)).map(|()| 0)
        }
        GET_DUMPABLE | CAPBSET_READ => Ok(1),
        GET_TIMERSLACK => Ok(50_000),
        GET_KEEPCAPS => Ok(u64::from(thread.credentials.lock().keep_capabilities)),
        SET_KEEPCAPS if a.u64(1) > 1 => Err(Errno::EINVAL),
        SET_KEEPCAPS => {
            thread.credentials.lock().keep_capabilities = a.u64(1) == 1;
            Ok(0)
        }
        GET_NO_NEW_PRIVS | SET_NO_NEW_PRIVS if [2, 3, 4].iter().any(|i| a.u64(*i) != 0) => {
            Err(Errno::EINVAL)
        }
        GET_NO_NEW_PRIVS if a.u64(1) != 0 => Err(Errno::EINVAL),
        GET_NO_NEW_PRIVS => Ok(u64::from(thread.credentials.lock().no_new_privileges)),
        SET_NO_NEW_PRIVS if a.u64(1) != 1 => Err(Errno::EINVAL),
        SET_NO_NEW_PRIVS => {
            thread.credentials.lock().no_new_privileges = true;
            Ok(0)
        }
        GET_THP_DISABLE | GET_SECCOMP => Ok(0),
        SET_DUMPABLE | SET_TIMERSLACK | SET_THP_DISABLE => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

/// A name may end right before a page that is not there.
fn read_name(address: u64, bytes: &mut [u8; NAME_SIZE]) -> Result<()> {
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = user::read_bytes::<1>(address.wrapping_add(i as u64))?[0];
        if *byte == 0 {
            break;
        }
    }
    Ok(())
}
