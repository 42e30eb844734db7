// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ports of this machine that lead into an instance: a small process for each instance that has
//! some, which outlives the daemon and ends with the instance.
//!
//! It waits for the lock that the instance's monitor holds (`bhojpur_provider::process`), so no
//! message is needed to tell it of the end. Connections are made to the guest's address on its
//! tap device; the rest of this machine's network is left alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bhojpur_provider::{Error, ErrorKind, Port, Protocol, Result};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};

/// What the process reads in its directory.
const ORDER: &str = "ports.json";
/// What it makes there once all ports are open.
const READY: &str = "ready";
/// How long the guest may take to accept: it may be booting.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a UDP conversation is remembered without a packet.
const IDLE: Duration = Duration::from_secs(90);
/// Most UDP conversations at once; more are dropped, as a full queue would.
const CONVERSATIONS_MAX: usize = 4096;
/// Packets of one conversation that wait for the guest.
const QUEUE: usize = 64;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// The file whose lock tells that the instance runs.
    pub lock: PathBuf,
    /// The guest.
    pub guest: Ipv4Addr,
    /// The ports.
    pub ports: Vec<Port>,
}

impl Order {
    /// Leaves it in a directory, and takes away what an earlier process left.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(directory)?;
            match std::fs::remove_file(directory.join(READY)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::fs::write(directory.join(ORDER), serde_json::to_vec(self)?)
        };
        write().map_err(|error| Error::io(format!("cannot write {}", directory.display()), error))
    }
}

/// Whether the process of a directory has opened all ports.
#[must_use]
pub fn is_ready(directory: &Path) -> bool {
    directory.join(READY).exists()
}

/// Finds out whether a port stands there twice.
pub fn check(ports: &[Port]) -> Result<()> {
    let place = |port: &Port| (port.host_address, port.host, port.protocol);
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| place(other) == place(port)) {
            let address = SocketAddr::new(port.host_address, port.host);
            let message = format!("the port {address} is published twice");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
    }
    Ok(())
}

/// Finds out whether the ports are free, before anything is made.
pub fn check_free(ports: &[Port]) -> Result<()> {
    for port in ports {
        let address = SocketAddr::new(port.host_address, port.host);
        let bound = match port.protocol {
            Protocol::Tcp => std::net::TcpListener::bind(address).map(drop),
            Protocol::Udp => std::net::UdpSocket::bind(address).map(drop),
        };
        bound.map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "stop what listens there (see ss -ltnup), or publish another port"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root or CAP_NET_BIND_SERVICE"
                }
                _ => "publish it on an address of this machine",
            };
            Error::io(format!("cannot listen at {address}"), error).advise(advice)
        })?;
    }
    Ok(())
}

/// The process: the directory is its one argument.
#[must_use]
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(directory) = arguments.next().map(PathBuf::from) else {
        eprintln!("the directory with the ports is missing");
        return ExitCode::from(2);
    };
    match run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &Path) -> io::Result<()> {
    let order: Order = serde_json::from_slice(&std::fs::read(directory.join(ORDER))?)?;
    let lock = File::open(&order.lock)?;
    // Ends the process from a thread of its own: a blocked flock(2) cannot be told to stop.
    std::thread::spawn(move || {
        let shared = rustix::fs::FlockOperation::LockShared;
        while rustix::fs::flock(&lock, shared) == Err(rustix::io::Errno::INTR) {}
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for port in &order.ports {
            open(port, order.guest).await?;
        }
        std::fs::write(directory.join(READY), "")?;
        std::future::pending().await
    })
}

