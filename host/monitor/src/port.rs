// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ports of the host that lead to ports of the guest.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::str::FromStr;

/// The transport of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One forwarded port: `[ADDRESS:]HOST:GUEST[/udp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where the host listens; loopback unless told, so that nothing is exposed unasked.
    pub host: SocketAddrV4,
    /// The port inside the guest.
    pub guest: u16,
    /// Its transport.
    pub protocol: Protocol,
}

/// What can be wrong with a forwarded port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text does not say which ports.
    #[error("{0:?} is not a port pair; write HOST:GUEST, for example 8080:80 or 5353:53/udp")]
    Syntax(String),
    /// Another program listens there.
    #[error("port {0} is already taken by another program")]
    Taken(SocketAddrV4),
    /// Two of the pairs want it; 0.0.0.0 is all addresses.
    #[error("port {0} is given twice{and}; it can lead to one place only", and = also(.1))]
    Twice(SocketAddrV4, Option<SocketAddrV4>),
    /// gdb cannot be served there.
    #[error("gdb cannot be served on port {0}: {1}")]
    Gdb(u16, io::Error),
    /// The host refuses the port for another reason.
    #[error("cannot listen on {0}: {1}")]
    Refused(SocketAddrV4, io::Error),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Syntax(_) | Self::Twice(..) => None,
            Self::Gdb(..) => Some("choose another port with --gdb-port".to_owned()),
            Self::Taken(address) => Some(format!(
                "stop that program (find it with: ss -lptn 'sport = :{}') or choose another host port with -p",
                address.port()
            )),
            Self::Refused(address, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some(format!(
                    "ports below 1024 need privileges; use for example {}",
                    address.port() as u32 + 8000
                ))
            }
            Self::Refused(..) => None,
        }
    }
}

/// How an error tells of another address with the same port.
fn also(other: &Option<SocketAddrV4>) -> String {
    other.map(|other| format!(", here and as {other}")).unwrap_or_default()
}

impl FromStr for Forward {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error::Syntax(text.to_owned());
        let (pair, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((pair, "tcp")) => (pair, Protocol::Tcp),
            Some((pair, "udp")) => (pair, Protocol::Udp),
            Some(_) => return Err(error()),
        };
        let parts: Vec<&str> = pair.split(':').collect();
        let (address, host, guest) = match parts[..] {
            [host, guest] => (Ipv4Addr::LOCALHOST, host, guest),
            [address, host, guest] => (address.parse().map_err(|_| error())?, host, guest),
            _ => return Err(error()),
        };
        let port =
            |text: &str| text.parse::<u16>().ok().filter(|&port| port != 0).ok_or_else(error);
        Ok(Self { host: SocketAddrV4::new(address, port(host)?), guest: port(guest)?, protocol })
    }
}

/// Whether all host ports are free and different.
pub fn check_all(forwards: &[Forward]) -> Result<(), Error> {
    for (index, forward) in forwards.iter().enumerate() {
        if let Some(other) = forwards[..index].iter().find(|other| other.overlaps(forward)) {
            let other = Some(other.host).filter(|&host| host != forward.host);
            return Err(Error::Twice(forward.host, other));
        }
        forward.check_free()?;
    }
    Ok(())
}

/// Whether gdb can be served on a port of this host, beside forwarded ones.
pub fn check_gdb(port: u16, forwards: &[Forward]) -> Result<(), Error> {
    let host = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let gdb = Forward { host, guest: port, protocol: Protocol::Tcp };
    if forwards.iter().any(|forward| forward.overlaps(&gdb)) {
        return Err(Error::Gdb(port, io::Error::other("it is forwarded into the guest")));
    }
    TcpListener::bind(host).map(drop).map_err(|error| Error::Gdb(port, error))
}

impl Forward {
    /// Whether both want the same port of the host.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.host.ip(), other.host.ip());
        let shared = one == two || one.is_unspecified() || two.is_unspecified();
        shared && self.host.port() == other.host.port() && self.protocol == other.protocol
    }

    /// Whether the host port is free, found out by taking it for a moment.
    pub fn check_free(&self) -> Result<(), Error> {
        let attempt = match self.protocol {
            Protocol::Tcp => TcpListener::bind(self.host).map(drop),
            Protocol::Udp => UdpSocket::bind(self.host).map(drop),
        };
        attempt.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::Taken(self.host),
            _ => Error::Refused(self.host, error),
        })
    }

    /// The form that QEMU's user network takes.
    #[must_use]
    pub fn host_forward(&self) -> String {
        format!("hostfwd={}:{}:{}-:{}", self.protocol, self.host.ip(), self.host.port(), self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_parsed() {
        let forward: Forward = "8080:80".parse().unwrap();
        assert_eq!(forward.host_forward(), "hostfwd=tcp:127.0.0.1:8080-:80");
        let forward: Forward = "0.0.0.0:5353:53/udp".parse().unwrap();
        assert_eq!(forward.host_forward(), "hostfwd=udp:0.0.0.0:5353-:53");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "80", "0:80", "80:0", "80:90/sctp", "65536:1", "a:b", "1:2:3", ":80", "::1:80:80"]
        {
            assert!(matches!(text.parse::<Forward>(), Err(Error::Syntax(_))), "{text:?}");
        }
    }

    #[test]
    fn a_port_that_is_given_twice_is_named() {
        let forwards = |texts: &[&str]| -> Vec<Forward> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [one, other, udp] = ["80", "81", "80/udp"].map(|guest| format!("{port}:{guest}"));
        let error = check_all(&forwards(&[&one, &other])).unwrap_err();
        assert!(matches!(error, Error::Twice(..)), "{error}");
        check_all(&forwards(&[&one, &udp])).unwrap();
        let (everywhere, elsewhere) = (format!("0.0.0.0:{other}"), format!("127.0.0.2:{other}"));
        for pair in [[&*one, &*everywhere], [&*everywhere, &*one]] {
            let error = check_all(&forwards(&pair)).unwrap_err();
            assert!(error.to_string().contains("0.0.0.0"), "{error}");
            assert!(error.to_string().contains("127.0.0.1"), "{error}");
        }
        check_all(&forwards(&[&one, &elsewhere])).unwrap();
    }

    #[test]
    fn gdb_has_a_port_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_gdb(port, &[]).unwrap_err();
        assert!(error.advice().unwrap().contains("--gdb-port"), "{error}");
        drop(listener);
        check_gdb(port, &[]).unwrap();
        let forward = format!("0.0.0.0:{port}:80").parse().unwrap();
        assert!(check_gdb(port, &[forward]).is_err());
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let forward: Forward = format!("{port}:80").parse().unwrap();
        let error = forward.check_free().unwrap_err();
        assert!(matches!(error, Error::Taken(_)));
        assert!(error.to_string().contains(&port.to_string()));
        let udp: Forward = format!("{port}:80/udp").parse().unwrap();
        udp.check_free().unwrap();
    }
}
