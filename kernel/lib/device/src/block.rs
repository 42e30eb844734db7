// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Block devices: requests that complete later.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use kio::{Errno, Events, WaitQueue, Wake};
use kmm::Frame;

/// What a block device is like. Sectors have [`sector_size`](Self::sector_size)
/// bytes; all sizes of requests are multiples of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Bytes in a logical sector, a power of two, at least 512.
    pub sector_size: u32,
    /// Capacity in logical sectors.
    pub sectors: u64,
    /// Writes and discards fail with `EROFS`.
    pub read_only: bool,
    /// Bytes that the device writes without reading around them.
    pub physical_block_size: u32,
    /// Bytes of a good transfer size; zero when the device does not say.
    pub optimal_io_size: u32,
    /// Segments in one request.
    pub max_segments: usize,
    /// Sectors in one discard; zero when the device cannot discard.
    pub max_discard_sectors: u32,
    /// Completed writes may still be lost at power off until a flush.
    pub write_cache: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOperation {
    /// Device to memory.
    Read,
    /// Memory to device.
    Write,
    /// Make all completed writes durable. Sector and segments are not used.
    Flush,
    /// The contents of this many sectors are no longer needed.
    Discard {
        /// Logical sectors.
        sectors: u32,
    },
}

/// A part of a frame that takes part in a transfer.
#[derive(Clone, Debug)]
pub struct BlockSegment {
    /// The memory; the request holds it until it is complete.
    pub frame: Frame,
    /// First byte in the frame.
    pub offset: u32,
    /// Bytes; with `offset` at most a frame.
    pub len: u32,
}

const PENDING: u32 = u32::MAX;

/// A request on its way. The submitter keeps a handle and looks at
/// [`result`](Self::result) after it was woken.
pub struct BlockRequest {
    /// What to do.
    pub operation: BlockOperation,
    /// The first logical sector.
    pub sector: u64,
    /// The memory, in the order of the sectors.
    pub segments: Vec<BlockSegment>,
    target: Arc<dyn Wake>,
    key: u64,
    result: AtomicU32,
}

impl BlockRequest {
    /// A request that calls `target.wake(key, Events::IN)`, or with
    /// `Events::ERR` added when it failed, once it is complete.
    pub fn new(
        operation: BlockOperation,
        sector: u64,
        segments: Vec<BlockSegment>,
        target: Arc<dyn Wake>,
        key: u64,
    ) -> Self {
        Self { operation, sector, segments, target, key, result: AtomicU32::new(PENDING) }
    }

    /// Bytes in all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.len)).sum()
    }

    /// How it ended, or `None` while it is on its way.
    pub fn result(&self) -> Option<Result<(), Errno>> {
        match self.result.load(Ordering::Acquire) {
            PENDING => None,
            0 => Some(Ok(())),
            number => Some(Err(Errno::from_number(number as u16))),
        }
    }

    /// Ends the request; for drivers. Only the first call counts.
    pub fn complete(&self, result: Result<(), Errno>) {
        let (value, events) = match result {
            Ok(()) => (0, Events::IN),
            Err(errno) => (u32::from(errno.number()), Events::IN | Events::ERR),
        };
        let first =
            self.result.compare_exchange(PENDING, value, Ordering::Release, Ordering::Relaxed);
        if first.is_ok() {
            self.target.wake(self.key, events);
        }
    }
}

impl fmt::Debug for BlockRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockRequest({:?} at {}: {:?})", self.operation, self.sector, self.result())
    }
}

/// A device of sectors. Nothing here blocks.
pub trait BlockDevice: Send + Sync {
    /// What it is like; fixed after the probe.
    fn limits(&self) -> BlockLimits;

    /// Starts a request. `EAGAIN`: the queue is full, wait for `OUT` on
    /// [`room`](Self::room). `EINVAL`: not in the device or against its limits.
    /// `EROFS`, `EOPNOTSUPP`: the device cannot. A request that was refused may
    /// be submitted again; one that was taken is completed exactly once, in
    /// any order with others. A flush covers writes that were complete when it
    /// was submitted.
    fn submit(&self, request: Arc<BlockRequest>) -> Result<(), Errno>;

    /// Told `OUT` when a full queue has room again.
    fn room(&self) -> &WaitQueue;

    /// Looks for completions now, for callers that run without interrupts.
    fn poll(&self);

    /// The serial number or name that the host gave it, possibly empty.
    fn identity(&self) -> &str;
}

#[cfg(test)]
mod tests {
    use super::{BlockOperation, BlockRequest};
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicU32, Ordering};
    use kio::{Errno, Events, Wake};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(&self, key: u64, ready: Events) {
            assert_eq!((key, ready), (7, Events::IN | Events::ERR));
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_first_completion_counts() {
        let count = Arc::new(Count::default());
        let request = BlockRequest::new(BlockOperation::Flush, 0, Vec::new(), count.clone(), 7);
        assert_eq!(request.result(), None);
        request.complete(Err(Errno::EIO));
        request.complete(Ok(()));
        assert_eq!(request.result(), Some(Err(Errno::EIO)));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
