// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damaged volumes: an input is a list of changes to a sound image, which is
//! mounted, walked, read and written. Everything may fail, nothing may panic.

use kdevice::{BlockDevice, BlockLimits, BlockOperation, BlockRequest};
use kfs_ext4::{Environment, Options, Volume};
use kio::{Errno, FileKind, SliceSource, VecSink, WaitQueue};
use kvfs::{AttributeChange, FileSystem, Inode, RenameFlags, XattrMode};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

const SECTOR: usize = 512;
/// What one change reaches.
const PLACE: usize = 1024;
/// Names that a walk looks at.
const NAMES: usize = 200;
const DEPTH: usize = 6;

/// How the sound images are made.
const FORMATS: [&[&str]; 4] = [
    &["-b", "1024", "-O", "^metadata_csum,^64bit", "-I", "256"],
    &["-b", "1024", "-O", "metadata_csum"],
    &["-b", "4096", "-O", "^metadata_csum,^has_journal"],
    &["-b", "1024", "-O", "^metadata_csum,^flex_bg,^64bit,^extent", "-I", "128"],
];

struct Base {
    image: Vec<u8>,
    /// Places with something in them.
    places: Vec<usize>,
}

struct Memory {
    bytes: Mutex<Vec<u8>>,
    room: WaitQueue,
    sectors: u64,
}

impl BlockDevice for Memory {
    fn limits(&self) -> BlockLimits {
        BlockLimits {
            sector_size: SECTOR as u32,
            sectors: self.sectors,
            read_only: false,
            physical_block_size: SECTOR as u32,
            optimal_io_size: 0,
            max_segments: 30,
            max_discard_sectors: 0,
            write_cache: true,
        }
    }

    fn submit(&self, request: Arc<BlockRequest>) -> Result<(), Errno> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = request.sector as usize * SECTOR;
        for part in &request.segments {
            let slice = &mut bytes[at..at + part.len as usize];
            match request.operation {
                BlockOperation::Read => part.frame.write(part.offset as usize, slice),
                _ => part.frame.read(part.offset as usize, slice),
            }
            at += part.len as usize;
        }
        drop(bytes);
        request.complete(Ok(()));
        Ok(())
    }

    fn room(&self) -> &WaitQueue {
        &self.room
    }

    fn poll(&self) {}

    fn identity(&self) -> &str {
        ""
    }
}

struct Still;

impl Environment for Still {
    fn realtime(&self) -> Duration {
        Duration::from_secs(1_700_000_000)
    }
}

fn mount(image: Vec<u8>) -> Option<Arc<kfs_ext4::Mounted>> {
    kmm::hosted::start();
    let sectors = (image.len() / SECTOR) as u64;
    let device: Arc<dyn BlockDevice> =
        Arc::new(Memory { bytes: Mutex::new(image), room: WaitQueue::new(), sectors });
    let options = Options {
        read_only: false,
        source: "/dev/vda".to_owned(),
        device_number: 1,
        cache_pages: 256,
        dirty_pages: 32,
    };
    Volume::mount(&device, Arc::new(Still), options).ok()
}

/// Fills a fresh file system with something of everything.
fn populate(format: &[&str], index: usize) -> Base {
    let path = std::env::temp_dir().join(format!("fuzz-ext4-{}-{index}", std::process::id()));
    let file = std::fs::File::create(&path).expect("a temporary file");
    file.set_len(2 << 20).expect("room for it");
    let made = Command::new("mke2fs")
        .args(["-t", "ext4", "-q", "-F", "-N", "128", "-m", "0"])
        .args(format)
        .arg(&path)
        .status()
        .expect("mke2fs, of e2fsprogs");
    assert!(made.success());
    let commands = "mkdir dir\nmkdir dir/sub\nwrite /proc/self/maps dir/maps\n\
        write /proc/self/stat stat\nsymlink link dir/maps\n\
        symlink long aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
        mknod pipe p\nln stat hard\nea_set stat user.a value\n";
    let mut script = commands.to_owned();
    for i in 0..60 {
        script.push_str(&format!("write /proc/self/stat dir/file-with-a-long-name-{i:04}\n"));
    }
    let script_path = path.with_extension("script");
    std::fs::write(&script_path, script).expect("a script");
    let _ = Command::new("debugfs").arg("-w").arg("-f").arg(&script_path).arg(&path).output();
    let image = std::fs::read(&path).expect("the image");
    let _ = (std::fs::remove_file(&path), std::fs::remove_file(&script_path));
    let filled = |at: &usize| image[*at..*at + PLACE].iter().any(|b| *b != 0);
    let places = (0..image.len()).step_by(PLACE).filter(filled).collect();
    Base { image, places }
}

