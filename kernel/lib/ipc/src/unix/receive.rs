// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Receiving: bytes of a stream, or one record.

use super::UnixKind;
use super::node::{Down, Message, Node, Phase, State, call_back};
use crate::copy::put_all;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use kio::{Control, Errno, MessageFlags, Received, Result, Sink, SocketAddress};

const SOL_SOCKET: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Memory that is kept for the next message.
const MAX_SPARE: usize = 64 * 1024;

/// What to tell when nothing is in the queue.
fn nothing(state: &mut State) -> Result<Received> {
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    if state.down.contains(Down::READ) { Ok(Received::default()) } else { Err(Errno::EAGAIN) }
}

fn control(state: &State, message: &mut Message, peek: bool) -> Vec<Control> {
    let mut control = Vec::new();
    if state.pass_credentials {
        let data = message.credentials.encode().to_vec();
        control.push(Control::Raw { level: SOL_SOCKET, kind: SCM_CREDENTIALS, data });
    }
    if !message.rights.is_empty() {
        let rights =
            if peek { message.rights.clone() } else { core::mem::take(&mut message.rights) };
        control.push(Control::Rights(rights));
    }
    control
}

pub(super) fn stream(
    node: &Arc<Node>,
    sink: &mut dyn Sink,
    flags: MessageFlags,
) -> Result<Received> {
    let mut state = node.state.lock();
    if !matches!(state.phase, Phase::Connected) {
        return Err(Errno::EINVAL);
    }
    if state.messages.is_empty() {
        return nothing(&mut state);
    }
    // Out of the state for the loop, which needs both.
    let mut messages = core::mem::take(&mut state.messages);
    let mut spare = core::mem::take(&mut state.spare);
    let mut received = Received::default();
    let mut freed = None;
    let peek = flags.contains(MessageFlags::PEEK);
    let result =
        take_bytes(&state, &mut messages, sink, peek, &mut received, &mut freed, &mut spare);
    state.messages = messages;
    state.spare = spare;
    drop(state);
    if let Some((sender, bytes)) = freed {
        sender.release(bytes);
    }
    result.map(|()| received)
}

fn take_bytes(
    state: &State,
    messages: &mut VecDeque<Message>,
    sink: &mut dyn Sink,
    peek: bool,
    received: &mut Received,
    freed: &mut Option<(Arc<Node>, usize)>,
    spare: &mut Vec<u8>,
) -> Result<()> {
    let mut at = 0;
    while sink.remaining() > 0 && at < messages.len() {
        let message = &mut messages[at];
        // Credentials do not mix when they are asked for. Descriptors arrive with
        // the first byte that they were sent with, and with what came before it.
        if received.count > 0 && state.pass_credentials {
            break;
        }
        let want = message.rest().len().min(sink.remaining());
        let put = match sink.put(&message.rest()[..want]) {
            Ok(put) if put > 0 => put,
            _ if received.count > 0 => break,
            Ok(_) => return Err(Errno::EFAULT),
            Err(error) => return Err(error),
        };
        let had_rights = !message.rights.is_empty();
        received.count += put;
        received.control.extend(control(state, message, peek));
        if peek {
            at += 1;
        } else {
            message.start += put;
            // All messages of a stream come from the one peer.
            let total = freed.as_ref().map_or(0, |(_, bytes)| *bytes) + put;
            *freed = Some((message.sender.clone(), total));
            if message.rest().is_empty()
                && let Some(Message { mut bytes, .. }) = messages.pop_front()
                && bytes.capacity() <= MAX_SPARE
            {
                bytes.clear();
                *spare = bytes;
            }
        }
        if put < want || had_rights {
            break;
        }
    }
    Ok(())
}

pub(super) fn record(
    node: &Arc<Node>,
    sink: &mut dyn Sink,
    flags: MessageFlags,
) -> Result<Received> {
    let mut state = node.state.lock();
    if node.kind == UnixKind::SeqPacket && !matches!(state.phase, Phase::Connected) {
        return Err(Errno::ENOTCONN);
    }
    // Unlike a stream, which gives its bytes first.
    if let Some(error) = state.error.take() {
        return Err(error);
    }
    let Some(mut message) = state.messages.pop_front() else {
        // Linux ends a datagram socket's wait by shutdown, but tells EAGAIN to
        // those who would not wait.
        if node.kind == UnixKind::Datagram && flags.contains(MessageFlags::DONTWAIT) {
            return Err(Errno::EAGAIN);
        }
        return nothing(&mut state);
    };
    let length = message.rest().len();
    let fits = length.min(sink.remaining());
    let copied = put_all(sink, &message.rest()[..fits]);
    let peek = flags.contains(MessageFlags::PEEK);
    let mut received = Received::default();
    if copied.is_ok() {
        received.flags.set(MessageFlags::TRUNC, fits < length);
        received.count = if flags.contains(MessageFlags::TRUNC) { length } else { fits };
        received.control = control(&state, &mut message, peek);
        let named = node.kind == UnixKind::Datagram;
        received.from = named.then(|| SocketAddress::Unix(message.from.clone()));
    }
    if peek || copied.is_err() {
        state.messages.push_front(message);
        return copied.map(|()| received);
    }
    let waiting = core::mem::take(&mut state.turned_away);
    drop(state);
    message.sender.release(length);
    call_back(waiting);
    Ok(received)
}
