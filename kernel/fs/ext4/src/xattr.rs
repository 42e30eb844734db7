// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extended attributes, xattr(7).

use crate::node::Node;
use alloc::vec::Vec;
use kio::{Errno, Result};
use kvfs::XattrMode;
use rsext4::{Ext4Error, Ext4ErrorKind, Ext4Result, XattrNamespace, XattrSetMode};

const PREFIXES: [(&[u8], XattrNamespace); 3] = [
    (b"user.", XattrNamespace::User),
    (b"trusted.", XattrNamespace::Trusted),
    (b"security.", XattrNamespace::Security),
];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

fn split(name: &[u8]) -> Result<(XattrNamespace, &[u8])> {
    let found = PREFIXES
        .iter()
        .find_map(|(prefix, space)| name.strip_prefix(*prefix).map(|rest| (*space, rest)));
    match found {
        Some((_, [])) => Err(Errno::EINVAL),
        Some(found) => Ok(found),
        None => Err(Errno::EOPNOTSUPP),
    }
}

/// What the core says about attributes, in the words of xattr(7).
fn told<T>(result: Ext4Result<T>) -> Ext4Result<core::result::Result<T, Errno>> {
    match result.map_err(|error: Ext4Error| (error.kind(), error)) {
        Ok(value) => Ok(Ok(value)),
        Err((Ext4ErrorKind::NotFound, _)) => Ok(Err(Errno::ENODATA)),
        Err((Ext4ErrorKind::AlreadyExists, _)) => Ok(Err(Errno::EEXIST)),
        Err((_, error)) => Err(error),
    }
}

impl Node {
    pub(crate) fn read_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let (space, rest) = split(name)?;
        let number = self.inode()?;
        self.volume.with(|core| told(core.engine.get_xattr(number, space, rest)))?
    }

    pub(crate) fn write_xattr(&self, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let (space, rest) = split(name)?;
        let number = self.inode()?;
        let mode = match mode {
            XattrMode::Set => XattrSetMode::Upsert,
            XattrMode::Create => XattrSetMode::Create,
            XattrMode::Replace => XattrSetMode::Replace,
        };
        let now = self.volume.now();
        self.volume.change(|core| {
            core.set_time(now);
            let result = told(core.engine.set_xattr(number, space, rest, value, mode))?;
            self.changed_by_xattr(now);
            Ok(result)
        })?
    }

    pub(crate) fn delete_xattr(&self, name: &[u8]) -> Result<()> {
        let (space, rest) = split(name)?;
        let number = self.inode()?;
        let now = self.volume.now();
        self.volume.change(|core| {
            core.set_time(now);
            core.frees = true;
            let result = told(core.engine.remove_xattr(number, space, rest))?;
            self.changed_by_xattr(now);
            Ok(result)
        })?
    }

    fn changed_by_xattr(&self, now: u64) {
        let mut attributes = self.attributes.lock();
        attributes.times.changed = now;
        attributes.times_changed = true;
    }

    /// The names, each with a NUL behind it.
    pub(crate) fn xattr_names(&self) -> Result<Vec<u8>> {
        let number = self.inode()?;
        let names = self.volume.with(|core| core.engine.list_xattrs(number))?;
        let mut text = Vec::new();
        for name in names {
            let prefix = match name.namespace {
                XattrNamespace::PosixAclAccess => ACL_ACCESS,
                XattrNamespace::PosixAclDefault => ACL_DEFAULT,
                space => match PREFIXES.iter().find(|(_, s)| *s == space) {
                    Some((prefix, _)) => *prefix,
                    None => continue,
                },
            };
            text.extend_from_slice(prefix);
            text.extend_from_slice(&name.name);
            text.push(0);
        }
        Ok(text)
    }
}
