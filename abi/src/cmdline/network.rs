// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `ip=`, as Linux reads it (Documentation/admin-guide/nfs/nfsroot.rst):
//! `CLIENT:SERVER:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1`, or
//! AUTOCONF alone.

use core::net::Ipv4Addr;

/// How addresses are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoconfiguration {
    /// As the word says.
    Off,
    /// By DHCP.
    Dhcp,
}

/// What one `ip=` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkWord<'a> {
    /// Our address.
    pub address: Option<Ipv4Addr>,
    /// Bits of the network's prefix, from the netmask or the address's class.
    pub prefix: u8,
    /// Default router.
    pub gateway: Option<Ipv4Addr>,
    /// Host name.
    pub hostname: Option<&'a str>,
    /// Network interface.
    pub device: Option<&'a str>,
    /// Where the rest comes from; without it, DHCP if there is no address.
    pub autoconfiguration: Autoconfiguration,
    /// DNS servers.
    pub name_servers: [Option<Ipv4Addr>; 2],
}

impl<'a> NetworkWord<'a> {
    /// Reads the value of the word.
    pub fn parse(value: &'a str) -> Result<Self, &'static str> {
        if let Some(autoconfiguration) = autoconfiguration(value) {
            return Ok(Self::automatic(autoconfiguration));
        }
        let mut fields = value.split(':');
        let mut field = || fields.next().filter(|text| !text.is_empty());
        let address = field().map(ip).transpose()?;
        let _server = field().map(ip).transpose()?;
        let gateway = field().map(ip).transpose()?;
        let prefix = match field() {
            Some(text) => prefix(ip(text)?)?,
            None => address.map_or(0, class),
        };
        let (hostname, device) = (field(), field());
        let chosen = match field() {
            Some(text) => Some(autoconfiguration(text).ok_or("no such way to find an address")?),
            None => None,
        };
        let name_servers = [field().map(ip).transpose()?, field().map(ip).transpose()?];
        // The address of a time server may follow, which is not used.
        let _time_server = field().map(ip).transpose()?;
        if fields.next().is_some() {
            return Err("too many fields");
        }
        let without = match address {
            Some(_) => Autoconfiguration::Off,
            None => Autoconfiguration::Dhcp,
        };
        let autoconfiguration = chosen.unwrap_or(without);
        let parsed =
            Self { address, prefix, gateway, hostname, device, autoconfiguration, name_servers };
        Ok(parsed)
    }

    const fn automatic(autoconfiguration: Autoconfiguration) -> Self {
        Self {
            address: None,
            prefix: 0,
            gateway: None,
            hostname: None,
            device: None,
            autoconfiguration,
            name_servers: [None; 2],
        }
    }
}

fn autoconfiguration(text: &str) -> Option<Autoconfiguration> {
    match text {
        "off" | "none" => Some(Autoconfiguration::Off),
        "on" | "any" | "dhcp" => Some(Autoconfiguration::Dhcp),
        _ => None,
    }
}

fn ip(text: &str) -> Result<Ipv4Addr, &'static str> {
    text.parse().map_err(|_| "not an IPv4 address")
}

fn prefix(mask: Ipv4Addr) -> Result<u8, &'static str> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    if bits.count_ones() == ones { Ok(ones as u8) } else { Err("not a netmask") }
}

/// What Linux takes when no netmask is given: the old classes.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}
