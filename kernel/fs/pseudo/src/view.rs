// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What /proc and /sys need to know of the kernel.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use kio::{Errno, Result};
use kvfs::{Location, Namespace};

/// The kernel as /proc and /sys see it. All methods are called without locks
/// of this crate, by the thread that reads the file.
pub trait SystemView: Send + Sync {
    /// Time since 1970.
    fn now(&self) -> Duration;

    /// Process and thread id of the calling thread.
    fn current(&self) -> (u32, u32);

    /// Ids of all processes, in growing order.
    fn processes(&self) -> Vec<u32>;

    /// A process by its id.
    fn process(&self, id: u32) -> Option<Arc<dyn ProcessView>>;

    /// The mounts, for /proc/mounts and paths.
    fn namespace(&self) -> &Namespace;

    /// Time since boot, and time that CPUs were idle, added up.
    fn uptime(&self) -> (Duration, Duration);

    /// Memory in bytes.
    fn memory(&self) -> Memory;

    /// The CPUs.
    fn cpus(&self) -> Vec<Cpu>;

    /// Load, context switches and the like.
    fn load(&self) -> Load;

    /// The release as uname(2) has it: "6.1.0-bhojpur".
    fn release(&self) -> String;

    /// The version as uname(2) has it: "#1 SMP".
    fn version(&self) -> String;

    /// Disks: number, size in bytes, name.
    fn disks(&self) -> Vec<(u64, u64, String)> {
        Vec::new()
    }

    /// The kernel's command line.
    fn command_line(&self) -> String {
        String::new()
    }

    /// The value of a setting such as `kernel/hostname`, when it is not the
    /// default that the crate knows.
    fn sysctl(&self, _name: &str) -> Option<String> {
        None
    }

    /// Changes a setting; `EPERM` when it is fixed.
    fn set_sysctl(&self, _name: &str, _value: &str) -> Result<()> {
        Err(Errno::EPERM)
    }

    /// The text of /proc/net/NAME behind its heading lines (tcp, tcp6, udp,
    /// udp6, unix, route, dev, if_inet6, arp).
    fn network_table(&self, _name: &str) -> String {
        String::new()
    }
}

/// Memory of the machine in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// All of it.
    pub total: u64,
    /// Unused.
    pub free: u64,
    /// Could be had without hurting anyone.
    pub available: u64,
    /// In files of tmpfs and shared mappings.
    pub shared: u64,
    /// The root image, which plays the part of a page cache.
    pub cached: u64,
    /// Private pages of programs.
    pub anonymous: u64,
    /// In page tables.
    pub page_tables: u64,
    /// In kernel stacks.
    pub kernel_stacks: u64,
    /// In the kernel's heap.
    pub heap: u64,
}

/// One CPU: cpuid(4) data and times.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// "GenuineIntel" and the like.
    pub vendor: String,
    /// Family number.
    pub family: u32,
    /// Model number.
    pub model: u32,
    /// Model name.
    pub model_name: String,
    /// Stepping.
    pub stepping: u32,
    /// Clock in kHz.
    pub khz: u64,
    /// Last level cache in KiB.
    pub cache_kib: u32,
    /// Local APIC id.
    pub apic_id: u32,
    /// Highest basic CPUID leaf.
    pub cpuid_level: u32,
    /// Feature names, each with a space between.
    pub flags: String,
    /// Physical and virtual address bits.
    pub address_bits: (u8, u8),
    /// Time in programs.
    pub user: Duration,
    /// Time in the kernel.
    pub system: Duration,
    /// Time without work.
    pub idle: Duration,
}

/// Figures for /proc/loadavg and /proc/stat.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Averages over 1, 5 and 15 minutes, in hundredths.
    pub averages: [u32; 3],
    /// Threads that run or could.
    pub running: u32,
    /// Threads in all.
    pub threads: u32,
    /// The newest process id.
    pub last_id: u32,
    /// Context switches since boot.
    pub context_switches: u64,
    /// Interrupts since boot.
    pub interrupts: u64,
    /// Processes made since boot.
    pub forks: u64,
}

