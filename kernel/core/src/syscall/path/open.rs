// SPDX-License-Identifier: Apache-2.0 OR MIT
//! open(2), creat(2), openat2(2).

use super::restricted::{self, Walk};
use super::{Places, masked, namespace, read_path};
use crate::files::OpenFile;
use crate::limits;
use crate::mm::file_pages;
use crate::syscall::Args;
use crate::thread::Thread;
use crate::user;
use kio::{Errno, Result};
use kvfs::{OpenFlags, Start};

/// What open(2) looks at; it ignores other bits, openat2(2) refuses them.
const KNOWN: OpenFlags = OpenFlags::from_bits_retain(0o37_777_703);
/// What is left of the flags with O_PATH.
const WITH_PATH: OpenFlags = OpenFlags::DIRECTORY
    .union(OpenFlags::NOFOLLOW)
    .union(OpenFlags::PATH)
    .union(OpenFlags::CLOEXEC);
/// Flags that make a file, so that `mode` counts.
const MAKES: OpenFlags = OpenFlags::CREAT.union(OpenFlags::TMPFILE);

pub(in crate::syscall) fn open(
    thread: &Thread,
    fd: i32,
    address: u64,
    flags: u32,
    mode: u32,
) -> Result<u64> {
    let mut flags = OpenFlags::from_bits_retain(flags) & KNOWN;
    if flags.contains(OpenFlags::PATH) {
        flags &= WITH_PATH;
    } else {
        flags |= OpenFlags::LARGEFILE;
    }
    check(flags)?;
    let path = read_path(address)?;
    let places = Places::new(thread, fd, &path)?;
    open_at(thread, places.start(), &path, flags, OpenFlags::empty(), mode)
}

pub(in crate::syscall) fn creat(thread: &Thread, a: Args) -> Result<u64> {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    open(thread, super::AT_FDCWD, a.u64(0), flags.bits(), a.u32(1))
}

/// Combinations without a meaning.
fn check(flags: OpenFlags) -> Result<()> {
    let unnamed = OpenFlags::TMPFILE | OpenFlags::DIRECTORY;
    if flags.contains(OpenFlags::TMPFILE)
        && (!flags.contains(unnamed) || flags.contains(OpenFlags::CREAT) || !flags.writable())
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Opens with `flags`; `extra` ones are for the look-up alone.
fn open_at(
    thread: &Thread,
    start: Start<'_>,
    path: &[u8],
    flags: OpenFlags,
    extra: OpenFlags,
    mode: u32,
) -> Result<u64> {
    let process = &thread.process;
    let limit = process.limits.soft(limits::NOFILE);
    if flags.intersects(MAKES | OpenFlags::TRUNC) {
        process.files.check_room(limit)?;
    }
    let permissions = if flags.intersects(MAKES) { masked(thread, mode) } else { 0 };
    let opened = namespace(thread).open(start, path, flags | extra, permissions)?;
    if flags.contains(OpenFlags::TRUNC) {
        file_pages::truncated(&*opened.file, 0)?;
    }
    let open = OpenFile::new(opened.file, Some(opened.location), flags);
    let close_on_exec = flags.contains(OpenFlags::CLOEXEC);
    process.files.insert(open, close_on_exec, 0, limit).map(|fd| fd as u64)
}

const RESOLVE_KNOWN: u64 = 63;

/// `struct open_how`: flags, mode, resolve.
fn read_how(address: u64, size: usize) -> Result<[u64; 3]> {
    const SIZE: usize = 24;
    const SIZE_MAX: usize = 4096;
    if size < SIZE {
        return Err(Errno::EINVAL);
    }
    if size > SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let newer = user::read_vec(address + SIZE as u64, size - SIZE, SIZE_MAX)?;
    if newer.iter().any(|b| *b != 0) {
        return Err(Errno::E2BIG);
    }
    user::read_words(address)
}

fn check_how(flags: OpenFlags, mode: u64, resolve: u64) -> Result<()> {
    const PERMISSIONS: u64 = 0o7777;
    let allowed_mode = if flags.intersects(MAKES) { PERMISSIONS } else { 0 };
    let both = restricted::BENEATH | restricted::IN_ROOT;
    if !KNOWN.contains(flags)
        || mode & !allowed_mode != 0
        || resolve & !RESOLVE_KNOWN != 0
        || resolve & both == both
        || flags.contains(OpenFlags::PATH) && !WITH_PATH.contains(flags)
    {
        return Err(Errno::EINVAL);
    }
    check(flags)?;
    let changes = MAKES | OpenFlags::TRUNC;
    if resolve & restricted::CACHED != 0 && flags.intersects(changes) {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

pub(in crate::syscall) fn openat2(thread: &Thread, a: Args) -> Result<u64> {
    let [bits, mode, resolve] = read_how(a.u64(2), a.usize(3))?;
    let flags = OpenFlags::from_bits_retain(u32::try_from(bits).map_err(|_| Errno::EINVAL)?);
    check_how(flags, mode, resolve)?;
    let flags = match flags.contains(OpenFlags::PATH) {
        true => flags,
        false => flags | OpenFlags::LARGEFILE,
    };
    let path = read_path(a.u64(1))?;
    let scoped = resolve & (restricted::BENEATH | restricted::IN_ROOT) != 0;
    let places = match scoped {
        // The descriptor matters for absolute paths too.
        true => Places::new(thread, a.i32(0), b".")?,
        false => Places::new(thread, a.i32(0), &path)?,
    };
    let mut start = places.start();
    if resolve & restricted::IN_ROOT != 0 {
        start.root = start.base;
    }
    if resolve & !restricted::CACHED == 0 {
        return open_at(thread, start, &path, flags, OpenFlags::empty(), mode as u32);
    }
    open_restricted(thread, start, &path, flags, mode as u32, resolve)
}

fn open_restricted(
    thread: &Thread,
    start: Start<'_>,
    path: &[u8],
    flags: OpenFlags,
    mode: u32,
    resolve: u64,
) -> Result<u64> {
    let exclusive = OpenFlags::CREAT | OpenFlags::EXCL;
    let follow = !flags.contains(OpenFlags::NOFOLLOW) && !flags.contains(exclusive);
    let end = Walk::new(namespace(thread), start, resolve, follow).run(path)?;
    let start = Start { root: start.root, base: &end.directory };
    // A link that came to the name meanwhile is not followed; neither would it
    // be with a slash behind the name, so that is said in another way.
    let mut extra = OpenFlags::NOFOLLOW;
    if end.slash {
        if flags.contains(OpenFlags::CREAT) {
            return Err(Errno::EISDIR);
        }
        extra |= OpenFlags::DIRECTORY;
    }
    if end.name == b"." {
        extra -= OpenFlags::NOFOLLOW;
    }
    open_at(thread, start, &end.name, flags, extra, mode)
}
