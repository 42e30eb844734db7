// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A run queue: first in, first out.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use khal::Task;
use ksync::SpinLock;

pub(super) struct RunQueue {
    tasks: SpinLock<VecDeque<Arc<Task>>>,
    /// Length, for a look without the lock.
    len: AtomicUsize,
}

impl RunQueue {
    pub(super) const fn new() -> Self {
        Self { tasks: SpinLock::new(VecDeque::new()), len: AtomicUsize::new(0) }
    }

    /// Adds a task; true when the queue was empty.
    pub(super) fn push(&self, task: Arc<Task>) -> bool {
        let mut tasks = self.tasks.lock();
        let was_empty = tasks.is_empty();
        tasks.push_back(task);
        self.len.store(tasks.len(), Ordering::Release);
        was_empty
    }

    /// Takes the task that waited longest.
    pub(super) fn pop(&self) -> Option<Arc<Task>> {
        if self.is_empty() {
            return None;
        }
        let mut tasks = self.tasks.lock();
        let task = tasks.pop_front();
        self.len.store(tasks.len(), Ordering::Release);
        task
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }
}
