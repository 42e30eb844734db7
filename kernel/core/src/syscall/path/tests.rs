// SPDX-License-Identifier: Apache-2.0 OR MIT
//! openat2(2)'s restrictions; the answers are those of Linux for this tree.

use super::restricted::{BENEATH, IN_ROOT, NO_MAGICLINKS, NO_SYMLINKS, NO_XDEV, Walk};
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use kfs_tmpfs::{Limits, Tmpfs};
use kio::{Clock, Errno, File, FileKind, Instant, Result};
use kvfs::{Follow, Inode, Location, MountFlags, Namespace, OpenFlags, SpecialFiles, Start};

struct NoTime;

impl Clock for NoTime {
    fn monotonic(&self) -> Instant {
        Instant::ZERO
    }
    fn realtime(&self) -> Duration {
        Duration::ZERO
    }
}

struct NoDevices;

impl SpecialFiles for NoDevices {
    fn open_device(&self, _: FileKind, _: u64, _: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
    fn open_fifo(&self, _: &Arc<dyn Inode>, _: OpenFlags) -> Result<Arc<dyn File>> {
        Err(Errno::ENXIO)
    }
}

struct Tree {
    namespace: Namespace,
    root: Location,
    jail: Location,
}

fn tmpfs() -> Arc<Tmpfs> {
    let limits = Limits { bytes: 1 << 20, inodes: 1000 };
    Tmpfs::new(Arc::new(NoTime), limits, 0o755).unwrap()
}

fn tree() -> Tree {
    kmm::hosted::start();
    let namespace = Namespace::new(tmpfs(), MountFlags::empty(), Arc::new(NoDevices));
    let root = namespace.root();
    let start = Start { root: &root, base: &root };
    for path in ["jail", "jail/dir", "jail/dir/deep", "jail/mnt"] {
        namespace.make_directory(start, path.as_bytes(), 0o755).unwrap();
    }
    for path in ["jail/dir/file", "outside"] {
        namespace.make_node(start, path.as_bytes(), FileKind::Regular, 0o644, 0).unwrap();
    }
    for (path, target) in [
        ("jail/dir/up", ".."),
        ("jail/esc", "../outside"),
        ("jail/abs", "/outside"),
        ("jail/in", "dir/file"),
        ("jail/loop", "loop"),
        ("jail/dirlink", "dir"),
        ("jail/absin", "/dir/file"),
        ("jail/dangling", "nothing"),
    ] {
        namespace.make_symlink(target.as_bytes(), start, path.as_bytes()).unwrap();
    }
    let mount_point = namespace.resolve(start, b"jail/mnt", Follow::Yes).unwrap();
    namespace.mount(tmpfs(), &mount_point, MountFlags::empty()).unwrap();
    let jail = namespace.resolve(start, b"jail", Follow::Yes).unwrap();
    Tree { root, jail, namespace }
}

impl Tree {
    /// The path that an openat2 relative to /jail would open.
    fn find(&self, restrictions: u64, path: &str, follow: bool) -> Result<String> {
        let root = if restrictions & IN_ROOT != 0 { &self.jail } else { &self.root };
        let start = Start { root, base: &self.jail };
        let walk = Walk::new(&self.namespace, start, restrictions, follow);
        let end = walk.run(path.as_bytes())?;
        let start = Start { root, base: &end.directory };
        let at = self.namespace.resolve(start, &end.name, Follow::No)?;
        if end.slash && at.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(String::from_utf8(self.namespace.path_of(&self.root, &at)).unwrap())
    }
}

#[test]
fn restrictions_hold() {
    let tree = tree();
    let file = Ok("/jail/dir/file");
    let (loops, leaves, missing) = (Err(Errno::ELOOP), Err(Errno::EXDEV), Err(Errno::ENOENT));
    // A path; without symbolic links, beneath, in root.
    let cases = [
        ("dir/file", file, file, file),
        ("in", loops, file, file),
        ("esc", loops, leaves, missing),
        ("abs", loops, leaves, missing),
        ("absin", loops, leaves, file),
        ("dirlink/", loops, Ok("/jail/dir"), Ok("/jail/dir")),
        ("dirlink/file", loops, file, file),
        ("dir/up", loops, Ok("/jail"), Ok("/jail")),
        ("dir/up/", loops, Ok("/jail"), Ok("/jail")),
        ("dir/up/dir/file", loops, file, file),
        ("../outside", Ok("/outside"), leaves, missing),
        ("..", Ok("/"), leaves, Ok("/jail")),
        ("dir/..", Ok("/jail"), Ok("/jail"), Ok("/jail")),
        ("dir/../..", Ok("/"), leaves, Ok("/jail")),
        (".", Ok("/jail"), Ok("/jail"), Ok("/jail")),
        ("/", Ok("/"), leaves, Ok("/jail")),
        ("/dir/file", missing, leaves, file),
        ("/../dir", missing, leaves, Ok("/jail/dir")),
        ("loop", loops, loops, loops),
        ("dangling", loops, missing, missing),
        ("missing", missing, missing, missing),
        ("missing/x", missing, missing, missing),
        ("dir/file/", Err(Errno::ENOTDIR), Err(Errno::ENOTDIR), Err(Errno::ENOTDIR)),
        ("dir/file/x", Err(Errno::ENOTDIR), Err(Errno::ENOTDIR), Err(Errno::ENOTDIR)),
        ("dir//deep/", Ok("/jail/dir/deep"), Ok("/jail/dir/deep"), Ok("/jail/dir/deep")),
    ];
    for (path, without_links, beneath, in_root) in cases {
        let ways = [(NO_SYMLINKS, without_links), (BENEATH, beneath), (IN_ROOT, in_root)];
        for (restrictions, wanted) in ways {
            let got = tree.find(restrictions, path, true);
            assert_eq!(got.as_deref(), wanted.as_ref().copied(), "{path} with {restrictions}");
        }
    }
}

#[test]
fn links_at_the_end_and_mounts() {
    let tree = tree();
    // With O_NOFOLLOW the link itself is opened, but for a slash behind it.
    assert_eq!(tree.find(NO_SYMLINKS, "in", false).as_deref(), Ok("/jail/in"));
    assert_eq!(tree.find(BENEATH, "dirlink/", false).as_deref(), Ok("/jail/dir"));
    // Without a restriction on leaving, links lead out as always.
    assert_eq!(tree.find(NO_MAGICLINKS, "esc", true).as_deref(), Ok("/outside"));
    for path in ["mnt", "mnt/", "mnt/.", "dir/up/mnt"] {
        assert_eq!(tree.find(NO_XDEV, path, true), Err(Errno::EXDEV), "{path}");
    }
    assert_eq!(tree.find(NO_XDEV, "dir/file", true).as_deref(), Ok("/jail/dir/file"));
}
