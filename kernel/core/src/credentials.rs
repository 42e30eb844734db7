// SPDX-License-Identifier: Apache-2.0 OR MIT
//! User and group ids of a thread, credentials(7), and what capabilities(7)
//! says of their changes. They are kept and told; access to files is not
//! checked against them, for all of the machine belongs to the program.

use alloc::vec::Vec;
use kio::{Errno, Result};

/// Most supplementary groups, NGROUPS_MAX.
pub const GROUPS_MAX: usize = 65536;

/// All capabilities up to CAP_CHECKPOINT_RESTORE.
pub const ALL_CAPABILITIES: u64 = (1 << 41) - 1;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// "Unchanged" in setreuid(2) and its kin.
const KEEP: u32 = u32::MAX;

/// Ids of one kind, of the user or of the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// To which it may come back.
    pub saved: u32,
    /// As whom it opens files.
    pub filesystem: u32,
}

impl Ids {
    fn holds(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2), setgid(2).
    fn set(&mut self, id: u32, privileged: bool) -> Result<()> {
        if id == KEEP {
            return Err(Errno::EINVAL);
        }
        if privileged {
            (self.real, self.saved) = (id, id);
        } else if id != self.real && id != self.saved {
            return Err(Errno::EPERM);
        }
        (self.effective, self.filesystem) = (id, id);
        Ok(())
    }

    /// setreuid(2), setregid(2).
    fn set_real_effective(&mut self, real: u32, effective: u32, privileged: bool) -> Result<()> {
        let old = *self;
        let real_allowed = real == KEEP || real == old.real || real == old.effective;
        let effective_allowed = effective == KEEP || old.holds(effective);
        if !(privileged || (real_allowed && effective_allowed)) {
            return Err(Errno::EPERM);
        }
        if real != KEEP {
            self.real = real;
        }
        if effective != KEEP {
            self.effective = effective;
        }
        if real != KEEP || (effective != KEEP && effective != old.real) {
            self.saved = self.effective;
        }
        self.filesystem = self.effective;
        Ok(())
    }

    /// setresuid(2), setresgid(2).
    fn set_all(&mut self, ids: [u32; 3], privileged: bool) -> Result<()> {
        if !privileged && !ids.iter().all(|id| *id == KEEP || self.holds(*id)) {
            return Err(Errno::EPERM);
        }
        let places = [&mut self.real, &mut self.effective, &mut self.saved];
        for (place, id) in places.into_iter().zip(ids).filter(|(_, id)| *id != KEEP) {
            *place = id;
        }
        self.filesystem = self.effective;
        Ok(())
    }

    /// setfsuid(2), setfsgid(2): gives back the old one, changed or not.
    fn set_filesystem(&mut self, id: u32, privileged: bool) -> u32 {
        let old = self.filesystem;
        if id != KEEP && (privileged || id == old || self.holds(id)) {
            self.filesystem = id;
        }
        old
    }
}

/// A change of ids.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// setuid(2), setgid(2).
    One(u32),
    /// setreuid(2), setregid(2).
    Two(u32, u32),
    /// setresuid(2), setresgid(2).
    Three([u32; 3]),
}

impl Change {
    fn apply(self, ids: &mut Ids, privileged: bool) -> Result<()> {
        match self {
            Self::One(id) => ids.set(id, privileged),
            Self::Two(real, effective) => ids.set_real_effective(real, effective, privileged),
            Self::Three(all) => ids.set_all(all, privileged),
        }
    }
}

/// Who a thread is.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User ids.
    pub user: Ids,
    /// Group ids.
    pub group: Ids,
    /// Supplementary groups, in growing order.
    pub groups: Vec<u32>,
    /// PR_SET_KEEPCAPS.
    pub keep_capabilities: bool,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Capabilities that count.
    pub effective: u64,
    /// Capabilities that may be made to count.
    pub permitted: u64,
    /// Capabilities that another program gets.
    pub inheritable: u64,
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            user: Ids::default(),
            group: Ids::default(),
            groups: Vec::new(),
            keep_capabilities: false,
            no_new_privileges: false,
            effective: ALL_CAPABILITIES,
            permitted: ALL_CAPABILITIES,
            inheritable: 0,
        }
    }
}

impl Credentials {
    fn capable(&self, capability: u32) -> bool {
        self.effective & 1 << capability != 0
    }

    /// Changes user ids.
    pub fn change_user(&mut self, change: Change) -> Result<()> {
        let old = self.user;
        let privileged = self.capable(CAP_SETUID);
        change.apply(&mut self.user, privileged)?;
        self.follow(old);
        Ok(())
    }

    /// Changes group ids.
    pub fn change_group(&mut self, change: Change) -> Result<()> {
        let privileged = self.capable(CAP_SETGID);
        change.apply(&mut self.group, privileged)
    }

