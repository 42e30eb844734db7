// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One process for /proc/PID.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;
use kcore::credentials::Ids;
use kcore::mm::{AddressSpace, Area, Backing, Protection};
use kcore::process::Process;
use kcore::sched;
use kcore::thread::{NAME_SIZE, Thread};
use kfs_pseudo::{Descriptor, Mapping, ProcessStatus, ProcessView, ThreadStatus};
use kio::{Errno, Result};
use ksignal::{Handler, Signal, SignalSet};
use kvfs::{Location, OpenFlags};

struct View(Arc<Process>);

pub(super) fn view(process: Arc<Process>) -> Arc<dyn ProcessView> {
    Arc::new(View(process))
}

fn thread_status(thread: &Thread) -> ThreadStatus {
    let cpus = khal::cpus::count();
    let credentials = thread.credentials.lock().clone();
    let ids = |i: Ids| [i.real, i.effective, i.saved, i.filesystem];
    ThreadStatus {
        name: thread.name.lock().clone(),
        state: if thread.sched.is_blocked() { 'S' } else { 'R' },
        user: thread.cpu_time(),
        started: Duration::from_nanos(thread.started.as_nanos()),
        pending: thread.signals.pending().bits(),
        blocked: thread.signals.blocked().bits(),
        cpu: thread.sched.last_cpu(),
        allowed_cpus: u64::MAX >> (64 - cpus.clamp(1, 64)),
        user_ids: ids(credentials.user),
        group_ids: ids(credentials.group),
        groups: credentials.groups,
        ..ThreadStatus::default()
    }
}

/// Signals whose disposition is `SIG_IGN`, and those with a handler.
fn dispositions(process: &Process) -> (u64, u64) {
    let (mut ignored, mut caught) = (SignalSet::default(), SignalSet::default());
    for signal in (1..=u32::from(Signal::MAX)).filter_map(Signal::new) {
        let one = SignalSet::of(&[signal]);
        match process.signals.action(signal).handler {
            Handler::Ignore => ignored |= one,
            Handler::Function(_) => caught |= one,
            Handler::Default => {}
        }
    }
    (ignored.bits(), caught.bits())
}

/// Sizes that areas add up to.
#[derive(Default)]
struct Sizes {
    text: u64,
    text_range: (u64, u64),
    data: u64,
    stack: u64,
    stack_start: u64,
    resident_files: u64,
    resident_shared: u64,
}

impl Sizes {
    fn of(space: &AddressSpace, executable: Option<&Location>) -> Self {
        let mut sizes = Self::default();
        space.for_each_area(|area| sizes.add(space, area, executable));
        sizes
    }

    fn add(&mut self, space: &AddressSpace, area: &Area, executable: Option<&Location>) {
        let len = area.end - area.start;
        if area.label == "[stack]" {
            self.stack += len;
            self.stack_start = area.end;
        } else if area.protection.contains(Protection::WRITE) && !area.shared {
            self.data += len;
        }
        let Backing::File { location, .. } = &area.backing else { return };
        let (resident, own) = space.residency(area.start, area.end);
        match (location, area.shared) {
            // Shared anonymous memory.
            (None, _) => self.resident_shared += resident,
            (_, true) => self.resident_files += resident,
            // Pages that a private mapping wrote are the program's own.
            (_, false) => self.resident_files += resident - own,
        }
        let same = match (location, executable) {
            (Some(at), Some(program)) => at.is(program),
            _ => false,
        };
        if same && area.protection.contains(Protection::EXECUTE) {
            self.text += len;
            let start = if self.text_range.1 == 0 { area.start } else { self.text_range.0 };
            self.text_range = (start, area.end);
        }
    }
}

fn mapping(process: &Process, space: &AddressSpace, area: &Area) -> Mapping {
    let (resident, own) = space.residency(area.start, area.end);
    let mut mapping = Mapping {
        start: area.start,
        end: area.end,
        protection: area.protection.bits(),
        shared: area.shared,
        name: area.label.as_bytes().to_vec(),
        resident,
        private: if area.shared { 0 } else { own },
        ..Mapping::default()
    };
    if let Backing::File { file, location, offset } = &area.backing {
        let stat = location.as_ref().map_or_else(|| file.stat(), |at| at.inode().stat());
        mapping.offset = *offset;
        mapping.file = stat.map_or((0, 0), |s| (s.device, s.inode));
        let namespace = &process.services.namespace;
        mapping.name = match location {
            Some(at) => namespace.path_of(&namespace.root(), at),
            None => b"/dev/zero (deleted)".to_vec(),
        };
    }
    mapping
}

