// SPDX-License-Identifier: Apache-2.0 OR MIT
//! System calls: the table, and a module for each family.

mod event;
mod fd;
mod file;
mod memory;
mod path;
mod poll;
mod process;
mod signal;
mod socket;
mod system;
mod time;

pub use system::{RELEASE, VERSION};

use crate::sched;
use crate::thread::Thread;
use core::sync::atomic::{AtomicU64, Ordering};
use khal::TrapFrame;
use kio::{Errno, Result};
use linux_raw_sys::general as nr;

/// The arguments of a system call, converted as C would.
#[derive(Clone, Copy, Debug)]
pub struct Args([u64; 6]);

impl Args {
    /// As 64 bits.
    #[inline]
    pub fn u64(&self, at: usize) -> u64 {
        self.0[at]
    }
    /// As a size.
    #[inline]
    pub fn usize(&self, at: usize) -> usize {
        self.0[at] as usize
    }
    /// The low 32 bits.
    #[inline]
    pub fn u32(&self, at: usize) -> u32 {
        self.0[at] as u32
    }
    /// The low 32 bits, signed: descriptors, flags.
    #[inline]
    pub fn i32(&self, at: usize) -> i32 {
        self.0[at] as i32
    }
    /// Signed.
    #[inline]
    pub fn i64(&self, at: usize) -> i64 {
        self.0[at] as i64
    }
}

/// Runs the system call in `frame`.
pub fn enter(frame: &mut TrapFrame) {
    let Some(thread) = sched::current_thread() else { return };
    let number = frame.error as u32;
    let args = Args(frame.arguments());
    let result = match number {
        // These change the frame themselves.
        nr::__NR_rt_sigreturn => match crate::signal::sigreturn(thread, frame) {
            Ok(()) => return,
            Err(_) => {
                signal::bad_frame();
                return;
            }
        },
        nr::__NR_execve => match process::execve(thread, frame, args.u64(0), args) {
            Ok(()) => return,
            Err(error) => Err(error),
        },
        nr::__NR_clone => process::clone(thread, frame, &args),
        nr::__NR_clone3 => process::clone3(thread, frame, &args),
        nr::__NR_fork => process::fork(thread, frame),
        nr::__NR_vfork => process::vfork(thread, frame),
        _ => dispatch(thread, number, args),
    };
    frame.rax = match result {
        Ok(value) => value,
        Err(error) => {
            if error == Errno::ERESTARTSYS || error == Errno::ERESTARTNOHAND {
                thread.notice();
            }
            error.as_result() as u64
        }
    };
}

fn dispatch(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_read => file::read(thread, a),
        nr::__NR_write => file::write(thread, a),
        nr::__NR_pread64 => file::pread(thread, a),
        nr::__NR_pwrite64 => file::pwrite(thread, a),
        nr::__NR_readv => file::readv(thread, a),
        nr::__NR_writev => file::writev(thread, a),
        nr::__NR_preadv | nr::__NR_preadv2 => file::preadv(thread, a, number == nr::__NR_preadv2),
        nr::__NR_pwritev | nr::__NR_pwritev2 => {
            file::pwritev(thread, a, number == nr::__NR_pwritev2)
        }
        nr::__NR_lseek => file::lseek(thread, a),
        nr::__NR_sendfile => file::sendfile(thread, a),
        nr::__NR_splice => file::splice(thread, a),
        nr::__NR_copy_file_range => file::copy_file_range(thread, a),
        nr::__NR_fsync | nr::__NR_fdatasync => file::sync(thread, a, number == nr::__NR_fdatasync),
        nr::__NR_sync | nr::__NR_syncfs | nr::__NR_sync_file_range => Ok(0),
        nr::__NR_ftruncate => file::ftruncate(thread, a),
        nr::__NR_fallocate => file::fallocate(thread, a),
        nr::__NR_fadvise64 | nr::__NR_readahead => file::advise(thread, a),
        nr::__NR_close => fd::close(thread, a),
        nr::__NR_close_range => fd::close_range(thread, a),
        nr::__NR_dup => fd::dup(thread, a),
        nr::__NR_dup2 => fd::dup2(thread, a),
        nr::__NR_dup3 => fd::dup3(thread, a),
        nr::__NR_fcntl => fd::fcntl(thread, a),
        nr::__NR_ioctl => fd::ioctl(thread, a),
        nr::__NR_flock => fd::flock(thread, a),
        nr::__NR_pipe => fd::pipe(thread, a.u64(0), 0),
        nr::__NR_pipe2 => fd::pipe(thread, a.u64(0), a.u32(1)),
        nr::__NR_memfd_create => fd::memfd_create(thread, a),
        _ => dispatch_paths(thread, number, a),
    }
}

