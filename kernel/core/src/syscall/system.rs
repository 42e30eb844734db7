// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The system as a whole: names, limits, random bytes, reboot.

use super::Args;
use crate::limits::Limits;
use crate::thread::Thread;
use crate::{exit, process, user};
use abi::control::Exit;
use alloc::string::String;
use kio::{Errno, Result};

/// What uname(2) claims: a release with everything that is implemented.
pub const RELEASE: &str = "6.1.0-bhojpur";
/// What uname(2) claims of the build.
pub const VERSION: &str = concat!("#1 SMP Bhojpur Kernel ", env!("CARGO_PKG_VERSION"));
/// Longest host name.
const HOST_NAME_MAX: usize = 64;

pub(super) fn uname(thread: &Thread, a: Args) -> Result<u64> {
    const FIELD: usize = 65;
    let host = thread.process.services.hostname.lock().clone();
    let fields = ["Linux", &host, RELEASE, VERSION, "x86_64", "(none)"];
    let mut bytes = [0; 6 * FIELD];
    for (slot, text) in bytes.chunks_exact_mut(FIELD).zip(fields) {
        let len = text.len().min(FIELD - 1);
        slot[..len].copy_from_slice(&text.as_bytes()[..len]);
    }
    user::write(a.u64(0), &bytes).map(|()| 0)
}

pub(super) fn sethostname(thread: &Thread, a: Args) -> Result<u64> {
    let bytes = user::read_vec(a.u64(0), a.usize(1), HOST_NAME_MAX)?;
    let name = String::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    *thread.process.services.hostname.lock() = name;
    Ok(0)
}

pub(super) fn sysinfo(a: Args) -> Result<u64> {
    let memory = kmm::memory_info();
    let uptime = khal::clock::monotonic().as_nanos() / 1_000_000_000;
    let bytes_of = |frames: usize| frames as u64 * 4096;
    let threads: usize = process::all().iter().map(|p| p.thread_count()).sum();
    let words = [
        uptime,
        0,
        0,
        0,
        bytes_of(memory.total_frames),
        bytes_of(memory.free_frames),
        0,
        0,
        0,
        0,
        threads as u64,
        0,
        0,
        1,
    ];
    user::write_words(a.u64(0), words).map(|()| 0)
}

pub(super) fn getrandom(thread: &Thread, a: Args) -> Result<u64> {
    const KNOWN: u32 = 7;
    const CHUNK: usize = 256;
    const LIMIT: usize = 32 << 20;
    if a.u32(2) & !KNOWN != 0 || a.u32(2) & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let (address, count) = (a.u64(0), a.usize(1).min(LIMIT));
    let mut chunk = [0; CHUNK];
    let mut done = 0;
    while done < count {
        let part = &mut chunk[..CHUNK.min(count - done)];
        thread.process.services.random.fill(part);
        match user::write(address + done as u64, part) {
            Ok(()) => done += part.len(),
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done as u64)
}

fn write_limit(limits: &Limits, resource: usize, address: u64) -> Result<()> {
    let (soft, hard) = limits.value(resource)?;
    user::write_words(address, [soft, hard])
}

pub(super) fn getrlimit(thread: &Thread, a: Args) -> Result<u64> {
    write_limit(&thread.process.limits, a.usize(0), a.u64(1)).map(|()| 0)
}

pub(super) fn setrlimit(thread: &Thread, a: Args) -> Result<u64> {
    let [soft, hard] = user::read_words::<2>(a.u64(1))?;
    thread.process.limits.set(a.usize(0), soft, hard).map(|()| 0)
}

pub(super) fn prlimit64(thread: &Thread, a: Args) -> Result<u64> {
    let target = match a.u32(0) {
        0 => thread.process.clone(),
        pid => process::find(pid).ok_or(Errno::ESRCH)?,
    };
    let (resource, new, old) = (a.usize(1), a.u64(2), a.u64(3));
    let before = target.limits.value(resource)?;
    if new != 0 {
        let [soft, hard] = user::read_words::<2>(new)?;
        target.limits.set(resource, soft, hard)?;
    }
    if old != 0 {
        user::write_words(old, [before.0, before.1])?;
    }
    Ok(0)
}

/// reboot(2): every way to stop turns the machine off.
pub(super) fn reboot(a: Args) -> Result<u64> {
    const MAGIC1: u32 = 0xfee1_dead;
    const MAGIC2: [u32; 4] = [672_274_793, 85_072_278, 369_367_448, 537_993_216];
    const CAD_ON: u32 = 0x89ab_cdef;
    const CAD_OFF: u32 = 0;
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    if a.u32(0) != MAGIC1 || !MAGIC2.contains(&a.u32(1)) {
        return Err(Errno::EINVAL);
    }
    match a.u32(2) {
        CAD_ON | CAD_OFF => Ok(0),
        RESTART | HALT | POWER_OFF => exit::power_off(Exit::Status(0)),
        _ => Err(Errno::EINVAL),
    }
}
