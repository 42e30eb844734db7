// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Asks a running instance how it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bhojpur_provider::{Port, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::model::{Check, Health, Probe};

/// How long a connection through a published port has to stay open: a refusal of the guest has
/// come back by then.
const SILENCE: Duration = Duration::from_millis(200);
/// The longest status line that is read.
const STATUS_LINE_MAX: usize = 256;

/// Where a port of the guest is reached: at the guest's own address, or through a published port.
/// The address comes first: behind a published port, somebody accepts for the guest.
fn target(ports: &[Port], address: Option<IpAddr>, guest: u16) -> Option<SocketAddr> {
    if let Some(address) = own_address(ports, address) {
        return Some(SocketAddr::new(address, guest));
    }
    ports
        .iter()
        .find(|port| port.guest == guest && port.protocol == Protocol::Tcp)
        .map(|port| SocketAddr::new(reachable(port.host_address), port.host))
}

/// The address of an instance, unless it is the host's with ports that lead into the guest.
fn own_address(ports: &[Port], address: Option<IpAddr>) -> Option<IpAddr> {
    address.filter(|address| {
        !address.is_loopback() && ports.iter().all(|port| port.host_address != *address)
    })
}

/// What listens everywhere is reached on loopback.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

/// Asks for ever and tells each change, and what is to be ended each time. It ends when nobody
/// listens.
pub(crate) async fn watch(
    check: Check,
    ports: Vec<Port>,
    address: watch::Receiver<Option<IpAddr>>,
    changes: mpsc::Sender<Health>,
) {
    let start = Instant::now();
    let mut judge = Judge::new(&check);
    let mut told = Health::Starting;
    loop {
        sleep(check.interval).await;
        let known = *address.borrow();
        let answered = ask(&check, &ports, known).await;
        let now = judge.hear(answered, start.elapsed());
        // An end that is wanted for it is asked for until there is one: the first may fail.
        if now != told || now == Health::Unhealthy && check.restart {
            told = now;
            if changes.send(now).await.is_err() {
                return;
            }
        }
        if changes.is_closed() {
            return;
        }
    }
}

async fn ask(check: &Check, ports: &[Port], address: Option<IpAddr>) -> bool {
    let port = match &check.probe {
        Probe::Tcp { port } | Probe::Http { port, .. } => *port,
    };
    let Some(target) = target(ports, address, port) else { return false };
    let deadline = Instant::now() + check.timeout;
    let asked = async {
        let stream = TcpStream::connect(target).await?;
        match &check.probe {
            // It was the guest that accepted.
            Probe::Tcp { .. } if own_address(ports, address).is_some() => Ok(true),
            Probe::Tcp { .. } => {
                let left = deadline.saturating_duration_since(Instant::now());
                stays_open(stream, SILENCE.min(left / 2)).await
            }
            Probe::Http { path, .. } => http(stream, target, path).await,
        }
    };
    matches!(timeout_at(deadline, asked).await, Ok(Ok(true)))
}

/// A published port is opened by the monitor, whether or not somebody listens in the guest, and
/// closed when the guest refuses. So a connection counts when it stays open for a moment or says
/// something. That a guest does not answer at all cannot be seen here: it is as silent as a
/// server that waits for its client to speak.
async fn stays_open(mut stream: TcpStream, silence: Duration) -> std::io::Result<bool> {
    let mut byte = [0];
    match timeout(silence, stream.read(&mut byte)).await {
        Err(_) => Ok(true),
        Ok(Ok(read)) => Ok(read > 0),
        Ok(Err(_)) => Ok(false),
    }
}

async fn http(mut stream: TcpStream, target: SocketAddr, path: &str) -> std::io::Result<bool> {
    let path = if path.is_empty() { "/" } else { path };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: bhojpur\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    let mut piece = [0; 64];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_MAX {
        match stream.read(&mut piece).await? {
            0 => break,
            read => line.extend_from_slice(&piece[..read]),
        }
    }
    Ok(good_status(&line))
}

/// RFC 9112 section 4: `HTTP/1.1 200 OK`.
fn good_status(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let version = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.trim().get(..3)?.parse::<u16>().ok());
    version && status.is_some_and(|status| (200..400).contains(&status))
}

