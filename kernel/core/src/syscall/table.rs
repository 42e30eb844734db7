// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of system calls: what runs for each number.

use super::{
    Args, event, fd, file, memory, path, poll, process, register, signal, socket, system, time,
};
use crate::thread::Thread;
use core::sync::atomic::Ordering;
use linux_raw_sys::general as nr;

/// What runs for a number; the result is what the program finds in rax, so that it comes back in
/// a register.
pub(super) type Handler = fn(&Thread, Args) -> u64;

const COUNT: usize = 512;
type Table = [Option<Handler>; COUNT];

/// Handlers by number. Calls that change the frame are not here: see
/// [`enter`](super::enter).
pub(super) static TABLE: Table = build();

const fn build() -> Table {
    let table = [None; COUNT];
    let table = descriptors(table);
    let table = paths(table);
    let table = memory_and_processes(table);
    let table = signals_and_time(table);

    events_sockets_system(table)
}

/// Puts one line for each call into the table.
macro_rules! calls {
    ($table:ident, $thread:ident, $a:ident; $($number:ident => $body:expr;)*) => {
        $(
            let handler: Handler = |$thread, $a| {
                let _ = $a;
                register($thread, $body)
            };
            $table[nr::$number as usize] = Some(handler);
        )*
    };
}

/// Descriptors and the data behind them.
const fn descriptors(mut table: Table) -> Table {
    calls! { table, thread, a;
        __NR_read => file::read(thread, a);
        __NR_write => file::write(thread, a);
        __NR_pread64 => file::pread(thread, a);
        __NR_pwrite64 => file::pwrite(thread, a);
        __NR_readv => file::readv(thread, a);
        __NR_writev => file::writev(thread, a);
        __NR_preadv => file::preadv(thread, a, false);
        __NR_preadv2 => file::preadv(thread, a, true);
        __NR_pwritev => file::pwritev(thread, a, false);
        __NR_pwritev2 => file::pwritev(thread, a, true);
        __NR_lseek => file::lseek(thread, a);
        __NR_sendfile => file::sendfile(thread, a);
        __NR_splice => file::splice(thread, a);
        __NR_tee => file::tee(thread, a);
        __NR_copy_file_range => file::copy_file_range(thread, a);
        __NR_fsync => file::sync(thread, a, false);
        __NR_fdatasync => file::sync(thread, a, true);
        __NR_sync => path::sync(thread);
        __NR_syncfs => path::syncfs(thread, a);
        __NR_sync_file_range => Ok(0);
        __NR_ftruncate => file::ftruncate(thread, a);
        __NR_fallocate => file::fallocate(thread, a);
        __NR_fadvise64 => file::advise(thread, a);
        __NR_readahead => file::readahead(thread, a);
        __NR_close => fd::close(thread, a);
        __NR_close_range => fd::close_range(thread, a);
        __NR_dup => fd::dup(thread, a);
        __NR_dup2 => fd::dup2(thread, a);
        __NR_dup3 => fd::dup3(thread, a);
        __NR_fcntl => fd::fcntl(thread, a);
        __NR_ioctl => fd::ioctl(thread, a);
        __NR_flock => fd::flock(thread, a);
        __NR_pipe => fd::pipe(thread, a.u64(0), 0);
        __NR_pipe2 => fd::pipe(thread, a.u64(0), a.u32(1));
        __NR_memfd_create => fd::memfd_create(thread, a);
    }
    table
}

