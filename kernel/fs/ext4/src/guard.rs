// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The volume's lock: who waits for it sleeps, as for the disk.

use crate::core_state::Core;
use crate::volume::{Environment, Volume};
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};
use ksync::SpinGuard;

/// Looks at the volume's lock before the one who waits for it sleeps.
const LOOKS: u32 = 32;

/// The core while somebody has it. Who waits for it learns in the order of the
/// fields that it is free: it is about to be, it is, look again.
pub(crate) struct CoreGuard<'a> {
    _announcement: Announcement<'a>,
    core: SpinGuard<'a, Core>,
    _call: Call<'a>,
}

struct Announcement<'a>(&'a AtomicBool);

struct Call<'a>(&'a dyn Environment);

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Deref for CoreGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for CoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Volume {
    /// Waits for the core as for the disk, since whoever has it may wait for that.
    pub(crate) fn lock_core(&self) -> CoreGuard<'_> {
        let mut looks = 0;
        loop {
            if let Some(core) = self.core.try_lock() {
                self.core_taken.store(true, Ordering::SeqCst);
                return CoreGuard {
                    _announcement: Announcement(&self.core_taken),
                    core,
                    _call: Call(&*self.environment),
                };
            }
            match looks < LOOKS {
                true => self.environment.relax(),
                false => self.environment.sleep(&|| !self.core_taken.load(Ordering::SeqCst)),
            }
            looks += 1;
        }
    }
}
