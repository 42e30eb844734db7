// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Block device (5.2): requests point at frames, and complete in any order.

mod slot;
mod spec;
#[cfg(test)]
mod tests;

use crate::queue::{Access, Broken, NEXT, WRITE};
use crate::{DeviceType, Error, Interrupts, Queue, Transport};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use kdevice::{BlockDevice, BlockLimits, BlockOperation, BlockRequest, InterruptHandler};
use kio::{Errno, Events, WaitQueue};
use kmm::FRAME_SIZE;
use ksync::{Once, SpinLock};
use slot::{HEADER_LEN, RANGE_LEN, Slots, TABLE_ENTRIES};

/// Requests on their way at most.
const DEPTH: u16 = 64;
/// Requests that are completed between two takes of the lock.
const BATCH: usize = 16;
/// Descriptors of a request that are not data: header and status.
const FRAMING: usize = 2;

/// What a slot is in use for.
enum InFlight {
    Request(Arc<BlockRequest>),
    Identity,
}

/// A request that is done, and how it ended.
type Completion = (Arc<BlockRequest>, Result<(), Errno>);

struct State {
    queue: Queue,
    slots: Slots,
    in_flight: Vec<Option<InFlight>>,
    /// Somebody met a full queue.
    starved: bool,
}

/// A piece of memory in a request.
#[derive(Clone, Copy)]
struct Piece {
    address: u64,
    len: u32,
    access: Access,
}

/// A virtio disk.
pub struct VirtioBlock {
    transport: Box<dyn Transport>,
    limits: BlockLimits,
    state: SpinLock<State>,
    room: WaitQueue,
    identity: Once<String>,
    broken: AtomicBool,
}

impl VirtioBlock {
    /// Brings the device up.
    pub fn start(transport: Box<dyn Transport>) -> Result<Arc<Self>, Error> {
        if transport.device_type() != DeviceType::Block {
            return Err(Error::WrongType);
        }
        let features = transport.negotiate(|_| spec::WANTED)?;
        let queue = Queue::new(&*transport, 0, DEPTH, features)?;
        // No chain is longer than the queue, in a table or not (2.7.5.3.1).
        let size = usize::from(queue.size());
        let room = if queue.indirect() { size.min(TABLE_ENTRIES) } else { size };
        let Some(segments @ 1..) = room.checked_sub(FRAMING) else {
            return Err(transport.give_up(Error::Queue));
        };
        let limits = spec::limits(&*transport, features, segments)?;
        let slots = Slots::allocate(queue.size())?;
        let in_flight = (0..queue.size()).map(|_| None).collect();
        let state = State { queue, slots, in_flight, starved: false };
        let device = Arc::new(Self {
            transport,
            limits,
            state: SpinLock::new(state),
            room: WaitQueue::new(),
            identity: Once::new(),
            broken: AtomicBool::new(false),
        });
        match device.bring_up() {
            Ok(()) => Ok(device),
            Err(error) => {
                device.transport.reset()?;
                Err(error)
            }
        }
    }

    fn bring_up(self: &Arc<Self>) -> Result<(), Error> {
        let queue = Arc::new(QueueHandler(self.clone())) as Arc<dyn InterruptHandler>;
        let config = Arc::new(ConfigHandler(self.clone()));
        self.transport.connect(Interrupts { queues: [queue].into(), config: Some(config) })?;
        let mut state = self.state.lock();
        state.queue.activate(&*self.transport)?;
        self.transport.go();
        let _ = state.queue.enable_interrupts();
        // The name comes when it comes: start-up does not wait for it.
        let _ = state.start(InFlight::Identity, self.limits.sector_size);
        state.kick(&*self.transport);
        Ok(())
    }

    fn check(&self, request: &BlockRequest) -> Result<(), Errno> {
        let sectors = match request.operation {
            BlockOperation::Flush => return Ok(()),
            BlockOperation::Discard { sectors } => {
                if self.limits.max_discard_sectors == 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                if sectors > self.limits.max_discard_sectors {
                    return Err(Errno::EINVAL);
                }
                u64::from(sectors)
            }
            BlockOperation::Read | BlockOperation::Write => self.check_segments(request)?,
        };
        if self.limits.read_only && request.operation != BlockOperation::Read {
            return Err(Errno::EROFS);
        }
        let end = request.sector.checked_add(sectors);
        let inside = sectors > 0 && end.is_some_and(|end| end <= self.limits.sectors);
        inside.then_some(()).ok_or(Errno::EINVAL)
    }

