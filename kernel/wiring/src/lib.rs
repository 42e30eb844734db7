// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel proper: wires drivers, file systems and the core together.
//!
//! All of it runs once or rarely, so it is compiled for size, apart from the binary: the binary's
//! level is that of the whole kernel when it is linked.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod console;
mod devices;
mod disks;
mod generation;
mod metadata;
mod network;
mod provider;
mod root;
mod settings;
mod stop;
mod system_view;
mod volumes;

use abi::config::Config;
use abi::control::Exit;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use kcore::exec::Program;
use kcore::random::Random;
use kcore::services::Services;
use kcore::start::{InitialLimits, first_process};
use kcore::{exit, log, sched, trap};
use kio::Errno;
use kmm::Frame;

/// Exit status when the program cannot be started: not found, and not
/// executable, as shells have it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// What the host tools appended to the kernel.
pub struct Appended {
    /// The configuration record.
    pub config: &'static [u8],
    /// The root file system.
    pub root: RootImage,
}

/// A root image, where the loader put it.
pub struct RootImage {
    /// All of it; empty when there is none.
    pub bytes: &'static [u8],
    /// Hands out its pages in place.
    pub frames: Box<dyn Fn(usize) -> Frame + Send + Sync>,
}

/// Starts the program, on the first CPU, with memory and time set up. A bare kernel has nothing
/// `appended`.
pub fn start(appended: Option<Appended>) -> ! {
    log::stage("kernel");
    trap::install();
    let _ = kdevice::set_platform(&khal::machine::PLATFORM);
    let Some(Appended { config, root }) = appended else {
        fail(NOT_FOUND, format_args!("the kernel carries no program: make one with `kernel build`"))
    };
    let image_size = root.bytes.len();
    let firmware = devices::Firmware::find();
    let record = firmware.configuration();
    let record = record.as_deref().unwrap_or(config);
    let line = khal::boot_info().command_line();
    let record = settings::with_command_line(record, line).unwrap_or_else(|e| refuse(&e));
    let config = parse(&record);
    log::set_level(config.log_level());
    let random = Arc::new(Random::new());
    let mut found = firmware.probe_devices(&random);
    firmware.start_cpus();
    log::stage("devices");
    let cards = core::mem::take(&mut found.networks);
    let disks = found.take_disks();
    let generation = generation::watch(firmware.tables(), &random);
    devices::keep(found, generation, &random);
    let stack = network::start(&config, cards, random.clone());
    let console = console::start(&config);
    stop::watch_keyboard();
    let (namespace, memory) = match root::mount(root, console, random.clone(), disks.clone()) {
        Ok(mounted) => mounted,
        Err(error) => fail(NOT_FOUND, format_args!("the root file system: {error}")),
    };
    let services = Arc::new(Services {
        namespace,
        provider: Arc::new(provider::ImageProvider::new(stack.clone(), memory, disks.clone())),
        random,
        hostname: ksync::SpinLock::new(String::from(config.hostname().unwrap_or("bhojpur"))),
        unix: Arc::new(kipc::UnixNames::new()),
    });
    if let Err(error) = root::mount_views(&services, stack.clone(), image_size, disks.clone()) {
        fail(NOT_FOUND, format_args!("/proc and /sys: {error}"))
    }
    network::configure(&config, &stack, &services);
    let record = settings::with_metadata(record.clone(), line, &stack);
    let record = record.unwrap_or_else(|e| refuse(&e));
    let config = parse(&record);
    if let Some(name) = config.hostname() {
        *services.hostname.lock() = String::from(name);
    }
    if let Err(reason) = volumes::mount(&config, &firmware, &disks, &services) {
        fail(NOT_FOUND, format_args!("{reason}"))
    }
    if let Err(error) = run(&config, services) {
        let path = String::from_utf8_lossy(config.program().unwrap_or(b"?"));
        let status = if error == Errno::ENOENT { NOT_FOUND } else { NOT_EXECUTABLE };
        fail(status, format_args!("cannot run {path}: {error}"))
    }
    stop::program_started();
    sched::start_this_cpu()
}

/// The configuration in a record that has to be one.
fn parse(record: &[u8]) -> Config<'_> {
    Config::parse(record)
        .unwrap_or_else(|error| refuse(&alloc::format!("the configuration record: {error}")))
}

/// Ends because of what the machine was told.
fn refuse(reason: &str) -> ! {
    fail(NOT_FOUND, format_args!("{reason}"))
}

/// Makes the first process.
fn run(config: &Config<'_>, services: Arc<Services>) -> kio::Result<()> {
    let path = config.program().ok_or(Errno::ENOENT)?;
    let owned = |parts: &mut dyn Iterator<Item = &[u8]>| -> Vec<Vec<u8>> {
        parts.map(<[u8]>::to_vec).collect()
    };
    let program =
        Program { arguments: owned(&mut config.args()), environment: owned(&mut config.env()) };
    let limits = InitialLimits { nofile: config.limit_nofile(), stack: config.limit_stack() };
    first_process(services, path, program, config.cwd(), limits)
}

/// Says why nothing can run and ends.
fn fail(status: u8, reason: fmt::Arguments<'_>) -> ! {
    log::fatal(reason);
    exit::power_off(Exit::Status(status))
}
