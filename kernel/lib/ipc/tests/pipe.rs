// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pipes and event counters against those of the host's kernel.

mod common;

use common::{Random, host, host_poll, host_read, our_read, our_write, ours};
use kio::{Events, File};
use kipc::{Access, EventFd, Fifo, pipe};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};
use rustix::io::write;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

const SIZES: [usize; 16] =
    [0, 1, 1, 2, 7, 100, 511, 2048, 4095, 4096, 4097, 5000, 8192, 12_289, 65_535, 70_000];

fn run_pipe(seed: u64, packets: bool) {
    let mut random = Random::new(seed);
    let direct = if packets { PipeFlags::DIRECT } else { PipeFlags::empty() };
    let (host_in, host_out) = pipe_with(PipeFlags::NONBLOCK | direct).unwrap();
    let (mut host_in, mut host_out) = (Some(host_in), Some(host_out));
    let (our_in, our_out) = pipe(packets).unwrap();
    for step in 0..400 {
        let at = format!("seed {seed} step {step}");
        let size = random.pick(&SIZES);
        match random.below(if step > 300 { 40 } else { 38 }) {
            0..=16 => {
                let bytes = random.bytes(size);
                if let Some(fd) = &host_out {
                    assert_eq!(our_write(&our_out, &bytes), host(write(fd, &bytes)), "{at}");
                }
            }
            17..=34 => {
                if let Some(fd) = &host_in {
                    assert_eq!(our_read(&our_in, size), host_read(fd, size), "{at}");
                }
            }
            35 | 36 => {
                let size = random.pick(&[0, 1, 4096, 5000, 16_384, 65_536, 100_000, 1 << 20]);
                if let Some(fd) = &host_out {
                    assert_eq!(
                        ours(our_out.set_capacity(size)),
                        host(fcntl_setpipe_size(fd, size)),
                        "{at}"
                    );
                    assert_eq!(our_out.capacity(), fcntl_getpipe_size(fd).unwrap());
                }
            }
            37 => {
                if let Some(fd) = &host_in {
                    let count = rustix::io::ioctl_fionread(fd).unwrap();
                    assert_eq!(pending(&our_in), count, "{at}");
                }
            }
            38 => {
                host_in = None;
                our_in.close();
            }
            _ => {
                host_out = None;
                our_out.close();
            }
        }
        if let Some(fd) = &host_in {
            assert_eq!(our_in.poll(), host_poll(fd), "{at}");
        }
        if let Some(fd) = &host_out {
            assert_eq!(our_out.poll(), host_poll(fd), "{at}");
        }
    }
}

struct Word(std::sync::Mutex<[u8; 4]>);

impl kio::UserWords for Word {
    fn value(&self) -> u64 {
        0
    }
    fn load(&self, _buffer: &mut [u8]) -> kio::Result<()> {
        Err(kio::Errno::EFAULT)
    }
    fn store(&self, bytes: &[u8]) -> kio::Result<()> {
        self.0.lock().unwrap().copy_from_slice(bytes);
        Ok(())
    }
}

fn pending(file: &dyn File) -> u64 {
    let word = Word(Default::default());
    file.ioctl(0x541b, &word).unwrap();
    u64::from(u32::from_ne_bytes(*word.0.lock().unwrap()))
}

/// The host signals SIGPIPE to writers without a reader; the errno is what is
/// compared. Rust's runtime ignores that signal in tests.
#[test]
fn streams_behave_as_the_host_does() {
    (0..200).for_each(|seed| run_pipe(seed, false));
}

#[test]
fn packets_behave_as_the_host_does() {
    (0..200).for_each(|seed| run_pipe(seed, true));
}

#[test]
fn counters_behave_as_the_host_does() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let semaphore = seed % 2 == 1;
        let flag = if semaphore { EventfdFlags::SEMAPHORE } else { EventfdFlags::empty() };
        let initial = random.below(4) as u32;
        let fd = eventfd(initial, EventfdFlags::NONBLOCK | flag).unwrap();
        let our = EventFd::new(initial, semaphore);
        for step in 0..200 {
            let at = format!("seed {seed} step {step}");
            if random.below(2) == 0 {
                let values = [0, 1, 3, u64::MAX, u64::MAX - 1, u64::MAX - 3, 1 << 63];
                let mut bytes = random.pick(&values).to_ne_bytes().to_vec();
                bytes.resize(random.pick(&[8, 8, 8, 8, 7, 0]), 0);
                assert_eq!(our_write(&our, &bytes), host(write(&fd, &bytes)), "{at}");
            } else {
                let size = random.pick(&[8, 8, 16, 7, 0]);
                assert_eq!(our_read(&our, size), host_read(&fd, size), "{at}");
            }
            assert_eq!(our.poll(), host_poll(&fd), "{at}");
        }
    }
}

#[test]
fn fifo_opens_meet_as_the_host_does() {
    let directory = std::env::temp_dir().join(format!("kipc-fifo-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("fifo");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let fifo = Fifo::new().unwrap();
    let open = |flags| host(rustix::fs::open(&path, flags | OFlags::NONBLOCK, Mode::empty()));

    let refused = ours(fifo.open(Access::Write, true).map(drop));
    assert_eq!(refused, open(OFlags::WRONLY).map(drop));
    let host_reader = open(OFlags::RDONLY).unwrap();
    let our_reader = fifo.open(Access::Read, true).unwrap().finish().ok().unwrap();
    assert_eq!(our_reader.poll(), host_poll(&host_reader));
    assert_eq!(our_reader.poll(), Events::empty());
    assert_eq!(our_read(&our_reader, 1), host_read(&host_reader, 1));
    let host_writer = open(OFlags::WRONLY).unwrap();
    let our_writer = fifo.open(Access::Write, true).unwrap().finish().ok().unwrap();
    assert_eq!(our_write(&our_writer, b"abc"), host(write(&host_writer, b"abc")));
    drop(host_writer);
    our_writer.close();
    assert_eq!(our_reader.poll(), host_poll(&host_reader));
    assert!(our_reader.poll().contains(Events::HUP));
    assert_eq!(our_read(&our_reader, 9), host_read(&host_reader, 9));
    assert_eq!(our_read(&our_reader, 9), host_read(&host_reader, 9));
    drop(host_reader);
    our_reader.close();

    // What nobody reads any more is gone for the next who opens.
    let both = fifo.open(Access::Both, false).unwrap().finish().ok().unwrap();
    assert_eq!(our_write(&both, b"left"), Ok(4));
    both.close();
    let both = fifo.open(Access::Both, false).unwrap().finish().ok().unwrap();
    assert_eq!(our_read(&both, 4), Err(11));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn blocking_fifo_opens_wait_for_each_other() {
    let fifo = Fifo::new().unwrap();
    let reader = fifo.open(Access::Read, false).unwrap();
    assert!(!reader.is_ready());
    let writer = fifo.open(Access::Write, false).unwrap();
    assert!(reader.is_ready() && writer.is_ready());
    // The partner may be gone again: the open succeeded all the same.
    drop(writer.finish().ok().unwrap());
    let reader = reader.finish().ok().unwrap();
    assert_eq!(reader.poll(), Events::HUP);
    assert_eq!(our_read(&reader, 1), Ok(vec![]));
    // An opening that was given up does not count as a reader.
    drop(reader);
    drop(fifo.open(Access::Read, false).unwrap());
    assert_eq!(fifo.open(Access::Write, true).err().map(|e| e.number()), Some(6));
}
