// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unix sockets against those of the host's kernel.

mod common;

use common::{Outcome, Random, host, host_poll, our_read, our_write, ours};
use kio::{
    Control, Errno, Events, File, MessageFlags, Shutdown, SliceSink, SliceSource, Socket,
    SocketAddress,
};
use kipc::{Credentials, UnixKind, UnixNames, UnixSocket};
use rustix::fd::OwnedFd;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::sync::Arc;

fn socket_type(kind: UnixKind) -> SocketType {
    match kind {
        UnixKind::Stream => SocketType::STREAM,
        UnixKind::Datagram => SocketType::DGRAM,
        UnixKind::SeqPacket => SocketType::SEQPACKET,
    }
}

fn names() -> Arc<UnixNames> {
    Arc::new(UnixNames::new())
}

fn our_receive(socket: &UnixSocket, size: usize, flags: MessageFlags) -> Outcome<(usize, Vec<u8>)> {
    let mut buffer = vec![0; size];
    let mut sink = SliceSink::new(&mut buffer);
    let received = ours(socket.receive(&mut sink, flags))?;
    let filled = sink.filled();
    buffer.truncate(filled);
    Ok((received.count, buffer))
}

fn host_receive(fd: &OwnedFd, size: usize, flags: RecvFlags) -> Outcome<(usize, Vec<u8>)> {
    let mut buffer = vec![0; size];
    let (filled, count) = host(net::recv(fd, &mut buffer[..], flags))?;
    buffer.truncate(filled);
    Ok((count, buffer))
}

fn our_send(socket: &UnixSocket, bytes: &[u8]) -> Outcome<usize> {
    let flags = MessageFlags::NOSIGNAL;
    ours(socket.send(&mut SliceSource::new(bytes), None, Vec::new(), flags))
}

fn run_pair(kind: UnixKind, seed: u64) {
    let mut random = Random::new(seed);
    let flags = SocketFlags::NONBLOCK;
    let (one, two) = net::socketpair(AddressFamily::UNIX, socket_type(kind), flags, None).unwrap();
    let (our_one, our_two) = UnixSocket::pair(kind, &names(), Credentials::default());
    let mut sides = [(Some(one), our_one), (Some(two), our_two)];
    let mut sent = 0usize;
    for step in 0..150 {
        let at = format!("{kind:?} seed {seed} step {step}");
        let side = random.below(2);
        let (fd, our) = &sides[side];
        let Some(fd) = fd else { continue };
        // The buffer's size in bytes is not compared: Linux counts its own
        // bookkeeping. So what is sent stays below it.
        match random.below(if step > 100 { 22 } else { 20 }) {
            0..=8 if sent < 40 => {
                let size = random.pick(&[0, 1, 3, 100, 1000]);
                let bytes = random.bytes(size);
                let theirs = host(net::send(fd, &bytes, SendFlags::NOSIGNAL));
                assert_eq!(our_send(our, &bytes), theirs, "send {at}");
                sent += 1;
            }
            9..=15 => {
                let size = random.pick(&[0, 1, 2, 50, 500, 5000]);
                let (mut flags, mut host_flags) = (MessageFlags::DONTWAIT, RecvFlags::DONTWAIT);
                if random.below(3) == 0 {
                    flags |= MessageFlags::PEEK;
                    host_flags |= RecvFlags::PEEK;
                }
                if kind != UnixKind::Stream && random.below(3) == 0 {
                    flags |= MessageFlags::TRUNC;
                    host_flags |= RecvFlags::TRUNC;
                }
                let theirs = host_receive(fd, size, host_flags);
                assert_eq!(our_receive(our, size, flags), theirs, "receive {at}");
                sent -= usize::from(theirs.is_ok() && sent > 0);
            }
            16 if kind != UnixKind::Stream => {
                let error = net::sockopt::socket_error(fd).unwrap().err();
                let error = error.map(|e| e.raw_os_error() as u16);
                assert_eq!(our.take_error().map(|e| e.number()), error, "error {at}");
            }
            20 => {
                let (how, host_how) = random.pick(&[
                    (Shutdown::Read, net::Shutdown::Read),
                    (Shutdown::Write, net::Shutdown::Write),
                    (Shutdown::Both, net::Shutdown::Both),
                ]);
                assert_eq!(ours(our.shutdown(how)), host(net::shutdown(fd, host_how)), "{at}");
            }
            21 => {
                our.close();
                sides[side].0 = None;
            }
            _ => {}
        }
        for (fd, our) in &sides {
            if let Some(fd) = fd {
                assert_eq!(our.poll(), host_poll(fd), "poll {at}");
            }
        }
    }
}

