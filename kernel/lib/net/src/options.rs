// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Options of all sockets: SOL_SOCKET (socket(7)), IPPROTO_IP (ip(7)) and
//! IPPROTO_IPV6 (ipv6(7)).

use crate::ip::Ip;
use crate::stack::Stack;
use alloc::vec::Vec;
use kio::{Errno, Result};

pub(crate) const SOL_SOCKET: i32 = 1;
pub(crate) const IPPROTO_IP: i32 = 0;
pub(crate) const IPPROTO_TCP: i32 = 6;
pub(crate) const IPPROTO_IPV6: i32 = 41;
pub(crate) const AF_INET6: u16 = 10;

/// rmem_max and wmem_max with room for those who want more.
const BUFFER_MAX: usize = 8 << 20;
const RECEIVE_BUFFER_MIN: usize = 2304;
const SEND_BUFFER_MIN: usize = 4608;

/// Options that every socket has; those that do not apply are kept.
#[derive(Clone, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) keep_alive: bool,
    pub(crate) broadcast: bool,
    pub(crate) oob_inline: bool,
    pub(crate) linger: Option<i32>,
    pub(crate) priority: i32,
    pub(crate) mark: i32,
    pub(crate) device: u32,
    pub(crate) timestamp: bool,
    pub(crate) receive_buffer: usize,
    pub(crate) receive_buffer_locked: bool,
    pub(crate) send_buffer: usize,
    pub(crate) send_buffer_locked: bool,
    pub(crate) low_water: i32,
    pub(crate) v6_only: bool,
    pub(crate) type_of_service: u8,
    pub(crate) traffic_class: u8,
    pub(crate) ttl: Option<u8>,
    pub(crate) hop_limit: Option<u8>,
    pub(crate) multicast: Multicast,
    pub(crate) ip: IpFlags,
}

/// Options of multicast.
#[derive(Clone, Debug)]
pub(crate) struct Multicast {
    pub(crate) ttl: u8,
    pub(crate) loopback: bool,
    pub(crate) interface: u32,
    /// Group and interface (0: any).
    pub(crate) groups: Vec<(Ip, u32)>,
}

/// Flags of ip(7) and ipv6(7).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IpFlags {
    pub(crate) packet_info4: bool,
    pub(crate) packet_info6: bool,
    pub(crate) receive_ttl: bool,
    pub(crate) receive_tos: bool,
    pub(crate) receive_hops: bool,
    pub(crate) receive_class: bool,
    pub(crate) receive_error4: bool,
    pub(crate) receive_error6: bool,
    pub(crate) mtu_discover: i32,
    pub(crate) mtu_discover6: i32,
    pub(crate) free_bind: bool,
    pub(crate) transparent: bool,
    pub(crate) header_included: bool,
    pub(crate) bind_no_port: bool,
}

impl SocketOptions {
    pub(crate) fn new(send_buffer: usize, receive_buffer: usize) -> Self {
        Self {
            reuse_address: false,
            reuse_port: false,
            keep_alive: false,
            broadcast: false,
            oob_inline: false,
            linger: None,
            priority: 0,
            mark: 0,
            device: 0,
            timestamp: false,
            receive_buffer,
            receive_buffer_locked: false,
            send_buffer,
            send_buffer_locked: false,
            low_water: 1,
            v6_only: false,
            type_of_service: 0,
            traffic_class: 0,
            ttl: None,
            hop_limit: None,
            multicast: Multicast { ttl: 1, loopback: true, interface: 0, groups: Vec::new() },
            ip: IpFlags { mtu_discover: 1, mtu_discover6: 1, ..IpFlags::default() },
        }
    }

    pub(crate) fn hops(&self, v4: bool) -> u8 {
        if v4 { self.ttl.unwrap_or(64) } else { self.hop_limit.unwrap_or(64) }
    }

    pub(crate) fn tos(&self, v4: bool) -> u8 {
        if v4 { self.type_of_service } else { self.traffic_class }
    }

    /// True when a group is joined on the interface.
    pub(crate) fn has_group(&self, group: Ip, interface: u32) -> bool {
        self.multicast.groups.iter().any(|(g, i)| *g == group && (*i == 0 || *i == interface))
    }

