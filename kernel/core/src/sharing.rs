// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a process has alone, or in common with the processes that clone(2) made with
//! CLONE_FILES or CLONE_FS.

use alloc::sync::Arc;
use kio::Result;
use ksync::SpinLock;

/// A part of a process that others may have too.
#[derive(Debug, Default)]
pub struct Sharable<T>(SpinLock<Holder<T>>);

#[derive(Debug)]
enum Holder<T> {
    Own(T),
    Common(Arc<SpinLock<T>>),
}

impl<T: Default> Default for Holder<T> {
    fn default() -> Self {
        Self::Own(T::default())
    }
}

impl<T> Holder<T> {
    /// The value, if no other process has it.
    fn into_inner(self) -> Option<T> {
        match self {
            Self::Own(value) => Some(value),
            Self::Common(common) => Arc::into_inner(common).map(SpinLock::into_inner),
        }
    }
}

impl<T> Sharable<T> {
    /// Of one process alone.
    pub fn new(value: T) -> Self {
        Self(SpinLock::new(Holder::Own(value)))
    }

    /// Works on the value while nobody else does.
    #[inline]
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        match &mut *self.0.lock() {
            Holder::Own(value) => work(value),
            Holder::Common(common) => work(&mut common.lock()),
        }
    }

    /// The same value, for another process. `take` moves it to where both find it, or copies it.
    pub fn share(&self, take: impl FnOnce(&mut T) -> T) -> Self {
        let mut holder = self.0.lock();
        let common = match &mut *holder {
            Holder::Own(value) => Arc::new(SpinLock::new(take(value))),
            Holder::Common(common) => common.clone(),
        };
        let old = core::mem::replace(&mut *holder, Holder::Common(common.clone()));
        drop(holder);
        drop(old);
        Self(SpinLock::new(Holder::Common(common)))
    }

    /// The last process that has the value gets it back; each has `instead` from now on.
    pub fn leave(&self, instead: T) -> Option<T> {
        let old = core::mem::replace(&mut *self.0.lock(), Holder::Own(instead));
        old.into_inner()
    }

    /// The process has a copy of its own from now on. If nobody else is left who has it, the
    /// old one is given back.
    pub fn unshare(&self, copy: impl FnOnce(&T) -> Result<T>) -> Result<Option<T>> {
        let mut holder = self.0.lock();
        let Holder::Common(common) = &*holder else { return Ok(None) };
        let own = copy(&common.lock())?;
        let old = core::mem::replace(&mut *holder, Holder::Own(own));
        drop(holder);
        Ok(old.into_inner())
    }
}
