// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Instances that watch instances: no loops, and no chain that is too long.

use super::Core;
use super::state::{Entry, Token};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::ptr;
use kio::{Errno, Result};
use ksync::SpinLock;

/// Links in the longest chain of instances, as Linux's EP_MAX_NESTS.
const MAX_NESTS: usize = 4;

/// Held while a nested instance is added, so that two threads cannot close a
/// loop from its two sides.
static ADDING: SpinLock<()> = SpinLock::new(());

/// The instances that watch this one, once for each registration.
#[derive(Default)]
pub(super) struct Parents(SpinLock<Vec<Weak<Core>>>);

impl Parents {
    fn add(&self, parent: &Arc<Core>) -> Result<()> {
        let mut list = self.0.lock();
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        list.push(Arc::downgrade(parent));
        Ok(())
    }

    pub(super) fn remove(&self, parent: &Core) {
        let mut list = self.0.lock();
        let at = list.iter().position(|p| ptr::eq(p.as_ptr(), parent));
        let gone = at.map(|at| list.swap_remove(at));
        drop(list);
        drop(gone);
    }

    fn live(&self) -> Vec<Arc<Core>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// Adds `entry`, which watches `inner`, to `outer`; `ELOOP` when that would
/// make a loop or too long a chain.
pub(super) fn link(outer: &Arc<Core>, inner: &Arc<Core>, entry: Entry) -> Result<Token> {
    let guard = ADDING.lock();
    let below = depth_below(inner, outer, 0)?;
    let above = height_above(outer, 0)?;
    if below + 1 + above > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let token = outer.state.lock().insert(entry)?;
    if let Err(error) = inner.parents.add(outer) {
        let gone = outer.state.lock().remove(token);
        drop(guard);
        drop(gone);
        return Err(error);
    }
    Ok(token)
}

fn depth_below(core: &Arc<Core>, forbidden: &Arc<Core>, level: usize) -> Result<usize> {
    if Arc::ptr_eq(core, forbidden) || level > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let children = core.state.lock().children();
    let mut deepest = 0;
    for child in &children {
        deepest = deepest.max(1 + depth_below(child, forbidden, level + 1)?);
    }
    Ok(deepest)
}

fn height_above(core: &Arc<Core>, level: usize) -> Result<usize> {
    if level > MAX_NESTS {
        return Err(Errno::ELOOP);
    }
    let mut highest = 0;
    for parent in &core.parents.live() {
        highest = highest.max(1 + height_above(parent, level + 1)?);
    }
    Ok(highest)
}
