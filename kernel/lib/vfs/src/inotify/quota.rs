// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much of inotify(7) each user has: /proc/sys/fs/inotify.

use alloc::collections::BTreeMap;
use kio::{Errno, Result};
use ksync::SpinLock;

/// fs.inotify.max_user_instances
const INSTANCES: usize = 128;
/// fs.inotify.max_user_watches
const WATCHES: usize = 65_536;

#[derive(Default)]
struct Used {
    instances: usize,
    watches: usize,
}

/// By user id; who has nothing is not there. The lock is a leaf.
static USERS: SpinLock<BTreeMap<u32, Used>> = SpinLock::new(BTreeMap::new());

/// Takes one of `limit`, or says that there is none left.
fn charge(used: &mut usize, limit: usize) -> bool {
    let allowed = *used < limit;
    *used += usize::from(allowed);
    allowed
}

/// `EMFILE` when the user has as many instances as allowed.
pub(super) fn charge_instance(user: u32) -> Result<()> {
    let mut users = USERS.lock();
    charge(&mut users.entry(user).or_default().instances, INSTANCES)
        .then_some(())
        .ok_or(Errno::EMFILE)
}

/// `ENOSPC` when the user has as many watches as allowed.
pub(super) fn charge_watch(user: u32) -> Result<()> {
    let mut users = USERS.lock();
    charge(&mut users.entry(user).or_default().watches, WATCHES).then_some(()).ok_or(Errno::ENOSPC)
}

pub(super) fn release_instance(user: u32) {
    release(user, 1, 0);
}

pub(super) fn release_watches(user: u32, count: usize) {
    release(user, 0, count);
}

fn release(user: u32, instances: usize, watches: usize) {
    let mut users = USERS.lock();
    let Some(used) = users.get_mut(&user) else { return };
    used.instances = used.instances.saturating_sub(instances);
    used.watches = used.watches.saturating_sub(watches);
    if used.instances == 0 && used.watches == 0 {
        users.remove(&user);
    }
}
