// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is mounted before the program starts, and volumes while it runs.

use crate::devices::Firmware;
use crate::disks::Disks;
use crate::root::mount_at;
use abi::config::Config;
use alloc::format;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering, fence};
use core::time::Duration;
use kcore::services::Services;
use kcore::timers::SystemTime;
use kcore::{background, info, warn};
use kfs_ext4::{Environment, Volume};
use kio::{Errno, Events, Result, Timers, Wake};
use ksync::SpinLock;
use kvfs::MountFlags;

/// How long what is written may stay in memory alone: Linux's
/// `dirty_writeback_centisecs`.
const WRITE_BACK_INTERVAL: Duration = Duration::from_secs(5);

/// Live volumes.
static VOLUMES: SpinLock<Vec<Weak<Volume>>> = SpinLock::new(Vec::new());

/// Deep stacks, in use or not.
static STACKS: SpinLock<Vec<Arc<khal::DeepStack>>> = SpinLock::new(Vec::new());

/// The timer of all volumes.
struct Flusher;

impl Wake for Flusher {
    fn wake(&self, _key: u64, _ready: Events) {
        background::request();
    }
}

fn all() -> Vec<Arc<Volume>> {
    VOLUMES.lock().iter().filter_map(Weak::upgrade).collect()
}

/// Writes `volume` back from now on, until it ends.
pub(crate) fn watch(volume: &Arc<Volume>) {
    background::set_work(|| {
        for volume in all() {
            if let Err(error) = volume.write_back() {
                warn!("{volume:?}: writing back: {error}");
            }
        }
    });
    let mut volumes = VOLUMES.lock();
    volumes.retain(|v| v.strong_count() > 0);
    volumes.push(Arc::downgrade(volume));
}

/// Ends all volumes, before the machine goes off.
pub(crate) fn shut_down() {
    all().iter().for_each(|volume| volume.shut_down());
}

/// How long a CPU sleeps at most, should an interrupt get lost.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// Ends the sleep of the CPU that it interrupts, by that alone.
struct Alarm;

impl Wake for Alarm {
    fn wake(&self, _key: u64, _ready: Events) {}
}

/// What a volume needs of this kernel.
pub(crate) struct VolumeEnvironment {
    stack: Arc<khal::DeepStack>,
    flusher: Arc<Flusher>,
    alarm: Arc<Alarm>,
    /// The CPUs that wait for the disk or the volume, a bit for each.
    sleepers: AtomicU64,
}

impl VolumeEnvironment {
    pub(crate) fn new() -> Result<Arc<Self>> {
        // Stacks are for ever: one that no volume has any more is used again.
        let mut stacks = STACKS.lock();
        let free = stacks.iter().find(|stack| Arc::strong_count(stack) == 1).cloned();
        let stack = match free {
            Some(stack) => stack,
            None => {
                let stack = khal::DeepStack::allocate().map_err(|_| Errno::ENOMEM)?;
                let stack = Arc::new(stack);
                stacks.push(stack.clone());
                stack
            }
        };
        drop(stacks);
        Ok(Arc::new(Self {
            stack,
            flusher: Arc::new(Flusher),
            alarm: Arc::new(Alarm),
            sleepers: AtomicU64::new(0),
        }))
    }
}

impl Environment for VolumeEnvironment {
    fn realtime(&self) -> Duration {
        khal::clock::realtime()
    }

    fn relax(&self) {
        khal::cpus::interrupt_window();
    }

    fn sleep(&self, done: &dyn Fn() -> bool) {
        let alarm = SystemTime.arm(khal::clock::monotonic() + LONGEST_SLEEP, self.alarm.clone(), 0);
        let bit = 1 << khal::cpus::current();
        self.sleepers.fetch_or(bit, Ordering::SeqCst);
        // What completes from here on interrupts this CPU, or is seen now.
        if !done() {
            khal::cpus::doze();
        }
        self.sleepers.fetch_and(!bit, Ordering::SeqCst);
        SystemTime.cancel(alarm);
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        let sleepers = self.sleepers.load(Ordering::SeqCst);
        let others = sleepers & !(1 << khal::cpus::current());
        if others != 0 {
            (0..khal::cpus::count())
                .filter(|cpu| others & (1 << cpu) != 0)
                .for_each(khal::cpus::wake);
        }
    }

    fn deep(&self, work: &mut dyn FnMut()) {
        self.stack.run(work);
    }

    fn defer(&self) {
        let at = khal::clock::monotonic() + WRITE_BACK_INTERVAL;
        SystemTime.arm(at, self.flusher.clone(), 0);
    }

    fn report(&self, text: fmt::Arguments<'_>) {
        kcore::log::fatal(text);
    }
}

/// A mount that was asked for.
struct Wanted {
    kind: String,
    source: String,
    target: Vec<u8>,
    read_only: bool,
}

impl Wanted {
    /// `SELECTOR:/TARGET[:ro]`, as the monitor of `kernel run -v` gives it.
    fn parse(text: &str) -> Option<Self> {
        let (rest, read_only) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let at = rest.rfind(":/").filter(|at| *at > 0)?;
        let target = rest.as_bytes()[at + 1..].to_vec();
        Some(Self { kind: "ext4".into(), source: rest[..at].into(), target, read_only })
    }
}

/// All that was asked for; a later one takes the place of an earlier one with
/// the same directory.
fn wanted(config: &Config<'_>, firmware: &Firmware) -> core::result::Result<Vec<Wanted>, String> {
    let mut all: Vec<Wanted> = Vec::new();
    let configured = config.mounts().map(|m| Wanted {
        kind: m.kind.into(),
        source: String::from_utf8_lossy(m.source).into_owned(),
        target: m.target.to_vec(),
        read_only: m.read_only,
    });
    let mut add = |wanted: Wanted| {
        all.retain(|w| w.target != wanted.target);
        all.push(wanted);
    };
    configured.for_each(&mut add);
    for text in firmware.volumes() {
        let text = String::from_utf8_lossy(&text).into_owned();
        let text = text.trim_end_matches(['\0', '\n']);
        add(Wanted::parse(text).ok_or_else(|| format!("{text:?} is not SELECTOR:/PATH[:ro]"))?);
    }
    Ok(all)
}

/// Mounts what the configuration and the monitor ask for. The error says which
/// volume cannot be had, and why.
pub(crate) fn mount(
    config: &Config<'_>,
    firmware: &Firmware,
    disks: &Disks,
    services: &Services,
) -> core::result::Result<(), String> {
    for wanted in wanted(config, firmware)? {
        let Wanted { kind, source, target, read_only } = wanted;
        let shown = String::from_utf8_lossy(&target).into_owned();
        let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        let file_system = match kind.as_str() {
            "tmpfs" => services
                .provider
                .file_system(b"tmpfs", b"mode=755")
                .map_err(|error| format!("{shown}: {error}"))?,
            "ext2" | "ext3" | "ext4" | "auto" => {
                let disk = disks.find(&source).map_err(|there| {
                    format!("the volume for {shown}: no disk is {source} (there is: {there})")
                })?;
                info!("{shown}: /dev/{} ({source})", disk.name);
                disk.mount(read_only).map_err(|error| {
                    format!("the volume for {shown}: {source} has no usable ext4: {error}")
                })?
            }
            kind => return Err(format!("{shown}: no such type of file system: {kind}")),
        };
        mount_at(&services.namespace, &target, file_system, flags)
            .map_err(|error| format!("{shown}: {error}"))?;
    }
    Ok(())
}
