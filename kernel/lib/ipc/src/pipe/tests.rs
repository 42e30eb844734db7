// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pipes with user pages missing.

use super::{PIPE_BUF, pipe};
use alloc::vec;
use kio::{Errno, Events, File, Result, Sink, SliceSink, SliceSource, Source};

/// A user buffer of which only the first `present` bytes are mapped.
struct Torn<'a> {
    bytes: &'a mut [u8],
    present: usize,
    at: usize,
}

impl<'a> Torn<'a> {
    fn new(bytes: &'a mut [u8], present: usize) -> Self {
        Self { bytes, present, at: 0 }
    }

    fn step(&mut self, want: usize) -> Result<core::ops::Range<usize>> {
        let count = want.min(self.bytes.len() - self.at).min(self.present - self.at);
        if count == 0 && want > 0 {
            return Err(Errno::EFAULT);
        }
        self.at += count;
        Ok(self.at - count..self.at)
    }
}

impl Sink for Torn<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let range = self.step(bytes.len())?;
        let count = range.len();
        self.bytes[range].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl Source for Torn<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let range = self.step(buffer.len())?;
        let count = range.len();
        buffer[..count].copy_from_slice(&self.bytes[range]);
        Ok(count)
    }
}

#[test]
fn a_torn_small_write_leaves_no_trace() {
    let (reader, writer) = pipe(false).unwrap();
    let mut bytes = vec![7; PIPE_BUF];
    assert_eq!(writer.write_at(0, &mut Torn::new(&mut bytes, 100)), Err(Errno::EFAULT));
    assert_eq!(reader.poll(), Events::empty());
    assert_eq!(writer.write_at(0, &mut SliceSource::new(b"x")), Ok(1));
    // The same when the bytes would have gone behind others in a page.
    assert_eq!(writer.write_at(0, &mut Torn::new(&mut bytes[..9], 5)), Err(Errno::EFAULT));
    let mut out = [0; 16];
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(1));
}

#[test]
fn a_torn_large_write_counts_what_it_copied() {
    let (reader, writer) = pipe(false).unwrap();
    let mut bytes: vec::Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    let expected = bytes.clone();
    let done = writer.write_at(0, &mut Torn::new(&mut bytes, 5000)).unwrap();
    assert_eq!(done, 4096);
    let rest = &expected[done..];
    assert_eq!(writer.write_at(0, &mut SliceSource::new(rest)), Ok(rest.len()));
    let mut out = vec![0; 10_000];
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(10_000));
    assert!(out == expected);
}

#[test]
fn a_torn_write_that_goes_on_fills_the_pipe() {
    let (_reader, writer) = pipe(false).unwrap();
    // Pages of the user start in the middle of pages of the pipe.
    let mut bytes = vec![1; 200_000];
    let mut done = 0;
    for present in (704..=200_000).step_by(4096) {
        match writer.write_at(0, &mut Torn::new(&mut bytes[done..], present - done)) {
            Ok(count) => done += count,
            Err(Errno::EFAULT) => {}
            other => assert_eq!(other, Err(Errno::EAGAIN)),
        }
    }
    assert_eq!(done, 16 * 4096);
}

#[test]
fn a_torn_read_keeps_what_it_did_not_copy() {
    let (reader, writer) = pipe(false).unwrap();
    writer.write_at(0, &mut SliceSource::new(b"abcdef")).unwrap();
    let mut out = [0; 6];
    assert_eq!(reader.read_at(0, &mut Torn::new(&mut out, 0)), Err(Errno::EFAULT));
    assert_eq!(reader.read_at(0, &mut Torn::new(&mut out, 2)), Ok(2));
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(4));
    assert_eq!(&out[..4], b"cdef");
}

#[test]
fn a_torn_packet_is_read_whole_later() {
    let (reader, writer) = pipe(true).unwrap();
    writer.write_at(0, &mut SliceSource::new(b"abcdef")).unwrap();
    let mut out = [0; 6];
    assert_eq!(reader.read_at(0, &mut Torn::new(&mut out, 2)), Err(Errno::EFAULT));
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(6));
    assert_eq!(&out, b"abcdef");
}

