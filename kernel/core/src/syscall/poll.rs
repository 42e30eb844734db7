// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Waiting for many descriptors at once: poll(2) and select(2).

use super::Args;
use super::event::{Limit, optional_mask, with_mask};
use super::fd::usable;
use super::time::read_timespec;
use crate::files::OpenFile;
use crate::limits;
use crate::sched;
use crate::thread::Thread;
use crate::user;
use crate::wait::{Alarm, interrupted};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use kio::{Errno, Events, Result};
use kipc::PollSet;

/// Bytes of `struct pollfd`.
const POLLFD_SIZE: usize = 8;

/// A descriptor that is asked about, and the answer.
struct Question {
    /// `None` for a descriptor that is not open.
    open: Option<Arc<OpenFile>>,
    /// All that is worth an answer.
    interest: Events,
    ready: Events,
}

impl Question {
    fn new(thread: &Thread, fd: i32, interest: Events) -> Self {
        Self { open: usable(thread, fd).ok(), interest, ready: Events::empty() }
    }

    /// Asks; true when there is something to report.
    fn ask(&mut self) -> bool {
        self.ready = match &self.open {
            Some(open) => open.file().poll() & self.interest,
            None => Events::NVAL,
        };
        !self.ready.is_empty()
    }
}

fn ask_all(questions: &mut [Question]) -> usize {
    questions.iter_mut().map(|q| usize::from(q.ask())).sum()
}

/// Waits until one of the questions has an answer, and says how many have.
/// `ERESTARTNOHAND` on a signal.
fn wait(thread: &Thread, questions: &mut [Question], limit: Limit) -> Result<usize> {
    let ready = ask_all(questions);
    if ready > 0 || limit == Limit::Now {
        return Ok(ready);
    }
    let mut set = PollSet::new(thread.waker(), questions.len())?;
    for question in questions.iter() {
        if let Some(open) = &question.open {
            set.add(open.file(), 0, question.interest)?;
        }
    }
    let alarm = Alarm::new(limit.deadline());
    loop {
        let ready = ask_all(questions);
        if ready > 0 {
            return Ok(ready);
        }
        if interrupted() {
            return Err(Errno::ERESTARTNOHAND);
        }
        if alarm.rang() {
            return Ok(0);
        }
        sched::park();
    }
}

/// The array of poll(2); a few entries need no memory.
enum PollFds {
    Few([u8; Self::FEW * POLLFD_SIZE], usize),
    Many(Vec<u8>),
}

impl PollFds {
    const FEW: usize = 16;

    fn read(address: u64, count: usize) -> Result<Self> {
        if count > Self::FEW {
            let size = count * POLLFD_SIZE;
            return user::read_vec(address, size, size).map(Self::Many);
        }
        let mut bytes = [0; Self::FEW * POLLFD_SIZE];
        user::read(address, &mut bytes[..count * POLLFD_SIZE])?;
        Ok(Self::Few(bytes, count))
    }

    /// Descriptors with their events.
    fn entries(&self) -> impl Iterator<Item = (i32, Events)> {
        let bytes = match self {
            Self::Few(bytes, count) => &bytes[..count * POLLFD_SIZE],
            Self::Many(bytes) => bytes,
        };
        bytes.chunks_exact(POLLFD_SIZE).map(|e| {
            let fd = i32::from_le_bytes([e[0], e[1], e[2], e[3]]);
            let events = u16::from_le_bytes([e[4], e[5]]);
            (fd, Events::from_bits_truncate(events.into()) | Events::ALWAYS)
        })
    }
}

fn poll_descriptors(thread: &Thread, address: u64, count: u32, limit: Limit) -> Result<u64> {
    if u64::from(count) > thread.process.limits.soft(limits::NOFILE) {
        return Err(Errno::EINVAL);
    }
    let fds = PollFds::read(address, count as usize)?;
    let mut questions = Vec::new();
    questions.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    // A negative descriptor is skipped, its answer is empty.
    let asked = fds.entries().filter(|(fd, _)| *fd >= 0);
    questions.extend(asked.map(|(fd, interest)| Question::new(thread, fd, interest)));
    let result = wait(thread, &mut questions, limit);
    let mut answers = questions.iter();
    for (at, (fd, _)) in fds.entries().enumerate() {
        let answer = if fd < 0 { None } else { answers.next() };
        let ready = answer.map_or(0, |q| q.ready.bits() as u16);
        let revents = address.wrapping_add((at * POLLFD_SIZE + 6) as u64);
        user::write(revents, &ready.to_le_bytes())?;
    }
    result.map(|count| count as u64)
}

pub(super) fn poll(thread: &Thread, a: Args) -> Result<u64> {
    poll_descriptors(thread, a.u64(0), a.u32(1), Limit::millis(a.i32(2)))
}

pub(super) fn ppoll(thread: &Thread, a: Args) -> Result<u64> {
    let timeout = Timeout::read(a.u64(2), Unit::Nanos)?;
    let mask = optional_mask(a.u64(3), a.u64(4))?;
    let limit = timeout.limit();
    let result = with_mask(thread, mask, || poll_descriptors(thread, a.u64(0), a.u32(1), limit));
    timeout.finish(limit, result)
}

/// What a timeout argument counts in: `struct timespec` or `struct timeval`.
#[derive(Clone, Copy)]
enum Unit {
    Nanos,
    Micros,
}

/// A timeout that the program finds reduced by the time that passed.
struct Timeout {
    address: u64,
    unit: Unit,
    time: Option<Duration>,
}

impl Timeout {
    fn read(address: u64, unit: Unit) -> Result<Self> {
        let time = match (address, unit) {
            (0, _) => None,
            (_, Unit::Nanos) => Some(read_timespec(address)?),
            (_, Unit::Micros) => Some(read_wide_timeval(address)?),
        };
        Ok(Self { address, unit, time })
    }

