// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The neighbour cache of an interface: link addresses learned by ARP
//! (RFC 826) and neighbour discovery (RFC 4861), and the packets that wait
//! for them.

use crate::device::{ChecksumOffload, Segmentation};
use crate::ip::Ip;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use kio::Instant;

/// How long an entry is used without asking again (Linux: base_reachable_time).
const REACHABLE: Duration = Duration::from_secs(30);
/// Between two requests.
pub(crate) const RETRY: Duration = Duration::from_secs(1);
/// Requests before a neighbour is given up.
const TRIES: u8 = 3;
/// Packets that wait for one neighbour.
const QUEUE: usize = 16;
/// Entries of one table.
const ENTRIES: usize = 1024;

/// A frame that waits for the link address of its destination.
pub(crate) struct Held {
    pub(crate) frame: Vec<u8>,
    pub(crate) checksum: Option<ChecksumOffload>,
    pub(crate) segmentation: Option<Segmentation>,
}

struct Entry {
    mac: Option<[u8; 6]>,
    confirmed: Instant,
    /// Requests sent since the last answer.
    tries: u8,
    /// Next request, while one is needed.
    ask_at: Option<Instant>,
    waiting: VecDeque<Held>,
}

/// What a look-up found.
pub(crate) enum Lookup {
    /// Use this address until the moment; ask as said first.
    Known([u8; 6], Instant, Ask),
    /// The packet has to wait.
    Wait(Ask),
}

/// Whether the caller has to send a request, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    No,
    Everybody,
    Neighbour([u8; 6]),
}

/// The entries of one interface.
#[derive(Default)]
pub(crate) struct NeighbourTable {
    entries: BTreeMap<Ip, Entry>,
}

/// What the retry timer has to do.
#[derive(Default)]
pub(crate) struct Due {
    pub(crate) ask: Vec<(Ip, Ask)>,
    /// Frames whose destination did not answer.
    pub(crate) failed: Vec<Held>,
    pub(crate) next: Option<Instant>,
}

impl NeighbourTable {
    /// The link address of `ip`, as far as it is known.
    pub(crate) fn look_up(&mut self, ip: Ip, now: Instant) -> Lookup {
        if !self.entries.contains_key(&ip) {
            self.make_room();
            let entry = Entry {
                mac: None,
                confirmed: now,
                tries: 1,
                ask_at: Some(now + RETRY),
                waiting: VecDeque::new(),
            };
            self.entries.insert(ip, entry);
            return Lookup::Wait(Ask::Everybody);
        }
        let Some(entry) = self.entries.get_mut(&ip) else { return Lookup::Wait(Ask::No) };
        let Some(mac) = entry.mac else {
            if entry.ask_at.is_none() {
                entry.tries = 1;
                entry.ask_at = Some(now + RETRY);
                return Lookup::Wait(Ask::Everybody);
            }
            return Lookup::Wait(Ask::No);
        };
        let stale = now - entry.confirmed >= REACHABLE;
        let ask = if stale && entry.ask_at.is_none() {
            entry.tries = 1;
            entry.ask_at = Some(now + RETRY);
            Ask::Neighbour(mac)
        } else {
            Ask::No
        };
        Lookup::Known(mac, now.max(entry.confirmed + REACHABLE) + RETRY, ask)
    }

    /// Keeps a frame until the address is known; false when it was resolved
    /// meanwhile or there is no room.
    pub(crate) fn hold(&mut self, ip: Ip, held: Held) -> bool {
        match self.entries.get_mut(&ip) {
            Some(e) if e.mac.is_none() => {
                if e.waiting.len() >= QUEUE {
                    e.waiting.pop_front();
                }
                e.waiting.push_back(held);
                true
            }
            _ => false,
        }
    }

