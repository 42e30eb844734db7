// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ancillary data as cmsg(3) lays it out, with descriptors as unix(7) passes
//! them.

use super::address::AF_UNIX;
use crate::files::OpenFile;
use crate::limits;
use crate::process;
use crate::thread::Thread;
use crate::user;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use kio::{Control, Errno, Result, Socket};

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// SCM_MAX_FD.
const MAX_RIGHTS: usize = 253;
/// Bytes of `struct cmsghdr`.
const HEADER: usize = 16;
/// Bytes of `struct ucred`.
const CREDENTIALS_SIZE: usize = 12;
/// `net.core.optmem_max`.
const MAX_SIZE: usize = 131_072;

fn int(bytes: &[u8]) -> i32 {
    bytes.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b))
}

/// The objects that the program sends, for sendmsg(2).
pub(super) fn read(
    thread: &Thread,
    socket: &dyn Socket,
    address: u64,
    len: u64,
) -> Result<Vec<Control>> {
    if address == 0 || len == 0 {
        return Ok(Vec::new());
    }
    let len = usize::try_from(len).ok().filter(|n| *n <= MAX_SIZE).ok_or(Errno::ENOBUFS)?;
    let bytes = user::read_vec(address, len, MAX_SIZE)?;
    let mut all = Vec::new();
    let mut rest = bytes.as_slice();
    while rest.len() >= HEADER {
        let size = rest.first_chunk().map_or(0, |b| u64::from_ne_bytes(*b));
        let size = usize::try_from(size).ok().filter(|n| (HEADER..=rest.len()).contains(n));
        let size = size.ok_or(Errno::EINVAL)?;
        let (level, kind) = (int(&rest[8..]), int(&rest[12..]));
        all.extend(object(thread, socket, level, kind, &rest[HEADER..size])?);
        rest = &rest[size.next_multiple_of(8).min(rest.len())..];
    }
    Ok(all)
}

fn object(
    thread: &Thread,
    socket: &dyn Socket,
    level: i32,
    kind: i32,
    data: &[u8],
) -> Result<Option<Control>> {
    let unix = socket.domain() == AF_UNIX;
    match (level, kind) {
        (SOL_SOCKET, SCM_RIGHTS) if unix => return rights(thread, data).map(Some),
        (SOL_SOCKET, SCM_CREDENTIALS) if unix => check_sender(thread, data)?,
        (SOL_SOCKET, _) if unix => return Err(Errno::EINVAL),
        // What is for others is passed over; the network takes its own.
        (SOL_SOCKET, SCM_RIGHTS | SCM_CREDENTIALS) => return Ok(None),
        _ if unix => return Ok(None),
        _ => {}
    }
    Ok(Some(Control::Raw { level, kind, data: data.to_vec() }))
}

/// A sender may say who it is; as root it may be any process that there is.
fn check_sender(thread: &Thread, data: &[u8]) -> Result<()> {
    if data.len() != CREDENTIALS_SIZE {
        return Err(Errno::EINVAL);
    }
    let pid = int(data).cast_unsigned();
    let exists = pid == thread.process.pid || process::find(pid).is_some();
    if exists { Ok(()) } else { Err(Errno::ESRCH) }
}

fn rights(thread: &Thread, data: &[u8]) -> Result<Control> {
    let count = data.len() / 4;
    if count > MAX_RIGHTS {
        return Err(Errno::EINVAL);
    }
    let mut objects: Vec<Arc<dyn Any + Send + Sync>> = Vec::with_capacity(count);
    for fd in data.chunks_exact(4) {
        objects.push(thread.process.files.open_file(int(fd))?);
    }
    Ok(Control::Rights(objects))
}

/// Ancillary data on its way to the program.
pub(super) struct Encoder {
    bytes: Vec<u8>,
    room: usize,
    /// Something had no room: MSG_CTRUNC.
    pub(super) cut: bool,
    /// Descriptors that the data names.
    descriptors: Vec<i32>,
}

impl Encoder {
    /// For a buffer of `room` bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { bytes: Vec::new(), room, cut: false, descriptors: Vec::new() }
    }

    fn left(&self) -> usize {
        self.room - self.bytes.len()
    }

    fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        if self.left() < HEADER {
            self.cut = true;
            return;
        }
        let fits = data.len().min(self.left() - HEADER);
        self.cut |= fits < data.len();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&((HEADER + fits) as u64).to_ne_bytes());
        self.bytes.extend_from_slice(&level.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&data[..fits]);
        let end = start + (HEADER + fits).next_multiple_of(8);
        self.bytes.resize(end.min(self.room), 0);
    }

    /// Gives the program descriptors for what was passed, as many as there is
    /// room for; the rest is closed.
    fn put_rights(
        &mut self,
        thread: &Thread,
        passed: Vec<Arc<dyn Any + Send + Sync>>,
        close_on_exec: bool,
    ) {
        let room = self.left().saturating_sub(HEADER) / 4;
        let limit = thread.process.limits.soft(limits::NOFILE);
        let (count, before) = (passed.len(), self.descriptors.len());
        for object in passed.into_iter().take(room) {
            let Ok(open) = object.downcast::<OpenFile>() else { break };
            match thread.process.files.insert(open, close_on_exec, 0, limit) {
                Ok(fd) => self.descriptors.push(fd),
                Err(_) => break,
            }
        }
        let new = &self.descriptors[before..];
        self.cut |= new.len() < count;
        let data: Vec<u8> = new.iter().flat_map(|fd| fd.to_ne_bytes()).collect();
        if !data.is_empty() {
            self.put(SOL_SOCKET, SCM_RIGHTS, &data);
        }
    }

    /// Adds what a message brought.
    pub(super) fn add(&mut self, thread: &Thread, control: Vec<Control>, close_on_exec: bool) {
        for object in control {
            match object {
                Control::Rights(passed) => self.put_rights(thread, passed, close_on_exec),
                Control::Raw { level, kind, data } => self.put(level, kind, &data),
            }
        }
    }

    /// Stores everything and says how much that is. Descriptors that the
    /// program cannot learn of are closed.
    pub(super) fn store(self, thread: &Thread, address: u64) -> Result<u64> {
        if self.bytes.is_empty() {
            return Ok(0);
        }
        user::write(address, &self.bytes).inspect_err(|_| {
            for fd in &self.descriptors {
                let _ = thread.process.files.close(*fd);
            }
        })?;
        Ok(self.bytes.len() as u64)
    }
}
