// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files that are executed, which nobody may open for writing: `ETXTBSY` of open(2).

use crate::{Inode, Location, Namespace};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use kio::{Errno, Result};
use ksync::SpinLock;

/// What is executed, once for each [`Execution`].
#[derive(Clone, Default)]
pub(crate) struct Executed(Arc<SpinLock<Vec<Arc<dyn Inode>>>>);

impl Executed {
    /// `ETXTBSY` for what is executed.
    pub(crate) fn check_writable(&self, inode: &Arc<dyn Inode>) -> Result<()> {
        let executed = self.0.lock().iter().any(|other| Arc::ptr_eq(other, inode));
        if executed { Err(Errno::ETXTBSY) } else { Ok(()) }
    }
}

/// Keeps a file from being written as long as it lives.
pub struct Execution {
    inode: Arc<dyn Inode>,
    executed: Executed,
}

impl Namespace {
    /// Says that a program is executed. Who has it open for writing already is
    /// not found out.
    pub fn execute(&self, program: &Location) -> Execution {
        let inode = program.inode().clone();
        self.executed.0.lock().push(inode.clone());
        Execution { inode, executed: self.executed.clone() }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        let mut executed = self.executed.0.lock();
        let at = executed.iter().position(|other| Arc::ptr_eq(other, &self.inode));
        let removed = at.map(|at| executed.swap_remove(at));
        drop(executed);
        drop(removed);
    }
}

impl fmt::Debug for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Execution")
    }
}