fn dispatch_paths(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_open => path::open(thread, path::AT_FDCWD, a.u64(0), a.u32(1), a.u32(2)),
        nr::__NR_creat => path::creat(thread, a),
        nr::__NR_openat => path::open(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3)),
        nr::__NR_openat2 => path::openat2(thread, a),
        nr::__NR_stat => path::stat(thread, path::AT_FDCWD, a.u64(0), a.u64(1), 0),
        nr::__NR_lstat => path::lstat(thread, a),
        nr::__NR_fstat => path::fstat(thread, a),
        nr::__NR_newfstatat => path::stat(thread, a.i32(0), a.u64(1), a.u64(2), a.u32(3)),
        nr::__NR_statx => path::statx(thread, a),
        nr::__NR_access => path::access(thread, path::AT_FDCWD, a.u64(0), a.u32(1), 0),
        nr::__NR_faccessat => path::access(thread, a.i32(0), a.u64(1), a.u32(2), 0),
        nr::__NR_faccessat2 => path::access(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3)),
        nr::__NR_readlink => path::readlink(thread, path::AT_FDCWD, a.u64(0), a.u64(1), a.i32(2)),
        nr::__NR_readlinkat => path::readlink(thread, a.i32(0), a.u64(1), a.u64(2), a.i32(3)),
        nr::__NR_mkdir => path::mkdir(thread, path::AT_FDCWD, a.u64(0), a.u32(1)),
        nr::__NR_mkdirat => path::mkdir(thread, a.i32(0), a.u64(1), a.u32(2)),
        nr::__NR_mknod => path::mknod(thread, path::AT_FDCWD, a.u64(0), a.u32(1), a.u64(2)),
        nr::__NR_mknodat => path::mknod(thread, a.i32(0), a.u64(1), a.u32(2), a.u64(3)),
        nr::__NR_unlink => path::unlink(thread, path::AT_FDCWD, a.u64(0), 0),
        nr::__NR_unlinkat => path::unlink(thread, a.i32(0), a.u64(1), a.u32(2)),
        nr::__NR_rmdir => path::unlink(thread, path::AT_FDCWD, a.u64(0), path::AT_REMOVEDIR),
        nr::__NR_rename => path::rename(thread, [path::AT_FDCWD; 2], [a.u64(0), a.u64(1)], 0),
        nr::__NR_renameat => {
            path::rename(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], 0)
        }
        nr::__NR_renameat2 => {
            path::rename(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], a.u32(4))
        }
        nr::__NR_link => path::link(thread, [path::AT_FDCWD; 2], [a.u64(0), a.u64(1)], 0),
        nr::__NR_linkat => {
            path::link(thread, [a.i32(0), a.i32(2)], [a.u64(1), a.u64(3)], a.u32(4))
        }
        nr::__NR_symlink => path::symlink(thread, a.u64(0), path::AT_FDCWD, a.u64(1)),
        nr::__NR_symlinkat => path::symlink(thread, a.u64(0), a.i32(1), a.u64(2)),
        nr::__NR_chmod => path::chmod(thread, path::AT_FDCWD, a.u64(0), a.u32(1), 0),
        nr::__NR_fchmod => path::fchmod(thread, a),
        nr::__NR_fchmodat => path::chmod(thread, a.i32(0), a.u64(1), a.u32(2), 0),
        nr::__NR_fchmodat2 => path::chmod(thread, a.i32(0), a.u64(1), a.u32(2), a.u32(3)),
        nr::__NR_chown => path::chown(thread, path::AT_FDCWD, a.u64(0), [a.u32(1), a.u32(2)], 0),
        nr::__NR_lchown => path::chown(
            thread,
            path::AT_FDCWD,
            a.u64(0),
            [a.u32(1), a.u32(2)],
            path::AT_SYMLINK_NOFOLLOW,
        ),
        nr::__NR_fchown => path::fchown(thread, a),
        nr::__NR_fchownat => {
            path::chown(thread, a.i32(0), a.u64(1), [a.u32(2), a.u32(3)], a.u32(4))
        }
        nr::__NR_utimensat => path::utimensat(thread, a),
        nr::__NR_utimes | nr::__NR_futimesat | nr::__NR_utime => {
            path::old_utimes(thread, number, a)
        }
        nr::__NR_truncate => path::truncate(thread, a),
        nr::__NR_chdir => path::chdir(thread, a),
        nr::__NR_fchdir => path::fchdir(thread, a),
        nr::__NR_chroot => path::chroot(thread, a),
        nr::__NR_getcwd => path::getcwd(thread, a),
        nr::__NR_umask => path::umask(thread, a),
        nr::__NR_getdents64 => path::getdents64(thread, a),
        nr::__NR_statfs => path::statfs(thread, a),
        nr::__NR_fstatfs => path::fstatfs(thread, a),
        nr::__NR_mount => path::mount(thread, a),
        nr::__NR_umount2 => path::umount(thread, a),
        nr::__NR_setxattr..=nr::__NR_fremovexattr => path::xattr(thread, number, a),
        _ => dispatch_memory(thread, number, a),
    }
}

