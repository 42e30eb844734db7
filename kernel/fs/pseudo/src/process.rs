// SPDX-License-Identifier: Apache-2.0 OR MIT
//! /proc/PID and /proc/PID/task/TID.

use crate::format;
use crate::node::{Generated, Link, Listing};
use crate::proc::{Shared, list_numbers, mounts_of, network, number};
use crate::view::{Descriptor, ProcessView, SystemView, ThreadStatus};
use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{DirEntry, Errno, FileKind, Result};
use kvfs::{Inode, LinkTarget};

/// A process that went away while its files were open is `ESRCH`.
fn process(v: &dyn SystemView, id: u32) -> Result<Arc<dyn ProcessView>> {
    v.process(id).ok_or(Errno::ESRCH)
}

type Entries = Vec<(&'static str, Arc<dyn Inode>)>;

/// The directory of the process `id`.
pub(crate) fn directory(shared: &Arc<Shared>, id: u32) -> Arc<dyn Inode> {
    let mut entries = files(shared, id, id);
    let threads = Threads { shared: shared.clone(), process: id };
    entries.push(("task", shared.directory(Vec::new(), Some(Box::new(threads)))));
    // The entries come and go with the process: nothing here is remembered.
    shared.directory(entries, Some(Box::new(Nothing)))
}

/// A listing that makes a directory dynamic and adds nothing.
struct Nothing;

impl Listing for Nothing {
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
    fn list(&self, _: u64, _: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        Ok(())
    }
}

/// What a process and each of its threads have.
fn files(shared: &Arc<Shared>, id: u32, thread: u32) -> Entries {
    let of = |permissions, read: fn(&dyn ProcessView) -> Vec<u8>| {
        shared.file(permissions, move |v| Ok(read(&*process(v, id)?)))
    };
    let fixed = |text: &'static str| shared.file(0o444, move |_| Ok(text.into()));
    let place = |read: fn(&dyn ProcessView) -> Option<kvfs::Location>| {
        shared.link(move |v| read(&*process(v, id)?).map(LinkTarget::Location).ok_or(Errno::ENOENT))
    };
    let descriptors = |info| -> Arc<dyn Inode> {
        let listing = Descriptors { shared: shared.clone(), process: id, info };
        shared.directory(Vec::new(), Some(Box::new(listing)))
    };
    alloc::vec![
        ("auxv", of(0o400, |p| p.auxiliary_vector())),
        ("cgroup", fixed("0::/\n")),
        ("cmdline", of(0o444, |p| p.arguments())),
        ("comm", comm(shared, id, thread)),
        ("coredump_filter", fixed("00000033\n")),
        ("cwd", place(|p| p.working_directory())),
        ("environ", of(0o400, |p| p.environment())),
        ("exe", place(|p| p.executable())),
        ("fd", descriptors(false)),
        ("fdinfo", descriptors(true)),
        ("io", fixed(IO)),
        ("limits", of(0o444, |p| format::limits(&p.limits()))),
        ("loginuid", fixed("4294967295")),
        ("maps", of(0o444, |p| format::maps(&p.mappings()))),
        ("mountinfo", shared.file(0o444, move |v| mounts_of(v, id, true))),
        ("mounts", shared.file(0o444, move |v| mounts_of(v, id, false))),
        ("net", network(shared)),
        ("oom_adj", fixed("0\n")),
        ("oom_score", fixed("0\n")),
        ("oom_score_adj", oom_score_adjustment(shared, id)),
        ("personality", fixed("00000000\n")),
        ("root", place(|p| p.root())),
        ("schedstat", fixed("0 0 0\n")),
        ("smaps", of(0o444, |p| format::smaps(&p.mappings()))),
        ("stat", shared.file(0o444, move |v| stat(v, id, thread))),
        ("statm", of(0o444, |p| format::statm(&p.status()))),
        ("status", shared.file(0o444, move |v| status(v, id, thread))),
        ("uid_map", fixed("         0          0 4294967295\n")),
        ("gid_map", fixed("         0          0 4294967295\n")),
        ("wchan", fixed("0")),
    ]
}

const IO: &str = "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n\
                  cancelled_write_bytes: 0\n";

fn thread_of(p: &dyn ProcessView, id: u32) -> Result<ThreadStatus> {
    match id == p.id() {
        true => Ok(p.status().leader),
        false => p.thread(id).ok_or(Errno::ESRCH),
    }
}

fn stat(v: &dyn SystemView, id: u32, thread: u32) -> Result<Vec<u8>> {
    let p = process(v, id)?;
    Ok(format::stat(thread, p.threads().len(), &p.status(), &thread_of(&*p, thread)?))
}

fn status(v: &dyn SystemView, id: u32, thread: u32) -> Result<Vec<u8>> {
    let p = process(v, id)?;
    let (threads, descriptors) = (p.threads().len(), p.descriptors().len());
    let t = thread_of(&*p, thread)?;
    Ok(format::status(thread, id, threads, descriptors, &p.status(), &t))
}

fn comm(shared: &Arc<Shared>, id: u32, thread: u32) -> Arc<dyn Inode> {
    let header = shared.numbers.header(0o644, shared.view.now());
    let (reader, writer) = (shared.clone(), shared.clone());
    Generated::writable(
        header,
        move || {
            let mut name = thread_of(&*process(&*reader.view, id)?, thread)?.name;
            name.push(b'\n');
            Ok(name)
        },
        move |bytes| {
            let name = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            process(&*writer.view, id)?.set_thread_name(thread, &name[..name.len().min(15)])
        },
    )
}

fn oom_score_adjustment(shared: &Arc<Shared>, id: u32) -> Arc<dyn Inode> {
    let header = shared.numbers.header(0o644, shared.view.now());
    let (reader, writer) = (shared.clone(), shared.clone());
    Generated::writable(
        header,
        move || {
            let value = process(&*reader.view, id)?.oom_score_adjustment();
            Ok(format!("{value}\n").into_bytes())
        },
        move |bytes| {
            let text = core::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
            let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
            match (-1000..=1000).contains(&value) {
                true => process(&*writer.view, id)?.set_oom_score_adjustment(value),
                false => Err(Errno::EINVAL),
            }
        },
    )
}

/// The directories of a process's threads.
struct Threads {
    shared: Arc<Shared>,
    process: u32,
}

impl Listing for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let id = number(name)?;
        let p = self.shared.view.process(self.process).ok_or(Errno::ENOENT)?;
        if !p.threads().contains(&id) {
            return Err(Errno::ENOENT);
        }
        let entries = files(&self.shared, self.process, id);
        Ok(self.shared.directory(entries, Some(Box::new(Nothing))))
    }

    fn list(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let p = self.shared.view.process(self.process).ok_or(Errno::ENOENT)?;
        list_numbers(&p.threads(), FileKind::Directory, cursor, emit);
        Ok(())
    }
}