fn bases() -> &'static Vec<Base> {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        FORMATS.iter().enumerate().map(|(index, format)| populate(format, index)).collect()
    })
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for format in 0..FORMATS.len() as u8 {
        all.push(vec![format]);
        for place in (0..40u16).step_by(3) {
            let [low, high] = place.to_le_bytes();
            all.push(vec![format, low, high, place as u8 * 5, 0, 2, 0xff, 0x7f]);
            all.push(vec![format, low, high, 0x0c, 0, 1, 0x80, low, high, 0x28, 0, 1, 3]);
        }
    }
    all
}

/// Format, then changes: place (16 bits), offset in it (16 bits), count, bytes.
pub(crate) fn run(data: &[u8]) {
    let Some((&format, mut rest)) = data.split_first() else { return };
    let bases = bases();
    let base = &bases[usize::from(format) % bases.len()];
    let mut image = base.image.clone();
    while let [a, b, c, d, count, tail @ ..] = rest {
        let place = base.places[usize::from(u16::from_le_bytes([*a, *b])) % base.places.len()];
        let at = place + usize::from(u16::from_le_bytes([*c, *d])) % PLACE;
        let len = usize::from(*count).min(tail.len()).min(16).min(place + PLACE - at);
        image[at..at + len].copy_from_slice(&tail[..len]);
        rest = &tail[usize::from(*count).min(16).min(tail.len())..];
    }
    let Some(mounted) = mount(image) else { return };
    let root: Arc<dyn Inode> = mounted.root();
    let _ = mounted.statfs();
    let mut names = NAMES;
    walk(&root, DEPTH, &mut names);
    change(&root);
    let _ = mounted.volume().sync();
    walk(&root, 2, &mut NAMES.clone());
    mounted.volume().shut_down();
}

fn walk(directory: &Arc<dyn Inode>, depth: usize, names: &mut usize) {
    let mut all = Vec::new();
    let _ = directory.read_dir(0, &mut |entry| {
        all.push(entry.name.to_vec());
        all.len() < 100
    });
    for name in all {
        if *names == 0 || name.is_empty() || name.contains(&b'/') {
            return;
        }
        *names -= 1;
        let Ok(inode) = directory.lookup(&name) else { continue };
        let _ = inode.stat();
        let _ = inode.read_link();
        let _ = inode.list_xattrs();
        let _ = inode.xattr(b"user.a");
        match inode.kind() {
            FileKind::Directory if depth > 0 => walk(&inode, depth - 1, names),
            FileKind::Regular => {
                let size = inode.stat().map_or(0, |s| s.size);
                for at in [0, 5000, size.saturating_sub(10)] {
                    let _ = inode.read_at(at, &mut VecSink::new(20_000));
                }
                let _ = inode.seek_hole(0, true);
            }
            _ => {}
        }
    }
}

fn change(root: &Arc<dyn Inode>) {
    let write = |file: &Arc<dyn Inode>, at: u64, len: usize| {
        let _ = file.write_at(at, &mut SliceSource::new(&vec![7; len]));
        let _ = file.sync(false);
    };
    if let Ok(file) = root.create(b"new", FileKind::Regular, 0o644, 0) {
        write(&file, 0, 30_000);
        let _ = file.allocate(3, 1000, 9000);
        let _ = file.set_xattr(b"user.b", &[1; 300], XattrMode::Set);
    }
    let _ = root.create(b"newdir", FileKind::Directory, 0o755, 0);
    let _ = root.symlink(b"newlink", &[b'l'; 200]);
    for name in [&b"stat"[..], b"hard", b"link"] {
        if let Ok(file) = root.lookup(name)
            && file.kind() == FileKind::Regular
        {
            write(&file, 3000, 10_000);
            let _ = file.truncate(100);
            let _ = file.allocate(0, 0, 20_000);
            let _ = file.remove_xattr(b"user.a");
            let _ = file.set_attributes(&AttributeChange {
                permissions: Some(0o600),
                uid: Some(5),
                ..AttributeChange::default()
            });
        }
    }
    if let Ok(directory) = root.lookup(b"dir")
        && directory.kind() == FileKind::Directory
    {
        let _ = directory.rename(b"maps", root, b"moved", RenameFlags::empty());
        let _ = root.rename(b"newdir", &directory, b"sub", RenameFlags::empty());
        for i in 0..20 {
            let _ = directory.unlink(format!("file-with-a-long-name-{i:04}").as_bytes());
            let _ = directory.create(format!("more-{i}").as_bytes(), FileKind::Regular, 0o644, 0);
        }
        let _ = directory.rmdir(b"sub");
    }
    let _ = root.unlink(b"stat");
    let _ = root.unlink(b"hard");
}