    fn limit(&self) -> Limit {
        self.time.map_or(Limit::Never, Limit::after)
    }

    /// Writes what is left. Memory that cannot be written is no error, but the
    /// call cannot be restarted then, as it would wait too long.
    fn finish(&self, limit: Limit, result: Result<u64>) -> Result<u64> {
        let Limit::At(deadline) = limit else { return result };
        let left = deadline - khal::clock::monotonic();
        let fraction = match self.unit {
            Unit::Nanos => left.subsec_nanos(),
            Unit::Micros => left.subsec_micros(),
        };
        let written = user::write_words(self.address, [left.as_secs(), fraction.into()]);
        match result {
            Err(Errno::ERESTARTNOHAND) if written.is_err() => Err(Errno::EINTR),
            result => result,
        }
    }
}

/// A `struct timeval` of select(2), which may have a second or more in its
/// microseconds.
fn read_wide_timeval(address: u64) -> Result<Duration> {
    let [seconds, micros] = user::read_words::<2>(address)?.map(|word| word as i64);
    if seconds < 0 || micros < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::from_secs(seconds as u64).saturating_add(Duration::from_micros(micros as u64)))
}

/// What makes a descriptor readable, writable, exceptional for select(2): a
/// hang-up says nothing to who only writes.
const SELECT_IN: Events = Events::READABLE.union(Events::RDBAND).union(Events::ALWAYS);
const SELECT_OUT: Events = Events::WRITABLE.union(Events::WRBAND).union(Events::ERR);
const SELECT_EXCEPT: Events = Events::PRI;

/// One `fd_set`, as words; empty when the program gave none.
struct FdSet {
    address: u64,
    words: Vec<u64>,
}

impl FdSet {
    fn read(address: u64, words: usize) -> Result<Self> {
        let mut set = Self { address, words: Vec::new() };
        if address != 0 {
            let bytes = user::read_vec(address, words * 8, words * 8)?;
            let word = |b: &[u8]| b.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            set.words.try_reserve_exact(words).map_err(|_| Errno::ENOMEM)?;
            set.words.extend(bytes.chunks_exact(8).map(word));
        }
        Ok(set)
    }

    fn contains(&self, fd: usize) -> bool {
        self.words.get(fd / 64).is_some_and(|word| word & 1 << (fd % 64) != 0)
    }

    /// Keeps or removes a member; one that is not in the set counts for nothing.
    fn retain(&mut self, fd: usize, keep: bool) -> usize {
        if !self.contains(fd) {
            return 0;
        }
        if !keep {
            self.words[fd / 64] &= !(1 << (fd % 64));
        }
        usize::from(keep)
    }

    /// Drops bits of the last word at `count` and above.
    fn cut(&mut self, count: usize) {
        if let Some(last) = self.words.get_mut(count / 64) {
            *last &= (1 << (count % 64)) - 1;
        }
    }

    fn write(&self) -> Result<()> {
        for (at, word) in self.words.iter().enumerate() {
            user::write_u64(self.address.wrapping_add(at as u64 * 8), *word)?;
        }
        Ok(())
    }
}

/// Descriptors that Linux has room for in a process with `used` slots: select
/// looks no further, whatever the program says.
fn table_size(used: usize) -> usize {
    if used <= 64 { 64 } else { used.next_power_of_two().max(256) }
}

fn select_descriptors(thread: &Thread, a: Args, limit: Limit) -> Result<u64> {
    let count = usize::try_from(a.i32(0)).map_err(|_| Errno::EINVAL)?;
    let count = count.min(table_size(thread.process.files.slot_count()));
    let words = count.div_ceil(64);
    let mut sets = [
        FdSet::read(a.u64(1), words)?,
        FdSet::read(a.u64(2), words)?,
        FdSet::read(a.u64(3), words)?,
    ];
    sets.iter_mut().for_each(|set| set.cut(count));
    let masks = [SELECT_IN, SELECT_OUT, SELECT_EXCEPT];
    let (mut fds, mut questions) = (Vec::new(), Vec::new());
    for fd in 0..count {
        let mut interest = Events::empty();
        for (set, mask) in sets.iter().zip(masks) {
            interest |= if set.contains(fd) { mask } else { Events::empty() };
        }
        if interest.is_empty() {
            continue;
        }
        // Only a place (O_PATH) is open, but answers as an invalid one.
        thread.process.files.open_file(fd as i32)?;
        questions.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        questions.push(Question::new(thread, fd as i32, interest));
        fds.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        fds.push(fd);
    }
    wait(thread, &mut questions, limit)?;
    let mut total = 0;
    for (question, fd) in questions.iter().zip(fds) {
        for (set, mask) in sets.iter_mut().zip(masks) {
            total += set.retain(fd, question.ready.intersects(mask | Events::NVAL));
        }
    }
    sets.iter().try_for_each(FdSet::write)?;
    Ok(total as u64)
}

pub(super) fn select(thread: &Thread, a: Args) -> Result<u64> {
    let timeout = Timeout::read(a.u64(4), Unit::Micros)?;
    let limit = timeout.limit();
    let result = select_descriptors(thread, a, limit);
    timeout.finish(limit, result)
}

pub(super) fn pselect6(thread: &Thread, a: Args) -> Result<u64> {
    let [mask, size] = match a.u64(5) {
        0 => [0, 0],
        address => user::read_words(address)?,
    };
    let timeout = Timeout::read(a.u64(4), Unit::Nanos)?;
    let mask = optional_mask(mask, size)?;
    let limit = timeout.limit();
    let result = with_mask(thread, mask, || select_descriptors(thread, a, limit));
    timeout.finish(limit, result)
}
