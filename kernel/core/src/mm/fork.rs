// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A copy of an address space for a child: fork(2).

use super::area::Area;
use super::space::{AddressSpace, Inner};
use crate::limits::check_kernel_memory;
use alloc::sync::Arc;
use kio::{Errno, Result};
use ksync::Once;

impl AddressSpace {
    /// The empty one of processes that have ended; `None` without memory for it.
    pub fn vacant() -> Option<Arc<Self>> {
        static VACANT: Once<Arc<AddressSpace>> = Once::new();
        if VACANT.get().is_none() {
            // Another CPU may be first.
            let _ = VACANT.set(Arc::new(Self::new(0).ok()?));
        }
        VACANT.get().cloned()
    }

    /// The same areas. Private pages are shared until one side writes, pages of shared
    /// mappings come in when they are touched.
    pub fn fork(&self) -> Result<Self> {
        let mut own = self.inner.lock();
        // A map of areas has about a third of its room free.
        check_kernel_memory(own.areas.len() * size_of::<Area>() * 3 / 2)?;
        let copy = Self::new(own.map_top)?;
        let mut child = copy.inner.lock();
        let Inner { areas, tables, .. } = &mut *own;
        let private = areas.values().filter(|area| !area.shared);
        let ranges = private.map(|area| (area.start, area.end));
        tables.share(&mut child.tables, ranges).map_err(|_| Errno::ENOMEM)?;
        child.areas = areas.clone();
        child.break_start = own.break_start;
        child.break_end = own.break_end;
        child.mapped = own.mapped;
        drop(child);
        drop(own);
        Ok(copy)
    }
}