async fn open(port: &Port, guest: Ipv4Addr) -> io::Result<()> {
    let address = SocketAddr::new(port.host_address, port.host);
    let guest = SocketAddr::new(guest.into(), port.guest);
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen at {address}: {error}"))
    };
    match port.protocol {
        Protocol::Tcp => {
            let listener = TcpListener::bind(address).await.map_err(named)?;
            tokio::spawn(accept(listener, guest));
        }
        Protocol::Udp => {
            let socket = UdpSocket::bind(address).await.map_err(named)?;
            tokio::spawn(converse(Arc::new(socket), guest));
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, guest: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(forward(client, guest));
            }
            // No more files: connections wait in the queue until some have ended.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn forward(mut client: TcpStream, guest: SocketAddr) {
    let server = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(guest)).await;
    let Ok(Ok(mut server)) = server else {
        // Tells the client that nobody is there, instead of an orderly end.
        let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    if tokio::io::copy_bidirectional(&mut client, &mut server).await.is_err() {
        let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
        let _ = rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO));
    }
}

type Conversations = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>>;

/// Packets of each client go through a socket of their own, so that answers find back.
async fn converse(socket: Arc<UdpSocket>, guest: SocketAddr) {
    let conversations = Conversations::default();
    let mut packet = vec![0; 1 << 16];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut packet).await else {
            // An answer of ours that was refused is told here.
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let mut table = conversations.lock().await;
        if !table.contains_key(&client) && table.len() < CONVERSATIONS_MAX {
            let (sender, receiver) = mpsc::channel(QUEUE);
            table.insert(client, sender);
            let conversation =
                Conversation { socket: socket.clone(), client, guest, all: conversations.clone() };
            tokio::spawn(conversation.run(receiver));
        }
        if let Some(sender) = table.get(&client) {
            let _ = sender.try_send(packet[..length].to_vec());
        }
    }
}

struct Conversation {
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    guest: SocketAddr,
    all: Conversations,
}

impl Conversation {
    async fn run(self, receiver: mpsc::Receiver<Vec<u8>>) {
        let _ = self.exchange(receiver).await;
        self.all.lock().await.remove(&self.client);
    }

    async fn exchange(&self, mut receiver: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
        let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        server.connect(self.guest).await?;
        let mut answer = vec![0; 1 << 16];
        loop {
            let next = tokio::time::timeout(IDLE, async {
                tokio::select! {
                    packet = receiver.recv() => packet.map(Ok),
                    length = server.recv(&mut answer) => Some(Err(length)),
                }
            });
            match next.await {
                Err(_) | Ok(None) => return Ok(()),
                // Refused means that the guest does not listen yet; the client will ask again.
                Ok(Some(Ok(packet))) => {
                    let _ = server.send(&packet).await;
                }
                Ok(Some(Err(Ok(length)))) => {
                    let _ = self.socket.send_to(&answer[..length], self.client).await;
                }
                Ok(Some(Err(Err(_)))) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: u16, protocol: Protocol) -> Port {
        Port { host_address: Ipv4Addr::LOCALHOST.into(), host, guest: 1, protocol }
    }

    #[test]
    fn ports_in_use_are_told_before() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let used = listener.local_addr().unwrap().port();
        let error = check_free(&[port(used, Protocol::Tcp)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(&used.to_string()), "{error}");
        drop(listener);
        let both = [port(used, Protocol::Tcp), port(used, Protocol::Udp)];
        check(&both).and_then(|()| check_free(&both)).unwrap();
        let error = check(&[port(used, Protocol::Tcp), port(used, Protocol::Tcp)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }

    #[test]
    fn packets_and_their_answers_go_through() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let guest = server.local_addr().unwrap();
            let proxy = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = proxy.local_addr().unwrap();
            tokio::spawn(converse(Arc::new(proxy), guest));
            tokio::spawn(async move {
                let mut packet = [0; 100];
                loop {
                    let (length, from) = server.recv_from(&mut packet).await.unwrap();
                    packet[..length].reverse();
                    server.send_to(&packet[..length], from).await.unwrap();
                }
            });
            for text in ["abc", "de"] {
                let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                client.send_to(text.as_bytes(), address).await.unwrap();
                let mut answer = [0; 100];
                let length = client.recv(&mut answer).await.unwrap();
                assert_eq!(answer[..length], text.bytes().rev().collect::<Vec<_>>());
            }
        });
    }
}