#[test]
fn tee_copies_and_keeps() {
    let (reader, writer) = pipe(false).unwrap();
    let (other_reader, other_writer) = pipe(false).unwrap();
    assert_eq!(reader.tee(&other_writer, 5), Err(Errno::EAGAIN));
    assert_eq!(reader.tee(&writer, 5), Err(Errno::EINVAL));
    assert_eq!(writer.tee(&other_writer, 5), Err(Errno::EBADF));
    writer.write_at(0, &mut SliceSource::new(&[b'a'; 5000])).unwrap();
    writer.write_at(0, &mut SliceSource::new(b"end")).unwrap();
    assert_eq!(reader.tee(&other_writer, 5002), Ok(5002));
    let mut out = vec![0; 6000];
    assert_eq!(other_reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(5002));
    assert_eq!(&out[4999..5002], b"aen");
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(5003));
    // A full target takes what fits, then nothing.
    writer.write_at(0, &mut SliceSource::new(&vec![1; 65536])).unwrap();
    other_writer.write_at(0, &mut SliceSource::new(&[2; 4096])).unwrap();
    assert_eq!(reader.tee(&other_writer, 65536), Ok(65536 - 4096));
    assert_eq!(reader.tee(&other_writer, 1), Err(Errno::EAGAIN));
    drop(other_reader);
    assert_eq!(reader.tee(&other_writer, 1), Err(Errno::EPIPE));
}

#[test]
fn splice_moves_what_has_room_and_keeps_the_rest() {
    let (reader, writer) = pipe(false).unwrap();
    let (other_reader, other_writer) = pipe(false).unwrap();
    other_writer.set_capacity(4096).unwrap();
    writer.write_at(0, &mut SliceSource::new(&[b'a'; 4096])).unwrap();
    writer.write_at(0, &mut SliceSource::new(b"rest")).unwrap();
    assert_eq!(reader.splice(&other_writer, 9999), Ok(4096));
    assert_eq!(reader.splice(&other_writer, 9999), Err(Errno::EAGAIN));
    let mut out = vec![0; 6000];
    assert_eq!(other_reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(4096));
    assert_eq!(reader.splice(&other_writer, 2), Ok(2));
    assert_eq!(reader.splice(&other_writer, 9999), Err(Errno::EAGAIN));
    assert_eq!(other_reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(2));
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(2));
    assert_eq!(&out[..2], b"st");
    drop(writer);
    assert_eq!(reader.splice(&other_writer, 1), Ok(0));
}

#[test]
fn what_is_lent_stays_until_it_is_consumed() {
    let (reader, writer) = pipe(false).unwrap();
    assert_eq!(reader.lend(9).err(), Some(Errno::EAGAIN));
    writer.write_at(0, &mut SliceSource::new(b"hello")).unwrap();
    let lent = reader.lend(9).unwrap();
    assert_eq!(lent.bytes(), b"hello");
    let mut out = vec![0; 16];
    // Nobody else has it, and nobody takes its absence for the end.
    drop(writer);
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Err(Errno::EAGAIN));
    assert_eq!(reader.lend(1).err(), Some(Errno::EAGAIN));
    assert_eq!(reader.poll(), Events::empty());
    drop(lent);
    assert_eq!(reader.poll(), Events::READABLE | Events::HUP);
    reader.lend(4).unwrap().consume(3);
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(2));
    assert_eq!(&out[..2], b"lo");
    assert!(reader.lend(1).unwrap().bytes().is_empty());
}

#[test]
fn a_sink_takes_what_has_room() {
    let (reader, writer) = pipe(false).unwrap();
    writer.set_capacity(4096).unwrap();
    let mut sink = writer.sink(10_000);
    assert_eq!(sink.remaining(), 4096);
    assert_eq!(sink.put(&[7; 5000]), Ok(4096));
    assert_eq!((sink.remaining(), sink.taken()), (0, 4096));
    assert_eq!(sink.put(&[7; 1]), Err(Errno::EFAULT));
    let mut out = vec![0; 6000];
    assert_eq!(reader.read_at(0, &mut SliceSink::new(&mut out)), Ok(4096));
    assert_eq!(writer.sink(3).put(b"hello"), Ok(3));
}
