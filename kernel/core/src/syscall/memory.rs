// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory: mmap and its kin.

use super::Args;
use crate::memory_file::MemoryFile;
use crate::mm::{Backing, MapRequest, Placement, Protection};
use crate::thread::Thread;
use crate::user;
use khal::USER_END;
use kio::{Errno, FileKind, Result};

const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_SHARED_VALIDATE: u32 = 3;
const MAP_TYPE: u32 = 0xf;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_32BIT: u32 = 0x40;
const MAP_GROWSDOWN: u32 = 0x100;
const MAP_LOCKED: u32 = 0x2000;
const MAP_POPULATE: u32 = 0x8000;
const MAP_HUGETLB: u32 = 0x4_0000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

fn protection(bits: u32) -> Result<Protection> {
    // PROT_SEM, PROT_GROWSDOWN and PROT_GROWSUP change nothing here.
    Protection::from_bits(bits & !0x0300_0008).ok_or(Errno::EINVAL)
}

pub(super) fn mmap(thread: &Thread, a: Args) -> Result<u64> {
    let (address, len, flags) = (a.u64(0), a.u64(1), a.u32(3));
    let protection = protection(a.u32(2))?;
    let offset = a.u64(5);
    if len == 0 || !offset.is_multiple_of(4096) {
        return Err(Errno::EINVAL);
    }
    if len > USER_END || flags & MAP_HUGETLB != 0 {
        return Err(Errno::ENOMEM);
    }
    let shared = match flags & MAP_TYPE {
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL),
    };
    let placement = if flags & MAP_FIXED_NOREPLACE != 0 {
        Placement::FixedFree(address)
    } else if flags & MAP_FIXED != 0 {
        Placement::Fixed(address)
    } else if flags & MAP_32BIT != 0 {
        Placement::Low
    } else {
        Placement::Hint(address)
    };
    let (backing, may_write) = if flags & MAP_ANONYMOUS != 0 {
        (anonymous(thread, shared, len)?, true)
    } else {
        offset.checked_add(len).ok_or(Errno::EOVERFLOW)?;
        file_backing(thread, a.i32(4), shared, protection, offset)?
    };
    let space = thread.space();
    let at = space.map(MapRequest {
        placement,
        len,
        protection,
        shared,
        may_write,
        grows_down: flags & MAP_GROWSDOWN != 0,
        backing,
        label: "",
    })?;
    if flags & (MAP_POPULATE | MAP_LOCKED) != 0 && !protection.is_empty() {
        // As on Linux, a failure to populate is not a failure to map.
        let write = protection.contains(Protection::WRITE) && !shared;
        let _ = space.populate(at, at + len, write);
    }
    Ok(at)
}

/// Zeroes: private ones need no object, shared ones are a file without a name.
fn anonymous(thread: &Thread, shared: bool, len: u64) -> Result<Backing> {
    if !shared {
        return Ok(Backing::Anonymous);
    }
    let file = thread.process.services.provider.anonymous_file()?;
    file.truncate(len.next_multiple_of(4096))?;
    Ok(Backing::File { file, location: None, offset: 0 })
}

fn file_backing(
    thread: &Thread,
    fd: i32,
    shared: bool,
    protection: Protection,
    offset: u64,
) -> Result<(Backing, bool)> {
    let open = thread.process.files.usable(fd)?;
    let (readable, writable) = (open.flags().readable(), open.flags().writable());
    if !readable || (shared && protection.contains(Protection::WRITE) && !writable) {
        return Err(Errno::EACCES);
    }
    let sealed = open.file().as_any().downcast_ref().is_some_and(MemoryFile::is_write_sealed);
    if shared && sealed && protection.contains(Protection::WRITE) {
        return Err(Errno::EPERM);
    }
    let stat = open.file().stat()?;
    if stat.kind == FileKind::CharDevice && !shared {
        // A private mapping of /dev/zero is anonymous memory.
        const ZERO: u64 = 1 << 8 | 5;
        return if stat.device_node == ZERO {
            Ok((Backing::Anonymous, true))
        } else {
            Err(Errno::ENODEV)
        };
    }
    if stat.kind != FileKind::Regular {
        return Err(Errno::ENODEV);
    }
    let backing =
        Backing::File { file: open.file().clone(), location: open.opened_location(), offset };
    Ok((backing, !shared || (writable && !sealed)))
}