    /// Capabilities after a change of user ids, capabilities(7).
    fn follow(&mut self, old: Ids) {
        let was_root = old.holds(0);
        if was_root && !self.user.holds(0) && !self.keep_capabilities {
            self.permitted = 0;
            self.effective = 0;
        }
        match (old.effective == 0, self.user.effective == 0) {
            (true, false) => self.effective = 0,
            (false, true) => self.effective = self.permitted,
            _ => {}
        }
    }

    /// setfsuid(2).
    pub fn set_filesystem_user(&mut self, id: u32) -> u32 {
        let privileged = self.capable(CAP_SETUID);
        self.user.set_filesystem(id, privileged)
    }

    /// setfsgid(2).
    pub fn set_filesystem_group(&mut self, id: u32) -> u32 {
        let privileged = self.capable(CAP_SETGID);
        self.group.set_filesystem(id, privileged)
    }

    /// EPERM when setgroups(2) is not for this thread.
    pub fn may_set_groups(&self) -> Result<()> {
        if self.capable(CAP_SETGID) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// capset(2): nothing can be gained.
    pub fn set_capabilities(
        &mut self,
        effective: u64,
        permitted: u64,
        inheritable: u64,
    ) -> Result<()> {
        let known = ALL_CAPABILITIES;
        let (effective, permitted) = (effective & known, permitted & known);
        let gains = permitted & !self.permitted != 0 || effective & !permitted != 0;
        if gains || inheritable & known & !(self.inheritable | self.permitted) != 0 {
            return Err(Errno::EPERM);
        }
        (self.effective, self.permitted) = (effective, permitted);
        self.inheritable = inheritable & known;
        Ok(())
    }

    /// execve(2): a program of root's has everything again.
    pub fn after_exec(&mut self) {
        let whole = self.user.effective == 0 || self.user.real == 0;
        self.permitted = if whole { ALL_CAPABILITIES } else { self.inheritable };
        self.effective = if self.user.effective == 0 { self.permitted } else { 0 };
        self.keep_capabilities = false;
        self.user.saved = self.user.effective;
        self.group.saved = self.group.effective;
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL_CAPABILITIES, Change, Credentials};
    use kio::Errno;

    #[test]
    fn nobody_comes_back_from_a_full_change() {
        let mut one = Credentials::default();
        one.change_group(Change::One(33)).unwrap();
        one.change_user(Change::One(33)).unwrap();
        assert_eq!(one.permitted, 0);
        assert_eq!(one.change_user(Change::One(0)), Err(Errno::EPERM));
        assert_eq!(one.change_user(Change::One(u32::MAX)), Err(Errno::EINVAL));
        assert_eq!(one.may_set_groups(), Err(Errno::EPERM));
    }

    #[test]
    fn the_saved_id_is_a_way_back() {
        let mut one = Credentials::default();
        one.change_user(Change::Two(u32::MAX, 10)).unwrap();
        assert_eq!((one.user.saved, one.effective, one.permitted), (10, 0, ALL_CAPABILITIES));
        one.change_user(Change::Two(u32::MAX, 0)).unwrap();
        assert_eq!(one.effective, ALL_CAPABILITIES);
        one.change_user(Change::Three([1, 2, 0])).unwrap();
        assert_eq!(one.change_user(Change::Three([3, 3, 3])), Err(Errno::EPERM));
        one.change_user(Change::Three([u32::MAX, 0, u32::MAX])).unwrap();
    }

    #[test]
    fn kept_capabilities_can_be_raised_again() {
        let mut one = Credentials { keep_capabilities: true, ..Credentials::default() };
        one.change_user(Change::One(5)).unwrap();
        assert_eq!((one.effective, one.permitted), (0, ALL_CAPABILITIES));
        one.set_capabilities(1 << 10, 1 << 10, 0).unwrap();
        assert_eq!(one.set_capabilities(1 << 11, 1 << 10, 0), Err(Errno::EPERM));
        assert_eq!(one.set_capabilities(0, 1 << 11, 0), Err(Errno::EPERM));
        one.after_exec();
        assert_eq!((one.effective, one.permitted, one.keep_capabilities), (0, 0, false));
    }

    #[test]
    fn the_file_system_id_follows_and_is_told_either_way() {
        let mut one = Credentials::default();
        one.change_user(Change::One(4)).unwrap();
        assert_eq!(one.set_filesystem_user(9), 4);
        assert_eq!(one.set_filesystem_user(u32::MAX), 4);
        let mut root = Credentials::default();
        assert_eq!(root.set_filesystem_group(9), 0);
        assert_eq!(root.set_filesystem_group(0), 9);
    }
}
