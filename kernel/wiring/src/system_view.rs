// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What /proc and /sys show of the kernel.

mod cpu;
mod load;
mod network;
mod process;

use crate::disks::Disks;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use kcore::process as processes;
use kcore::services::Services;
use kcore::{sched, syscall};
use kfs_pseudo::{Cpu, Load, Memory, ProcessView, SystemView};
use kio::{Errno, Result};
use kmm::FRAME_SIZE;
use kvfs::Namespace;
use load::LoadAverage;

/// The kernel as kfs-pseudo asks for it.
pub struct KernelView {
    services: Arc<Services>,
    network: Option<Arc<knet::Stack>>,
    command_line: String,
    /// Bytes of the root image, which programs' files are mapped from.
    image_size: u64,
    load: LoadAverage,
    disks: Arc<Disks>,
}

impl KernelView {
    /// For `ProcFs::new` and `SysFs::new`; /proc/net is empty without a stack.
    pub fn new(
        services: Arc<Services>,
        network: Option<Arc<knet::Stack>>,
        command_line: String,
        image_size: u64,
        disks: Arc<Disks>,
    ) -> Arc<Self> {
        let load = LoadAverage::default();
        Arc::new(Self { services, network, command_line, image_size, load, disks })
    }
}

/// Threads that could run, and all.
fn count_threads() -> (u32, u32) {
    let (mut running, mut all) = (0, 0);
    for process in processes::all() {
        for (_, task) in process.threads() {
            all += 1;
            let blocked = sched::thread_of(&task).is_none_or(|t| t.sched.is_blocked());
            running += u32::from(!blocked);
        }
    }
    (running, all)
}

impl SystemView for KernelView {
    fn now(&self) -> Duration {
        khal::clock::realtime()
    }

    fn current(&self) -> (u32, u32) {
        sched::current_thread().map_or((0, 0), |t| (t.process.pid, t.tid()))
    }

    fn processes(&self) -> Vec<u32> {
        processes::all().iter().map(|p| p.pid).collect()
    }

    fn process(&self, id: u32) -> Option<Arc<dyn ProcessView>> {
        processes::find(id).map(process::view)
    }

    fn namespace(&self) -> &Namespace {
        &self.services.namespace
    }

    fn uptime(&self) -> (Duration, Duration) {
        let uptime = cpu::uptime();
        let idle = cpu::busy_times().into_iter().map(|busy| uptime.saturating_sub(busy)).sum();
        (uptime, idle)
    }

    fn memory(&self) -> Memory {
        let info = kmm::memory_info();
        let bytes = |frames: usize| (frames * FRAME_SIZE) as u64;
        let anonymous = processes::all()
            .into_iter()
            .map(|p| process::view(p).status().resident_anonymous)
            .sum();
        Memory {
            total: bytes(info.total_frames),
            free: bytes(info.free_frames),
            available: bytes(info.free_frames.saturating_sub(info.reserved_frames)),
            cached: self.image_size,
            anonymous,
            ..Memory::default()
        }
    }

    fn cpus(&self) -> Vec<Cpu> {
        cpu::describe()
    }

    fn load(&self) -> Load {
        let (running, threads) = count_threads();
        let last_id = processes::last_id();
        let averages = self.load.read();
        Load { averages, running, threads, last_id, forks: u64::from(last_id), ..Load::default() }
    }

    fn release(&self) -> String {
        syscall::RELEASE.into()
    }

    fn version(&self) -> String {
        syscall::VERSION.into()
    }

    fn disks(&self) -> Vec<(u64, u64, String)> {
        self.disks.table()
    }

    fn command_line(&self) -> String {
        self.command_line.clone()
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        match name {
            "kernel/hostname" => Some(self.services.hostname.lock().clone()),
            _ => None,
        }
    }

    fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        const HOST_NAME_MAX: usize = 64;
        match name {
            "kernel/hostname" if value.len() <= HOST_NAME_MAX => {
                *self.services.hostname.lock() = value.into();
                Ok(())
            }
            "kernel/hostname" => Err(Errno::EINVAL),
            _ => Err(Errno::EPERM),
        }
    }

    fn network_table(&self, name: &str) -> String {
        self.network.as_ref().map_or_else(String::new, |stack| network::table(stack, name))
    }
}

impl fmt::Debug for KernelView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KernelView")
    }
}
