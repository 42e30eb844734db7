//! stub
use super::Args; use crate::thread::Thread; use kio::{Errno,Result};
pub(super) fn socket(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn socketpair(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn bind(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn connect(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn listen(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn accept(_t:&Thread,_0:Args,_1:u32)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn sendto(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn recvfrom(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn sendmsg(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn recvmsg(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn sendmmsg(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn recvmmsg(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn shutdown(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn getsockname(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn getpeername(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn setsockopt(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
pub(super) fn getsockopt(_t:&Thread,_0:Args)->Result<u64>{Err(Errno::ENOSYS)}
