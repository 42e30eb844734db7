// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sending: bytes of a stream, or one record.

use super::node::{Down, Message, Node, Phase, Rights};
use super::{Credentials, UnixKind};
use crate::copy::take_all;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use kio::{Control, Errno, Events, Result, SocketAddress, Source};

const SOL_SOCKET: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Descriptors in one message: Linux's SCM_MAX_FD.
const MAX_RIGHTS: usize = 253;
/// A stream is cut into messages of at most this size.
const CHUNK: usize = 32 * 1024;
/// What a record may be shorter than the send buffer, as in Linux.
const RECORD_MARGIN: usize = 32;

/// What travels beside the bytes.
pub(super) struct Ancillary {
    rights: Rights,
    credentials: Credentials,
}

impl Ancillary {
    pub(super) fn new(node: &Node, control: Vec<Control>) -> Result<Self> {
        let mut this = Self { rights: Vec::new(), credentials: node.credentials };
        for item in control {
            match item {
                Control::Rights(rights) => this.rights.extend(rights),
                Control::Raw { level: SOL_SOCKET, kind: SCM_CREDENTIALS, data } => {
                    let bytes: [u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
                    let word = |at| u32::from_ne_bytes([0, 1, 2, 3].map(|n: usize| bytes[at + n]));
                    let (pid, uid, gid) = (word(0).cast_signed(), word(4), word(8));
                    this.credentials = Credentials { pid, uid, gid };
                }
                Control::Raw { .. } => return Err(Errno::EINVAL),
            }
        }
        if this.rights.len() > MAX_RIGHTS { Err(Errno::EINVAL) } else { Ok(this) }
    }
}

pub(super) fn stream(
    node: &Arc<Node>,
    source: &mut dyn Source,
    to: Option<&SocketAddress>,
    ancillary: Ancillary,
) -> Result<usize> {
    let state = node.state.lock();
    if to.is_some() {
        let connected = matches!(state.phase, Phase::Connected);
        return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
    }
    let peer = state.peer.clone().ok_or(Errno::ENOTCONN)?;
    if state.down.contains(Down::WRITE) {
        return Err(Errno::EPIPE);
    }
    drop(state);
    let mut ancillary = Some(ancillary);
    let mut done = 0;
    while source.remaining() > 0 {
        match chunk(node, &peer, source, &mut ancillary) {
            Ok(count) => done += count,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Puts one message into the peer's queue.
fn chunk(
    node: &Arc<Node>,
    peer: &Arc<Node>,
    source: &mut dyn Source,
    ancillary: &mut Option<Ancillary>,
) -> Result<usize> {
    let room = node.room();
    let mut state = peer.state.lock();
    if state.closed || state.down.contains(Down::READ) {
        return Err(Errno::EPIPE);
    }
    if room == 0 {
        return Err(Errno::EAGAIN);
    }
    let want = source.remaining().min(CHUNK).min(room);
    let has_rights = ancillary.as_ref().is_some_and(|a| !a.rights.is_empty());
    let credentials = ancillary.as_ref().map_or(node.credentials, |a| a.credentials);
    // Small writes share a message: as cheap as a ring.
    if !has_rights
        && let Some(last) = state.messages.back_mut()
        && last.rights.is_empty()
        && last.credentials == credentials
        && Arc::ptr_eq(&last.sender, node)
        && last.bytes.len() + want <= last.bytes.capacity()
    {
        let old = last.bytes.len();
        last.bytes.resize(old + want, 0);
        let taken = source.take(&mut last.bytes[old..]);
        last.bytes.truncate(old + taken.as_ref().copied().unwrap_or(0));
        let count = taken.and_then(|n| if n == 0 { Err(Errno::EFAULT) } else { Ok(n) })?;
        node.charge(count);
        drop(state);
        peer.queue.notify(Events::READABLE);
        return Ok(count);
    }
    state.messages.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
    let mut bytes = core::mem::take(&mut state.spare);
    bytes.try_reserve(want.max(256)).map_err(|_| Errno::ENOBUFS)?;
    bytes.resize(want, 0);
    let count = source.take(&mut bytes)?;
    if count == 0 {
        return Err(Errno::EFAULT);
    }
    bytes.truncate(count);
    let rights = ancillary.take().map_or(Vec::new(), |a| a.rights);
    node.charge(count);
    let (sender, from) = (node.clone(), Vec::new());
    state.messages.push_back(Message { bytes, start: 0, rights, credentials, sender, from });
    drop(state);
    peer.queue.notify(Events::READABLE);
    Ok(count)
}

/// Sends one datagram or packet, to `target` or to the peer.
pub(super) fn record(
    node: &Arc<Node>,
    target: Option<Arc<Node>>,
    source: &mut dyn Source,
    ancillary: Ancillary,
) -> Result<usize> {
    let length = source.remaining();
    let limit = node.send_buffer.load(Ordering::Relaxed).saturating_sub(RECORD_MARGIN);
    let (peer, from) = {
        let mut state = node.state.lock();
        if node.kind == UnixKind::SeqPacket {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if state.peer.is_none() {
                return Err(Errno::ENOTCONN);
            }
        }
        if length > limit {
            return Err(Errno::EMSGSIZE);
        }
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if state.down.contains(Down::WRITE) {
            return Err(Errno::EPIPE);
        }
        let peer = target.clone().or_else(|| state.peer.clone()).ok_or(Errno::ENOTCONN)?;
        (peer, state.name.clone())
    };
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| Errno::ENOBUFS)?;
    bytes.resize(length, 0);
    // Full buffers are found out before data moves: the caller waits then.
    if node.room() == 0 {
        return Err(Errno::EAGAIN);
    }
    take_all(source, &mut bytes)?;
    let mut state = peer.state.lock();
    if state.closed {
        drop(state);
        return Err(gone(node, target.is_none()));
    }
    let other = state.peer.as_ref();
    let mutual = other.is_some_and(|p| Arc::ptr_eq(p, node));
    if node.kind == UnixKind::Datagram && other.is_some() && !mutual {
        return Err(Errno::EPERM);
    }
    if state.down.contains(Down::READ) {
        return Err(Errno::EPIPE);
    }
    if !mutual && !Arc::ptr_eq(&peer, node) && Node::is_crowded(&state) {
        state.turn_away(node);
        return Err(Errno::EAGAIN);
    }
    state.messages.try_reserve(1).map_err(|_| Errno::ENOBUFS)?;
    node.charge(length);
    let Ancillary { rights, credentials } = ancillary;
    let sender = node.clone();
    state.messages.push_back(Message { bytes, start: 0, rights, credentials, sender, from });
    drop(state);
    peer.queue.notify(Events::READABLE);
    Ok(length)
}

/// The receiver was closed: a datagram socket loses its peer by that.
fn gone(node: &Arc<Node>, connected: bool) -> Errno {
    if node.kind == UnixKind::SeqPacket {
        return Errno::EPIPE;
    }
    if connected {
        node.disconnect(None, Vec::new());
    }
    Errno::ECONNREFUSED
}
