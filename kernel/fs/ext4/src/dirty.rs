// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is to be written: nodes that the disk does not know as they are.

use crate::node::Node;
use alloc::sync::{Arc, Weak};

/// How the volume has a node that is dirty. What lost its last name lives as
/// long as its users: nobody will read it again, and its inode waits to be freed.
pub(crate) enum DirtyNode {
    Kept(Arc<Node>),
    Nameless(Weak<Node>),
}

impl DirtyNode {
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        match node.is_unlinked() {
            true => Self::Nameless(Arc::downgrade(node)),
            false => Self::Kept(node.clone()),
        }
    }

    pub(crate) fn upgrade(&self) -> Option<Arc<Node>> {
        match self {
            Self::Kept(node) => Some(node.clone()),
            Self::Nameless(node) => node.upgrade(),
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Nameless(node) if node.strong_count() == 0)
    }
}