#[test]
fn stream_pairs_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_pair(UnixKind::Stream, seed));
}

#[test]
fn packet_pairs_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_pair(UnixKind::SeqPacket, seed));
}

#[test]
fn datagram_pairs_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_pair(UnixKind::Datagram, seed));
}

/// Random calls on four named sockets: results, then readiness of all.
fn run_named(kind: UnixKind, seed: u64) {
    let mut random = Random::new(seed);
    let table = names();
    let new = || {
        let flags = SocketFlags::NONBLOCK;
        let fd = net::socket_with(AddressFamily::UNIX, socket_type(kind), flags, None).unwrap();
        (fd, Arc::new(UnixSocket::new(kind, table.clone(), Credentials::default())))
    };
    let mut sockets: Vec<_> = (0..4).map(|_| new()).collect();
    let mut accepted: Vec<(OwnedFd, Arc<dyn Socket>)> = Vec::new();
    let name = |n: usize| format!("kipc-{}-{kind:?}-{seed}-{n}", std::process::id()).into_bytes();
    let our_name = |n: usize| SocketAddress::Unix([b"\0".to_vec(), name(n)].concat());
    let host_name = |n: usize| SocketAddrUnix::new_abstract_name(&name(n)).unwrap();
    for step in 0..80 {
        let at = format!("{kind:?} seed {seed} step {step}");
        let (which, other) = (random.below(4), random.below(4));
        let (fd, our) = &sockets[which];
        match random.below(9) {
            0 => {
                let theirs = host(net::bind(fd, &host_name(which)));
                assert_eq!(ours(our.bind(&our_name(which))), theirs, "bind {at}");
            }
            1 => {
                let theirs = host(net::listen(fd, 1));
                assert_eq!(ours(our.listen(1)), theirs, "listen {at}");
            }
            2 | 3 => {
                let theirs = host(net::connect(fd, &host_name(other)));
                assert_eq!(ours(our.connect(&our_name(other))), theirs, "connect {at}");
            }
            4 => {
                let theirs = host(net::accept(fd));
                let our = ours(our.accept());
                assert_eq!(our.as_ref().map(drop), theirs.as_ref().map(drop), "accept {at}");
                if let (Ok(fd), Ok((socket, _))) = (theirs, our) {
                    rustix::io::ioctl_fionbio(&fd, true).unwrap();
                    accepted.push((fd, socket));
                }
            }
            5 => {
                let theirs = host(net::send(fd, b"ab", SendFlags::NOSIGNAL));
                assert_eq!(our_send(our, b"ab"), theirs, "send {at}");
            }
            6 => {
                let theirs = host_receive(fd, 8, RecvFlags::empty());
                assert_eq!(our_receive(our, 8, MessageFlags::DONTWAIT), theirs, "receive {at}");
            }
            7 => {
                let theirs = host(net::getpeername(fd)).map(drop);
                assert_eq!(ours(our.peer_address()).map(drop), theirs, "peer {at}");
            }
            _ if random.below(4) == 0 => sockets[which] = new(),
            _ => {
                if let Some((fd, our)) = accepted.pop() {
                    let theirs = host(net::send(&fd, b"xyz", SendFlags::NOSIGNAL));
                    let sent = our_write(&*our as &dyn File, b"xyz");
                    assert_eq!(sent, theirs, "accepted {at}");
                    our.close();
                }
            }
        }
        for (fd, our) in &sockets {
            assert_eq!(our.poll(), host_poll(fd), "poll {at}");
        }
    }
}

#[test]
fn named_streams_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_named(UnixKind::Stream, seed));
}

#[test]
fn named_packets_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_named(UnixKind::SeqPacket, seed));
}

#[test]
fn named_datagrams_behave_as_the_host_does() {
    (0..300).for_each(|seed| run_named(UnixKind::Datagram, seed));
}

