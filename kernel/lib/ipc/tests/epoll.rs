// SPDX-License-Identifier: Apache-2.0 OR MIT
//! epoll over pipes and counters against the host's kernel.

mod common;

use common::{Outcome, Random, host, host_poll, host_read, our_read, our_write, ours};
use kio::File;
use kipc::{Epoll, EventFd, PipeEnd, Target, Watchers, pipe};
use rustix::event::epoll as host_epoll;
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Events and data that epoll_wait gave.
type Reports = Vec<(u32, u64)>;

/// An open file on both sides.
struct Object {
    host: Option<OwnedFd>,
    ours: Arc<dyn File>,
    watchers: Watchers,
    id: u64,
}

impl Object {
    fn new(host: OwnedFd, ours: Arc<dyn File>, id: u64) -> Self {
        Self { host: Some(host), ours, watchers: Watchers::new(), id }
    }

    fn target(&self) -> Target<'_> {
        let (fd, identity) = (self.id as i32, self.id);
        Target { fd, identity, file: &self.ours, watchers: &self.watchers }
    }

    fn close(&mut self) {
        if self.host.take().is_some() {
            self.ours.close();
            self.watchers.release();
        }
    }
}

struct World {
    objects: Vec<Object>,
    host: OwnedFd,
    ours: Arc<Epoll>,
}

impl World {
    fn new() -> Self {
        let mut objects = Vec::new();
        for id in 0..3 {
            let (host_in, host_out) = pipe_with(PipeFlags::NONBLOCK).unwrap();
            let (our_in, our_out): (PipeEnd, PipeEnd) = pipe(false).unwrap();
            objects.push(Object::new(host_in, Arc::new(our_in), 2 * id));
            objects.push(Object::new(host_out, Arc::new(our_out), 2 * id + 1));
        }
        for id in 6..8 {
            let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
            objects.push(Object::new(fd, Arc::new(EventFd::new(0, false)), id));
        }
        let host = host_epoll::create(host_epoll::CreateFlags::empty()).unwrap();
        Self { objects, host, ours: Arc::new(Epoll::new()) }
    }

    fn wait(&self, max: usize) -> (Reports, Reports) {
        let mut buffer = [MaybeUninit::<host_epoll::Event>::uninit(); 16];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = host_epoll::wait(&self.host, &mut buffer[..max], Some(&now)).unwrap();
        let theirs = events.iter().map(|e| ({ e.flags }.bits(), { e.data }.u64())).collect();
        let mut ours = Vec::new();
        let count = self.ours.wait(max, &mut |events, data| {
            ours.push((events.bits(), data));
            true
        });
        assert_eq!(count, Ok(ours.len()));
        (theirs, ours)
    }

    fn control(&self, op: usize, id: usize, events: u32, data: u64) -> (Outcome<()>, Outcome<()>) {
        let object = &self.objects[id];
        let Some(fd) = &object.host else { return (Ok(()), Ok(())) };
        let flags = host_epoll::EventFlags::from_bits_retain(events);
        let host_data = host_epoll::EventData::new_u64(data);
        let target = object.target();
        match op {
            0 | 1 => (
                host(host_epoll::add(&self.host, fd, host_data, flags)),
                ours(self.ours.add(&target, events, data)),
            ),
            2 | 3 => (
                host(host_epoll::modify(&self.host, fd, host_data, flags)),
                ours(self.ours.modify(&target, events, data)),
            ),
            _ => (host(host_epoll::delete(&self.host, fd)), ours(self.ours.remove(&target))),
        }
    }

    fn transfer(&self, id: usize, random: &mut Random) -> (Outcome<usize>, Outcome<usize>) {
        let object = &self.objects[id];
        let Some(fd) = &object.host else { return (Ok(0), Ok(0)) };
        let size = if id >= 6 { 8 } else { random.pick(&[1, 100, 4096, 30_000, 70_000]) };
        if id < 6 && id % 2 == 1 || id >= 6 && random.below(2) == 0 {
            let bytes = if id >= 6 { 1u64.to_ne_bytes().to_vec() } else { random.bytes(size) };
            return (host(rustix::io::write(fd, &bytes)), our_write(&*object.ours, &bytes));
        }
        let (theirs, ours) = (host_read(fd, size), our_read(&*object.ours, size));
        (theirs.map(|b| b.len()), ours.map(|b| b.len()))
    }
}

const IN: u32 = 1;
const OUT: u32 = 4;
const EXCLUSIVE: u32 = 1 << 28;
const ONESHOT: u32 = 1 << 30;
const ET: u32 = 1 << 31;

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = World::new();
    for step in 0..400 {
        let at = format!("seed {seed} step {step}");
        let id = random.below(world.objects.len());
        match random.below(if step > 300 { 31 } else { 30 }) {
            0..=7 => {
                let mode = random.pick(&[0, 0, ET, ONESHOT, ET | ONESHOT, EXCLUSIVE]);
                let events = random.pick(&[IN, OUT, IN | OUT, IN | OUT | 0x2000, 0x145]) | mode;
                let (theirs, ours) = world.control(random.below(5), id, events, random.next());
                assert_eq!(ours, theirs, "control {at}");
            }
            8..=21 => {
                let (theirs, ours) = world.transfer(id, &mut random);
                assert_eq!(ours, theirs, "transfer {at}");
            }
            22..=29 => {
                let (theirs, ours) = world.wait(random.pick(&[1, 2, 16]));
                assert_eq!(ours, theirs, "wait {at}");
            }
            _ => world.objects[id].close(),
        }
        assert_eq!(world.ours.poll(), host_poll(&world.host), "poll {at}");
    }
}

#[test]
fn same_events_in_the_same_order_as_the_host() {
    (0..400).for_each(run);
}

#[test]
fn chains_and_loops_are_refused_as_the_host_does() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let nodes: Vec<_> = (0..6)
            .map(|id| {
                let fd = host_epoll::create(host_epoll::CreateFlags::empty()).unwrap();
                let ours = Arc::new(Epoll::new());
                (Object::new(fd, ours.clone(), id), ours)
            })
            .collect();
        for step in 0..40 {
            let (from, to) = (random.below(6), random.below(6));
            let (outer, inner) = (&nodes[from], &nodes[to]);
            let (Some(outer_fd), Some(inner_fd)) = (&outer.0.host, &inner.0.host) else { continue };
            let data = host_epoll::EventData::new_u64(0);
            let (theirs, ours) = if random.below(4) == 0 {
                let theirs = host_epoll::delete(outer_fd, inner_fd);
                (host(theirs), ours(outer.1.remove(&inner.0.target())))
            } else {
                let flags = host_epoll::EventFlags::IN;
                let theirs = host_epoll::add(outer_fd, inner_fd, data, flags);
                (host(theirs), ours(outer.1.add(&inner.0.target(), IN, 0)))
            };
            assert_eq!(ours, theirs, "seed {seed} step {step}: {from} watches {to}");
        }
        drop(nodes);
    }
}