fn dispatch_memory(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_mmap => memory::mmap(thread, a),
        nr::__NR_munmap => memory::munmap(thread, a),
        nr::__NR_mprotect | nr::__NR_pkey_mprotect => memory::mprotect(thread, a),
        nr::__NR_mremap => memory::mremap(thread, a),
        nr::__NR_madvise => memory::madvise(thread, a),
        nr::__NR_brk => memory::brk(thread, a),
        nr::__NR_msync => memory::msync(thread, a),
        nr::__NR_mincore => memory::mincore(thread, a),
        nr::__NR_mlock | nr::__NR_mlock2 => memory::mlock(thread, a),
        nr::__NR_munlock | nr::__NR_munlockall | nr::__NR_mlockall => Ok(0),
        nr::__NR_membarrier => memory::membarrier(a),
        nr::__NR_exit => process::exit(),
        nr::__NR_exit_group => process::exit_group(thread, a),
        nr::__NR_wait4 => process::wait4(thread, a),
        nr::__NR_waitid => process::waitid(thread, a),
        nr::__NR_getpid => Ok(u64::from(thread.process.pid)),
        nr::__NR_gettid => Ok(u64::from(thread.tid)),
        nr::__NR_getppid => Ok(u64::from(thread.process.parent.load(Ordering::Relaxed))),
        nr::__NR_set_tid_address => process::set_tid_address(thread, a),
        nr::__NR_set_robust_list => process::set_robust_list(thread, a),
        nr::__NR_get_robust_list => process::get_robust_list(thread, a),
        nr::__NR_arch_prctl => process::arch_prctl(a),
        nr::__NR_prctl => process::prctl(thread, a),
        nr::__NR_futex => process::futex(a),
        nr::__NR_futex_waitv => process::futex_waitv(a),
        nr::__NR_sched_yield => process::sched_yield(),
        nr::__NR_sched_getaffinity => process::sched_getaffinity(a),
        nr::__NR_sched_setaffinity => process::sched_setaffinity(a),
        nr::__NR_getcpu => process::getcpu(a),
        nr::__NR_setpgid => process::setpgid(thread, a),
        nr::__NR_getpgid => process::getpgid(thread, a.u32(0)),
        nr::__NR_getpgrp => process::getpgid(thread, 0),
        nr::__NR_setsid => process::setsid(thread),
        nr::__NR_getsid => process::getsid(thread, a),
        nr::__NR_getuid
        | nr::__NR_geteuid
        | nr::__NR_getgid
        | nr::__NR_getegid
        | nr::__NR_setfsuid
        | nr::__NR_setfsgid => Ok(0),
        nr::__NR_getresuid | nr::__NR_getresgid => process::getresid(a),
        nr::__NR_getgroups => Ok(0),
        nr::__NR_setuid
        | nr::__NR_setgid
        | nr::__NR_setreuid
        | nr::__NR_setregid
        | nr::__NR_setresuid
        | nr::__NR_setresgid
        | nr::__NR_setgroups => process::set_ids(number, a),
        nr::__NR_capget => process::capget(a),
        nr::__NR_capset => Ok(0),
        nr::__NR_personality => Ok(0),
        nr::__NR_sched_getparam => process::sched_getparam(a),
        nr::__NR_sched_getscheduler | nr::__NR_sched_setscheduler | nr::__NR_sched_setparam => {
            Ok(0)
        }
        nr::__NR_sched_get_priority_max | nr::__NR_sched_get_priority_min => {
            process::sched_priority(number, a)
        }
        nr::__NR_getpriority => Ok(20),
        nr::__NR_setpriority | nr::__NR_ioprio_set | nr::__NR_ioprio_get => Ok(0),
        _ => dispatch_signals(thread, number, a),
    }
}

