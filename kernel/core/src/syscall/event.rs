// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Objects that report events: epoll(7), eventfd(2), timerfd_create(2),
//! signalfd(2).

use super::Args;
use super::fd::usable;
use super::signal::read_set;
use super::time::read_timespec;
use crate::files::OpenFile;
use crate::limits;
use crate::process::Process;
use crate::sched::current_thread;
use crate::signal::{send_to_process, take};
use crate::thread::Thread;
use crate::timers::SystemTime;
use crate::user;
use crate::wait::wait_on;
use alloc::sync::Arc;
use core::time::Duration;
use khal::USER_END;
use khal::user_memory::copy_to_user;
use kio::{Errno, Events, File, Instant, Result, WaitQueue};
use kipc::{Epoll, EventFd, PendingSignals, SignalFd, Target, TimerClock, TimerFd, TimerSetting};
use ksignal::SignalSet;
use kvfs::OpenFlags;

const CLOEXEC: u32 = OpenFlags::CLOEXEC.bits();
const NONBLOCK: u32 = OpenFlags::NONBLOCK.bits();
/// Bytes of the packed `struct epoll_event` of x86-64.
const EVENT_SIZE: u64 = 12;
/// About what the kernel keeps of a watched descriptor.
const EPOLL_ITEM_SIZE: usize = 256;

/// A new descriptor for a new object, open for reading and writing; of `flags`
/// O_CLOEXEC and O_NONBLOCK count.
pub(super) fn install(thread: &Thread, file: Arc<dyn File>, flags: u32) -> Result<i32> {
    let kept = OpenFlags::from_bits_retain(flags & NONBLOCK) | OpenFlags::RDWR;
    let open = OpenFile::new(file, None, kept);
    let limit = thread.process.limits.soft(limits::NOFILE);
    thread.process.files.insert(open, flags & CLOEXEC != 0, 0, limit)
}

/// Runs a call under a signal mask of its own: ppoll, pselect6, epoll_pwait. A
/// signal that ends the call is delivered under that mask, which delivery
/// takes back.
pub(super) fn with_mask<T>(
    thread: &Thread,
    mask: Option<SignalSet>,
    call: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(mask) = mask else { return call() };
    thread.signals.set_temporary_mask(thread, mask);
    let result = call();
    if !matches!(result, Err(Errno::EINTR | Errno::ERESTARTNOHAND)) {
        thread.signals.restore_mask(thread);
    }
    result
}

/// An optional `sigset_t` argument.
pub(super) fn optional_mask(address: u64, size: u64) -> Result<Option<SignalSet>> {
    if address == 0 { Ok(None) } else { read_set(address, size).map(Some) }
}

pub(super) fn epoll_create(thread: &Thread, flags: u32) -> Result<u64> {
    if flags & !CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    install(thread, Arc::new(Epoll::new()), flags).map(|fd| fd as u64)
}

fn epoll_of(open: &OpenFile) -> Result<&Epoll> {
    open.file().as_any().downcast_ref::<Epoll>().ok_or(Errno::EINVAL)
}

pub(super) fn epoll_ctl(thread: &Thread, a: Args) -> Result<u64> {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    const MOD: i32 = 3;
    let (operation, fd) = (a.i32(1), a.i32(2));
    let (events, data) = if operation == DEL {
        (0, 0)
    } else {
        let event = user::read_bytes::<{ EVENT_SIZE as usize }>(a.u64(3))?;
        let (mut bits, mut data) = ([0; 4], [0; 8]);
        bits.copy_from_slice(&event[..4]);
        data.copy_from_slice(&event[4..]);
        (u32::from_le_bytes(bits), u64::from_le_bytes(data))
    };
    let instance = usable(thread, a.i32(0))?;
    let watched = usable(thread, fd)?;
    // Linux looks at what is to be watched first.
    if watched.file().wait_queue().is_none() {
        return Err(Errno::EPERM);
    }
    let epoll = epoll_of(&instance)?;
    let target = Target {
        fd,
        identity: watched.identity(),
        file: watched.file(),
        watchers: watched.watchers(),
    };
    match operation {
        ADD => {
            limits::check_kernel_memory(EPOLL_ITEM_SIZE)?;
            epoll.add(&target, events, data)?;
        }
        MOD => epoll.modify(&target, events, data)?,
        DEL => epoll.remove(&target)?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(0)
}

/// When a wait ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// Before it begins.
    Now,
    At(Instant),
    Never,
}

