// SPDX-License-Identifier: Apache-2.0 OR MIT
//! UDP (RFC 768).

mod input;
mod message;
mod socket;

pub(crate) use input::UdpTable;
pub(crate) use message::{Datagram, Queue, send_info};
pub(crate) use socket::UdpSocket;
