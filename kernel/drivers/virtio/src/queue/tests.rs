// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The queue against a device that reorders, lies and races.

use super::{Access, Broken, Queue, Used};
use crate::Error;
use crate::spec::feature;
use crate::testing::{DeviceQueue, FakeDevice, Random};
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::vec::Vec;

const ADDRESS: u64 = 0x1000;

fn pair(size: u16, features: u64) -> (Queue, DeviceQueue) {
    let transport = FakeDevice::new(2, 4, 1, features, &[]).transport();
    let queue = Queue::new(&*transport, 0, size, features).unwrap();
    let device = DeviceQueue::new(queue.addresses(), queue.size(), features);
    (queue, device)
}

/// Offers a chain of `count` parts, the last one writable with `tag` bytes.
fn offer(queue: &mut Queue, count: u16, tag: u32) -> Option<u16> {
    let head = queue.reserve(count)?;
    let mut index = head;
    for _ in 1..count {
        queue.describe(index, ADDRESS, 8, Access::DeviceReads, true);
        index = queue.after(index);
    }
    queue.describe(index, ADDRESS, tag, Access::DeviceWrites, false);
    queue.offer(head, count, tag);
    Some(head)
}

#[test]
fn completions_in_any_order_across_index_wrap() {
    for features in [0, feature::EVENT_IDX] {
        let (mut queue, mut device) = pair(16, features);
        let mut random = Random(7);
        let mut at_device = Vec::new();
        let mut expected = BTreeMap::new();
        let mut done = 0u32;
        while done < 150_000 {
            for _ in 0..random.below(6) {
                let (count, tag) = (1 + random.below(4) as u16, 1 + random.below(5000) as u32);
                let before = queue.free();
                if let Some(head) = offer(&mut queue, count, tag) {
                    assert_eq!(queue.free(), before - count);
                    assert_eq!(expected.insert(head, (count, tag)), None);
                } else {
                    assert!(before < count);
                }
            }
            while let Some(chain) = device.pop() {
                let (count, tag) = expected[&chain.head];
                assert_eq!(chain.parts.len(), usize::from(count));
                assert_eq!(chain.parts[usize::from(count) - 1].len, tag);
                at_device.push(chain);
            }
            for _ in 0..random.below(8).min(at_device.len()) {
                let chain = at_device.swap_remove(random.below(at_device.len()));
                device.push(chain.head, 3);
            }
            while let Some(Used { head, written }) = queue.take_used().unwrap() {
                let (_, tag) = expected.remove(&head).unwrap();
                assert_eq!(written, tag.min(3));
                done += 1;
            }
        }
        let held: u16 = expected.values().map(|(count, _)| count).sum();
        assert_eq!(queue.free(), 16 - held);
    }
}

#[test]
fn a_lying_device_breaks_the_queue_and_nothing_else() {
    let lies: [fn(&mut DeviceQueue, u16); 5] = [
        |device, _| device.push_raw(16, 0),
        |device, _| device.push_raw(u32::MAX, 0),
        |device, head| device.push_raw(u32::from(head) + 1, 0),
        |device, _| device.set_used_index(9),
        |device, head| {
            device.push_raw(u32::from(head), 1);
            device.push_raw(u32::from(head), 1);
        },
    ];
    for lie in lies {
        let (mut queue, mut device) = pair(16, feature::EVENT_IDX);
        let head = offer(&mut queue, 3, 64).unwrap();
        lie(&mut device, head);
        let seen: Vec<_> = (0..3).map(|_| queue.take_used()).collect();
        assert_eq!(seen.last(), Some(&Err(Broken)), "{seen:?}");
        assert!(queue.is_broken());
        assert_eq!(queue.reserve(1), None);
        assert!(!queue.needs_notification());
    }
}