/// Calls that take a path.
const fn paths(mut table: Table) -> Table {
    calls! { table, thread, a;
        __NR_open => path::open(thread, path::AT_FDCWD, a.u64(0), a.u32(1), a.u32(2));
        __NR_creat => path::creat(thread, a);
        __NR_openat => path::open(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3));
        __NR_openat2 => path::openat2(thread, a);
        __NR_stat => path::stat(thread, path::AT_FDCWD, a.u64(0), a.u64(1), 0);
        __NR_lstat => path::lstat(thread, a);
        __NR_fstat => path::fstat(thread, a);
        __NR_newfstatat => path::stat(thread, a.i32(0), a.u64(1), a.u64(2), a.u32(3));
        __NR_statx => path::statx(thread, a);
        __NR_access => path::access(thread, path::AT_FDCWD, a.u64(0), a.u32(1), 0);
        __NR_faccessat => path::access(thread, a.i32(0), a.u64(1), a.u32(2), 0);
        __NR_faccessat2 => path::access(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3));
        __NR_readlink => path::readlink(thread, path::AT_FDCWD, a.u64(0), a.u64(1), a.i32(2));
        __NR_readlinkat => path::readlink(thread, a.i32(0), a.u64(1), a.u64(2), a.i32(3));
        __NR_mkdir => path::mkdir(thread, path::AT_FDCWD, a.u64(0), a.u32(1));
        __NR_mkdirat => path::mkdir(thread, a.i32(0), a.u64(1), a.u32(2));
        __NR_mknod => path::mknod(thread, path::AT_FDCWD, a.u64(0), a.u32(1), a.u64(2));
        __NR_mknodat => path::mknod(thread, a.i32(0), a.u64(1), a.u32(2), a.u64(3));
        __NR_unlink => path::unlink(thread, path::AT_FDCWD, a.u64(0), 0);
        __NR_unlinkat => path::unlink(thread, a.i32(0), a.u64(1), a.u32(2));
        __NR_rmdir => path::unlink(thread, path::AT_FDCWD, a.u64(0), path::AT_REMOVEDIR);
        __NR_rename => path::rename(thread, [path::AT_FDCWD; 2], [a.u64(0), a.u64(1)], 0);
        __NR_renameat => path::rename(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], 0);
        __NR_renameat2 => path::rename(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], a.u32(4));
        __NR_link => path::link(thread, [path::AT_FDCWD; 2], [a.u64(0), a.u64(1)], 0);
        __NR_linkat => path::link(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], a.u32(4));
        __NR_symlink => path::symlink(thread, a.u64(0), path::AT_FDCWD, a.u64(1));
        __NR_symlinkat => path::symlink(thread, a.u64(0), a.i32(1), a.u64(2));
        __NR_chmod => path::chmod(thread, path::AT_FDCWD, a.u64(0), a.u32(1), 0);
        __NR_fchmod => path::fchmod(thread, a);
        __NR_fchmodat => path::chmod(thread, a.i32(0), a.u64(1), a.u32(2), 0);
        __NR_fchmodat2 => path::chmod(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3));
        __NR_chown => path::chown(thread, path::AT_FDCWD, a.u64(0), [a.u32(1), a.u32(2)], 0);
        __NR_lchown => path::chown( thread, path::AT_FDCWD, a.u64(0), [a.u32(1), a.u32(2)], path::AT_SYMLINK_NOFOLLOW, );
        __NR_fchown => path::fchown(thread, a);
        __NR_fchownat => path::chown(thread, a.i32(0), a.u64(1), [a.u32(2), a.u32(3)], a.u32(4));
        __NR_utimensat => path::utimensat(thread, a);
        __NR_utimes => path::old_utimes(thread, nr::__NR_utimes, a);
        __NR_futimesat => path::old_utimes(thread, nr::__NR_futimesat, a);
        __NR_utime => path::old_utimes(thread, nr::__NR_utime, a);
        __NR_truncate => path::truncate(thread, a);
        __NR_chdir => path::chdir(thread, a);
        __NR_fchdir => path::fchdir(thread, a);
        __NR_chroot => path::chroot(thread, a);
        __NR_getcwd => path::getcwd(thread, a);
        __NR_umask => path::umask(thread, a);
        __NR_getdents64 => path::getdents64(thread, a);
        __NR_statfs => path::statfs(thread, a);
        __NR_fstatfs => path::fstatfs(thread, a);
        __NR_mount => path::mount(thread, a);
        __NR_umount2 => path::umount(thread, a);
        __NR_setxattr => path::xattr(thread, nr::__NR_setxattr, a);
        __NR_lsetxattr => path::xattr(thread, nr::__NR_lsetxattr, a);
        __NR_fsetxattr => path::xattr(thread, nr::__NR_fsetxattr, a);
        __NR_getxattr => path::xattr(thread, nr::__NR_getxattr, a);
        __NR_lgetxattr => path::xattr(thread, nr::__NR_lgetxattr, a);
        __NR_fgetxattr => path::xattr(thread, nr::__NR_fgetxattr, a);
        __NR_listxattr => path::xattr(thread, nr::__NR_listxattr, a);
        __NR_llistxattr => path::xattr(thread, nr::__NR_llistxattr, a);
        __NR_flistxattr => path::xattr(thread, nr::__NR_flistxattr, a);
        __NR_removexattr => path::xattr(thread, nr::__NR_removexattr, a);
        __NR_lremovexattr => path::xattr(thread, nr::__NR_lremovexattr, a);
        __NR_fremovexattr => path::xattr(thread, nr::__NR_fremovexattr, a);
    }
    table
}

