// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Resource limits, getrlimit(2).

use core::sync::atomic::{AtomicU64, Ordering};
use kio::{Errno, Result};

/// No limit.
pub const INFINITY: u64 = u64::MAX;
/// RLIMIT_* numbers.
pub const STACK: usize = 3;
pub const NOFILE: usize = 7;
const COUNT: usize = 16;
const NOFILE_SOFT: u64 = 65_536;
const NOFILE_HARD: u64 = 1 << 20;

/// `ENOMEM` when the kernel cannot spare `bytes` for what a program makes it keep. Programs
/// get no more memory long before; so this stops what costs them none, such as descriptors.
pub fn check_kernel_memory(bytes: usize) -> Result<()> {
    if kmm::kernel_can_spare(bytes) { Ok(()) } else { Err(Errno::ENOMEM) }
}

/// Soft and hard limits of a process.
#[derive(Debug)]
pub struct Limits([(AtomicU64, AtomicU64); COUNT]);

impl Default for Limits {
    fn default() -> Self {
        let defaults = |resource: usize| match resource {
            STACK => (8 << 20, INFINITY),
            4 => (0, INFINITY),
            6 => (INFINITY, INFINITY),
            NOFILE => (NOFILE_SOFT, NOFILE_HARD),
            8 => (64 << 20, 64 << 20),
            11 => (63_000, 63_000),
            12 => (819_200, 819_200),
            13 | 14 => (0, 0),
            _ => (INFINITY, INFINITY),
        };
        Self(core::array::from_fn(|r| {
            let (soft, hard) = defaults(r);
            (AtomicU64::new(soft), AtomicU64::new(hard))
        }))
    }
}

impl Limits {
    /// (soft, hard).
    pub fn value(&self, resource: usize) -> Result<(u64, u64)> {
        let (soft, hard) = self.0.get(resource).ok_or(Errno::EINVAL)?;
        Ok((soft.load(Ordering::Relaxed), hard.load(Ordering::Relaxed)))
    }

    /// The soft limit of a resource that is known to exist.
    pub fn soft(&self, resource: usize) -> u64 {
        self.value(resource).map_or(INFINITY, |(soft, _)| soft)
    }

    /// Sets both; `EINVAL` when soft is above hard.
    pub fn set(&self, resource: usize, soft: u64, hard: u64) -> Result<()> {
        let slot = self.0.get(resource).ok_or(Errno::EINVAL)?;
        if soft > hard {
            return Err(Errno::EINVAL);
        }
        if resource == NOFILE && hard > NOFILE_HARD {
            return Err(Errno::EPERM);
        }
        slot.0.store(soft, Ordering::Relaxed);
        slot.1.store(hard, Ordering::Relaxed);
        Ok(())
    }

    /// A copy for a new process.
    pub fn duplicate(&self) -> Self {
        Self(core::array::from_fn(|r| {
            let (soft, hard) = self.value(r).unwrap_or((INFINITY, INFINITY));
            (AtomicU64::new(soft), AtomicU64::new(hard))
        }))
    }
}
