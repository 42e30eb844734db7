// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One operation at a time for one image or volume.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// A lock for each key that somebody uses.
#[derive(Debug)]
pub(crate) struct Locks<K> {
    all: Mutex<HashMap<K, Weak<AsyncMutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { all: Mutex::default() }
    }
}

impl<K: Clone + Debug + Eq + Hash + Ord> Locks<K> {
    fn of(&self, key: &K) -> Arc<AsyncMutex<()>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = all.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        all.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(AsyncMutex::new(()));
        all.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }

    /// Waits for the key.
    pub(crate) async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        self.of(key).lock_owned().await
    }

    /// Waits for several keys, in one order for all.
    pub(crate) async fn lock_all(&self, mut keys: Vec<K>) -> Vec<OwnedMutexGuard<()>> {
        keys.sort();
        keys.dedup();
        let mut guards = Vec::with_capacity(keys.len());
        for key in &keys {
            guards.push(self.lock(key).await);
        }
        guards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_a_key_and_nothing_is_kept() {
        let locks = Locks::default();
        let first = locks.lock(&1).await;
        assert!(locks.of(&1).try_lock().is_err());
        let both = locks.lock_all(vec![3, 2, 3]).await;
        assert_eq!(both.len(), 2);
        drop((first, both));
        let _again = locks.lock_all(vec![1, 2]).await;
        assert!(locks.all.lock().unwrap().len() <= 2);
    }
}
