// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One virtual machine of a measurement: the same QEMU command line for both
//! guests, but for what they boot.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::lab::process::{Guarded, leashed};

/// What a guest boots.
#[derive(Clone, Debug)]
pub(crate) enum Boot {
    Linux { kernel: PathBuf, initramfs: PathBuf, arguments: String },
    Image(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Board {
    /// What `kernel run` uses.
    MicroVm,
    Pc,
}

impl Board {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MicroVm => "microvm",
            Self::Pc => "pc",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) board: Board,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// The guest's clock counts instructions.
    pub(crate) icount: bool,
    pub(crate) network: Option<Network>,
}

/// How the host reaches port 8080 of the guest, which has the address 10.0.2.15 either way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network {
    /// QEMU's own TCP stack stands between: at this port of the loopback address.
    User { port: u16 },
    /// At the guest's own address, through this tap device, which has [`TAP_ADDRESS`].
    Tap { device: &'static str },
}

/// The host's address on a tap device: what QEMU's user network has for the gateway.
pub(crate) const TAP_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const GUEST_PORT: u16 = 8080;

impl Network {
    /// The user network with a port that is free now.
    pub(crate) fn user() -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        Ok(Self::User { port })
    }

    /// Where the host finds the guest's server.
    pub(crate) fn server(self) -> SocketAddr {
        match self {
            Self::User { port } => (Ipv4Addr::LOCALHOST, port).into(),
            Self::Tap { .. } => (GUEST_ADDRESS, GUEST_PORT).into(),
        }
    }

    fn backend(self) -> String {
        match self {
            Self::User { port } => {
                format!("user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:{GUEST_PORT}")
            }
            Self::Tap { device } => {
                format!("tap,id=net0,ifname={device},script=no,downscript=no")
            }
        }
    }
}

impl Machine {
    pub(crate) fn new(board: Board) -> Self {
        Self { board, memory_mib: 512, cpus: 1, icount: false, network: None }
    }

    fn command(&self, boot: &Boot) -> Command {
        // A guest with a network is a server, which runs for ever; how fast the others start is
        // measured.
        let start = if self.network.is_some() { leashed } else { Command::new };
        let mut qemu = start("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-cpu",
            "max",
        ]);
        // On the microvm each guest finds its devices in the way it reads best:
        // Linux through ACPI (twice as fast for it as without), ours, as with
        // `kernel run`, through the command line.
        let board = match (self.board, boot) {
            (Board::MicroVm, Boot::Linux { .. }) => "microvm,rtc=on",
            (Board::MicroVm, Boot::Image(_)) => {
                "microvm,acpi=off,pit=off,pic=off,rtc=on,auto-kernel-cmdline=on"
            }
            (Board::Pc, _) => "pc",
        };
        qemu.args([
            "-M",
            board,
            "-m",
            &format!("{}M", self.memory_mib),
            "-smp",
            &self.cpus.to_string(),
        ]);
        let threads = if self.cpus > 1 && !self.icount { "multi" } else { "single" };
        qemu.args(["-accel", &format!("tcg,thread={threads}")]);
        if self.icount {
            // A fixed date: what a guest does must not depend on today.
            qemu.args(["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"]);
        }
        qemu.args(["-serial", "stdio", "-global", "virtio-mmio.force-legacy=false"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0x501,iosize=2"]);
        if let Some(network) = self.network {
            let device = match self.board {
                Board::MicroVm => "virtio-net-device,netdev=net0",
                Board::Pc => "virtio-net-pci,netdev=net0,romfile=",
            };
            qemu.args(["-netdev", &network.backend(), "-device", device]);
        }
        match boot {
            Boot::Image(image) => {
                if let Some(Network::Tap { .. }) = self.network {
                    // Nobody answers DHCP there.
                    let address = format!("ip={GUEST_ADDRESS}::{TAP_ADDRESS}:255.255.255.0");
                    qemu.args(["-append", &address]);
                }
                qemu.arg("-kernel").arg(image)
            }
            Boot::Linux { kernel, initramfs, arguments } => {
                let line = format!("console=ttyS0 quiet panic=-1 -- {arguments}");
                qemu.arg("-kernel")
                    .arg(kernel)
                    .arg("-initrd")
                    .arg(initramfs)
                    .args(["-append", &line])
            }
        };
        qemu
    }

    pub(crate) fn start(&self, boot: &Boot) -> Result<Running> {
        Running::spawn(&mut self.command(boot))
    }
}

#[derive(Debug, Default)]
struct Seen {
    text: Vec<u8>,
    ended: bool,
}

/// A machine whose console is watched.
#[derive(Debug)]
pub(crate) struct Running {
    _qemu: Guarded,
    started: Instant,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Running {
    /// Starts `command`, whose standard output is the console.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = Instant::now();
        let mut qemu = Guarded::spawn(command).context("QEMU: install qemu-system-x86")?;
        let mut console = qemu.0.stdout.take().context("the console is not a pipe")?;
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = console.read(&mut buffer).unwrap_or(0);
                let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                state.text.extend_from_slice(&buffer[..n]);
                state.ended = n == 0;
                shared.1.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        Ok(Self { _qemu: qemu, started, seen })
    }

    /// Waits until `marker` was printed; the time since QEMU was started.
    pub(crate) fn wait_for(&self, marker: &str, limit: Duration) -> Option<Duration> {
        let (lock, changed) = &*self.seen;
        let mut state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let elapsed = self.started.elapsed();
            if contains(&state.text, marker.as_bytes()) {
                return Some(elapsed);
            }
            let left = limit.checked_sub(elapsed).filter(|_| !state.ended)?;
            (state, _) = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn console(&self) -> String {
        let state = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&state.text).into_owned()
    }
}

fn contains(text: &[u8], marker: &[u8]) -> bool {
    text.windows(marker.len()).any(|w| w == marker)
}

/// One GET over a connection of its own: the body.
pub(crate) fn fetch(server: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: guest\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is cut short")?;
    anyhow::ensure!(head.split(' ').nth(1) == Some("200"), "the answer is {head:?}");
    Ok(body.to_owned())
}

/// Sum of the file bytes of a kernel's own segments: text, read-only data and,
/// last of them, the writable data. The payload's segment comes behind.
pub(crate) fn kernel_size(image: &Path) -> Result<u64> {
    const WRITABLE: u64 = 2;
    let bytes = std::fs::read(image)?;
    let field = |at: usize, n: usize| -> Result<u64> {
        let slice = bytes.get(at..at + n).context("the image is cut short")?;
        Ok(slice.iter().rev().fold(0, |value, &b| value << 8 | u64::from(b)))
    };
    let (table, count) = (usize::try_from(field(32, 8)?)?, usize::try_from(field(56, 2)?)?);
    let mut total = 0;
    for i in 0..count {
        let header = table + i * 56;
        if field(header, 4)? != 1 {
            continue;
        }
        total += field(header + 32, 8)?;
        if field(header + 4, 4)? & WRITABLE != 0 {
            break;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::{Board, Boot, Machine, Network};

    #[test]
    fn a_guest_on_a_tap_is_told_the_address_that_is_asked() {
        let network = Network::Tap { device: "tap7" };
        let machine = Machine { network: Some(network), ..Machine::new(Board::MicroVm) };
        let command = machine.command(&Boot::Image("web.elf".into()));
        let line: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        let line = line.join(" ");
        assert!(line.contains("-append ip=10.0.2.15::10.0.2.2:255.255.255.0"), "{line}");
        assert!(line.contains("ifname=tap7"), "{line}");
        assert_eq!(network.server().to_string(), "10.0.2.15:8080");
    }
}