    /// Notes the link address of `ip`; with `create` also for a neighbour that
    /// nobody asked for. Gives the frames that waited, and whether the address
    /// is another one than before.
    pub(crate) fn learn(
        &mut self,
        ip: Ip,
        mac: [u8; 6],
        create: bool,
        now: Instant,
    ) -> (VecDeque<Held>, bool) {
        if !self.entries.contains_key(&ip) {
            if !create {
                return (VecDeque::new(), false);
            }
            self.make_room();
        }
        let entry = self.entries.entry(ip).or_insert_with(|| Entry {
            mac: None,
            confirmed: now,
            tries: 0,
            ask_at: None,
            waiting: VecDeque::new(),
        });
        let changed = entry.mac != Some(mac);
        entry.mac = Some(mac);
        entry.confirmed = now;
        entry.tries = 0;
        entry.ask_at = None;
        (core::mem::take(&mut entry.waiting), changed)
    }

    /// Requests that are due, and neighbours that failed.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        let mut dead = Vec::new();
        for (ip, entry) in &mut self.entries {
            let Some(at) = entry.ask_at else { continue };
            if at <= now {
                if entry.tries >= TRIES {
                    due.failed.extend(entry.waiting.drain(..));
                    dead.push(*ip);
                    continue;
                }
                entry.tries += 1;
                entry.ask_at = Some(now + RETRY);
                let unicast = entry.mac.filter(|_| entry.tries < TRIES);
                due.ask.push((*ip, unicast.map_or(Ask::Everybody, Ask::Neighbour)));
            }
            let at = entry.ask_at.unwrap_or(now);
            due.next = Some(due.next.map_or(at, |n| n.min(at)));
        }
        for ip in dead {
            self.entries.remove(&ip);
        }
        due
    }

    fn make_room(&mut self) {
        if self.entries.len() < ENTRIES {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, e)| e.confirmed).map(|(ip, _)| *ip);
        if let Some(ip) = oldest {
            self.entries.remove(&ip);
        }
    }

    /// All known neighbours, for /proc/net/arp.
    pub(crate) fn list(&self) -> Vec<(Ip, Option<[u8; 6]>)> {
        self.entries.iter().map(|(ip, e)| (*ip, e.mac)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Held, Lookup, NeighbourTable};
    use crate::ip::Ip;
    use core::time::Duration;
    use kio::Instant;

    const IP: Ip = Ip(0xffff_0a00_0001);
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn held() -> Held {
        Held { frame: std::vec![0; 60], checksum: None, segmentation: None }
    }

    #[test]
    fn asks_once_holds_and_releases() {
        let mut t = NeighbourTable::default();
        let now = Instant::ZERO;
        assert!(matches!(t.look_up(IP, now), Lookup::Wait(Ask::Everybody)));
        assert!(t.hold(IP, held()));
        assert!(matches!(t.look_up(IP, now), Lookup::Wait(Ask::No)));
        let (frames, changed) = t.learn(IP, MAC, false, now);
        assert!(frames.len() == 1 && changed);
        assert!(matches!(t.look_up(IP, now), Lookup::Known(MAC, _, Ask::No)));
        let later = now + Duration::from_secs(31);
        assert!(matches!(t.look_up(IP, later), Lookup::Known(MAC, _, Ask::Neighbour(MAC))));
        assert!(matches!(t.look_up(IP, later), Lookup::Known(MAC, _, Ask::No)));
    }

    #[test]
    fn gives_up_after_three_requests() {
        let mut t = NeighbourTable::default();
        let mut now = Instant::ZERO;
        let _ = t.look_up(IP, now);
        t.hold(IP, held());
        for _ in 0..2 {
            now = now + Duration::from_secs(1);
            let due = t.due(now);
            assert!(due.ask.len() == 1 && due.failed.is_empty());
        }
        now = now + Duration::from_secs(1);
        let due = t.due(now);
        assert!(due.failed.len() == 1 && due.next.is_none());
        assert!(t.list().is_empty());
    }

    #[test]
    fn unasked_answers_are_not_learned() {
        let mut t = NeighbourTable::default();
        t.learn(IP, MAC, false, Instant::ZERO);
        assert!(t.list().is_empty());
    }
}
