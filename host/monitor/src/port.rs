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
    /// Two of the pairs want it.
    #[error("port {0} is given twice; it can lead to one place only")]
    Twice(SocketAddrV4),
    /// The host refuses the port for another reason.
    #[error("cannot listen on {0}: {1}")]
    Refused(SocketAddrV4, io::Error),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Syntax(_) | Self::Twice(_) => None,
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
        let same =
            |other: &Forward| other.host == forward.host && other.protocol == forward.protocol;
        if forwards[..index].iter().any(same) {
            return Err(Error::Twice(forward.host));
        }
        forward.check_free()?;
    }
    Ok(())
}

impl Forward {
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
        assert!(matches!(error, Error::Twice(_)), "{error}");
        check_all(&forwards(&[&one, &udp])).unwrap();
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
