// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The device nodes of /dev and the objects behind them: null(4), full(4),
//! random(4), tty(4), console(4).

use crate::Console;
use alloc::sync::Arc;
use core::any::Any;
use kio::{Errno, File, FileKind, Result, Sink, Source, Stat};
use kvfs::{Inode, OpenFlags};

/// Where random bytes come from.
pub trait RandomSource: Send + Sync {
    /// Fills `buffer` with unpredictable bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// True once the generator has enough entropy; before, /dev/random is
    /// not readable (`EAGAIN`).
    fn is_seeded(&self) -> bool {
        true
    }

    /// Mixes in what a program wrote to /dev/random.
    fn mix(&self, _bytes: &[u8]) {}
}

const fn device(major: u64, minor: u64) -> u64 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
}

const NULL: u64 = device(1, 3);
const ZERO: u64 = device(1, 5);
const FULL: u64 = device(1, 7);
const RANDOM: u64 = device(1, 8);
const URANDOM: u64 = device(1, 9);
const KMSG: u64 = device(1, 11);
const TTY: u64 = device(5, 0);
const CONSOLE: u64 = device(5, 1);
const TTY_S0: u64 = device(4, 64);

const NODES: [(&[u8], u32, u64); 9] = [
    (b"null", 0o666, NULL),
    (b"zero", 0o666, ZERO),
    (b"full", 0o666, FULL),
    (b"random", 0o666, RANDOM),
    (b"urandom", 0o666, URANDOM),
    (b"kmsg", 0o644, KMSG),
    (b"tty", 0o666, TTY),
    (b"console", 0o600, CONSOLE),
    (b"ttyS0", 0o660, TTY_S0),
];

const LINKS: [(&[u8], &[u8]); 4] = [
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
];

/// Makes the nodes, links and mount points of /dev in `directory`, the root of
/// an empty file system that is to be mounted there.
pub fn populate_dev(directory: &Arc<dyn Inode>) -> Result<()> {
    for (name, permissions, number) in NODES {
        directory.create(name, FileKind::CharDevice, permissions, number)?;
    }
    for (name, target) in LINKS {
        directory.symlink(name, target)?;
    }
    for (name, permissions) in [(&b"shm"[..], 0o1777), (b"pts", 0o755), (b"mqueue", 0o1777)] {
        directory.create(name, FileKind::Directory, permissions, 0)?;
    }
    Ok(())
}

/// The character devices by number.
pub struct Devices {
    random: Arc<dyn RandomSource>,
    console: Arc<Console>,
}

impl Devices {
    /// With the objects behind /dev/random and /dev/console.
    pub fn new(random: Arc<dyn RandomSource>, console: Arc<Console>) -> Self {
        Self { random, console }
    }

    /// The object behind the device node, for
    /// [`kvfs::SpecialFiles::open_device`]; `ENXIO` for a number without one.
    pub fn open(&self, kind: FileKind, number: u64, _flags: OpenFlags) -> Result<Arc<dyn File>> {
        if kind != FileKind::CharDevice {
            return Err(Errno::ENXIO);
        }
        let memory = |behaviour| -> Arc<dyn File> { Arc::new(Memory { number, behaviour }) };
        Ok(match number {
            NULL | KMSG => memory(Behaviour::Null),
            ZERO => memory(Behaviour::Zero),
            FULL => memory(Behaviour::Full),
            RANDOM | URANDOM => Arc::new(Random {
                number,
                waits_for_seed: number == RANDOM,
                source: self.random.clone(),
            }),
            TTY | CONSOLE | TTY_S0 => self.console.clone(),
            _ => return Err(Errno::ENXIO),
        })
    }
}

fn stat_of(number: u64) -> Stat {
    Stat { permissions: 0o666, device_node: number, ..Stat::anonymous(FileKind::CharDevice) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    Null,
    Zero,
    Full,
}

struct Memory {
    number: u64,
    behaviour: Behaviour,
}

/// Takes all that `source` has, in pieces, and shows each to `see`.
fn swallow(source: &mut dyn Source, mut see: impl FnMut(&[u8])) -> Result<usize> {
    let mut buffer = [0; 256];
    let mut done = 0;
    while source.remaining() > 0 {
        let want = source.remaining().min(buffer.len());
        match source.take(&mut buffer[..want]) {
            Ok(n) => {
                see(&buffer[..n]);
                done += n;
                if n < want {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

impl File for Memory {
    fn stat(&self) -> Result<Stat> {
        Ok(stat_of(self.number))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        match self.behaviour {
            Behaviour::Null => Ok(0),
            _ => sink.put_zeroes(sink.remaining()),
        }
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        match self.behaviour {
            Behaviour::Full => Err(Errno::ENOSPC),
            // Linux does not look at the bytes either: a bad address is fine.
            _ => Ok(source.remaining()),
        }
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn map_page(&self, _index: u64, _for_write: bool) -> Result<kmm::Frame> {
        match self.behaviour {
            // Each private mapping of /dev/zero starts as fresh zeroes.
            Behaviour::Zero => kmm::Frame::allocate_zeroed_for_user().map_err(|_| Errno::ENOMEM),
            _ => Err(Errno::ENODEV),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Random {
    number: u64,
    waits_for_seed: bool,
    source: Arc<dyn RandomSource>,
}

impl File for Random {
    fn stat(&self) -> Result<Stat> {
        Ok(stat_of(self.number))
    }

    fn read_at(&self, _offset: u64, sink: &mut dyn Sink) -> Result<usize> {
        if self.waits_for_seed && !self.source.is_seeded() {
            return Err(Errno::EAGAIN);
        }
        let mut buffer = [0; 256];
        let mut done = 0;
        while sink.remaining() > 0 {
            let want = sink.remaining().min(buffer.len());
            self.source.fill(&mut buffer[..want]);
            match sink.put(&buffer[..want]) {
                Ok(n) => {
                    done += n;
                    if n < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        buffer.fill(0);
        Ok(done)
    }

    fn write_at(&self, _offset: u64, source: &mut dyn Source) -> Result<usize> {
        swallow(source, |bytes| self.source.mix(bytes))
    }

    fn append(&self, source: &mut dyn Source) -> Result<(usize, u64)> {
        Ok((self.write_at(0, source)?, 0))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn ioctl(&self, request: u32, argument: &dyn kio::UserWords) -> Result<u64> {
        const RNDGETENTCNT: u32 = 0x8004_5200;
        match request {
            RNDGETENTCNT => {
                let bits: u32 = if self.source.is_seeded() { 256 } else { 0 };
                argument.store(&bits.to_ne_bytes()).map(|()| 0)
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