impl Limit {
    /// After `timeout`, counted from now.
    pub(super) fn after(timeout: Duration) -> Self {
        match timeout {
            Duration::ZERO => Self::Now,
            timeout => Self::At(khal::clock::monotonic() + timeout),
        }
    }

    /// Milliseconds, negative for no limit.
    pub(super) fn millis(timeout: i32) -> Self {
        match u64::try_from(timeout) {
            // The most frequent one needs no arithmetic.
            Ok(0) => Self::Now,
            Ok(ms) => Self::after(Duration::from_millis(ms)),
            Err(_) => Self::Never,
        }
    }

    /// The deadline, for a wait that does happen.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Now => Some(Instant::ZERO),
            Self::At(at) => Some(at),
            Self::Never => None,
        }
    }
}

/// The buffer of epoll_wait(2), filled without a copy in between.
struct EventArray {
    address: u64,
    room: usize,
    count: u64,
    /// An event met a missing page here.
    missing: Option<u64>,
}

impl EventArray {
    fn new(address: u64, max: i32) -> Result<Self> {
        const MAX_EVENTS: usize = i32::MAX as usize / EVENT_SIZE as usize;
        let room = usize::try_from(max).ok().filter(|n| (1..=MAX_EVENTS).contains(n));
        let room = room.ok_or(Errno::EINVAL)?;
        let end = address.checked_add(room as u64 * EVENT_SIZE);
        end.filter(|end| *end <= USER_END).ok_or(Errno::EFAULT)?;
        Ok(Self { address, room, count: 0, missing: None })
    }

    /// Takes one event; false when it could not, so that the event stays.
    fn put(&mut self, ready: Events, data: u64) -> bool {
        let mut event = [0; EVENT_SIZE as usize];
        event[..4].copy_from_slice(&ready.bits().to_le_bytes());
        event[4..].copy_from_slice(&data.to_le_bytes());
        let at = self.address + self.count * EVENT_SIZE;
        let copied = copy_to_user(at, &event);
        if copied < event.len() {
            self.missing = Some(at + copied as u64);
            return false;
        }
        self.count += 1;
        true
    }

    /// What is ready now; `EAGAIN` when nothing is.
    fn collect(&mut self, epoll: &Epoll) -> Result<usize> {
        let room = self.room;
        match epoll.wait(room, &mut |ready, data| self.put(ready, data))? {
            0 => Err(Errno::EAGAIN),
            count => Ok(count),
        }
    }
}

