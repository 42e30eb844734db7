// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One waiter on many objects, for poll(2) and select(2).

use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, Events, File, Registration, Result, Wake};

/// Registrations of one waiter, taken back when the set is dropped.
///
/// The order of a poll without lost wake-ups: add all files, look at all of
/// them, sleep, look again.
pub struct PollSet {
    target: Arc<dyn Wake>,
    entries: Vec<(Arc<dyn File>, Registration)>,
}

impl PollSet {
    /// A set with room for `capacity` files.
    pub fn new(target: Arc<dyn Wake>, capacity: usize) -> Result<Self> {
        let mut entries = Vec::new();
        entries.try_reserve_exact(capacity).map_err(|_| Errno::ENOMEM)?;
        Ok(Self { target, entries })
    }

    /// Wakes the target with `key` when one of `interest`, ERR or HUP may have
    /// become true of `file`. Objects that are always ready need no place.
    pub fn add(&mut self, file: &Arc<dyn File>, key: u64, interest: Events) -> Result<()> {
        let Some(queue) = file.wait_queue() else { return Ok(()) };
        self.entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let registration = queue.register(self.target.clone(), key, interest, false);
        self.entries.push((file.clone(), registration));
        Ok(())
    }
}

impl Drop for PollSet {
    fn drop(&mut self) {
        for (file, registration) in self.entries.drain(..) {
            if let Some(queue) = file.wait_queue() {
                queue.unregister(registration);
            }
        }
    }
}