/// What answers mean.
#[derive(Debug)]
struct Judge {
    retries: u32,
    start_period: Duration,
    failures: u32,
    now: Health,
}

impl Judge {
    fn new(check: &Check) -> Self {
        Self {
            retries: check.retries.max(1),
            start_period: check.start_period,
            failures: 0,
            now: Health::Starting,
        }
    }

    fn hear(&mut self, answered: bool, since_start: Duration) -> Health {
        if answered {
            self.failures = 0;
            self.now = Health::Healthy;
        } else if self.now != Health::Starting || since_start >= self.start_period {
            self.failures += 1;
            if self.failures >= self.retries {
                self.now = Health::Unhealthy;
            }
        }
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(probe: Probe) -> Check {
        Check {
            probe,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            retries: 2,
            start_period: Duration::from_secs(5),
            restart: false,
        }
    }

    #[test]
    fn failures_count_after_the_start_and_in_a_row() {
        let mut judge = Judge::new(&check(Probe::Tcp { port: 1 }));
        let (early, late) = (Duration::from_secs(1), Duration::from_secs(9));
        assert_eq!(judge.hear(false, early), Health::Starting);
        assert_eq!(judge.hear(false, early), Health::Starting);
        assert_eq!(judge.hear(true, early), Health::Healthy);
        assert_eq!(judge.hear(false, late), Health::Healthy);
        assert_eq!(judge.hear(true, late), Health::Healthy);
        assert_eq!(judge.hear(false, late), Health::Healthy);
        assert_eq!(judge.hear(false, late), Health::Unhealthy);
        assert_eq!(judge.hear(true, late), Health::Healthy);
    }

    #[test]
    fn a_status_below_400_is_good() {
        for (line, good) in [
            ("HTTP/1.1 200 OK\r\n", true),
            ("HTTP/1.0 302\r\n", true),
            ("HTTP/1.1 404 Not Found\r\n", false),
            ("HTTP/1.1 99\r\n", false),
            ("SSH-2.0-x\r\n", false),
            ("", false),
        ] {
            assert_eq!(good_status(line.as_bytes()), good, "{line:?}");
        }
    }

    #[tokio::test]
    async fn a_server_is_found_healthy_through_its_published_port() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().port();
        let ports = [Port {
            host_address: std::net::Ipv4Addr::UNSPECIFIED.into(),
            host,
            guest: 80,
            protocol: Protocol::Tcp,
        }];
        let server = tokio::spawn(async move {
            for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 500 Oh\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /health HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            // A connection that is closed at once is none.
            drop(listener.accept().await.unwrap());
        });
        let http = check(Probe::Http { port: 80, path: "/health".to_owned() });
        assert!(ask(&http, &ports, None).await);
        assert!(!ask(&http, &ports, None).await);
        assert!(!ask(&check(Probe::Tcp { port: 80 }), &ports, None).await);
        assert!(!ask(&check(Probe::Tcp { port: 81 }), &ports, None).await);
        server.await.unwrap();
    }

    fn published(host: u16) -> [Port; 1] {
        [Port {
            host_address: std::net::Ipv4Addr::LOCALHOST.into(),
            host,
            guest: 80,
            protocol: Protocol::Tcp,
        }]
    }

    /// A relay accepts whether or not the guest lives: its own address tells more.
    #[test]
    fn a_guest_with_an_address_is_asked_there() {
        let ports = published(8080);
        let relay: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let own: SocketAddr = "172.30.0.2:80".parse().unwrap();
        assert_eq!(target(&ports, Some(own.ip()), 80), Some(own));
        assert_eq!(target(&ports, None, 80), Some(relay));
        assert_eq!(target(&ports, Some(relay.ip()), 80), Some(relay), "the host's");
        assert_eq!(target(&ports, Some(relay.ip()), 81), None, "the host's");
    }

    #[tokio::test]
    async fn a_relay_that_is_silent_is_good_however_little_time_there_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = published(listener.local_addr().unwrap().port());
        let mut tcp = check(Probe::Tcp { port: 80 });
        for limit in [100, 199, 200, 201] {
            tcp.timeout = Duration::from_millis(limit);
            assert!(ask(&tcp, &ports, None).await, "{limit} ms");
        }
    }
}