fn wait_for_events(epoll: &Epoll, array: &mut EventArray, limit: Limit) -> Result<u64> {
    loop {
        let result = match array.collect(epoll) {
            Err(Errno::EAGAIN) if limit == Limit::Now => return Ok(0),
            Err(Errno::EAGAIN) => {
                let sleepers = epoll.sleepers();
                wait_on(sleepers, Events::READABLE, limit.deadline(), || array.collect(epoll))
            }
            result => result,
        };
        match result {
            Ok(count) => return Ok(count as u64),
            Err(Errno::ETIMEDOUT) => return Ok(0),
            // Never restarted, whatever the handler says: signal(7).
            Err(Errno::ERESTARTSYS) => return Err(Errno::EINTR),
            Err(Errno::EFAULT) => {
                let page = array.missing.take().ok_or(Errno::EFAULT)?;
                user::fault_in(page, true)?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn wait_events(thread: &Thread, a: Args, limit: Limit) -> Result<u64> {
    let mut array = EventArray::new(a.u64(1), a.i32(2))?;
    let open = usable(thread, a.i32(0))?;
    wait_for_events(epoll_of(&open)?, &mut array, limit)
}

pub(super) fn epoll_wait(thread: &Thread, a: Args) -> Result<u64> {
    wait_events(thread, a, Limit::millis(a.i32(3)))
}

pub(super) fn epoll_pwait(thread: &Thread, a: Args) -> Result<u64> {
    let mask = optional_mask(a.u64(4), a.u64(5))?;
    with_mask(thread, mask, || wait_events(thread, a, Limit::millis(a.i32(3))))
}

pub(super) fn epoll_pwait2(thread: &Thread, a: Args) -> Result<u64> {
    let limit = match a.u64(3) {
        0 => Limit::Never,
        address => Limit::after(read_timespec(address)?),
    };
    let mask = optional_mask(a.u64(4), a.u64(5))?;
    with_mask(thread, mask, || wait_events(thread, a, limit))
}

pub(super) fn eventfd(thread: &Thread, initial: u32, flags: u32) -> Result<u64> {
    const SEMAPHORE: u32 = 1;
    if flags & !(SEMAPHORE | CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = Arc::new(EventFd::new(initial, flags & SEMAPHORE != 0));
    install(thread, file, flags).map(|fd| fd as u64)
}

pub(super) fn timerfd_create(thread: &Thread, a: Args) -> Result<u64> {
    let flags = a.u32(1);
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    // CLOCK_REALTIME and CLOCK_MONOTONIC, CLOCK_BOOTTIME, and the alarms.
    let clock = match a.i32(0) {
        0 | 8 => TimerClock::Realtime,
        1 | 7 | 9 => TimerClock::Monotonic,
        _ => return Err(Errno::EINVAL),
    };
    let file = TimerFd::new(clock, Arc::new(SystemTime), Arc::new(SystemTime));
    install(thread, Arc::new(file), flags).map(|fd| fd as u64)
}

fn timer_of(open: &OpenFile) -> Result<&TimerFd> {
    open.file().as_any().downcast_ref::<TimerFd>().ok_or(Errno::EINVAL)
}

fn write_setting(address: u64, setting: TimerSetting) -> Result<()> {
    let TimerSetting { interval, value } = setting;
    let nanos = |time: Duration| u64::from(time.subsec_nanos());
    user::write_words(address, [interval.as_secs(), nanos(interval), value.as_secs(), nanos(value)])
}

pub(super) fn timerfd_settime(thread: &Thread, a: Args) -> Result<u64> {
    const ABSTIME: u32 = 1;
    const CANCEL_ON_SET: u32 = 2;
    let words = user::read_words::<4>(a.u64(2))?;
    let valid = |seconds: u64, nanos: u64| (seconds as i64) >= 0 && nanos < 1_000_000_000;
    let flags = a.u32(1);
    let known = flags & !(ABSTIME | CANCEL_ON_SET) == 0;
    if !known || !valid(words[0], words[1]) || !valid(words[2], words[3]) {
        return Err(Errno::EINVAL);
    }
    let setting = TimerSetting {
        interval: Duration::new(words[0], words[1] as u32),
        value: Duration::new(words[2], words[3] as u32),
    };
    let open = usable(thread, a.i32(0))?;
    let timer = timer_of(&open)?;
    let old = timer.set(setting, flags & ABSTIME != 0, flags & CANCEL_ON_SET != 0);
    if a.u64(3) != 0 {
        write_setting(a.u64(3), old)?;
    }
    Ok(0)
}

pub(super) fn timerfd_gettime(thread: &Thread, a: Args) -> Result<u64> {
    let open = usable(thread, a.i32(0))?;
    write_setting(a.u64(1), timer_of(&open)?.setting())?;
    Ok(0)
}

/// What a signalfd reads: the signals of the thread that looks, as in Linux,
/// whoever made the descriptor.
struct CallerSignals(Arc<Process>);

impl PendingSignals for CallerSignals {
    fn pending(&self) -> u64 {
        let pending = current_thread().map_or(self.0.signals.pending(), |t| {
            t.signals.pending() | t.process.signals.pending()
        });
        pending.bits()
    }

    fn take(&self, mask: u64, deliver: &mut dyn FnMut(&[u8; 128]) -> Result<()>) -> Result<bool> {
        let Some(thread) = current_thread() else { return Ok(false) };
        let Some(info) = take(thread, SignalSet::from_bits(mask)) else { return Ok(false) };
        deliver(&info.encode_signalfd()).map(|()| true).inspect_err(|_| {
            // The reader tries again, once its page is there.
            let _ = send_to_process(&thread.process, info);
        })
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.0.signals.arrived
    }
}

pub(super) fn signalfd(thread: &Thread, a: Args, flags: u32) -> Result<u64> {
    let mask = read_set(a.u64(1), a.u64(2))?.bits();
    if flags & !(CLOEXEC | NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if a.i32(0) == -1 {
        let signals = Arc::new(CallerSignals(thread.process.clone()));
        let file = Arc::new(SignalFd::new(mask, signals));
        return install(thread, file, flags).map(|fd| fd as u64);
    }
    let open = usable(thread, a.i32(0))?;
    let file = open.file().as_any().downcast_ref::<SignalFd>().ok_or(Errno::EINVAL)?;
    file.set_mask(mask);
    Ok(a.u32(0).into())
}
