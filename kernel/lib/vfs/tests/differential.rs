// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random operations on a directory of the host and on our tmpfs, alone and
//! over a lower file system: results, error numbers and trees must agree.

mod common;

use common::{NoDevices, Ticks, World, tmpfs};
use kfs_tmpfs::{Limits, Tmpfs};
use kio::{Errno, FileKind, SliceSink, SliceSource};
use kvfs::{MountFlags, Namespace, OpenFlags, RenameFlags};
use rustix::fd::OwnedFd;
use rustix::fs as host;
use std::path::PathBuf;
use std::sync::Arc;

/// A small generator, so that a failure is repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
    /// A path of few names, so that operations meet.
    fn path(&mut self) -> String {
        let mut path = String::new();
        for part in 0..=self.below(3) {
            if part > 0 {
                path.push_str(self.pick(&["/", "/", "/", "//", "/./"]));
            }
            path.push_str(self.pick(&["a", "b", "c", "d", "a", "b", "c", "..", "."]));
        }
        path.push_str(self.pick(&["", "", "", "", "", "/"]));
        path
    }
}

#[derive(Debug)]
enum Op {
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String, u32),
    Link(String, String),
    Symlink(String, String),
    /// Path, flags, offset, the byte and how many of it.
    Write(String, u32, u64, u8, usize),
    Read(String, u64),
    Truncate(String, u64),
    Punch(String, u64, u64),
    ReadLink(String),
    Stat(String, bool),
}

fn operation(r: &mut Random) -> Op {
    match r.below(14) {
        0 | 1 => Op::Mkdir(r.path()),
        2 => Op::Rmdir(r.path()),
        3 => Op::Unlink(r.path()),
        4 | 5 => Op::Rename(r.path(), r.path(), r.pick(&[0, 0, 0, 1, 2])),
        6 => Op::Link(r.path(), r.path()),
        7 => Op::Symlink(r.path(), r.path()),
        8 | 9 => {
            let flags = r.pick(&[
                OpenFlags::CREAT.bits(),
                OpenFlags::CREAT.bits() | OpenFlags::TRUNC.bits(),
                (OpenFlags::CREAT | OpenFlags::EXCL).bits(),
                (OpenFlags::CREAT | OpenFlags::NOFOLLOW).bits(),
                OpenFlags::TRUNC.bits(),
                0,
            ]);
            let fill = r.below(255) as u8 + 1;
            let length = r.pick(&[0, 1, 100, 4096, 5000]);
            Op::Write(r.path(), flags, r.below(9000), fill, length)
        }
        10 => Op::Read(r.path(), r.below(9000)),
        11 => Op::Truncate(r.path(), r.below(12_000)),
        12 => match r.below(2) {
            0 => Op::Punch(r.path(), r.below(9000), r.below(9000) + 1),
            _ => Op::ReadLink(r.path()),
        },
        _ => Op::Stat(r.path(), r.below(2) == 0),
    }
}

type Answer = Result<Vec<u8>, u16>;

fn on_ours(w: &World, op: &Op) -> Answer {
    let done = |r: Result<(), Errno>| r.map(|()| Vec::new());
    let wronly = OpenFlags::WRONLY;
    let answer = match op {
        Op::Mkdir(p) => done(w.mkdir(p)),
        Op::Rmdir(p) => done(w.rmdir(p)),
        Op::Unlink(p) => done(w.unlink(p)),
        Op::Rename(a, b, f) => done(w.rename_with(a, b, RenameFlags::from_bits_retain(*f))),
        Op::Link(a, b) => done(w.link(a, b)),
        Op::Symlink(a, b) => done(w.symlink(a, b)),
        Op::Write(p, flags, offset, fill, length) => {
            w.open(p, OpenFlags::from_bits_retain(*flags) | wronly).and_then(|o| {
                let n = o.file.write_at(*offset, &mut SliceSource::new(&vec![*fill; *length]))?;
                Ok(n.to_string().into_bytes())
            })
        }
        Op::Read(p, offset) => w.open(p, OpenFlags::RDONLY).and_then(|o| {
            let mut buffer = vec![0; 5000];
            let n = o.file.read_at(*offset, &mut SliceSink::new(&mut buffer))?;
            buffer.truncate(n);
            Ok(buffer)
        }),
        Op::Truncate(p, size) => done(w.at(p).and_then(|at| w.ns.truncate(&at, *size))),
        Op::Punch(p, offset, length) => {
            done(w.open(p, wronly).and_then(|o| o.file.allocate(3, *offset, *length)))
        }
        Op::ReadLink(p) => w.lat(p).and_then(|at| w.ns.read_link(w.start(), &at)),
        Op::Stat(p, follow) => {
            let at = if *follow { w.at(p) } else { w.lat(p) };
            at.and_then(|at| at.inode().stat()).map(|s| {
                let size = if s.kind == FileKind::Directory { 0 } else { s.size };
                let links = if s.kind == FileKind::Directory { 0 } else { s.links };
                format!("{:?} {size} {links} {:o}", s.kind, s.permissions).into_bytes()
            })
        }
    };
    answer.map_err(|e| e.number())
}