    /// setsockopt(2); `None` when the option is not one of these.
    pub(crate) fn set(
        &mut self,
        stack: &Stack,
        domain: u16,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Option<Result<()>> {
        match level {
            SOL_SOCKET => self.set_socket(stack, name, value),
            IPPROTO_IP => self.set_ip(stack, name, value),
            IPPROTO_IPV6 if domain == AF_INET6 => self.set_ipv6(stack, name, value),
            _ => None,
        }
    }

    fn set_socket(&mut self, stack: &Stack, name: i32, value: &[u8]) -> Option<Result<()>> {
        let flag = || int(value).map(|v| v != 0);
        Some(match name {
            2 => flag().map(|v| self.reuse_address = v),
            5 | 16 | 44 | 45 | 49 | 69 => int(value).map(|_| ()),
            6 => flag().map(|v| self.broadcast = v),
            7 | 32 => int(value).map(|v| {
                self.send_buffer = (v.max(0) as usize * 2).clamp(SEND_BUFFER_MIN, BUFFER_MAX);
                self.send_buffer_locked = true;
            }),
            8 | 33 => int(value).map(|v| {
                self.receive_buffer = (v.max(0) as usize * 2).clamp(RECEIVE_BUFFER_MIN, BUFFER_MAX);
                self.receive_buffer_locked = true;
            }),
            9 => flag().map(|v| self.keep_alive = v),
            10 => flag().map(|v| self.oob_inline = v),
            11 => int(value).map(|_| ()),
            12 => int(value).map(|v| self.priority = v),
            13 => self.set_linger(value),
            15 => flag().map(|v| self.reuse_port = v),
            18 => int(value).map(|v| self.low_water = v.max(1)),
            25 => self.set_device(stack, value),
            26 | 27 | 50 | 51 => Ok(()),
            29 | 35 | 63 | 64 => flag().map(|v| self.timestamp = v),
            36 => int(value).map(|v| self.mark = v),
            46 | 47 | 60 => Ok(()),
            62 => int(value).and_then(|v| {
                let known = v == 0 || stack.config().interface(v as u32).is_some();
                if known {
                    let _: () = self.device = v as u32;
                    Ok(())
                } else {
                    Err(Errno::ENODEV)
                }
            }),
            _ => return None,
        })
    }

    fn set_linger(&mut self, value: &[u8]) -> Result<()> {
        if value.len() < 8 {
            return Err(Errno::EINVAL);
        }
        self.linger = (int(value)? != 0).then(|| int(&value[4..]).unwrap_or(0));
        Ok(())
    }

    fn set_device(&mut self, stack: &Stack, value: &[u8]) -> Result<()> {
        let name = value.split(|b| *b == 0).next().unwrap_or(&[]);
        if name.is_empty() {
            self.device = 0;
            return Ok(());
        }
        let config = stack.config();
        let found = config.interfaces.iter().find(|i| i.name.as_bytes() == name);
        self.device = found.ok_or(Errno::ENODEV)?.index;
        Ok(())
    }

    fn set_ip(&mut self, stack: &Stack, name: i32, value: &[u8]) -> Option<Result<()>> {
        let flag = || int_or_byte(value).map(|v| v != 0);
        let ip = &mut self.ip;
        Some(match name {
            1 => int_or_byte(value).map(|v| self.type_of_service = v as u8),
            2 => int_or_byte(value).and_then(|v| match v {
                -1 => {
                    let _: () = self.ttl = None;
                    Ok(())
                }
                1..=255 => {
                    let _: () = self.ttl = Some(v as u8);
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            }),
            3 => flag().map(|v| ip.header_included = v),
            4 => Ok(()),
            6 | 7 | 20 | 49 | 50 | 51 => int_or_byte(value).map(|_| ()),
            8 => flag().map(|v| ip.packet_info4 = v),
            10 => int_or_byte(value).map(|v| ip.mtu_discover = v),
            11 => flag().map(|v| ip.receive_error4 = v),
            12 => flag().map(|v| ip.receive_ttl = v),
            13 => flag().map(|v| ip.receive_tos = v),
            15 => flag().map(|v| ip.free_bind = v),
            19 => flag().map(|v| ip.transparent = v),
            24 => flag().map(|v| ip.bind_no_port = v),
            32 => self.set_interface4(stack, value),
            33 => int_or_byte(value).and_then(|v| match v {
                -1 => {
                    let _: () = self.multicast.ttl = 1;
                    Ok(())
                }
                0..=255 => {
                    let _: () = self.multicast.ttl = v as u8;
                    Ok(())
                }
                _ => Err(Errno::EINVAL),
            }),
            34 => flag().map(|v| self.multicast.loopback = v),
            35 => self.membership4(stack, value, true),
            36 => self.membership4(stack, value, false),
            _ => return None,
        })
    }

    fn set_ipv6(&mut self, stack: &Stack, name: i32, value: &[u8]) -> Option<Result<()>> {
        let flag = || int(value).map(|v| v != 0);
        let hops = |v: i32, default: Option<u8>| match v {
            -1 => Ok(default),
            0..=255 => Ok(Some(v as u8)),
            _ => Err(Errno::EINVAL),
        };
        let ip = &mut self.ip;
        Some(match name {
            16 => int(value).and_then(|v| hops(v, None)).map(|v| self.hop_limit = v),
            17 => int(value).map(|v| self.multicast.interface = v as u32),
            18 => int(value)
                .and_then(|v| hops(v, Some(1)))
                .map(|v| self.multicast.ttl = v.unwrap_or(1)),
            19 => flag().map(|v| self.multicast.loopback = v),
            20 => self.membership6(stack, value, true),
            21 => self.membership6(stack, value, false),
            23 => int(value).map(|v| ip.mtu_discover6 = v),
            24 | 33 | 62 | 70 | 72 | 74 | 75 | 76 | 78 => int(value).map(|_| ()),
            25 => flag().map(|v| ip.receive_error6 = v),
            26 => flag().map(|v| self.v6_only = v),
            49 => flag().map(|v| ip.packet_info6 = v),
            51 => flag().map(|v| ip.receive_hops = v),
            66 => flag().map(|v| ip.receive_class = v),
            67 => int(value).map(|v| self.traffic_class = v.max(0) as u8),
            _ => return None,
        })
    }

    fn set_interface4(&mut self, stack: &Stack, value: &[u8]) -> Result<()> {
        let config = stack.config();
        self.multicast.interface = match value.len() {
            // in_addr, or ip_mreqn with its index.
            4..=11 => {
                let ip = Ip::from_v4_bytes([value[0], value[1], value[2], value[3]]);
                config.addresses.iter().find(|a| a.ip == ip).map_or(0, |a| a.interface)
            }
            12.. => int(&value[8..])? as u32,
            _ => return Err(Errno::EINVAL),
        };
        Ok(())
    }

    fn membership4(&mut self, stack: &Stack, value: &[u8], join: bool) -> Result<()> {
        if value.len() < 8 {
            return Err(Errno::EINVAL);
        }
        let group = Ip::from_v4_bytes([value[0], value[1], value[2], value[3]]);
        let interface = if value.len() >= 12 {
            int(&value[8..])? as u32
        } else {
            let ip = Ip::from_v4_bytes([value[4], value[5], value[6], value[7]]);
            let config = stack.config();
            config.addresses.iter().find(|a| a.ip == ip).map_or(0, |a| a.interface)
        };
        self.membership(group, interface, join)
    }

    fn membership6(&mut self, _stack: &Stack, value: &[u8], join: bool) -> Result<()> {
        if value.len() < 20 {
            return Err(Errno::EINVAL);
        }
        let mut group = [0; 16];
        group.copy_from_slice(&value[..16]);
        self.membership(Ip(u128::from_be_bytes(group)), int(&value[16..])? as u32, join)
    }

    fn membership(&mut self, group: Ip, interface: u32, join: bool) -> Result<()> {
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let groups = &mut self.multicast.groups;
        let at = groups.iter().position(|g| *g == (group, interface));
        match (at, join) {
            (Some(_), true) => Err(Errno::EADDRINUSE),
            (None, false) => Err(Errno::EADDRNOTAVAIL),
            (Some(at), false) => {
                groups.remove(at);
                Ok(())
            }
            // igmp_max_memberships is 20.
            (None, true) if groups.len() >= 20 => Err(Errno::ENOBUFS),
            (None, true) => {
                groups.push((group, interface));
                Ok(())
            }
        }
    }

    /// getsockopt(2); `None` when the option is not one of these.
    pub(crate) fn value(
        &self,
        stack: &Stack,
        domain: u16,
        level: i32,
        name: i32,
    ) -> Option<OptionValue> {
        match level {
            SOL_SOCKET => self.socket_value(stack, name),
            IPPROTO_IP => self.ip_value(name),
            IPPROTO_IPV6 if domain == AF_INET6 => self.ipv6_value(name),
            _ => None,
        }
    }

    fn socket_value(&self, stack: &Stack, name: i32) -> Option<OptionValue> {
        let int = |v: i32| Some(OptionValue::Int(v));
        match name {
            2 => int(self.reuse_address.into()),
            5 | 16 | 44 | 45 | 46 | 47 | 49 | 69 => int(0),
            6 => int(self.broadcast.into()),
            7 => int(self.send_buffer as i32),
            8 => int(self.receive_buffer as i32),
            9 => int(self.keep_alive.into()),
            10 => int(self.oob_inline.into()),
            11 => int(0),
            12 => int(self.priority),
            13 => {
                let mut b = Vec::with_capacity(8);
                b.extend_from_slice(&i32::from(self.linger.is_some()).to_ne_bytes());
                b.extend_from_slice(&self.linger.unwrap_or(0).to_ne_bytes());
                Some(OptionValue::Bytes(b))
            }
            15 => int(self.reuse_port.into()),
            18 => int(self.low_water),
            19 => int(1),
            25 => {
                let config = stack.config();
                let name = config.interface(self.device).map(|i| {
                    let mut b = i.name.as_bytes().to_vec();
                    b.push(0);
                    b
                });
                Some(OptionValue::Bytes(name.unwrap_or_default()))
            }
            29 | 35 | 63 | 64 => int(self.timestamp.into()),
            36 => int(self.mark),
            56 => int(0),
            57 => Some(OptionValue::Bytes(0u64.to_ne_bytes().to_vec())),
            60 => Some(OptionValue::Bytes(u64::MAX.to_ne_bytes().to_vec())),
            62 => int(self.device as i32),
            _ => None,
        }
    }

    fn ip_value(&self, name: i32) -> Option<OptionValue> {
        let f = &self.ip;
        let value = match name {
            1 => self.type_of_service.into(),
            2 => self.ttl.unwrap_or(64).into(),
            3 => f.header_included.into(),
            4 => return Some(OptionValue::Bytes(Vec::new())),
            8 => f.packet_info4.into(),
            10 => f.mtu_discover,
            11 => f.receive_error4.into(),
            12 => f.receive_ttl.into(),
            13 => f.receive_tos.into(),
            14 => 1500,
            15 => f.free_bind.into(),
            19 => f.transparent.into(),
            24 => f.bind_no_port.into(),
            33 => self.multicast.ttl.into(),
            34 => self.multicast.loopback.into(),
            6 | 7 | 20 | 49 | 50 | 51 => 0,
            _ => return None,
        };
        Some(OptionValue::Int(value))
    }

    fn ipv6_value(&self, name: i32) -> Option<OptionValue> {
        let f = &self.ip;
        let value = match name {
            16 => self.hop_limit.unwrap_or(64).into(),
            17 => self.multicast.interface as i32,
            18 => self.multicast.ttl.into(),
            19 => self.multicast.loopback.into(),
            23 => f.mtu_discover6,
            24 => 1500,
            25 => f.receive_error6.into(),
            26 => self.v6_only.into(),
            49 => f.packet_info6.into(),
            51 => f.receive_hops.into(),
            66 => f.receive_class.into(),
            67 => self.traffic_class.into(),
            33 | 62 | 70 | 72 | 74 | 75 | 76 | 78 => 0,
            _ => return None,
        };
        Some(OptionValue::Int(value))
    }
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OptionValue {
    Int(i32),
    Bytes(Vec<u8>),
}

impl OptionValue {
    /// Writes as much as fits and returns the length, as getsockopt(2).
    pub(crate) fn store(&self, value: &mut [u8]) -> usize {
        let int;
        let bytes: &[u8] = match self {
            Self::Int(v) => {
                int = v.to_ne_bytes();
                &int
            }
            Self::Bytes(b) => b,
        };
        let n = bytes.len().min(value.len());
        value[..n].copy_from_slice(&bytes[..n]);
        n
    }
}

/// An `int` option.
pub(crate) fn int(value: &[u8]) -> Result<i32> {
    match value.get(..4) {
        Some(b) => Ok(i32::from_ne_bytes([b[0], b[1], b[2], b[3]])),
        None => Err(Errno::EINVAL),
    }
}

/// An option of ip(7), which may be an `int` or a byte.
fn int_or_byte(value: &[u8]) -> Result<i32> {
    match value {
        [] => Err(Errno::EINVAL),
        [b, ..] if value.len() < 4 => Ok(i32::from(*b)),
        _ => int(value),
    }
}