/// Memory, threads, processes and their ids.
const fn memory_and_processes(mut table: Table) -> Table {
    calls! { table, thread, a;
        __NR_mmap => memory::mmap(thread, a);
        __NR_munmap => memory::munmap(thread, a);
        __NR_mprotect => memory::mprotect(thread, a);
        __NR_pkey_mprotect => memory::mprotect(thread, a);
        __NR_mremap => memory::mremap(thread, a);
        __NR_madvise => memory::madvise(thread, a);
        __NR_brk => memory::brk(thread, a);
        __NR_msync => memory::msync(thread, a);
        __NR_mincore => memory::mincore(thread, a);
        __NR_mlock => memory::mlock(thread, a);
        __NR_mlock2 => memory::mlock(thread, a);
        __NR_munlock => Ok(0);
        __NR_munlockall => Ok(0);
        __NR_mlockall => Ok(0);
        __NR_membarrier => memory::membarrier(a);
        __NR_exit => process::exit(thread, a);
        __NR_exit_group => process::exit_group(thread, a);
        __NR_wait4 => process::wait4(thread, a);
        __NR_waitid => process::waitid(thread, a);
        __NR_pidfd_open => process::pidfd_open(thread, a);
        __NR_pidfd_send_signal => process::pidfd_send_signal(thread, a);
        __NR_getpid => Ok(u64::from(thread.process.pid));
        __NR_gettid => Ok(u64::from(thread.tid()));
        __NR_getppid => Ok(u64::from(thread.process.family.parent.load(Ordering::Relaxed)));
        __NR_set_tid_address => process::set_tid_address(thread, a);
        __NR_set_robust_list => process::set_robust_list(thread, a);
        __NR_get_robust_list => process::get_robust_list(thread, a);
        __NR_arch_prctl => process::arch_prctl(a);
        __NR_prctl => process::prctl(thread, a);
        __NR_futex => process::futex(a);
        __NR_futex_waitv => process::futex_waitv(a);
        __NR_sched_yield => process::sched_yield();
        __NR_sched_getaffinity => process::sched_getaffinity(thread, a);
        __NR_sched_setaffinity => process::sched_setaffinity(thread, a);
        __NR_getcpu => process::getcpu(a);
        __NR_setpgid => process::setpgid(thread, a);
        __NR_getpgid => process::getpgid(thread, a.u32(0));
        __NR_getpgrp => process::getpgid(thread, 0);
        __NR_setsid => process::setsid(thread);
        __NR_getsid => process::getsid(thread, a);
        __NR_getuid => process::id(thread, |c| c.user.real);
        __NR_geteuid => process::id(thread, |c| c.user.effective);
        __NR_getgid => process::id(thread, |c| c.group.real);
        __NR_getegid => process::id(thread, |c| c.group.effective);
        __NR_setfsuid => process::setfsuid(thread, a);
        __NR_setfsgid => process::setfsgid(thread, a);
        __NR_getresuid => process::getresid(thread, a, |c| c.user);
        __NR_getresgid => process::getresid(thread, a, |c| c.group);
        __NR_getgroups => process::getgroups(thread, a);
        __NR_setuid => process::set_ids(thread, nr::__NR_setuid, a);
        __NR_setgid => process::set_ids(thread, nr::__NR_setgid, a);
        __NR_setreuid => process::set_ids(thread, nr::__NR_setreuid, a);
        __NR_setregid => process::set_ids(thread, nr::__NR_setregid, a);
        __NR_setresuid => process::set_ids(thread, nr::__NR_setresuid, a);
        __NR_setresgid => process::set_ids(thread, nr::__NR_setresgid, a);
        __NR_setgroups => process::setgroups(thread, a);
        __NR_capget => process::capget(thread, a);
        __NR_capset => process::capset(thread, a);
        __NR_personality => Ok(0);
        __NR_sched_getparam => process::sched_getparam(a);
        __NR_sched_getscheduler => Ok(0);
        __NR_sched_rr_get_interval => process::sched_rr_get_interval(thread, a);
        __NR_sched_setscheduler => Ok(0);
        __NR_sched_setparam => Ok(0);
        __NR_sched_get_priority_max => process::sched_priority(nr::__NR_sched_get_priority_max, a);
        __NR_sched_get_priority_min => process::sched_priority(nr::__NR_sched_get_priority_min, a);
        __NR_getpriority => Ok(20);
        __NR_setpriority => Ok(0);
        __NR_ioprio_set => Ok(0);
        __NR_ioprio_get => Ok(0);
    }
    table
}

