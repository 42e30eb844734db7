// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Times of the hot paths: `cargo test --release --test speed -- --ignored --nocapture`.

use kio::{File, SliceSink, SliceSource};
use kipc::{Epoll, EventFd, Target, Watchers, pipe};
use std::sync::Arc;
use std::time::Instant;

fn time(what: &str, mut operation: impl FnMut()) {
    const ROUNDS: u32 = 1_000_000;
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| operation());
    println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
}

#[test]
#[ignore = "prints times"]
fn hot_paths() {
    let (reader, writer) = pipe(false).unwrap();
    let reader = Arc::new(reader);
    let mut byte = [0];
    let mut ping = || {
        writer.write_at(0, &mut SliceSource::new(b"x")).unwrap();
        reader.read_at(0, &mut SliceSink::new(&mut byte)).unwrap();
    };
    time("pipe: write and read 1 byte", &mut ping);
    let mut page = [0; 4096];
    time("pipe: write and read 4096 bytes", || {
        writer.write_at(0, &mut SliceSource::new(&[1; 4096])).unwrap();
        reader.read_at(0, &mut SliceSink::new(&mut page)).unwrap();
    });

    let epoll = Epoll::new();
    let idle: Vec<(Arc<dyn File>, Watchers)> =
        (0..1000).map(|_| (Arc::new(EventFd::new(0, false)) as _, Watchers::new())).collect();
    for (fd, (file, watchers)) in idle.iter().enumerate() {
        let target = Target { fd: fd as i32 + 9, identity: fd as u64, file, watchers };
        epoll.add(&target, 1, 0).unwrap();
    }
    let (file, watchers) = (reader.clone() as Arc<dyn File>, Watchers::new());
    let target = Target { fd: 5, identity: 5000, file: &file, watchers: &watchers };
    time("epoll: add and delete", || {
        epoll.add(&target, 1, 0).unwrap();
        epoll.remove(&target).unwrap();
    });
    epoll.add(&target, 1 | 1 << 31, 0).unwrap();
    time("pipe round trip with edge-triggered epoll_wait", || {
        writer.write_at(0, &mut SliceSource::new(b"x")).unwrap();
        assert_eq!(epoll.wait(64, &mut |_, _| true), Ok(1));
        reader.read_at(0, &mut SliceSink::new(&mut byte)).unwrap();
    });
    epoll.modify(&target, 1, 0).unwrap();
    writer.write_at(0, &mut SliceSource::new(b"x")).unwrap();
    time("epoll_wait, one ready of 1001", || {
        assert_eq!(epoll.wait(64, &mut |_, _| true), Ok(1));
    });
}