#[test]
fn random_used_rings_never_panic() {
    let mut random = Random(99);
    for _ in 0..3000 {
        let (mut queue, mut device) = pair(8, feature::EVENT_IDX);
        for _ in 0..random.below(60) {
            match random.below(5) {
                0 | 1 => drop(offer(&mut queue, 1 + random.below(3) as u16, 1500)),
                2 => device.push_raw(random.below(10) as u32, random.below(1 << 31) as u32),
                3 => device.set_used_index(random.below(1 << 16) as u16),
                _ => {
                    if let Ok(Some(used)) = queue.take_used() {
                        assert!(used.head < 8 && used.written <= 1500);
                    }
                }
            }
            queue.needs_notification();
            queue.enable_interrupts_delayed();
            assert!(queue.free() <= 8);
        }
    }
}

#[test]
fn the_device_says_when_it_wants_to_be_told() {
    for features in [0, feature::EVENT_IDX] {
        let (mut queue, device) = pair(16, features);
        assert!(!queue.needs_notification(), "nothing was offered");
        offer(&mut queue, 1, 1);
        offer(&mut queue, 1, 1);
        assert!(queue.needs_notification(), "one for both");
        assert!(!queue.needs_notification());
        device.refuse_notifications();
        offer(&mut queue, 1, 1);
        assert!(!queue.needs_notification());
    }
}

#[test]
fn the_driver_says_when_it_wants_an_interrupt() {
    let (mut queue, mut device) = pair(16, feature::EVENT_IDX);
    let heads: Vec<_> = (0..8).map(|_| offer(&mut queue, 1, 1).unwrap()).collect();
    (0..8).for_each(|_| drop(device.pop()));
    assert!(!device.push(heads[0], 0), "off at first");
    assert!(queue.enable_interrupts(), "too late for the first");
    queue.take_used().unwrap().unwrap();
    assert!(!queue.enable_interrupts());
    assert!(device.push(heads[1], 0));
    queue.take_used().unwrap().unwrap();
    // Six are left: an interrupt after three quarters of them.
    assert!(!queue.enable_interrupts_delayed());
    let interrupts: Vec<_> = heads[2..].iter().map(|head| device.push(*head, 0)).collect();
    assert_eq!(interrupts, [false, false, false, true, false, false]);
}

#[test]
fn sizes_are_powers_of_two() {
    let device = FakeDevice::new(2, 4, 1, 0, &[]).with_queue_max(100);
    let transport = device.transport();
    assert_eq!(Queue::new(&*transport, 0, 256, 0).map(|q| q.size()), Ok(64));
    assert_eq!(Queue::new(&*transport, 0, 20, 0).map(|q| q.size()), Ok(16));
    assert_eq!(Queue::new(&*transport, 1, 256, 0).map(|q| q.size()), Err(Error::Queue));
}

/// Driver and device on two CPUs: no chain is lost, and whoever goes to sleep
/// is woken (the other side must see the wish or the wish see the work).
#[test]
fn no_wake_up_is_lost_between_two_cpus() {
    let (mut queue, mut device) = pair(8, feature::EVENT_IDX);
    let (kick, interrupt) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (kick, interrupt, stop) = (kick.clone(), interrupt.clone(), stop.clone());
        move || {
            while !stop.load(Ordering::SeqCst) {
                if !kick.swap(false, Ordering::SeqCst) {
                    std::thread::yield_now();
                    continue;
                }
                // `pop` moves the event on before it finds the ring empty.
                while let Some(chain) = device.pop() {
                    if device.push(chain.head, 1) {
                        interrupt.store(true, Ordering::SeqCst);
                    }
                }
            }
        }
    });
    let (mut offered, mut done) = (0u32, 0u32);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while done < 100_000 {
        while offered < 100_000 && offer(&mut queue, 1, 1).is_some() {
            offered += 1;
        }
        if queue.needs_notification() {
            kick.store(true, Ordering::SeqCst);
        }
        if !queue.enable_interrupts() {
            while !interrupt.swap(false, Ordering::SeqCst) {
                assert!(std::time::Instant::now() < deadline, "lost at {done} of {offered}");
                std::thread::yield_now();
            }
        }
        while queue.take_used().unwrap().is_some() {
            done += 1;
        }
    }
    stop.store(true, Ordering::SeqCst);
    thread.join().unwrap();
}