fn dispatch_signals(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_rt_sigaction => signal::sigaction(thread, a),
        nr::__NR_rt_sigprocmask => signal::sigprocmask(thread, a),
        nr::__NR_rt_sigpending => signal::sigpending(thread, a),
        nr::__NR_rt_sigsuspend => signal::sigsuspend(thread, a),
        nr::__NR_rt_sigtimedwait => signal::sigtimedwait(thread, a),
        nr::__NR_rt_sigqueueinfo => signal::sigqueueinfo(thread, a),
        nr::__NR_rt_tgsigqueueinfo => signal::tgsigqueueinfo(thread, a),
        nr::__NR_sigaltstack => signal::sigaltstack(thread, a),
        nr::__NR_kill => signal::kill(thread, a),
        nr::__NR_tkill => signal::tkill(thread, a),
        nr::__NR_tgkill => signal::tgkill(thread, a),
        nr::__NR_pause => signal::pause(),
        nr::__NR_clock_gettime => time::clock_gettime(thread, a),
        nr::__NR_clock_getres => time::clock_getres(a),
        nr::__NR_clock_settime | nr::__NR_settimeofday | nr::__NR_adjtimex => {
            time::set_clock(number, a)
        }
        nr::__NR_gettimeofday => time::gettimeofday(a),
        nr::__NR_time => time::time(a),
        nr::__NR_nanosleep => time::nanosleep(a),
        nr::__NR_clock_nanosleep => time::clock_nanosleep(a),
        nr::__NR_setitimer => time::setitimer(thread, a),
        nr::__NR_getitimer => time::getitimer(thread, a),
        nr::__NR_alarm => time::alarm(thread, a),
        nr::__NR_timer_create => time::timer_create(thread, a),
        nr::__NR_timer_settime => time::timer_settime(thread, a),
        nr::__NR_timer_gettime => time::timer_gettime(thread, a),
        nr::__NR_timer_getoverrun => time::timer_getoverrun(thread, a),
        nr::__NR_timer_delete => time::timer_delete(thread, a),
        nr::__NR_times => time::times(thread, a),
        nr::__NR_getrusage => time::getrusage(thread, a),
        _ => dispatch_events(thread, number, a),
    }
}

