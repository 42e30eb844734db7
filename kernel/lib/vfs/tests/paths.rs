// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Path resolution and the operations that take a path, by the man pages.

mod common;

use common::{World, tmpfs};
use kio::{Errno, FileKind};
use kvfs::{FileSystem, Follow, FsStat, Inode, MountFlags, OpenFlags, RenameFlags, Start};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn world() -> World {
    let w = World::new();
    w.mkdir("/d").unwrap();
    w.mkdir("/d/e").unwrap();
    w.write("/d/f", "hello").unwrap();
    w.symlink("f", "/d/l").unwrap();
    w.symlink("/d", "/ld").unwrap();
    w.symlink("loop", "/loop").unwrap();
    w.symlink("nowhere", "/dangling").unwrap();
    w
}

#[test]
fn resolves_as_the_man_page_says() {
    let w = world();
    let long = "x".repeat(256);
    let table: &[(&str, Result<&str, Errno>)] = &[
        ("/", Ok("/")),
        ("//", Ok("/")),
        ("/..", Ok("/")),
        ("/../../d", Ok("/d")),
        (".", Ok("/")),
        ("d/", Ok("/d")),
        ("d//e/../f", Ok("/d/f")),
        ("d/e/..", Ok("/d")),
        ("d/./l", Ok("/d/f")),
        ("ld/l", Ok("/d/f")),
        ("ld/", Ok("/d")),
        ("ld/..", Ok("/")),
        ("", Err(Errno::ENOENT)),
        ("x", Err(Errno::ENOENT)),
        ("x/..", Err(Errno::ENOENT)),
        ("d/f/", Err(Errno::ENOTDIR)),
        ("d/f/.", Err(Errno::ENOTDIR)),
        ("d/f/..", Err(Errno::ENOTDIR)),
        ("d/f/x", Err(Errno::ENOTDIR)),
        ("d/l/", Err(Errno::ENOTDIR)),
        ("loop", Err(Errno::ELOOP)),
        ("loop/x", Err(Errno::ELOOP)),
        ("dangling", Err(Errno::ENOENT)),
        (&long, Err(Errno::ENAMETOOLONG)),
        (&long[1..], Err(Errno::ENOENT)),
    ];
    for (path, want) in table {
        let found = w.at(path).map(|at| w.path(&at));
        assert_eq!(found, want.map(String::from), "{path}");
    }
    let deep = "/".repeat(4095);
    assert!(w.at(&deep).is_ok());
    assert_eq!(w.at(&"/".repeat(4096)).unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(w.lat("ld").unwrap().kind(), FileKind::Symlink);
    assert_eq!(w.lat("ld/").unwrap().kind(), FileKind::Directory);
    assert_eq!(w.lat("dangling").unwrap().kind(), FileKind::Symlink);
}

#[test]
fn follows_forty_links_and_no_more() {
    let w = World::new();
    w.write("/f", "").unwrap();
    w.symlink("f", "/0").unwrap();
    for n in 1..=40 {
        w.symlink(&(n - 1).to_string(), &format!("/{n}")).unwrap();
    }
    assert!(w.at("39").is_ok());
    assert_eq!(w.at("40").unwrap_err(), Errno::ELOOP);
}

#[test]
fn opens_with_the_errors_of_open() {
    use OpenFlags as O;
    let w = world();
    let create = O::CREAT | O::RDWR;
    let table: &[(&str, O, Errno)] = &[
        ("d/f", create | O::EXCL, Errno::EEXIST),
        ("dangling", create | O::EXCL, Errno::EEXIST),
        ("dangling", create | O::NOFOLLOW, Errno::ELOOP),
        ("d", create, Errno::EISDIR),
        ("ld", create, Errno::EISDIR),
        ("d/..", create, Errno::EISDIR),
        ("d/..", create | O::EXCL, Errno::EEXIST),
        ("new/", create, Errno::EISDIR),
        ("x/new", create, Errno::ENOENT),
        ("d/f/new", create, Errno::ENOTDIR),
        ("d", O::WRONLY, Errno::EISDIR),
        ("d", O::TRUNC, Errno::EISDIR),
        ("d/f", O::DIRECTORY, Errno::ENOTDIR),
        ("d/l", O::NOFOLLOW, Errno::ELOOP),
        ("ld", O::NOFOLLOW | O::DIRECTORY, Errno::ENOTDIR),
        ("d", create | O::DIRECTORY, Errno::EINVAL),
        ("d", O::TMPFILE | O::DIRECTORY, Errno::EINVAL),
        ("d/f", O::TMPFILE | O::DIRECTORY | O::RDWR, Errno::ENOTDIR),
    ];
    for (path, flags, want) in table {
        assert_eq!(w.open(path, *flags).unwrap_err(), *want, "{path} {flags:?}");
    }
    let link = w.open("d/l", O::PATH | O::NOFOLLOW).unwrap();
    assert_eq!(link.location.kind(), FileKind::Symlink);
    // A dangling link is where the new file goes.
    w.write("dangling", "made").unwrap();
    assert_eq!(w.read("nowhere").unwrap(), "made");
    assert_eq!(w.open("d", O::DIRECTORY | O::PATH).unwrap().location.kind(), FileKind::Directory);
}

#[test]
fn what_is_executed_is_not_written() {
    use OpenFlags as O;
    let w = world();
    w.link("/d/f", "/d/other").unwrap();
    let first = w.ns.execute(&w.at("/d/f").unwrap());
    let second = w.ns.execute(&w.at("/d/f").unwrap());
    for flags in [O::WRONLY, O::RDWR, O::RDONLY | O::TRUNC, O::CREAT | O::RDWR] {
        for path in ["/d/f", "/d/other", "/d/l"] {
            assert_eq!(w.open(path, flags).unwrap_err(), Errno::ETXTBSY, "{path} {flags:?}");
        }
    }
    assert_eq!(w.ns.truncate(&w.at("/d/f").unwrap(), 0).unwrap_err(), Errno::ETXTBSY);
    assert_eq!(w.read("/d/f").unwrap(), "hello");
    w.write("/d/g", "another").unwrap();
    drop(first);
    assert_eq!(w.write("/d/f", "x").unwrap_err(), Errno::ETXTBSY);
    drop(second);
    w.write("/d/f", "changed").unwrap();
}

#[test]
fn removes_and_renames_with_the_errors_of_linux() {
    let w = world();
    assert_eq!(w.unlink("d"), Err(Errno::EISDIR));
    assert_eq!(w.unlink("d/f/"), Err(Errno::ENOTDIR));
    assert_eq!(w.unlink("d/."), Err(Errno::EISDIR));
    assert_eq!(w.rmdir("d/."), Err(Errno::EINVAL));
    assert_eq!(w.rmdir("d/e/.."), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("/"), Err(Errno::EBUSY));
    assert_eq!(w.rmdir("d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rmdir("ld"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename("d", "d/e/x"), Err(Errno::EINVAL));
    assert_eq!(w.rename("d/e", "d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rename("d/f", "d/e"), Err(Errno::EISDIR));
    assert_eq!(w.rename("d/e", "d/f"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename("d/f", "new/"), Err(Errno::ENOTDIR));
    assert_eq!(w.rename("d/.", "x"), Err(Errno::EBUSY));
    assert_eq!(w.rename_with("d/f", "d/l", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(w.rename_with("d/f", "x", RenameFlags::EXCHANGE), Err(Errno::ENOENT));
    w.rename_with("d/f", "ld", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(w.read("ld").unwrap(), "hello");
    assert_eq!(w.lat("d/f").unwrap().kind(), FileKind::Symlink);
    w.rename("d", "moved/").unwrap();
    assert_eq!(w.mkdir("moved/f/"), Err(Errno::EEXIST));
    assert_eq!(w.symlink("t", "new/"), Err(Errno::ENOENT));
    w.mkdir("new/").unwrap();
    assert_eq!(w.link("new", "n2"), Err(Errno::EPERM));
}

#[test]
fn paths_follow_renames_and_show_deletion() {
    let w = world();
    let e = w.at("d/e").unwrap();
    w.rename("d", "m").unwrap();
    assert_eq!(w.path(&e), "/m/e");
    w.rmdir("m/e").unwrap();
    assert_eq!(w.path(&e), "/m/e (deleted)");
    assert_eq!(w.ns.working_directory(&w.root, &e), Err(Errno::ENOENT));
    let start = Start { root: &w.root, base: &e };
    assert_eq!(w.ns.make_directory(start, b"x", 0o755).unwrap_err(), Errno::ENOENT);
    assert!(w.ns.resolve(start, b"..", Follow::Yes).unwrap().is(&w.at("m").unwrap()));
    // A process whose root is /m cannot leave it.
    let m = w.at("m").unwrap();
    let jail = Start { root: &m, base: &m };
    assert!(w.ns.resolve(jail, b"../../..", Follow::Yes).unwrap().is(&m));
    assert_eq!(w.ns.path_of(&m, &w.at("m/f").unwrap()), b"/f");
    assert_eq!(w.ns.path_of(&m, &w.at("/").unwrap()), b"(unreachable)/");
}

#[test]
fn mounts_cover_and_give_back() {
    let w = world();
    let upper = tmpfs();
    w.ns.mount(upper.clone(), &w.at("d").unwrap(), MountFlags::empty()).unwrap();
    assert_eq!(w.at("d/f").unwrap_err(), Errno::ENOENT);
    w.write("d/g", "inner").unwrap();
    assert_eq!(w.path(&w.at("d/g").unwrap()), "/d/g");
    assert_eq!(w.path(&w.at("d/..").unwrap()), "/");
    assert_eq!(w.rename("d/g", "g"), Err(Errno::EXDEV));
    assert_eq!(w.link("d/g", "g"), Err(Errno::EXDEV));
    assert_eq!(w.rmdir("d"), Err(Errno::EBUSY));
    assert_eq!(w.rename("d", "x"), Err(Errno::EBUSY));
    w.mkdir("b").unwrap();
    w.ns.bind(&w.at("d").unwrap(), &w.at("b").unwrap(), MountFlags::RDONLY).unwrap();
    assert_eq!(w.read("b/g").unwrap(), "inner");
    assert_eq!(w.write("b/g", ""), Err(Errno::EROFS));
    assert_eq!(w.mkdir("b/x"), Err(Errno::EROFS));
    assert_eq!(w.mkdir("b/g"), Err(Errno::EEXIST));
    assert_eq!(w.unlink("b/g"), Err(Errno::EROFS));
    let held = w.at("d/g").unwrap();
    assert_eq!(w.ns.unmount(&w.at("d").unwrap(), false), Err(Errno::EBUSY));
    drop(held);
    assert_eq!(w.ns.unmount(&w.at("d/g").unwrap(), false), Err(Errno::EINVAL));
    w.ns.unmount(&w.at("d").unwrap(), false).unwrap();
    assert_eq!(w.read("d/f").unwrap(), "hello");
    w.ns.unmount(&w.at("b").unwrap(), false).unwrap();
    assert_eq!(w.ns.unmount(&w.at("/").unwrap(), true), Err(Errno::EBUSY));
    assert_eq!(w.ns.mounts().len(), 1);
    // The file system lives on where it is held, and can come back.
    w.ns.mount(upper, &w.at("b").unwrap(), MountFlags::empty()).unwrap();
    assert_eq!(w.read("b/g").unwrap(), "inner");
}

/// A file system that may become read-only, as a damaged volume does.
struct Failing {
    inner: Arc<dyn FileSystem>,
    failed: AtomicBool,
}

impl FileSystem for Failing {
    fn root(&self) -> Arc<dyn Inode> {
        self.inner.root()
    }
    fn name(&self) -> &'static str {
        "failing"
    }
    fn statfs(&self) -> FsStat {
        self.inner.statfs()
    }
    fn flags(&self) -> MountFlags {
        match self.failed.load(Ordering::Relaxed) {
            true => MountFlags::RDONLY,
            false => MountFlags::empty(),
        }
    }
}

#[test]
fn a_mount_shows_that_its_file_system_became_read_only() {
    let w = world();
    let volume = Arc::new(Failing { inner: tmpfs(), failed: AtomicBool::new(false) });
    w.ns.mount(volume.clone(), &w.at("d").unwrap(), MountFlags::NOSUID).unwrap();
    w.write("d/g", "kept").unwrap();
    volume.failed.store(true, Ordering::Relaxed);
    assert_eq!(w.at("d").unwrap().mount().flags(), MountFlags::NOSUID | MountFlags::RDONLY);
    assert_eq!(w.write("d/g", ""), Err(Errno::EROFS));
    assert_eq!(w.mkdir("d/x"), Err(Errno::EROFS));
    assert_eq!(w.read("d/g").unwrap(), "kept");
}

#[test]
fn unnamed_files_can_be_named_once() {
    let w = world();
    let flags = OpenFlags::TMPFILE | OpenFlags::DIRECTORY | OpenFlags::RDWR;
    let opened = w.open("d", flags).unwrap();
    assert_eq!(opened.file.stat().unwrap().links, 0);
    w.ns.link(&opened.location, w.start(), b"d/named").unwrap();
    assert_eq!(w.at("d/named").unwrap().inode().stat().unwrap().links, 1);
    w.unlink("d/named").unwrap();
    assert_eq!(w.ns.link(&opened.location, w.start(), b"d/n").unwrap_err(), Errno::ENOENT);
}

#[test]
fn a_deep_removed_tree_is_freed_without_recursion() {
    let w = World::new();
    let mut at = w.root.clone();
    for _ in 0..50_000 {
        let start = Start { root: &w.root, base: &at };
        at = w.ns.make_directory(start, b"d", 0o755).unwrap();
    }
    w.ns.forget_unused();
    drop(at);
    w.ns.forget_unused();
    assert!(w.at("d/d/d").is_ok());
    drop(w);
}
