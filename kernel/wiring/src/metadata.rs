// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A session with the hypervisor's metadata service, before the program starts.

use crate::network::{FIRST_CARD, work_until};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use kio::{Errno, MessageFlags, SliceSink, SliceSource, Socket, SocketAddress};
use kmetadata::http;
use knet::Stack;

const AF_INET: u16 = 2;
const SOCK_STREAM: u16 = 1;
/// How long the service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An address of the link (RFC 3927) for a card that has none, and its prefix.
const LINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
const LINK_PREFIX: u8 = 16;

/// The document about the program, if the command line says that there is a
/// service; `Err` says why there is none.
pub(crate) fn fetch(line: &str, stack: &Arc<Stack>) -> Result<Option<Vec<u8>>, String> {
    let Some(value) = abi::cmdline::option(line, abi::cmdline::METADATA) else { return Ok(None) };
    let address = match value {
        "" => kmetadata::ADDRESS,
        text => text.parse().map_err(|_| format!("{text} is not an IPv4 address"))?,
    };
    make_reachable(stack, address).map_err(|error| format!("no way to {address}: {error}"))?;
    let answer = exchange(stack, address, &http::token_request(address))?;
    let token = http::token(&answer).map_err(|error| format!("the token: {error}"))?;
    exchange(stack, address, &http::document_request(address, token, kmetadata::PATH)).map(Some)
}

/// The service answers on the link itself, whatever the network's addresses are.
fn make_reachable(stack: &Stack, address: Ipv4Addr) -> kio::Result<()> {
    let interfaces = stack.interfaces();
    let card = interfaces.iter().find(|i| i.index == FIRST_CARD).ok_or(Errno::ENETDOWN)?;
    if !card.addresses.iter().any(|(ip, _)| ip.is_ipv4()) {
        stack.configure(FIRST_CARD, IpAddr::V4(LINK_ADDRESS), LINK_PREFIX, None)?;
    }
    stack.add_link_route(FIRST_CARD, IpAddr::V4(address), 32)
}

/// Sends a request on a new connection and returns the body of the answer.
fn exchange(stack: &Arc<Stack>, address: Ipv4Addr, request: &str) -> Result<Vec<u8>, String> {
    let said = |error: Errno| format!("{address}: {error}");
    let socket = stack.socket(AF_INET, SOCK_STREAM, 0).map_err(said)?;
    let answer = converse(&*socket, address, request);
    socket.close();
    answer
}

fn converse(socket: &dyn Socket, address: Ipv4Addr, request: &str) -> Result<Vec<u8>, String> {
    let said = |error: Errno| format!("{address}: {error}");
    let to = SocketAddress::Inet(SocketAddrV4::new(address, kmetadata::PORT));
    match socket.connect(&to) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(said(error)),
    }
    let mut source = SliceSource::new(request.as_bytes());
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let mut failure = None;
    let mut sent = 0;
    let mut step = || -> Result<Option<Vec<u8>>, String> {
        if let Some(error) = socket.take_error() {
            return Err(said(error));
        }
        if sent < request.len() {
            match socket.send(&mut source, None, Vec::new(), MessageFlags::empty()) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN | Errno::ENOTCONN) => {}
                Err(error) => return Err(said(error)),
            }
            return Ok(None);
        }
        let mut sink = SliceSink::new(&mut chunk);
        let count = match socket.receive(&mut sink, MessageFlags::empty()) {
            Ok(got) => got.count,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(said(error)),
        };
        received.extend_from_slice(&chunk[..count]);
        match http::body(&received) {
            Ok(None) if count == 0 => Err(format!("{address}: the answer is cut short")),
            Ok(body) => Ok(body.map(<[u8]>::to_vec)),
            Err(error) => Err(format!("{address}: {error}")),
        }
    };
    let answer = work_until(PATIENCE, || match step() {
        Ok(answer) => answer,
        Err(error) => {
            failure = Some(error);
            Some(Vec::new())
        }
    });
    match (failure, answer) {
        (Some(error), _) => Err(error),
        (None, Some(answer)) => Ok(answer),
        (None, None) => Err(format!("{address}: no answer")),
    }
}
