// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who holds which local port, with the rules of bind(2), SO_REUSEADDR and
//! SO_REUSEPORT (socket(7)).

use crate::ip::Ip;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use kio::{Errno, Result};

/// net.ipv4.ip_local_port_range.
pub(crate) const EPHEMERAL: core::ops::RangeInclusive<u16> = 32_768..=60_999;

/// One socket's hold on a port.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) owner: u64,
    pub(crate) ip: Ip,
    pub(crate) v6_only: bool,
    pub(crate) device: u32,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) listening: bool,
    /// Holds the port for one outgoing connection, and shares it with others
    /// to other destinations.
    pub(crate) connecting: bool,
}

impl Binding {
    fn overlaps(&self, other: &Self) -> bool {
        if self.device != 0 && other.device != 0 && self.device != other.device {
            return false;
        }
        let covers = |a: &Self, b: &Self| match a.ip {
            Ip::ANY => !(a.v6_only && b.ip.is_v4()),
            Ip::ANY4 => b.ip.is_v4(),
            ip => ip == b.ip,
        };
        covers(self, other) || covers(other, self)
    }

    /// Whether `other` may not have what this one holds. Only the holder's
    /// listening counts, as in inet_csk_bind_conflict of Linux.
    fn conflicts(&self, other: &Self) -> bool {
        let by_address = self.reuse_address && other.reuse_address && !self.listening;
        let by_port = self.reuse_port && other.reuse_port;
        self.owner != other.owner && self.overlaps(other) && !by_address && !by_port
    }
}

/// The ports of one protocol.
#[derive(Default)]
pub(crate) struct PortTable {
    ports: BTreeMap<u16, Vec<Binding>>,
}

impl PortTable {
    fn is_free(&self, port: u16, binding: &Binding) -> bool {
        self.ports.get(&port).is_none_or(|list| !list.iter().any(|b| b.conflicts(binding)))
    }

    /// Takes `port`.
    pub(crate) fn bind(&mut self, port: u16, binding: Binding) -> Result<()> {
        if !self.is_free(port, &binding) {
            return Err(Errno::EADDRINUSE);
        }
        self.ports.entry(port).or_default().push(binding);
        Ok(())
    }