/// The links of fd, or the files of fdinfo.
struct Descriptors {
    shared: Arc<Shared>,
    process: u32,
    info: bool,
}

fn fdinfo(d: &Descriptor) -> Vec<u8> {
    let inode = d.location.inode().stat().map_or(0, |s| s.inode);
    format!(
        "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{inode}\n",
        d.offset,
        d.flags,
        d.location.mount().id()
    )
    .into_bytes()
}

impl Listing for Descriptors {
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let (id, number) = (self.process, number(name)?);
        let find = move |v: &dyn SystemView| {
            v.process(id).and_then(|p| p.descriptor(number)).ok_or(Errno::ENOENT)
        };
        let found = find(&*self.shared.view)?;
        if self.info {
            return Ok(self.shared.file(0o444, move |v| Ok(fdinfo(&find(v)?))));
        }
        let flags = kvfs::OpenFlags::from_bits_retain(found.flags);
        let read = if flags.readable() { 0o500 } else { 0 };
        let write = if flags.writable() { 0o300 } else { 0 };
        let header = self.shared.numbers.header(read | write, self.shared.view.now());
        let shared = self.shared.clone();
        Ok(Link::computed(header, move || Ok(LinkTarget::Location(find(&*shared.view)?.location))))
    }

    fn list(&self, cursor: u64, emit: &mut dyn FnMut(DirEntry<'_>) -> bool) -> Result<()> {
        let p = self.shared.view.process(self.process).ok_or(Errno::ENOENT)?;
        let kind = if self.info { FileKind::Regular } else { FileKind::Symlink };
        list_numbers(&p.descriptors(), kind, cursor, emit);
        Ok(())
    }
}