#[test]
fn descriptors_arrive_with_their_byte() {
    let (one, two) = UnixSocket::pair(UnixKind::Stream, &names(), Credentials::default());
    our_send(&one, b"before").unwrap();
    let marker: Arc<dyn std::any::Any + Send + Sync> = Arc::new(42u32);
    let control = vec![Control::Rights(vec![marker])];
    one.send(&mut SliceSource::new(b"with"), None, control, MessageFlags::empty()).unwrap();
    our_send(&one, b"after").unwrap();
    let receive = |size| {
        let mut buffer = vec![0; size];
        let received =
            two.receive(&mut SliceSink::new(&mut buffer), MessageFlags::empty()).unwrap();
        buffer.truncate(received.count);
        (buffer, received.control)
    };
    let (bytes, control) = receive(6);
    assert_eq!((bytes.as_slice(), control.len()), (&b"before"[..], 0));
    let (bytes, control) = receive(2);
    assert_eq!(bytes, b"wi");
    let [Control::Rights(rights)] = &control[..] else { panic!("no rights") };
    assert_eq!(rights[0].downcast_ref::<u32>(), Some(&42));
    assert_eq!(receive(100).0, b"thafter");
    // With what came before them, and nothing that comes after.
    our_send(&one, b"before").unwrap();
    let control = vec![Control::Rights(vec![Arc::new(43u32)])];
    one.send(&mut SliceSource::new(b"with"), None, control, MessageFlags::empty()).unwrap();
    our_send(&one, b"after").unwrap();
    let (bytes, control) = receive(100);
    assert_eq!((bytes.as_slice(), control.len()), (&b"beforewith"[..], 1));
    assert_eq!(receive(100).0, b"after");
}

#[test]
fn credentials_of_both_ends_are_known() {
    let table = names();
    let who = |pid| Credentials { pid, uid: 1, gid: 2 };
    let server = UnixSocket::new(UnixKind::Stream, table.clone(), who(10));
    let client = UnixSocket::new(UnixKind::Stream, table, who(20));
    let address = SocketAddress::Unix(b"/run/x".to_vec());
    server.bind(&address).unwrap();
    server.listen(1).unwrap();
    client.connect(&address).unwrap();
    let (peer, from) = server.accept().unwrap();
    assert_eq!(from, SocketAddress::Unix(vec![]));
    assert_eq!(client.peer_address(), Ok(address.clone()));
    assert_eq!(peer.local_address(), Ok(address));
    let pid = |socket: &dyn Socket| {
        let mut bytes = [0; 12];
        assert_eq!(socket.option(1, 17, &mut bytes), Ok(12));
        i32::from_ne_bytes(bytes[..4].try_into().unwrap())
    };
    assert_eq!((pid(&client), pid(&*peer)), (10, 20));
    peer.set_option(1, 16, &1i32.to_ne_bytes()).unwrap();
    our_send(&client, b"x").unwrap();
    let received = peer.receive(&mut SliceSink::new(&mut [0; 4]), MessageFlags::empty()).unwrap();
    assert!(
        matches!(&received.control[..], [Control::Raw { level: 1, kind: 2, data }] if data[0] == 20)
    );
}

#[test]
fn a_full_stream_becomes_writable_when_it_is_read() {
    let (one, two) = UnixSocket::pair(UnixKind::Stream, &names(), Credentials::default());
    let block = vec![1; 100_000];
    let mut sent = 0;
    while let Ok(count) = our_send(&one, &block) {
        sent += count;
    }
    assert!((200_000..300_000).contains(&sent), "{sent}");
    assert_eq!(our_send(&one, b"x"), Err(11));
    assert!(!one.poll().intersects(Events::OUT));
    let mut read = 0;
    while let Ok(bytes) = our_read(&two, 65_536) {
        read += bytes.len();
    }
    assert_eq!(read, sent);
    assert!(one.poll().contains(Events::WRITABLE));
}

#[test]
fn an_inode_is_found_by_its_key_and_named_by_its_path() {
    let names = names();
    let make = || UnixSocket::new(UnixKind::Stream, names.clone(), Credentials::default());
    let (server, client, path) = (make(), make(), b"relative".to_vec());
    server.bind_inode(&path, b"key").unwrap();
    server.listen(1).unwrap();
    assert_eq!(make().bind_inode(&path, b"key"), Err(Errno::EADDRINUSE));
    let by_path = client.connect(&SocketAddress::Unix(path.clone()));
    assert_eq!(by_path, Err(Errno::ECONNREFUSED));
    client.connect(&SocketAddress::Unix(b"key".to_vec())).unwrap();
    assert_eq!(client.peer_address().unwrap(), SocketAddress::Unix(path.clone()));
    assert_eq!(server.local_address().unwrap(), SocketAddress::Unix(path.clone()));
    server.close();
    make().bind_inode(&path, b"key").unwrap();
}
