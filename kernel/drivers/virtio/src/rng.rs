// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Entropy source (5.4).

use crate::queue::Access;
use crate::{DeviceType, Error, Interrupts, Queue, Transport};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use kdevice::{DmaBuffer, EntropySource, InterruptHandler};
use ksync::SpinLock;

/// Bytes that are kept ready: several seeds of a generator.
const POOL: usize = 256;

struct State {
    queue: Queue,
    buffer: DmaBuffer,
    /// Bytes that are ready, from `start` on.
    start: usize,
    end: usize,
    requested: bool,
}

/// A virtio entropy source. It keeps one request with the device, so that
/// bytes are there before somebody asks, and uses no interrupts.
pub struct VirtioRng {
    transport: Box<dyn Transport>,
    state: SpinLock<State>,
}

impl VirtioRng {
    /// Brings the device up and asks for the first bytes.
    pub fn start(transport: Box<dyn Transport>) -> Result<Arc<Self>, Error> {
        if transport.device_type() != DeviceType::Entropy {
            return Err(Error::WrongType);
        }
        let features = transport.negotiate(|_| 0)?;
        let queue = Queue::new(&*transport, 0, 4, features)?;
        let buffer = DmaBuffer::allocate(POOL)?;
        let state = State { queue, buffer, start: 0, end: 0, requested: false };
        let device = Arc::new(Self { transport, state: SpinLock::new(state) });
        match device.bring_up() {
            Ok(()) => Ok(device),
            Err(error) => {
                device.transport.reset()?;
                Err(error)
            }
        }
    }

    fn bring_up(self: &Arc<Self>) -> Result<(), Error> {
        let handler = Arc::new(Handler) as Arc<dyn InterruptHandler>;
        self.transport.connect(Interrupts { queues: [handler].into(), config: None })?;
        let mut state = self.state.lock();
        state.queue.activate(&*self.transport)?;
        self.transport.go();
        state.request(&*self.transport);
        Ok(())
    }
}

impl State {
    fn request(&mut self, transport: &dyn Transport) {
        let Some(head) = self.queue.reserve(1).filter(|_| !self.requested) else { return };
        let address = self.buffer.address().as_u64();
        self.queue.describe(head, address, POOL as u32, Access::DeviceWrites, false);
        self.queue.offer(head, 1, POOL as u32);
        self.requested = true;
        if self.queue.needs_notification() {
            transport.notify(0);
        }
    }

    fn collect(&mut self) {
        if let Ok(Some(used)) = self.queue.take_used() {
            (self.start, self.end) = (0, used.written as usize);
            self.requested = false;
        }
    }
}

impl EntropySource for VirtioRng {
    fn take(&self, buffer: &mut [u8]) -> usize {
        let mut state = self.state.lock();
        if state.start == state.end {
            state.collect();
        }
        let len = buffer.len().min(state.end - state.start);
        state.buffer.read(state.start, &mut buffer[..len]);
        // What was given out is not kept.
        (state.start..state.start + len).for_each(|at| state.buffer.store(at, 0u8, Relaxed));
        state.start += len;
        if state.start == state.end {
            state.request(&*self.transport);
        }
        len
    }
}

/// The queue asks for no interrupt; one that comes all the same is nothing.
struct Handler;

impl InterruptHandler for Handler {
    fn handle(&self) {}
}

#[cfg(test)]
mod tests {
    use super::{POOL, VirtioRng};
    use crate::testing::FakeDevice;
    use kdevice::EntropySource;

    #[test]
    fn bytes_are_given_once_and_asked_for_again() {
        let device = FakeDevice::new(2, 4, 1, 0, &[]);
        let rng = VirtioRng::start(device.transport()).unwrap();
        let mut queue = device.queue(0);
        let mut bytes = [0; 100];
        assert_eq!(rng.take(&mut bytes), 0, "nothing is ready");
        let chain = queue.pop().unwrap();
        chain.fill(&[7; 150]);
        assert!(!queue.push(chain.head, 150), "no interrupt is wanted");
        assert_eq!((rng.take(&mut bytes), bytes), (100, [7; 100]));
        assert!(queue.pop().is_none());
        assert_eq!(rng.take(&mut bytes), 50);
        assert_eq!(rng.take(&mut bytes), 0);
        let chain = queue.pop().expect("a new request");
        // More than there is room for counts as all of it.
        queue.push(chain.head, u32::MAX);
        let total: usize = (0..10).map(|_| rng.take(&mut bytes)).sum();
        assert_eq!(total, POOL);
        queue.push_raw(77, 1);
        assert_eq!(rng.take(&mut bytes), 0);
        assert_eq!(rng.take(&mut bytes), 0);
    }
}