    /// The number of sectors in the segments.
    fn check_segments(&self, request: &BlockRequest) -> Result<u64, Errno> {
        let in_frame = |offset: u32, len: u32| {
            len > 0 && u64::from(offset) + u64::from(len) <= FRAME_SIZE as u64
        };
        let size = u64::from(self.limits.sector_size);
        let fits = request.segments.len() <= self.limits.max_segments
            && request.segments.iter().all(|s| in_frame(s.offset, s.len))
            && request.bytes().is_multiple_of(size);
        if fits { Ok(request.bytes() / size) } else { Err(Errno::EINVAL) }
    }

    /// Completes what the device is done with.
    fn complete(&self) {
        loop {
            let mut done: [Option<Completion>; BATCH] = Default::default();
            let mut state = self.state.lock();
            let more = self.collect(&mut state, &mut done);
            let room = core::mem::take(&mut state.starved) && state.queue.free() > 0;
            drop(state);
            for (request, result) in done.into_iter().flatten() {
                request.complete(result);
            }
            if room {
                self.room.notify(Events::OUT);
            }
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(Broken) => return self.break_down(),
            }
        }
    }

    /// Fills `done`; true when there is more.
    fn collect(&self, state: &mut State, done: &mut [Option<Completion>]) -> Result<bool, Broken> {
        for place in done {
            let Some(used) = state.queue.take_used()? else {
                return Ok(state.queue.enable_interrupts());
            };
            let result = match state.slots.status(used.head) {
                spec::STATUS_OK => Ok(()),
                spec::STATUS_UNSUPPORTED => Err(Errno::EOPNOTSUPP),
                _ => Err(Errno::EIO),
            };
            match state.in_flight[usize::from(used.head)].take() {
                Some(InFlight::Request(request)) => *place = Some((request, result)),
                Some(InFlight::Identity) if result.is_ok() => {
                    let _ = self.identity.set(identity(&state.slots.id(used.head)));
                }
                Some(InFlight::Identity) | None => {}
            }
        }
        Ok(true)
    }

    /// The device broke the rules: nothing it has will be completed by it.
    fn break_down(&self) {
        if self.broken.swap(true, Ordering::SeqCst) {
            return;
        }
        // Reset, so that it writes no more into the frames that go back.
        let _ = self.transport.reset();
        let mut state = self.state.lock();
        let lost: Vec<_> = state.in_flight.iter_mut().filter_map(Option::take).collect();
        drop(state);
        for entry in lost {
            if let InFlight::Request(request) = entry {
                request.complete(Err(Errno::EIO));
            }
        }
        self.room.notify(Events::OUT | Events::ERR);
    }
}

impl State {
    /// Puts a request into the queue, if there is room.
    fn start(&mut self, entry: InFlight, sector_size: u32) -> Result<(), Errno> {
        let (kind, sector, discard) = match &entry {
            InFlight::Identity => (spec::GET_ID, 0, 0),
            InFlight::Request(request) => match request.operation {
                BlockOperation::Read => (spec::IN, request.sector, 0),
                BlockOperation::Write => (spec::OUT, request.sector, 0),
                BlockOperation::Flush => (spec::FLUSH, 0, 0),
                BlockOperation::Discard { sectors } => (spec::DISCARD, request.sector, sectors),
            },
        };
        let pieces = match &entry {
            InFlight::Request(r) if matches!(kind, spec::IN | spec::OUT) => r.segments.len(),
            InFlight::Request(_) if kind == spec::FLUSH => 0,
            InFlight::Request(_) | InFlight::Identity => 1,
        } + FRAMING;
        let descriptors = if self.queue.indirect() { 1 } else { pieces as u16 };
        let head = self.queue.reserve(descriptors).ok_or(Errno::EAGAIN)?;
        let unit = slot::units(sector, sector_size);
        self.slots.prepare(head, kind, unit, slot::units(discard.into(), sector_size) as u32);
        let data = self.data_piece(head, kind);
        let mut writer = Writer { state: self, head, index: head, done: 0, pieces, writable: 0 };
        let header = writer.state.slots.header_address(head);
        writer.put(Piece { address: header, len: HEADER_LEN, access: Access::DeviceReads });
        if let InFlight::Request(request) = &entry
            && matches!(kind, spec::IN | spec::OUT)
        {
            let access = if kind == spec::IN { Access::DeviceWrites } else { Access::DeviceReads };
            for segment in &request.segments {
                let address = segment.frame.address().as_u64() + u64::from(segment.offset);
                writer.put(Piece { address, len: segment.len, access });
            }
        } else if let Some(piece) = data {
            writer.put(piece);
        }
        let status = writer.state.slots.status_address(head);
        writer.put(Piece { address: status, len: 1, access: Access::DeviceWrites });
        let writable = writer.writable;
        if self.queue.indirect() {
            self.queue.describe_table(head, self.slots.table_address(head), pieces as u16);
        }
        self.in_flight[usize::from(head)] = Some(entry);
        self.queue.offer(head, descriptors, writable);
        Ok(())
    }