/// One process.
pub trait ProcessView: Send + Sync {
    /// Its id.
    fn id(&self) -> u32;
    /// What stat, statm and status tell.
    fn status(&self) -> ProcessStatus;
    /// Ids of its threads, in growing order.
    fn threads(&self) -> Vec<u32>;
    /// A thread by its id.
    fn thread(&self, id: u32) -> Option<ThreadStatus>;
    /// Renames a thread (15 bytes at most are kept).
    fn set_thread_name(&self, _id: u32, _name: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }
    /// The program file; `None` for a kernel thread.
    fn executable(&self) -> Option<Location>;
    /// Its working directory; `None` when it has ended.
    fn working_directory(&self) -> Option<Location>;
    /// Its root directory; `None` when it has ended.
    fn root(&self) -> Option<Location>;
    /// The arguments, each with a NUL behind it, as they are in its memory.
    fn arguments(&self) -> Vec<u8>;
    /// The environment, each with a NUL behind it.
    fn environment(&self) -> Vec<u8>;
    /// The auxiliary vector, as it is in memory.
    fn auxiliary_vector(&self) -> Vec<u8>;
    /// Its mappings, in growing order.
    fn mappings(&self) -> Vec<Mapping>;
    /// Numbers of its descriptors, in growing order.
    fn descriptors(&self) -> Vec<u32>;
    /// What a descriptor stands for.
    fn descriptor(&self, number: u32) -> Option<Descriptor>;
    /// Soft and hard limits in the order of RLIMIT_* (0 to 15).
    fn limits(&self) -> [(u64, u64); 16];
    /// oom_score_adj.
    fn oom_score_adjustment(&self) -> i32 {
        0
    }
    /// Sets oom_score_adj.
    fn set_oom_score_adjustment(&self, _value: i32) -> Result<()> {
        Ok(())
    }
}

/// A thread's part of stat and status.
#[derive(Clone, Debug, Default)]
pub struct ThreadStatus {
    /// Name, as prctl(PR_SET_NAME) sets it.
    pub name: Vec<u8>,
    /// 'R', 'S', 'D', 'T' or 'Z'; `'\0'` counts as 'S'.
    pub state: char,
    /// Time in the program.
    pub user: Duration,
    /// Time in the kernel.
    pub system: Duration,
    /// Start, as time since boot.
    pub started: Duration,
    /// Nice value.
    pub nice: i32,
    /// Pending signals of the thread.
    pub pending: u64,
    /// Blocked signals.
    pub blocked: u64,
    /// The CPU it ran on last.
    pub cpu: u32,
    /// CPUs it may run on.
    pub allowed_cpus: u64,
    /// Switches because it waited.
    pub voluntary_switches: u64,
    /// Switches because its time was up.
    pub involuntary_switches: u64,
    /// User ids: real, effective, saved, of the file system.
    pub user_ids: [u32; 4],
    /// Group ids in the same order.
    pub group_ids: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A process's part of stat, statm and status. Sizes are bytes.
#[derive(Clone, Debug, Default)]
pub struct ProcessStatus {
    /// Its first thread, with times of all.
    pub leader: ThreadStatus,
    /// Parent.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// File mode mask.
    pub umask: u32,
    /// Pending signals of the process.
    pub pending: u64,
    /// Ignored signals.
    pub ignored: u64,
    /// Caught signals.
    pub caught: u64,
    /// Page faults without and with reading.
    pub faults: (u64, u64),
    /// Address space.
    pub size: u64,
    /// Largest address space so far.
    pub peak_size: u64,
    /// Private resident memory.
    pub resident_anonymous: u64,
    /// Resident pages of files.
    pub resident_files: u64,
    /// Resident shared memory.
    pub resident_shared: u64,
    /// Largest resident size so far.
    pub peak_resident: u64,
    /// Writable private mappings.
    pub data: u64,
    /// Stack.
    pub stack: u64,
    /// Program text.
    pub text: u64,
    /// Page tables.
    pub page_tables: u64,
    /// Addresses: start and end of text.
    pub text_range: (u64, u64),
    /// Bottom of the stack.
    pub stack_start: u64,
    /// Start of the heap.
    pub heap_start: u64,
}

/// One mapping of /proc/PID/maps.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
    /// PROT_READ, PROT_WRITE, PROT_EXEC as 1, 2, 4.
    pub protection: u32,
    /// MAP_SHARED.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Device and inode of the file; 0 without.
    pub file: (u64, u64),
    /// The file, "[heap]", "[stack]", "[vdso]" or nothing.
    pub name: Vec<u8>,
    /// Resident bytes.
    pub resident: u64,
    /// Resident bytes that are private to the process.
    pub private: u64,
}

/// One descriptor of /proc/PID/fd.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Its place; [`kvfs::anonymous_location`] for objects without one.
    pub location: Location,
    /// Position.
    pub offset: u64,
    /// Flags of open(2).
    pub flags: u32,
}