    /// Takes a port that nobody has, and that `is_usable` likes, from a random
    /// start.
    pub(crate) fn bind_any(
        &mut self,
        binding: Binding,
        random: u32,
        mut is_usable: impl FnMut(u16) -> bool,
    ) -> Result<u16> {
        let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
        let count = u32::from(last - first) + 1;
        for i in 0..count {
            let port = first + ((random % count + i) % count) as u16;
            if !self.ports.contains_key(&port) && is_usable(port) {
                self.bind(port, binding)?;
                return Ok(port);
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Takes a port for an outgoing connection, trying all from `offset` on:
    /// one that nobody was bound to, and that `take` can have for this
    /// destination. Returns it with the number of tries.
    pub(crate) fn connect_any(
        &mut self,
        binding: Binding,
        offset: u32,
        mut take: impl FnMut(u16) -> bool,
    ) -> Result<(u16, u32)> {
        let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
        let count = u32::from(last - first) + 1;
        for i in 0..count {
            let port = first + ((offset % count + i) % count) as u16;
            let shared = self.ports.get(&port).is_none_or(|l| l.iter().all(|b| b.connecting));
            if shared && take(port) {
                self.ports.entry(port).or_default().push(Binding { connecting: true, ..binding });
                return Ok((port, i + 1));
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Makes a holder of the port a listener.
    pub(crate) fn listen(&mut self, port: u16, owner: u64, on: bool) -> Result<()> {
        let Some(list) = self.ports.get_mut(&port) else { return Ok(()) };
        let Some(at) = list.iter().position(|b| b.owner == owner) else { return Ok(()) };
        let mut binding = list[at].clone();
        binding.listening = on;
        if on && list.iter().any(|b| b.conflicts(&binding)) {
            return Err(Errno::EADDRINUSE);
        }
        list[at] = binding;
        Ok(())
    }

    /// Changes what a holder allows, when options change after bind(2).
    pub(crate) fn update(&mut self, port: u16, owner: u64, f: impl FnOnce(&mut Binding)) {
        let list = self.ports.get_mut(&port);
        if let Some(binding) = list.and_then(|l| l.iter_mut().find(|b| b.owner == owner)) {
            f(binding);
        }
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, port: u16, owner: u64) {
        if let Some(list) = self.ports.get_mut(&port) {
            list.retain(|b| b.owner != owner);
            if list.is_empty() {
                self.ports.remove(&port);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ports.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Binding, PortTable};
    use crate::ip::Ip;

    fn binding(owner: u64, ip: Ip) -> Binding {
        Binding {
            owner,
            ip,
            v6_only: false,
            device: 0,
            reuse_address: false,
            reuse_port: false,
            listening: false,
            connecting: false,
        }
    }

    #[test]
    fn wildcards_conflict_as_on_linux() {
        let mut t = PortTable::default();
        t.bind(80, binding(1, Ip::ANY)).unwrap();
        assert!(t.bind(80, binding(2, Ip::ANY4)).is_err());
        assert!(t.bind(80, binding(2, Ip::LOOPBACK4)).is_err());
        t.release(80, 1);
        t.bind(80, Binding { v6_only: true, ..binding(1, Ip::ANY) }).unwrap();
        t.bind(80, binding(2, Ip::ANY4)).unwrap();
        assert!(t.bind(80, binding(3, Ip::LOOPBACK6)).is_err());
    }

    #[test]
    fn reuse_needs_both_and_no_listener() {
        let mut t = PortTable::default();
        let reuse = |owner| Binding { reuse_address: true, ..binding(owner, Ip::ANY4) };
        t.bind(80, reuse(1)).unwrap();
        t.bind(80, reuse(2)).unwrap();
        assert!(t.bind(80, binding(3, Ip::ANY4)).is_err());
        t.listen(80, 1, true).unwrap();
        assert!(t.listen(80, 2, true).is_err());
        assert!(t.bind(80, reuse(4)).is_err());
        let port = |owner| Binding { reuse_port: true, ..binding(owner, Ip::ANY4) };
        t.bind(81, port(1)).unwrap();
        t.listen(81, 1, true).unwrap();
        t.bind(81, port(2)).unwrap();
        t.listen(81, 2, true).unwrap();
    }

    #[test]
    fn connections_share_ports_with_each_other_only() {
        let mut t = PortTable::default();
        t.bind(40_000, Binding { reuse_address: true, ..binding(1, Ip::LOOPBACK4) }).unwrap();
        let connect = |t: &mut PortTable, owner, offset| {
            t.connect_any(binding(owner, Ip::LOOPBACK4), offset, |_| true).unwrap().0
        };
        let offset = 40_000 - 32_768;
        assert_eq!(connect(&mut t, 2, offset), 40_001);
        assert_eq!(connect(&mut t, 3, offset), 40_001);
        assert_eq!(t.bind_any(binding(4, Ip::ANY4), offset + 1, |_| true), Ok(40_002));
        t.release(40_001, 2);
        assert!(t.bind(40_001, binding(5, Ip::ANY4)).is_err());
        t.release(40_001, 3);
        t.bind(40_001, binding(5, Ip::ANY4)).unwrap();
    }

    #[test]
    fn ephemeral_ports_run_out_with_an_error() {
        let mut t = PortTable::default();
        for owner in 0..28_232 {
            t.bind_any(binding(owner, Ip::ANY4), owner as u32 * 7, |_| true).unwrap();
        }
        assert!(t.bind_any(binding(99_999, Ip::ANY4), 0, |_| true).is_err());
    }
}