    /// The data of requests that have theirs in the slot.
    fn data_piece(&self, head: u16, kind: u32) -> Option<Piece> {
        match kind {
            spec::GET_ID => Some(Piece {
                address: self.slots.id_address(head),
                len: spec::ID_LEN,
                access: Access::DeviceWrites,
            }),
            spec::DISCARD => Some(Piece {
                address: self.slots.range_address(head),
                len: RANGE_LEN,
                access: Access::DeviceReads,
            }),
            _ => None,
        }
    }

    fn kick(&mut self, transport: &dyn Transport) {
        if self.queue.needs_notification() {
            transport.notify(0);
        }
    }
}

/// Writes the pieces of a request, into a table or into the queue itself.
struct Writer<'a> {
    state: &'a mut State,
    head: u16,
    index: u16,
    done: usize,
    pieces: usize,
    writable: u32,
}

impl Writer<'_> {
    fn put(&mut self, piece: Piece) {
        let Piece { address, len, access } = piece;
        let more = self.done + 1 < self.pieces;
        if access == Access::DeviceWrites {
            self.writable = self.writable.saturating_add(len);
        }
        if self.state.queue.indirect() {
            let write = if access == Access::DeviceWrites { WRITE } else { 0 };
            let flags = write | if more { NEXT } else { 0 };
            self.state.slots.set_entry(self.head, self.done, address, len, flags);
        } else {
            self.state.queue.describe(self.index, address, len, access, more);
            self.index = self.state.queue.after(self.index);
        }
        self.done += 1;
    }
}

impl BlockDevice for VirtioBlock {
    fn limits(&self) -> BlockLimits {
        self.limits
    }

    fn submit(&self, request: Arc<BlockRequest>) -> Result<(), Errno> {
        self.check(&request)?;
        if request.operation == BlockOperation::Flush && !self.limits.write_cache {
            request.complete(Ok(()));
            return Ok(());
        }
        let mut state = self.state.lock();
        // Under the lock, so that a break-down finds what was taken.
        if self.broken.load(Ordering::SeqCst) || state.queue.is_broken() {
            return Err(Errno::EIO);
        }
        let started = state.start(InFlight::Request(request), self.limits.sector_size);
        state.starved |= started == Err(Errno::EAGAIN);
        state.kick(&*self.transport);
        started
    }

    fn room(&self) -> &WaitQueue {
        &self.room
    }

    fn poll(&self) {
        if !self.broken.load(Ordering::Relaxed) {
            self.complete();
        }
    }

    fn identity(&self) -> &str {
        self.identity.get().map_or("", String::as_str)
    }
}

/// The printable part of an answer to GET_ID, which ends with a zero if it is
/// short (5.2.6.1).
fn identity(id: &[u8]) -> String {
    let printable = id.iter().take_while(|byte| byte.is_ascii_graphic() || **byte == b' ');
    printable.map(|byte| char::from(*byte)).collect()
}

struct QueueHandler(Arc<VirtioBlock>);

impl InterruptHandler for QueueHandler {
    fn handle(&self) {
        self.0.poll();
    }
}

struct ConfigHandler(Arc<VirtioBlock>);

impl InterruptHandler for ConfigHandler {
    fn handle(&self) {
        // A change of the capacity is not followed: what is mounted has a size.
        if self.0.transport.needs_reset() {
            self.0.break_down();
        }
    }
}
