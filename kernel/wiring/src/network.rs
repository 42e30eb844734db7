// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network: cards, addresses, name servers.

use abi::config::{Config, Network};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;
use kcore::random::Random;
use kcore::services::Services;
use kcore::timers::SystemTime;
use kcore::{info, warn};
use kdrv_virtio::VirtioNet;
use kio::{Errno, SliceSource};
use knet::{Environment, Stack};
use kvfs::{OpenFlags, Start};

/// How long the program waits for DHCP before it starts without an address.
const DHCP_PATIENCE: Duration = Duration::from_secs(3);
/// Interface of the first card; the loopback is before it.
pub(crate) const FIRST_CARD: u32 = 2;

struct Entropy(Arc<Random>);

impl knet::Random for Entropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// Makes the stack and attaches the cards.
pub(crate) fn start(
    config: &Config<'_>,
    cards: Vec<Arc<VirtioNet>>,
    random: Arc<Random>,
) -> Arc<Stack> {
    let stack = Stack::new(Environment {
        clock: Arc::new(SystemTime),
        timers: Arc::new(SystemTime),
        random: Arc::new(Entropy(random)),
    });
    if let Some(name) = config.hostname() {
        stack.set_hostname(name);
    }
    if config.network() != Network::None {
        for (number, card) in cards.into_iter().enumerate() {
            stack.add_interface(&format!("eth{number}"), card);
        }
    }
    stack
}

/// Gives the first card its address and writes the name servers down.
pub(crate) fn configure(config: &Config<'_>, stack: &Arc<Stack>, services: &Arc<Services>) {
    let has_card = stack.interfaces().iter().any(|i| i.index == FIRST_CARD);
    let mut servers: Vec<IpAddr> = config.name_servers().collect();
    match config.network() {
        Network::Static if has_card => {
            for address in config.addresses() {
                let same_family = |g: &IpAddr| g.is_ipv4() == address.address.is_ipv4();
                let gateway = config.gateways().find(same_family);
                if let Err(error) =
                    stack.configure(FIRST_CARD, address.address, address.prefix, gateway)
                {
                    warn!("address {}: {error}", address.address);
                }
            }
        }
        Network::Dhcp if has_card => {
            if let Err(error) = stack.start_dhcp(FIRST_CARD, None) {
                warn!("DHCP: {error}");
            }
            wait_for_lease(stack);
            if let Some(lease) = stack.lease(FIRST_CARD) {
                info!("address {}/{}", lease.address, lease.prefix);
                servers.extend(lease.dns.iter().map(|ip| IpAddr::V4(*ip)));
            }
        }
        _ => return,
    }
    if !servers.is_empty() {
        let text: String = servers.iter().map(|ip| format!("nameserver {ip}\n")).collect();
        match make_file(services, b"/etc/resolv.conf", text.as_bytes()) {
            // No image has one that its user did not put there, and the user wins.
            Err(Errno::EEXIST) => info!("/etc/resolv.conf stays as the image has it"),
            Err(error) => warn!("/etc/resolv.conf: {error}"),
            Ok(()) => {}
        }
    }
}

/// Lets the stack work until it has an address; nothing else runs yet.
fn wait_for_lease(stack: &Stack) {
    if work_until(DHCP_PATIENCE, || stack.lease(FIRST_CARD).map(drop)).is_none() {
        warn!("no answer from a DHCP server; the program starts without an address");
    }
}

/// Lets devices and timers work until `done` gives something; `None` when
/// `patience` is over.
pub(crate) fn work_until<T>(patience: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let end = khal::clock::monotonic() + patience;
    loop {
        if let Some(result) = done() {
            return Some(result);
        }
        if khal::clock::monotonic() >= end {
            return None;
        }
        kcore::timers::run_expired();
        kcore::sched::program_timer();
        khal::cpus::interrupt_window();
    }
}

/// Makes a file where none is.
fn make_file(services: &Services, path: &[u8], contents: &[u8]) -> kio::Result<()> {
    let root = services.namespace.root();
    let start = Start { root: &root, base: &root };
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
    let opened = services.namespace.open(start, path, flags, 0o644)?;
    let mut source = SliceSource::new(contents);
    opened.file.write_at(0, &mut source)?;
    opened.file.close();
    Ok(())
}