fn kind_of(mode: u32) -> FileKind {
    match mode & 0o170_000 {
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        _ => FileKind::Regular,
    }
}

fn on_host(d: &OwnedFd, op: &Op) -> Answer {
    let mode = host::Mode::from_raw_mode;
    let done = |r: rustix::io::Result<()>| r.map(|()| Vec::new());
    let open = |p: &str, flags: u32| {
        let flags = host::OFlags::from_bits_retain(flags) | host::OFlags::CLOEXEC;
        host::openat(d, p, flags, mode(0o644))
    };
    let answer = match op {
        Op::Mkdir(p) => done(host::mkdirat(d, p, mode(0o755))),
        Op::Rmdir(p) => done(host::unlinkat(d, p, host::AtFlags::REMOVEDIR)),
        Op::Unlink(p) => done(host::unlinkat(d, p, host::AtFlags::empty())),
        Op::Rename(a, b, f) => {
            done(host::renameat_with(d, a, d, b, host::RenameFlags::from_bits_retain(*f)))
        }
        Op::Link(a, b) => done(host::linkat(d, a, d, b, host::AtFlags::empty())),
        Op::Symlink(a, b) => done(host::symlinkat(a, d, b)),
        Op::Write(p, flags, offset, fill, length) => open(p, flags | 1).and_then(|f| {
            let n = rustix::io::pwrite(&f, &vec![*fill; *length], *offset)?;
            Ok(n.to_string().into_bytes())
        }),
        Op::Read(p, offset) => open(p, 0).and_then(|f| {
            let mut buffer = vec![0; 5000];
            let n = rustix::io::pread(&f, &mut buffer, *offset)?;
            buffer.truncate(n);
            Ok(buffer)
        }),
        // truncate(2) needs a path from the root: open does the same checks,
        // but for those that come first.
        Op::Truncate(p, size) => {
            let stat = host::statat(d, p, host::AtFlags::empty());
            match stat.map(|s| kind_of(s.st_mode)) {
                Ok(FileKind::Directory) => Err(rustix::io::Errno::ISDIR),
                Ok(_) => open(p, 1).and_then(|f| done(host::ftruncate(&f, *size))),
                Err(e) => Err(e),
            }
        }
        Op::Punch(p, offset, length) => open(p, 1).and_then(|f| {
            let flags = host::FallocateFlags::PUNCH_HOLE | host::FallocateFlags::KEEP_SIZE;
            done(host::fallocate(&f, flags, *offset, *length))
        }),
        Op::ReadLink(p) => host::readlinkat(d, p, Vec::new()).map(|t| t.into_bytes()),
        Op::Stat(p, follow) => {
            let nofollow = host::AtFlags::SYMLINK_NOFOLLOW;
            let flags = if *follow { host::AtFlags::empty() } else { nofollow };
            host::statat(d, p, flags).map(|s| {
                let kind = kind_of(s.st_mode);
                let size = if kind == FileKind::Directory { 0 } else { s.st_size };
                let links = if kind == FileKind::Directory { 0 } else { s.st_nlink };
                format!("{kind:?} {size} {links} {:o}", s.st_mode & 0o7777).into_bytes()
            })
        }
    };
    answer.map_err(|e| e.raw_os_error() as u16)
}

/// The whole tree: names, types, contents.
fn tree_of_host(path: &std::path::Path, prefix: &str, out: &mut Vec<String>) {
    let mut entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(|e| e.file_name());
    for entry in entries {
        let name = format!("{prefix}/{}", entry.file_name().into_string().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            out.push(format!("{name}/"));
            tree_of_host(&entry.path(), &name, out);
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).unwrap();
            out.push(format!("{name} -> {}", target.display()));
        } else {
            out.push(format!("{name} = {:?}", std::fs::read(entry.path()).unwrap()));
        }
    }
}

