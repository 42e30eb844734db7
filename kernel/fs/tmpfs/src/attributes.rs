// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Owner, permissions, link count and times of a node, without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use kio::{FileKind, Stat};
use kvfs::{AttributeChange, SetTime};

const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Attributes of one node; times are nanoseconds since 1970.
#[derive(Debug)]
pub(crate) struct Attributes {
    permissions: AtomicU32,
    uid: AtomicU32,
    gid: AtomicU32,
    links: AtomicU32,
    accessed: AtomicU64,
    modified: AtomicU64,
    changed: AtomicU64,
}

impl Attributes {
    pub(crate) fn new(permissions: u32, links: u32, now: u64) -> Self {
        Self {
            permissions: AtomicU32::new(permissions & 0o7777),
            uid: AtomicU32::new(0),
            gid: AtomicU32::new(0),
            links: AtomicU32::new(links),
            accessed: AtomicU64::new(now),
            modified: AtomicU64::new(now),
            changed: AtomicU64::new(now),
        }
    }

    /// Those of a file of the lower file system.
    pub(crate) fn of(stat: &Stat) -> Self {
        let nanos = |d: Duration| AtomicU64::new(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        Self {
            permissions: AtomicU32::new(stat.permissions),
            uid: AtomicU32::new(stat.uid),
            gid: AtomicU32::new(stat.gid),
            links: AtomicU32::new(stat.links),
            accessed: nanos(stat.accessed),
            modified: nanos(stat.modified),
            changed: nanos(stat.changed),
        }
    }

    pub(crate) fn permissions(&self) -> u32 {
        self.permissions.load(Relaxed)
    }

    pub(crate) fn links(&self) -> u32 {
        self.links.load(Relaxed)
    }

    pub(crate) fn set_links(&self, links: u32) {
        self.links.store(links, Relaxed);
    }

    /// Changes to the link count happen under the lock of the directory that
    /// gains or loses the name, but a file may have names in several.
    pub(crate) fn add_links(&self, by: i32) {
        self.links.fetch_add(by as u32, Relaxed);
    }

    /// The set-group-ID bit of a directory passes its group on.
    pub(crate) fn inherit(&self, parent: &Attributes, kind: FileKind) {
        const SETGID: u32 = 0o2000;
        if parent.permissions() & SETGID != 0 {
            self.gid.store(parent.gid.load(Relaxed), Relaxed);
            if kind == FileKind::Directory {
                self.permissions.fetch_or(SETGID, Relaxed);
            }
        }
    }

    /// The contents changed.
    pub(crate) fn touch(&self, now: u64) {
        self.modified.store(now, Relaxed);
        self.changed.store(now, Relaxed);
    }

    /// The attributes changed.
    pub(crate) fn touch_attributes(&self, now: u64) {
        self.changed.store(now, Relaxed);
    }

    /// The contents were read: relatime, as mount(8) describes it.
    pub(crate) fn touch_accessed(&self, now: impl FnOnce() -> u64) {
        let accessed = self.accessed.load(Relaxed);
        let newest = self.modified.load(Relaxed).max(self.changed.load(Relaxed));
        if accessed > newest {
            return;
        }
        let now = now();
        if accessed <= newest || now.saturating_sub(accessed) >= DAY {
            self.accessed.store(now.max(newest + 1), Relaxed);
        }
    }

    pub(crate) fn change(&self, change: &AttributeChange, kind: FileKind, now: u64) {
        if let Some(permissions) = change.permissions {
            self.permissions.store(permissions & 0o7777, Relaxed);
        }
        if let Some(uid) = change.uid {
            self.uid.store(uid, Relaxed);
        }
        if let Some(gid) = change.gid {
            self.gid.store(gid, Relaxed);
        }
        if (change.uid.is_some() || change.gid.is_some()) && kind != FileKind::Directory {
            // chown(2): a set-ID program does not change hands.
            let group = if self.permissions() & 0o010 != 0 { 0o2000 } else { 0 };
            self.permissions.fetch_and(!(0o4000 | group), Relaxed);
        }
        let nanos = |time: SetTime| match time {
            SetTime::Now => now,
            SetTime::At(at) => u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
        };
        if let Some(time) = change.accessed {
            self.accessed.store(nanos(time), Relaxed);
        }
        if let Some(time) = change.modified {
            self.modified.store(nanos(time), Relaxed);
        }
        self.touch_attributes(now);
    }

    pub(crate) fn fill(&self, stat: &mut Stat) {
        stat.permissions = self.permissions();
        stat.uid = self.uid.load(Relaxed);
        stat.gid = self.gid.load(Relaxed);
        stat.links = self.links();
        stat.accessed = Duration::from_nanos(self.accessed.load(Relaxed));
        stat.modified = Duration::from_nanos(self.modified.load(Relaxed));
        stat.changed = Duration::from_nanos(self.changed.load(Relaxed));
    }
}