fn dispatch_events(thread: &Thread, number: u32, a: Args) -> Result<u64> {
    match number {
        nr::__NR_epoll_create if a.i32(0) <= 0 => Err(Errno::EINVAL),
        nr::__NR_epoll_create => event::epoll_create(thread, 0),
        nr::__NR_epoll_create1 => event::epoll_create(thread, a.u32(0)),
        nr::__NR_epoll_ctl => event::epoll_ctl(thread, a),
        nr::__NR_epoll_wait => event::epoll_wait(thread, a),
        nr::__NR_epoll_pwait => event::epoll_pwait(thread, a),
        nr::__NR_epoll_pwait2 => event::epoll_pwait2(thread, a),
        nr::__NR_eventfd => event::eventfd(thread, a.u32(0), 0),
        nr::__NR_eventfd2 => event::eventfd(thread, a.u32(0), a.u32(1)),
        nr::__NR_timerfd_create => event::timerfd_create(thread, a),
        nr::__NR_timerfd_settime => event::timerfd_settime(thread, a),
        nr::__NR_timerfd_gettime => event::timerfd_gettime(thread, a),
        nr::__NR_signalfd => event::signalfd(thread, a, 0),
        nr::__NR_signalfd4 => event::signalfd(thread, a, a.u32(3)),
        nr::__NR_poll => poll::poll(thread, a),
        nr::__NR_ppoll => poll::ppoll(thread, a),
        nr::__NR_select => poll::select(thread, a),
        nr::__NR_pselect6 => poll::pselect6(thread, a),
        nr::__NR_socket => socket::socket(thread, a),
        nr::__NR_socketpair => socket::socketpair(thread, a),
        nr::__NR_bind => socket::bind(thread, a),
        nr::__NR_connect => socket::connect(thread, a),
        nr::__NR_listen => socket::listen(thread, a),
        nr::__NR_accept => socket::accept(thread, a, 0),
        nr::__NR_accept4 => socket::accept(thread, a, a.u32(3)),
        nr::__NR_sendto => socket::sendto(thread, a),
        nr::__NR_recvfrom => socket::recvfrom(thread, a),
        nr::__NR_sendmsg => socket::sendmsg(thread, a),
        nr::__NR_recvmsg => socket::recvmsg(thread, a),
        nr::__NR_sendmmsg => socket::sendmmsg(thread, a),
        nr::__NR_recvmmsg => socket::recvmmsg(thread, a),
        nr::__NR_shutdown => socket::shutdown(thread, a),
        nr::__NR_getsockname => socket::getsockname(thread, a),
        nr::__NR_getpeername => socket::getpeername(thread, a),
        nr::__NR_setsockopt => socket::setsockopt(thread, a),
        nr::__NR_getsockopt => socket::getsockopt(thread, a),
        nr::__NR_uname => system::uname(thread, a),
        nr::__NR_sethostname => system::sethostname(thread, a),
        nr::__NR_sysinfo => system::sysinfo(a),
        nr::__NR_getrandom => system::getrandom(thread, a),
        nr::__NR_getrlimit => system::getrlimit(thread, a),
        nr::__NR_setrlimit => system::setrlimit(thread, a),
        nr::__NR_prlimit64 => system::prlimit64(thread, a),
        nr::__NR_reboot => system::reboot(a),
        _ => Err(unknown(number)),
    }
}

/// Counts calls that do not exist here, and names each once.
fn unknown(number: u32) -> Errno {
    static SEEN: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed);
    let seen = &SEEN[(number / 64) as usize % SEEN.len()];
    let bit = 1 << (number % 64);
    if seen.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
        crate::warn!("system call {number} is not implemented: ENOSYS");
    }
    Errno::ENOSYS
}
