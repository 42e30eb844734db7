// SPDX-License-Identifier: Apache-2.0 OR MIT
//! execve(2), execveat(2).

use super::super::{Args, path};
use crate::exec::{self, Program};
use crate::thread::{NAME_SIZE, Thread};
use crate::{exit, family, limits, user, wait};
use alloc::vec::Vec;
use khal::{TrapFrame, tasks};
use kio::{Errno, Result};

/// Arguments and environment as they are read, which may be too much.
struct Strings {
    /// Bytes that may still come: ARG_MAX of execve(2).
    room: usize,
}

impl Strings {
    const POINTER: usize = size_of::<u64>();

    /// A quarter of the stack, at least 128 KiB and at most 6 MiB.
    fn for_stack(limit: u64) -> Self {
        let quarter = usize::try_from(limit / 4).unwrap_or(usize::MAX);
        Self { room: quarter.clamp(128 << 10, 6 << 20) }
    }

    /// The strings behind a list of pointers with a null at its end.
    fn read(&mut self, mut at: u64) -> Result<Vec<Vec<u8>>> {
        const STRING_MAX: usize = 128 << 10;
        let mut strings = Vec::new();
        if at == 0 {
            return Ok(strings);
        }
        loop {
            let pointer = user::read_u64(at)?;
            if pointer == 0 {
                return Ok(strings);
            }
            let string = user::read_string(pointer, STRING_MAX, Errno::E2BIG)?;
            let size = string.len() + 1 + Self::POINTER;
            self.room = self.room.checked_sub(size).ok_or(Errno::E2BIG)?;
            // They are copied to the stack of the program, and to what /proc shows.
            limits::check_kernel_memory(3 * size)?;
            strings.push(string);
            at += Self::POINTER as u64;
        }
    }
}

pub(in super::super) fn execve(thread: &Thread, frame: &mut TrapFrame, a: Args) -> Result<()> {
    let path = user::read_path(a.u64(0))?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    execute(thread, frame, &path, a.u64(1), a.u64(2))
}

pub(in super::super) fn execveat(thread: &Thread, frame: &mut TrapFrame, a: Args) -> Result<()> {
    const AT_EMPTY_PATH: u32 = 0x1000;
    let (directory, flags) = (a.i32(0), a.u32(4));
    if flags & !(AT_EMPTY_PATH | path::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut path = user::read_path(a.u64(1))?;
    if path.is_empty() && flags & AT_EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    if !path.starts_with(b"/") && directory != path::AT_FDCWD {
        thread.process.files.open_file(directory)?;
        // What a script's interpreter is told, too.
        let within = alloc::format!("/proc/self/fd/{directory}");
        let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
        path = [within.as_bytes(), separator, &path].concat();
    }
    execute(thread, frame, &path, a.u64(2), a.u64(3))
}

fn execute(
    thread: &Thread,
    frame: &mut TrapFrame,
    path: &[u8],
    arguments: u64,
    environment: u64,
) -> Result<()> {
    let process = &thread.process;
    let stack = process.limits.soft(limits::STACK);
    let mut strings = Strings::for_stack(stack);
    let arguments = strings.read(arguments)?;
    let program = Program { arguments, environment: strings.read(environment)? };
    let loaded = exec::load(&process.services, &process.places(), path, program.clone(), stack)?;
    process.files.unshare()?;
    end_other_threads(thread)?;
    exit::leave_memory(thread);
    process.set_space(loaded.space.clone());
    thread.set_space(loaded.space.clone());
    process.memory.give_back();
    forget_the_old_program(thread);
    exec::describe(process, &loaded, &program);
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    *thread.name.lock() = name[..name.len().min(NAME_SIZE - 1)].to_vec();
    *frame = loaded.frame;
    Ok(())
}

/// From here on there is no way back.
fn end_other_threads(thread: &Thread) -> Result<()> {
    let process = &thread.process;
    if !process.begin_exec(thread.tid()) {
        // Another thread was first, and ends this one.
        return Err(Errno::EAGAIN);
    }
    let alone = wait::wait_through_signals(&process.changed, || process.thread_count() == 1);
    if alone {
        thread.become_first();
    }
    process.end_exec();
    // Not alone: the process was killed meanwhile, and this thread ends before user code.
    if alone { Ok(()) } else { Err(Errno::EINTR) }
}

/// What does not survive: execve(2), "Effect on process attributes".
fn forget_the_old_program(thread: &Thread) {
    let process = &thread.process;
    process.signals.reset_handlers();
    thread.signals.forget_stack();
    process.forget_timers(0);
    process.files.close_marked();
    family::after_exec(process);
    thread.credentials.lock().after_exec();
    let own = tasks::current();
    own.set_fs_base(0);
    own.set_gs_base(0);
    tasks::with_current_fpu(|state| {
        state.reset();
        true
    });
}