/// Signals, clocks and timers.
const fn signals_and_time(mut table: Table) -> Table {
    calls! { table, thread, a;
        __NR_rt_sigaction => signal::sigaction(thread, a);
        __NR_rt_sigprocmask => signal::sigprocmask(thread, a);
        __NR_rt_sigpending => signal::sigpending(thread, a);
        __NR_rt_sigsuspend => signal::sigsuspend(thread, a);
        __NR_rt_sigtimedwait => signal::sigtimedwait(thread, a);
        __NR_rt_sigqueueinfo => signal::sigqueueinfo(thread, a);
        __NR_rt_tgsigqueueinfo => signal::tgsigqueueinfo(thread, a);
        __NR_sigaltstack => signal::sigaltstack(thread, a);
        __NR_kill => signal::kill(thread, a);
        __NR_tkill => signal::tkill(thread, a);
        __NR_tgkill => signal::tgkill(thread, a);
        __NR_pause => signal::pause();
        __NR_clock_gettime => time::clock_gettime(thread, a);
        __NR_clock_getres => time::clock_getres(a);
        __NR_clock_settime => time::set_clock(nr::__NR_clock_settime, a);
        __NR_settimeofday => time::set_clock(nr::__NR_settimeofday, a);
        __NR_adjtimex => time::set_clock(nr::__NR_adjtimex, a);
        __NR_gettimeofday => time::gettimeofday(a);
        __NR_time => time::time(a);
        __NR_nanosleep => time::nanosleep(a);
        __NR_clock_nanosleep => time::clock_nanosleep(a);
        __NR_setitimer => time::setitimer(thread, a);
        __NR_getitimer => time::getitimer(thread, a);
        __NR_alarm => time::alarm(thread, a);
        __NR_timer_create => time::timer_create(thread, a);
        __NR_timer_settime => time::timer_settime(thread, a);
        __NR_timer_gettime => time::timer_gettime(thread, a);
        __NR_timer_getoverrun => time::timer_getoverrun(thread, a);
        __NR_timer_delete => time::timer_delete(thread, a);
        __NR_times => time::times(thread, a);
        __NR_getrusage => time::getrusage(thread, a);
    }
    table
}

/// Readiness, sockets and the system as a whole.
const fn events_sockets_system(mut table: Table) -> Table {
    calls! { table, thread, a;
        __NR_epoll_create => match a.i32(0) {
            ..=0 => Err(kio::Errno::EINVAL),
            _ => event::epoll_create(thread, 0),
        };
        __NR_epoll_create1 => event::epoll_create(thread, a.u32(0));
        __NR_epoll_ctl => event::epoll_ctl(thread, a);
        __NR_epoll_wait => event::epoll_wait(thread, a);
        __NR_epoll_pwait => event::epoll_pwait(thread, a);
        __NR_epoll_pwait2 => event::epoll_pwait2(thread, a);
        __NR_eventfd => event::eventfd(thread, a.u32(0), 0);
        __NR_eventfd2 => event::eventfd(thread, a.u32(0), a.u32(1));
        __NR_timerfd_create => event::timerfd_create(thread, a);
        __NR_timerfd_settime => event::timerfd_settime(thread, a);
        __NR_timerfd_gettime => event::timerfd_gettime(thread, a);
        __NR_signalfd => event::signalfd(thread, a, 0);
        __NR_signalfd4 => event::signalfd(thread, a, a.u32(3));
        __NR_poll => poll::poll(thread, a);
        __NR_ppoll => poll::ppoll(thread, a);
        __NR_select => poll::select(thread, a);
        __NR_pselect6 => poll::pselect6(thread, a);
        __NR_socket => socket::socket(thread, a);
        __NR_socketpair => socket::socketpair(thread, a);
        __NR_bind => socket::bind(thread, a);
        __NR_connect => socket::connect(thread, a);
        __NR_listen => socket::listen(thread, a);
        __NR_accept => socket::accept(thread, a, 0);
        __NR_accept4 => socket::accept(thread, a, a.u32(3));
        __NR_sendto => socket::sendto(thread, a);
        __NR_recvfrom => socket::recvfrom(thread, a);
        __NR_sendmsg => socket::sendmsg(thread, a);
        __NR_recvmsg => socket::recvmsg(thread, a);
        __NR_sendmmsg => socket::sendmmsg(thread, a);
        __NR_recvmmsg => socket::recvmmsg(thread, a);
        __NR_shutdown => socket::shutdown(thread, a);
        __NR_getsockname => socket::getsockname(thread, a);
        __NR_getpeername => socket::getpeername(thread, a);
        __NR_setsockopt => socket::setsockopt(thread, a);
        __NR_getsockopt => socket::getsockopt(thread, a);
        __NR_inotify_init => path::inotify_init(thread, 0);
        __NR_inotify_init1 => path::inotify_init(thread, a.u32(0));
        __NR_inotify_add_watch => path::inotify_add_watch(thread, a);
        __NR_inotify_rm_watch => path::inotify_rm_watch(thread, a);
        __NR_uname => system::uname(thread, a);
        __NR_sethostname => system::sethostname(thread, a);
        __NR_sysinfo => system::sysinfo(a);
        __NR_getrandom => system::getrandom(thread, a);
        __NR_getrlimit => system::getrlimit(thread, a);
        __NR_setrlimit => system::setrlimit(thread, a);
        __NR_prlimit64 => system::prlimit64(thread, a);
        __NR_reboot => system::reboot(a);
    }
    table
}