impl ProcessView for View {
    fn id(&self) -> u32 {
        self.0.pid
    }

    fn status(&self) -> ProcessStatus {
        let p = &*self.0;
        let space = p.space();
        let executable = p.image.lock().executable.clone();
        let sizes = Sizes::of(&space, executable.as_ref());
        let (size, resident) = space.usage();
        let (ignored, caught) = dispositions(p);
        let mut leader = self.thread(p.pid).unwrap_or_else(|| ThreadStatus {
            name: p.image.lock().name.clone(),
            ..ThreadStatus::default()
        });
        leader.user = p.cpu_time();
        if p.family.has_ended() {
            leader.state = 'Z';
        }
        ProcessStatus {
            leader,
            parent: p.family.parent.load(Ordering::Relaxed),
            group: p.group.load(Ordering::Relaxed),
            session: p.session.load(Ordering::Relaxed),
            umask: p.fs.with(|fs| fs.umask),
            pending: p.signals.pending().bits(),
            ignored,
            caught,
            size,
            resident_anonymous: resident
                .saturating_sub(sizes.resident_files + sizes.resident_shared),
            resident_files: sizes.resident_files,
            resident_shared: sizes.resident_shared,
            data: sizes.data,
            stack: sizes.stack,
            text: sizes.text,
            text_range: sizes.text_range,
            stack_start: sizes.stack_start,
            heap_start: space.break_start(),
            ..ProcessStatus::default()
        }
    }

    fn threads(&self) -> Vec<u32> {
        self.0.threads().into_iter().map(|(id, _)| id).collect()
    }

    fn thread(&self, id: u32) -> Option<ThreadStatus> {
        sched::thread_of(&*self.0.thread(id)?).map(thread_status)
    }

    fn set_thread_name(&self, id: u32, name: &[u8]) -> Result<()> {
        let task = self.0.thread(id).ok_or(Errno::ESRCH)?;
        let thread = sched::thread_of(&task).ok_or(Errno::ESRCH)?;
        *thread.name.lock() = name[..name.len().min(NAME_SIZE - 1)].to_vec();
        Ok(())
    }

    fn executable(&self) -> Option<Location> {
        self.0.image.lock().executable.clone()
    }

    fn working_directory(&self) -> Option<Location> {
        (!self.0.family.has_ended()).then(|| self.0.places().cwd)
    }

    fn root(&self) -> Option<Location> {
        (!self.0.family.has_ended()).then(|| self.0.places().root)
    }

    fn arguments(&self) -> Vec<u8> {
        self.0.image.lock().arguments.clone()
    }

    fn environment(&self) -> Vec<u8> {
        self.0.image.lock().environment.clone()
    }

    fn auxiliary_vector(&self) -> Vec<u8> {
        self.0.image.lock().auxiliary.clone()
    }

    fn mappings(&self) -> Vec<Mapping> {
        let space = self.0.space();
        let mut all = Vec::new();
        space.for_each_area(|area| all.push(mapping(&self.0, &space, area)));
        all
    }

    fn descriptors(&self) -> Vec<u32> {
        self.0.files.list().into_iter().map(|(fd, _)| fd as u32).collect()
    }

    fn descriptor(&self, number: u32) -> Option<Descriptor> {
        let fd = i32::try_from(number).ok()?;
        let open = self.0.files.open_file(fd).ok()?;
        let mut flags = open.flags();
        flags.set(OpenFlags::CLOEXEC, self.0.files.close_on_exec(fd).unwrap_or(false));
        let offset = open.shown_offset();
        Some(Descriptor { location: open.location(), offset, flags: flags.bits() })
    }

    fn limits(&self) -> [(u64, u64); 16] {
        core::array::from_fn(|resource| self.0.limits.value(resource).unwrap_or_default())
    }
}
