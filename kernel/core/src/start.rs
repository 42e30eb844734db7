// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Starting the first process.

use crate::exec::{self, Program};
use crate::files::OpenFile;
use crate::process::{self, FsContext, Process};
use crate::services::Services;
use crate::thread::Thread;
use crate::{limits, log, sched};
use alloc::sync::Arc;
use kio::Result;
use kvfs::{Follow, OpenFlags, Start};

/// Limits of the first process that the configuration may set.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitialLimits {
    /// RLIMIT_NOFILE.
    pub nofile: Option<u64>,
    /// RLIMIT_STACK.
    pub stack: Option<u64>,
}

/// Makes process 1 run `path`, with the console as its three descriptors.
pub fn first_process(
    services: Arc<Services>,
    path: &[u8],
    program: Program,
    cwd: &[u8],
    wanted: InitialLimits,
) -> Result<()> {
    let root = services.namespace.root();
    let start = Start { root: &root, base: &root };
    let cwd = services.namespace.resolve(start, cwd, Follow::Yes)?;
    let fs = FsContext { cwd, ..FsContext::at(root.clone()) };
    let stack = wanted.stack.unwrap_or(8 << 20);
    let loaded = exec::load(&services, &fs, path, program.clone(), stack)?;
    let pid = process::new_id();
    let process = Process::first(pid, loaded.space.clone(), services.clone(), fs);
    if let Some(nofile) = wanted.nofile {
        process.limits.set(limits::NOFILE, nofile, nofile.max(1 << 20))?;
    }
    process.limits.set(limits::STACK, stack, limits::INFINITY)?;
    exec::describe(&process, &loaded, &program);
    let console = services.namespace.open(start, b"/dev/console", OpenFlags::RDWR, 0)?;
    let open = OpenFile::new(console.file, Some(console.location), OpenFlags::RDWR);
    for _ in 0..3 {
        process.files.insert(open.clone(), false, 0, 3)?;
    }
    process::register(&process);
    let task = Thread::spawn(&process, pid, &loaded.frame)?;
    if let Some(thread) = sched::thread_of(&task) {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        *thread.name.lock() = name[..name.len().min(crate::thread::NAME_SIZE - 1)].to_vec();
    }
    log::stage("program");
    sched::spawn(task);
    Ok(())
}