pub(super) fn munmap(thread: &Thread, a: Args) -> Result<u64> {
    thread.space().unmap(a.u64(0), a.u64(1)).map(|()| 0)
}

pub(super) fn mprotect(thread: &Thread, a: Args) -> Result<u64> {
    thread.space().protect(a.u64(0), a.u64(1), protection(a.u32(2))?).map(|()| 0)
}

pub(super) fn mremap(thread: &Thread, a: Args) -> Result<u64> {
    thread.space().remap(a.u64(0), a.u64(1), a.u64(2), a.u32(3), a.u64(4))
}

pub(super) fn madvise(thread: &Thread, a: Args) -> Result<u64> {
    thread.space().advise(a.u64(0), a.u64(1), a.i32(2)).map(|()| 0)
}

pub(super) fn brk(thread: &Thread, a: Args) -> Result<u64> {
    Ok(thread.space().set_break(a.u64(0)))
}

pub(super) fn msync(thread: &Thread, a: Args) -> Result<u64> {
    const KNOWN: u32 = 7;
    const MS_SYNC: u32 = 4;
    let (start, flags) = (a.u64(0), a.u32(2));
    if start % 4096 != 0 || flags & !KNOWN != 0 || flags & 5 == 5 {
        return Err(Errno::EINVAL);
    }
    let end = start.checked_add(a.u64(1).next_multiple_of(4096)).ok_or(Errno::ENOMEM)?;
    let space = thread.space();
    space.resident(start, end)?;
    if flags & MS_SYNC != 0 {
        for file in space.shared_files(start, end) {
            file.sync(true)?;
        }
    }
    Ok(0)
}

pub(super) fn mincore(thread: &Thread, a: Args) -> Result<u64> {
    let start = a.u64(0);
    if !start.is_multiple_of(4096) {
        return Err(Errno::EINVAL);
    }
    let end = a.u64(1).checked_next_multiple_of(4096).and_then(|l| start.checked_add(l));
    let end = end.filter(|e| *e <= USER_END).ok_or(Errno::ENOMEM)?;
    user::write(a.u64(2), &thread.space().resident(start, end)?).map(|()| 0)
}

pub(super) fn mlock(thread: &Thread, a: Args) -> Result<u64> {
    let start = a.u64(0) & !4095;
    let end = (a.u64(0).checked_add(a.u64(1)))
        .and_then(|e| e.checked_next_multiple_of(4096))
        .ok_or(Errno::EINVAL)?;
    thread.space().populate(start, end, false).map_err(|_| Errno::ENOMEM).map(|()| 0)
}

/// membarrier(2): CPUs run the kernel with full barriers at every switch; the
/// expedited commands interrupt those that run the program now.
pub(super) fn membarrier(a: Args) -> Result<u64> {
    const QUERY: u32 = 0;
    const GLOBAL: u32 = 1;
    const GLOBAL_EXPEDITED: u32 = 2;
    const REGISTER_GLOBAL_EXPEDITED: u32 = 4;
    const PRIVATE_EXPEDITED: u32 = 8;
    const REGISTER_PRIVATE_EXPEDITED: u32 = 16;
    if a.u32(1) != 0 {
        return Err(Errno::EINVAL);
    }
    match a.u32(0) {
        QUERY => Ok(u64::from(
            GLOBAL
                | GLOBAL_EXPEDITED
                | REGISTER_GLOBAL_EXPEDITED
                | PRIVATE_EXPEDITED
                | REGISTER_PRIVATE_EXPEDITED,
        )),
        GLOBAL | GLOBAL_EXPEDITED | PRIVATE_EXPEDITED => {
            khal::cpus::synchronise();
            Ok(0)
        }
        REGISTER_GLOBAL_EXPEDITED | REGISTER_PRIVATE_EXPEDITED => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
