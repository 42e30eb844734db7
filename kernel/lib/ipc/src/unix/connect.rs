// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Listening, connecting and accepting.

use super::node::{Down, Listening, Node, Phase, State, call_back};
use super::{UnixKind, UnixNames};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Errno, Events, Result, SocketAddress};

/// `net.core.somaxconn`.
const MAX_BACKLOG: usize = 4096;

pub(super) fn listen(node: &Arc<Node>, backlog: usize) -> Result<()> {
    if node.kind == UnixKind::Datagram {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut state = node.state.lock();
    if state.name.is_empty() {
        return Err(Errno::EINVAL);
    }
    let backlog = backlog.min(MAX_BACKLOG);
    match &mut state.phase {
        Phase::Connected => return Err(Errno::EINVAL),
        Phase::Listening(listening) => listening.backlog = backlog,
        Phase::Open => {
            state.phase = Phase::Listening(Listening { backlog, arrived: VecDeque::new() });
        }
    }
    Ok(())
}

pub(super) fn accept(node: &Arc<Node>) -> Result<Arc<Node>> {
    if node.kind == UnixKind::Datagram {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut state = node.state.lock();
    let down = state.down;
    let Phase::Listening(listening) = &mut state.phase else { return Err(Errno::EINVAL) };
    let Some(arrived) = listening.arrived.pop_front() else {
        return Err(if down.contains(Down::READ) { Errno::EINVAL } else { Errno::EAGAIN });
    };
    let waiting = core::mem::take(&mut state.turned_away);
    drop(state);
    call_back(waiting);
    Ok(arrived)
}

pub(super) fn connect(node: &Arc<Node>, names: &UnixNames, address: &SocketAddress) -> Result<()> {
    match (address, node.kind) {
        (SocketAddress::Unix(name), UnixKind::Datagram) => {
            let target = names.find(name, node.kind)?;
            connect_datagram(node, Some(target))
        }
        (SocketAddress::Unspecified, UnixKind::Datagram) => connect_datagram(node, None),
        (SocketAddress::Unix(name), kind) => {
            let listener = names.find(name, kind)?;
            connect_stream(node, &listener)
        }
        _ => Err(Errno::EINVAL),
    }
}

fn connect_datagram(node: &Arc<Node>, target: Option<Arc<Node>>) -> Result<()> {
    let mut name = Vec::new();
    if let Some(target) = &target {
        let other = target.state.lock();
        if other.peer.as_ref().is_some_and(|peer| !Arc::ptr_eq(peer, node)) {
            return Err(Errno::EPERM);
        }
        name = other.name.clone();
    }
    node.disconnect(target, name);
    Ok(())
}

fn connect_stream(node: &Arc<Node>, listener: &Arc<Node>) -> Result<()> {
    // A bad address is answered before a bad socket.
    {
        let mut state = listener.state.lock();
        if let Err(error) = state.admits() {
            if error == Errno::EAGAIN {
                state.turn_away(node);
            }
            return Err(error);
        }
    }
    let embryo = Arc::new(Node::new(node.kind, listener.credentials));
    claim(node, &embryo)?;
    let result = enqueue(node, listener, &embryo);
    if result.is_err() {
        let mut state = node.state.lock();
        state.phase = Phase::Open;
        state.peer = None;
        drop(state);
        embryo.state.lock().peer = None;
        return result;
    }
    listener.queue.notify(Events::READABLE);
    node.queue.notify(Events::WRITABLE);
    result
}

impl State {
    /// Whether a listener takes one more connection.
    fn admits(&self) -> Result<()> {
        match &self.phase {
            Phase::Listening(listening) if !self.down.contains(Down::READ) => {
                if listening.arrived.len() > listening.backlog {
                    return Err(Errno::EAGAIN);
                }
                Ok(())
            }
            _ => Err(Errno::ECONNREFUSED),
        }
    }
}

/// Makes `node` connected before the listener is touched: from here on it can
/// be neither connected a second time nor made a listener, and two sockets are
/// never locked at once.
fn claim(node: &Arc<Node>, embryo: &Arc<Node>) -> Result<()> {
    let mut state = node.state.lock();
    match state.phase {
        Phase::Connected => return Err(Errno::EISCONN),
        Phase::Listening(_) => return Err(Errno::EINVAL),
        Phase::Open => {}
    }
    state.phase = Phase::Connected;
    state.peer = Some(embryo.clone());
    let name = state.name.clone();
    drop(state);
    embryo.join(node, node.credentials, name);
    Ok(())
}

fn enqueue(node: &Arc<Node>, listener: &Arc<Node>, embryo: &Arc<Node>) -> Result<()> {
    let name = listener.state.lock().name.clone();
    embryo.state.lock().name = name.clone();
    {
        // Both sides are finished before anyone can accept.
        let mut state = node.state.lock();
        state.peer_credentials = listener.credentials;
        state.peer_name = name;
    }
    let mut state = listener.state.lock();
    if let Err(error) = state.admits() {
        state.turn_away(node);
        return Err(error);
    }
    let Phase::Listening(listening) = &mut state.phase else { return Err(Errno::ECONNREFUSED) };
    listening.arrived.push_back(embryo.clone());
    Ok(())
}