fn tree_of_ours(w: &World, prefix: &str, out: &mut Vec<String>) {
    for entry in w.list(&format!("{prefix}/")).unwrap() {
        let name = format!("{prefix}/{entry}");
        let at = w.lat(&name).unwrap();
        match at.kind() {
            FileKind::Directory => {
                out.push(format!("{name}/"));
                tree_of_ours(w, &name, out);
            }
            FileKind::Symlink => {
                let target = w.ns.read_link(w.start(), &at).unwrap();
                out.push(format!("{name} -> {}", String::from_utf8(target).unwrap()));
            }
            _ => {
                let mut buffer = vec![0; 65536];
                let n = at.inode().read_at(0, &mut SliceSink::new(&mut buffer)).unwrap();
                out.push(format!("{name} = {:?}", &buffer[..n]));
            }
        }
    }
}

/// Paths must not leave the host's directory: ours has "/" there.
fn leaves(op: &Op) -> bool {
    let out = |p: &String| {
        let mut depth = 0i32;
        p.split('/').filter(|c| !c.is_empty() && *c != ".").any(|c| {
            depth += if c == ".." { -1 } else { 1 };
            depth < 0
        })
    };
    match op {
        Op::Rename(a, b, _) | Op::Link(a, b) | Op::Symlink(a, b) => out(a) || out(b),
        Op::Mkdir(p) | Op::Rmdir(p) | Op::Unlink(p) | Op::ReadLink(p) => out(p),
        Op::Write(p, ..) | Op::Read(p, _) | Op::Truncate(p, _) => out(p),
        Op::Punch(p, ..) | Op::Stat(p, _) => out(p),
    }
}

struct Pair {
    world: World,
    directory: PathBuf,
    fd: OwnedFd,
}

impl Pair {
    /// In a directory two levels down, so that ".." through links stays inside.
    fn new(world: World, name: &str) -> Self {
        let base = PathBuf::from("/dev/shm");
        let base = if base.is_dir() { base } else { std::env::temp_dir() };
        let directory = base.join(format!("kvfs-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(directory.join("x/y")).unwrap();
        world.mkdir("/x").unwrap();
        world.mkdir("/x/y").unwrap();
        Self::at(world, directory)
    }

    fn at(mut world: World, directory: PathBuf) -> Self {
        let flags = host::OFlags::PATH | host::OFlags::DIRECTORY;
        let fd = host::open(directory.join("x/y"), flags, host::Mode::empty()).unwrap();
        world.base = world.at("/x/y").unwrap();
        Self { world, directory, fd }
    }

    fn run(&self, seed: u64, count: usize) {
        let mut random = Random(seed);
        for step in 0..count {
            let op = operation(&mut random);
            if leaves(&op) {
                continue;
            }
            let (ours, host) = (on_ours(&self.world, &op), on_host(&self.fd, &op));
            assert_eq!(ours, host, "seed {seed} step {step}: {op:?}");
        }
        let (mut ours, mut host) = (Vec::new(), Vec::new());
        tree_of_ours(&self.world, "", &mut ours);
        tree_of_host(&self.directory, "", &mut host);
        assert_eq!(ours, host, "the trees after seed {seed}");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn tmpfs_does_what_the_host_does() {
    for seed in 1..=60 {
        Pair::new(World::new(), &format!("tmpfs-{seed}")).run(seed * 7919, 400);
    }
}

#[test]
fn overlay_does_what_the_host_does() {
    for seed in 1..=60 {
        // The first operations make the lower file system, the others change it.
        let lower = tmpfs();
        let ns = Namespace::new(lower.clone(), MountFlags::empty(), Arc::new(NoDevices));
        let pair = Pair::new(World::over(ns), &format!("overlay-{seed}"));
        pair.run(seed * 104_729, 300);
        let limits = Limits { bytes: 16 << 20, inodes: 100_000 };
        let over = Tmpfs::over(&*lower, Arc::new(Ticks::default()), limits).unwrap();
        let ns = Namespace::new(over, MountFlags::empty(), Arc::new(NoDevices));
        let upper = Pair::at(World::over(ns), pair.directory.clone());
        upper.run(seed * 15_485_863, 300);
    }
}
